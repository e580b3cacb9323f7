package workload

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQuantityValues(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text         string
		milli, value int64
	}{
		{"0", 0, 0}, {"1", 1000, 1}, {"200m", 200, 1}, {"20m", 20, 1}, {"1.5", 1500, 2}, {".5", 500, 1}, {"5.", 5000, 5},
		{"1k", 1_000_000, 1000}, {"2Ki", 2_048_000, 2048}, {"1Mi", 1 << 20 * 1000, 1 << 20}, {"1Gi", 1 << 30 * 1000, 1 << 30},
		{"1e3", 1_000_000, 1000}, {"1E3", 1_000_000, 1000}, {"1E", math.MaxInt64, 1e18}, {"15e-1", 1500, 2}, {"1e+2", 100_000, 100},
		{"0.0001", 1, 1}, {"0.1m", 1, 1}, {"8Ei", math.MaxInt64, math.MaxInt64}, {"1e999", math.MaxInt64, math.MaxInt64},
		{"00200m", 200, 1}, {"9223372036854775807", math.MaxInt64, math.MaxInt64},
	} {
		q, err := ParseQuantity(tt.text)
		if err != nil {
			t.Errorf("ParseQuantity(%q): %v", tt.text, err)
			continue
		}
		if q.Milli() != tt.milli || q.Value() != tt.value || q.String() != tt.text {
			t.Errorf("%q = %d thousandths, %d units, text %q; want %d and %d", tt.text, q.Milli(), q.Value(), q, tt.milli, tt.value)
		}
	}
}

// A plus sign says nothing, so it makes no other amount and no other version.
func TestQuantityWithAPlusSign(t *testing.T) {
	t.Parallel()
	if q, err := ParseQuantity("+1Gi"); err != nil || q != MustQuantity("1Gi") {
		t.Errorf("ParseQuantity(+1Gi) = %v, %v, want 1Gi", q, err)
	}
}

func TestQuantitiesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "-1", "++1", "+-1", "+", "1 Gi", "1gb", "1MB", "1K", "Mi", ".", "1..5", "1e", "1e1000", "0x10", "1_000", "inf", "NaN", "1m2", "１", "1\n", strings.Repeat("1", 65),
	} {
		if q, err := ParseQuantity(text); err == nil {
			t.Errorf("ParseQuantity(%q) = %v, want it refused", text, q)
		} else if !strings.Contains(err.Error(), "such as 200m") {
			t.Errorf("ParseQuantity(%q) = %v, want an example", text, err)
		}
	}
}

// The value of a quantity is that of its number times its suffix, exactly; Cmp
// orders by value, whatever the spelling.
func TestQuantityOrdersByValue(t *testing.T) {
	t.Parallel()
	suffixes := map[string]string{
		"": "1", "m": "1/1000", "k": "1000", "M": "1000000", "G": "1000000000", "Ki": "1024", "Mi": "1048576", "Gi": "1073741824", "e3": "1000", "E-2": "1/100",
	}
	var names []string
	for s := range suffixes {
		names = append(names, s)
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) (Quantity, *big.Rat) {
			number := fmt.Sprintf("%d.%03d", rapid.IntRange(0, 2000).Draw(t, label), rapid.IntRange(0, 999).Draw(t, label))
			suffix := rapid.SampledFrom(names).Draw(t, label)
			value, _ := new(big.Rat).SetString(number)
			scale, _ := new(big.Rat).SetString(suffixes[suffix])
			q, err := ParseQuantity(number + suffix)
			if err != nil {
				t.Fatal(err)
			}
			return q, value.Mul(value, scale)
		}
		a, x := draw("a")
		b, y := draw("b")
		if got, want := a.Cmp(b), x.Cmp(y); got != want {
			t.Fatalf("%v.Cmp(%v) = %d, want %d", a, b, got, want)
		}
		if a.Cmp(b) != -b.Cmp(a) || a.Cmp(a) != 0 {
			t.Fatalf("Cmp of %v and %v is no order", a, b)
		}
		if got, low := big.NewRat(a.Milli(), 1000), x; got.Cmp(low) < 0 || new(big.Rat).Sub(got, low).Cmp(big.NewRat(1, 1000)) >= 0 {
			t.Fatalf("%v.Milli() = %v, want %v rounded up", a, got, low)
		}
	})
}

func TestQuantityIsWrittenAsTheUserWroteIt(t *testing.T) {
	t.Parallel()
	var c Compute
	if err := json.Unmarshal([]byte(`{"cpu": 1.50, "mem": "0512Mi", "shm": null}`), &c); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(c)
	if want := `{"cpu":"1.50","mem":"0512Mi","gpu":0,"inf":0,"shm":null}`; string(got) != want || err != nil {
		t.Errorf("Marshal() = %s, %v, want %s", got, err, want)
	}
	for _, text := range []string{`"a"`, `-1`, `true`, `{}`, `"\ud800"`} {
		var q Quantity
		if err := json.Unmarshal([]byte(text), &q); err == nil {
			t.Errorf("Unmarshal(%s) = %v, want an error", text, q)
		}
	}
	if (Quantity{}).Value() != 0 || (Quantity{}).Cmp(MustQuantity("0")) != 0 {
		t.Error("the zero Quantity is not zero")
	}
}

func TestMustQuantityPanicsOnAMalformedConstant(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("MustQuantity(\"x\") did not panic")
		}
	}()
	MustQuantity("x")
}

func TestDurationText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"}, {time.Minute, "1m"}, {90 * time.Second, "1m30s"}, {time.Hour, "1h"}, {90 * time.Minute, "1h30m"}, {time.Hour + time.Second, "1h0m1s"},
		{100 * time.Millisecond, "100ms"}, {-time.Minute, "-1m"}, {10 * time.Minute, "10m"}, {20 * time.Hour, "20h"},
	} {
		if got := Duration(tt.d).String(); got != tt.want {
			t.Errorf("Duration(%v) = %s, want %s", tt.d, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(rapid.Int64().Draw(t, "d"))
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var again Duration
		if err := json.Unmarshal(text, &again); err != nil || again != d {
			t.Fatalf("%s is read as %v, %v; want %v", text, again, err, d)
		}
		if !regexp.MustCompile(DurationPattern).MatchString(d.String()) {
			t.Fatalf("%s does not match the pattern of durations", d)
		}
	})
	var d Duration
	for _, text := range []string{"", "60", "1 minute", "s", "99999999999h"} {
		if err := d.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "such as 60s") {
			t.Errorf("UnmarshalText(%q) = %v, want it refused with an example", text, err)
		}
	}
}
