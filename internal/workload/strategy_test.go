package workload

import (
	"testing"

	"pgregory.net/rapid"
)

func TestUpdateStrategyRoundsAsKubernetesDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		surge, unavailable string
		n                  int
		more, fewer        int
	}{
		{"25%", "25%", 0, 0, 1}, {"25%", "25%", 1, 1, 0}, {"25%", "25%", 4, 1, 1}, {"25%", "25%", 5, 2, 1}, {"25%", "25%", 10, 3, 2},
		{"0", "0", 5, 0, 1}, {"0%", "0%", 5, 0, 1}, {"0", "10%", 5, 0, 1}, {"0", "50%", 5, 0, 2}, {"100%", "0", 5, 5, 0}, {"1", "0%", 5, 1, 0},
		{"7", "3", 5, 7, 3}, {"0", "100%", 3, 0, 3},
		{"nonsense", "nonsense", 3, 0, 1}, {"", "", 3, 0, 1}, {"101%", "-1", 3, 0, 1},
	} {
		u := UpdateStrategy{MaxSurge: tt.surge, MaxUnavailable: tt.unavailable}
		if got := u.Surge(tt.n); got != tt.more {
			t.Errorf("%+v.Surge(%d) = %d, want %d", u, tt.n, got, tt.more)
		}
		if got := u.Unavailable(tt.n); got != tt.fewer {
			t.Errorf("%+v.Unavailable(%d) = %d, want %d", u, tt.n, got, tt.fewer)
		}
	}
}

// Whatever the file says, an update can make a step, and percentages never exceed
// the replicas there are.
func TestUpdateStrategyAlwaysAllowsAStep(t *testing.T) {
	t.Parallel()
	share := rapid.StringMatching(`[0-9]{1,2}%|100%|[0-9]{1,9}|[a-z%]{0,3}`)
	rapid.Check(t, func(t *rapid.T) {
		u := UpdateStrategy{MaxSurge: share.Draw(t, "surge"), MaxUnavailable: share.Draw(t, "unavailable")}
		n := rapid.IntRange(0, 1<<20).Draw(t, "n")
		more, fewer := u.Surge(n), u.Unavailable(n)
		if more < 0 || fewer < 0 || more+fewer == 0 {
			t.Fatalf("%+v of %d = %d more, %d fewer; want a step", u, n, more, fewer)
		}
		if _, percent, ok := parseShare(u.MaxSurge); ok && percent && more > n {
			t.Fatalf("%+v.Surge(%d) = %d, want at most all", u, n, more)
		}
	})
}
