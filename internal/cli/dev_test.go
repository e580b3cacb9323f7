package cli

import (
	"testing"
	"time"
)

// Changes one after the other are taken ever more rarely; after a rest, at once.
func TestCodeThatChangesAllTheTime(t *testing.T) {
	t.Parallel()
	w := &watched{}
	now := time.Now()
	taken := 0
	for range 240 { // two minutes
		if w.mayRefresh(now) {
			taken++
		}
		now = now.Add(devLook)
	}
	if taken > 8 || w.pause != devMaxPause {
		t.Errorf("code was taken %d times within two minutes, the pause is %s; want few times and %s", taken, w.pause, devMaxPause)
	}
	now = now.Add(3 * devMaxPause)
	if !w.mayRefresh(now) || w.pause != devPause {
		t.Errorf("after a rest the pause is %s, want %s", w.pause, devPause)
	}
}

// Looks at large folders cost a bounded part of a core, and those at small ones are not
// further apart than devLook.
func TestLooksThatTakeLong(t *testing.T) {
	t.Parallel()
	for took, want := range map[time.Duration]time.Duration{
		0: 0, 100 * time.Millisecond: 1900 * time.Millisecond, time.Minute: devMaxLook,
	} {
		if got := restAfter(took); got != want {
			t.Errorf("restAfter(%s) = %s, want %s", took, got, want)
		}
	}
	if rest := restAfter(10 * time.Millisecond); rest >= devLook {
		t.Errorf("after a look of 10 ms there is a rest of %s, want none that is seen", rest)
	}
}
