package workload

import (
	"testing"
	"time"
)

func TestGrace(t *testing.T) {
	t.Parallel()
	own := Duration(time.Hour)
	for _, tt := range []struct {
		name string
		pod  *Pod
		def  time.Duration
		want time.Duration
	}{
		{"nobody says", &Pod{}, 0, time.Minute},
		{"the installation", &Pod{}, 5 * time.Minute, 5 * time.Minute},
		{"the file", &Pod{TerminationGracePeriod: &own}, 5 * time.Minute, time.Hour},
		{"no pod", nil, 0, time.Minute},
	} {
		if got := tt.pod.Grace(tt.def); got != tt.want {
			t.Errorf("%s: Grace(%v) = %v, want %v", tt.name, tt.def, got, tt.want)
		}
	}
}

func TestGraceIsDivided(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ grace, drain, hook time.Duration }{
		{time.Minute, 50 * time.Second, 55 * time.Second},
		{6 * time.Minute, 5 * time.Minute, 330 * time.Second},
		// What comes after a drain does not take longer because requests do.
		{time.Hour, 59 * time.Minute, 3570 * time.Second},
		{0, 0, 0},
	} {
		if drain, hook := DrainWithin(tt.grace), HookWithin(tt.grace); drain != tt.drain || hook != tt.hook {
			t.Errorf("a grace of %v has %v for the drain and the hook ends at %v, want %v and %v", tt.grace, drain, hook, tt.drain, tt.hook)
		}
	}
}
