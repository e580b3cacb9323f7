package workload_test

import (
	"math"
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	bounds := []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second}
	for _, c := range []struct {
		name   string
		counts []uint64
		q      float64
		want   float64
	}{
		{"nothing", []uint64{0, 0, 0, 0}, 0.5, 0},
		{"the middle of the first", []uint64{10, 0, 0, 0}, 0.5, 0.005},
		{"the end of the first", []uint64{10, 10, 0, 0}, 0.5, 0.01},
		{"within the second", []uint64{10, 10, 0, 0}, 0.75, 0.055},
		{"past an empty one", []uint64{1, 0, 99, 0}, 0.99, 0.1 + 0.9*98/99},
		{"above all bounds", []uint64{1, 0, 0, 99}, 0.99, 1},
	} {
		if got := (workload.Took{Bounds: bounds, Counts: c.counts}).Quantile(c.q); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: Quantile(%v) of %v = %v, want %v", c.name, c.q, c.counts, got, c.want)
		}
	}
}

func TestTookSince(t *testing.T) {
	t.Parallel()
	bounds := []time.Duration{time.Second}
	now := workload.Took{Bounds: bounds, Counts: []uint64{5, 2}}
	for _, c := range []struct {
		name    string
		earlier []uint64
		want    [2]uint64
	}{
		{"the same counter", []uint64{3, 2}, [2]uint64{2, 0}},
		{"none", nil, [2]uint64{5, 2}},
		{"one that was begun anew", []uint64{3, 9}, [2]uint64{5, 2}},
	} {
		if got := now.Since(workload.Took{Bounds: bounds, Counts: c.earlier}); [2]uint64(got.Counts) != c.want {
			t.Errorf("%s: since %v = %v, want %v", c.name, c.earlier, got.Counts, c.want)
		}
	}
	if now.Counts[0] != 5 {
		t.Error("Since changed what it was asked of")
	}
}
