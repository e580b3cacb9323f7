package workload

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"
	"time"
)

// MarshalText writes d as a Go duration, without zero units: "60s" stays "1m0s" only
// where no shorter form is exact.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a Go duration such as "60s" or "5m".
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 60s, 5m or 1h30m", text)
	}
	*d = Duration(v)
	return nil
}

// String is d in the largest unit that is exact: 60s is "1m", 90s is "1m30s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Quantity is an amount as Kubernetes writes it: "200m", "1.5", "256Mi", "2e3".
// The text the user wrote is kept; the value is exact.
type Quantity struct{ text string }

var quantityShape = regexp.MustCompile(QuantityPattern)

var quantityScale = map[string]*big.Rat{
	"": big.NewRat(1, 1), "m": big.NewRat(1, 1000),
	"k": pow(10, 3), "M": pow(10, 6), "G": pow(10, 9), "T": pow(10, 12), "P": pow(10, 15), "E": pow(10, 18),
	"Ki": pow(2, 10), "Mi": pow(2, 20), "Gi": pow(2, 30), "Ti": pow(2, 40), "Pi": pow(2, 50), "Ei": pow(2, 60),
}

func pow(base, exp int64) *big.Rat {
	return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(base), big.NewInt(exp), nil))
}

// ParseQuantity reads an amount. It refuses negative and unbounded values.
func ParseQuantity(text string) (Quantity, error) {
	if len(text) > MaxQuantityLength || !quantityShape.MatchString(text) {
		return Quantity{}, fmt.Errorf("%q is not a quantity such as 200m, 1.5 or 256Mi", text)
	}
	return Quantity{text: strings.TrimPrefix(text, "+")}, nil
}

// MustQuantity is ParseQuantity for constants; it panics on a malformed one.
func MustQuantity(text string) Quantity {
	q, err := ParseQuantity(text)
	if err != nil {
		panic(err)
	}
	return q
}

func (q Quantity) rat() *big.Rat {
	m := quantityShape.FindStringSubmatch(q.text)
	if m == nil {
		return new(big.Rat)
	}
	number := strings.TrimSuffix(m[1], ".")
	if strings.HasPrefix(number, ".") {
		number = "0" + number
	}
	v, ok := new(big.Rat).SetString(number)
	if !ok {
		return new(big.Rat)
	}
	if scale, ok := quantityScale[m[3]]; ok {
		return v.Mul(v, scale)
	}
	exp, ok := new(big.Rat).SetString("1" + m[3])
	if !ok {
		return new(big.Rat)
	}
	return v.Mul(v, exp)
}

// Milli returns the amount in thousandths, rounded up and saturating.
func (q Quantity) Milli() int64 { return ceil(new(big.Rat).Mul(q.rat(), big.NewRat(1000, 1))) }

// Value returns the amount in whole units, rounded up and saturating.
func (q Quantity) Value() int64 { return ceil(q.rat()) }

func ceil(r *big.Rat) int64 {
	i, rest := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		i.Add(i, big.NewInt(1))
	}
	if !i.IsInt64() {
		return math.MaxInt64
	}
	return i.Int64()
}

// Cmp returns -1, 0 or 1 as q is less than, equal to or more than o.
func (q Quantity) Cmp(o Quantity) int { return q.rat().Cmp(o.rat()) }

// String is the text the user wrote.
func (q Quantity) String() string { return q.text }

// MarshalJSON writes the text as a string.
func (q Quantity) MarshalJSON() ([]byte, error) { return json.Marshal(q.text) }

// UnmarshalJSON reads a string or a number.
func (q *Quantity) UnmarshalJSON(data []byte) error {
	text := string(data)
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
	}
	v, err := ParseQuantity(text)
	if err != nil {
		return err
	}
	*q = v
	return nil
}
