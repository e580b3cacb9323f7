package capacity

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the goldens anew")

func amount(t testing.TB, text string) Amount {
	t.Helper()
	a, err := Parse(text)
	if err != nil {
		t.Fatalf("Parse(%q) = %v", text, err)
	}
	return a
}

func group(t testing.TB, name string, sizes ...string) Group {
	t.Helper()
	g := Group{Name: name}
	for _, size := range sizes {
		g.Sizes = append(g.Sizes, amount(t, size))
	}
	return g
}

func closed(g Group) Group {
	g.Closed = "not for it: its taint is a=b:NoSchedule"
	return g
}

func TestDecide(t *testing.T) {
	t.Parallel()
	small, large := group(t, "small", "cpu=4,mem=8Gi"), group(t, "large", "cpu=16,mem=64Gi")
	for _, tt := range []struct {
		name   string
		asks   string
		groups []Group
		fits   bool
		short  string
	}{
		{"exactly", "cpu=4,mem=8Gi", []Group{small}, true, ""},
		{"one of two", "cpu=16,mem=1Gi", []Group{small, large}, true, ""},
		{"a thousandth too much", "cpu=4001m,mem=8Gi", []Group{small}, false, "cpu"},
		{"a byte too much", "cpu=4,mem=8589934593", []Group{small}, false, "mem"},
		{"everything is short", "cpu=32,mem=1Ti,gpu=1,inf=1", []Group{small, large}, false, "cpu mem gpu inf"},
		{"a size of several", "cpu=8,mem=1Gi", []Group{group(t, "mixed", "cpu=2,mem=64Gi", "cpu=8,mem=2Gi")}, true, ""},
		{"nowhere at once", "cpu=8,mem=32Gi", []Group{group(t, "mixed", "cpu=2,mem=64Gi", "cpu=8,mem=2Gi")}, false, ""},
		{"nothing is asked for", "cpu=0,mem=0", []Group{small}, true, ""},
		{"a group of unknown size", "cpu=1000,mem=1Ti", []Group{small, group(t, "new")}, true, ""},
		{"no groups", "cpu=1000,mem=1Ti", nil, true, ""},
		{"nothing but closed groups", "cpu=1000,mem=1Ti", []Group{closed(large)}, true, ""},
		{"a closed group does not hold it", "cpu=8,mem=1Gi", []Group{small, closed(large)}, false, "cpu"},
		{"a closed group of unknown size does not either", "cpu=8,mem=1Gi", []Group{small, closed(group(t, "new"))}, false, "cpu"},
	} {
		r := Decide([]Request{{"api", amount(t, tt.asks)}}, tt.groups)
		if (r == nil) != tt.fits {
			t.Errorf("%s: Decide() = %v, want that it fits: %t", tt.name, r, tt.fits)
			continue
		}
		if r != nil && strings.Join(r.Short(), " ") != tt.short {
			t.Errorf("%s: short of %q, want %q", tt.name, r.Short(), tt.short)
		}
	}
}

func TestTotal(t *testing.T) {
	t.Parallel()
	got := Total([]Request{{"a", Amount{CPU: math.MaxInt64, Mem: 1}}, {"b", Amount{CPU: 100, Mem: 2, GPU: 1}}, {"c", Amount{Inf: 3}}})
	if want := (Amount{CPU: math.MaxInt64, Mem: 3, GPU: 1, Inf: 3}); got != want {
		t.Errorf("Total() = %+v, want %+v", got, want)
	}
	if got := (Amount{CPU: 100, Mem: 100}).Less(Amount{CPU: 300, Mem: 1}); got != (Amount{Mem: 99}) {
		t.Errorf("Less() = %+v, want no CPU and 99 bytes", got)
	}
}

func anyAmount(t *rapid.T, what string) Amount {
	few := func(name string) int64 { return rapid.Int64Range(0, 3).Draw(t, what+" "+name) }
	return Amount{CPU: few("cpu"), Mem: few("mem"), GPU: few("gpu"), Inf: few("inf")}
}

// The largest sizes hold all that any size holds, and none of them is needless.
func TestLargest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Amount { return anyAmount(t, "size") }), 0, 12).Draw(t, "sizes")
		largest := Largest(sizes)
		for _, size := range sizes {
			held := 0
			for _, l := range largest {
				if l.Holds(size) {
					held++
				}
			}
			if held == 0 {
				t.Fatalf("Largest(%v) = %v, of which none holds %v", sizes, largest, size)
			}
		}
		for i, a := range largest {
			for j, b := range largest {
				if i != j && a.Holds(b) {
					t.Fatalf("Largest(%v) = %v, of which %v is needless", sizes, largest, b)
				}
			}
		}
	})
}

