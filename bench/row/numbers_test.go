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
