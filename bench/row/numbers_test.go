package row

import (
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for want, ds := range map[time.Duration][]time.Duration{0: nil, 3: {9, 1, 3}, 2: {1, 3}} {
		if got := Median(ds); got != want {
			t.Errorf("Median(%v) = %v, want %v", ds, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	ds := []time.Duration{5, 1, 4, 2, 3}
	for share, want := range map[float64]time.Duration{0: 1, 0.5: 3, 0.99: 4, 1: 5} {
		if got := Quantile(ds, share); got != want {
			t.Errorf("Quantile(%v, %v) = %v, want %v", ds, share, got, want)
		}
	}
	if got := Quantile(nil, 0.5); got != 0 {
		t.Errorf("Quantile(nil, 0.5) = %v, want 0", got)
	}
}