// Refusals as users see them; the goldens are read by people.
func TestText(t *testing.T) {
	t.Parallel()
	sidecar := Request{"proxy (sidecar)", amount(t, "cpu=100m,mem=100Mi")}
	var many []Group
	for range 15 {
		many = append(many, group(t, "g", "cpu=1,mem=2Gi", "cpu=2,mem=1Gi"))
	}
	for _, tt := range []struct {
		name   string
		asks   []Request
		groups []Group
	}{
		{"groups", []Request{{"api", amount(t, "cpu=3900m,mem=256Gi,gpu=8")}, {"tokenizer", amount(t, "cpu=200m,mem=0")}, sidecar}, []Group{
			group(t, "gpu", "cpu=95690m,mem=376.123Gi,gpu=4"), group(t, "cpu", "cpu=4,mem=1000Mi", "cpu=2,mem=500Mi", "cpu=1,mem=2Ti"), closed(group(t, "db", "cpu=1,mem=1Gi,inf=3")),
		}},
		{"no-groups", []Request{{"api", amount(t, "cpu=4,mem=1Gi")}}, []Group{group(t, "", "cpu=3920m,mem=7.64Gi")}},
		{"at-once", []Request{{"api", amount(t, "cpu=2,mem=2Gi")}}, []Group{group(t, "a", "cpu=2,mem=1Gi"), group(t, "b", "cpu=1,mem=2Gi")}},
		{"rounding", []Request{{"api", amount(t, "cpu=1,mem=2147483649")}}, []Group{group(t, "", "cpu=1,mem=2147483648")}},
		{"many", []Request{{"api", amount(t, "cpu=2,mem=2Gi")}}, append(many, closed(group(t, "last")))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := Decide(tt.asks, tt.groups)
			if r == nil {
				t.Fatal("Decide() = nil, want a refusal")
			}
			path := filepath.Join("testdata", tt.name+".golden.txt")
			if *update {
				if err := os.WriteFile(path, []byte(r.String()+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), r.String()+"\n"); diff != "" {
				t.Errorf("-want +got:\n%s\n%s", diff, r)
			}
		})
	}
}

// What is more never looks like less or as much.
func TestRoundingKeepsTheOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		had := rapid.Int64Range(0, math.MaxInt64-1).Draw(t, "had")
		asked := had + rapid.Int64Range(1, min(1<<24, math.MaxInt64-had)).Draw(t, "more")
		a, b := bytesUp(asked), bytesDown(had)
		if amount, less := shown(t, a), shown(t, b); amount <= less {
			t.Fatalf("%d is shown as %s and %d as %s", asked, a, had, b)
		}
	})
}

func shown(t *rapid.T, text string) int64 {
	a, err := Parse("mem=" + text)
	if err != nil {
		t.Fatalf("Parse(%q) = %v", text, err)
	}
	return a.Mem
}

func TestWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a    Amount
		want string
	}{
		{Amount{}, "nothing"},
		{Amount{CPU: 20}, "20m cpu"},
		{Amount{CPU: 1500, Mem: 1 << 30}, "1.5 cpu and 1Gi mem"},
		{Amount{CPU: 10000, Mem: 1, GPU: 1, Inf: 2}, "10 cpu, 1Mi mem, 1 gpu and 2 inf"},
	} {
		if got := tt.a.Words(); got != tt.want {
			t.Errorf("%+v in words = %q, want %q", tt.a, got, tt.want)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	if got, want := amount(t, "mem=1.5Gi,inf=2,cpu=0.25,gpu=0"), (Amount{CPU: 250, Mem: 3 << 29, Inf: 2}); got != want {
		t.Errorf("Parse() = %+v, want %+v", got, want)
	}
	for text, want := range map[string]string{
		"": `"" is not cpu=…`, "cpu": "is not a quantity", "cpu=1,cpu=2": `"cpu=2" is not`, "cpu=-1": "is not a quantity",
		"gpu=1.5": "gpu: ", "gpu=-1": "gpu: ", "inf=1025": "0 to 1024", "disk=1": `"disk=1" is not`, "cpu=1;mem=1": "is not a quantity",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("cpu=8,mem=32Gi,gpu=1,inf=0")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := Parse(text)
		if err == nil && (a.CPU < 0 || a.Mem < 0 || a.GPU < 0 || a.Inf < 0) {
			t.Errorf("Parse(%q) = %+v", text, a)
		}
	})
}
