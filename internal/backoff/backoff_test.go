package backoff

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestLooksBecomeRarer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b Backoff
		begun, last := time.Now(), time.Duration(0)
		for look := range 20 {
			before := time.Now()
			if err := b.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
			pause := time.Since(before)
			if look == 0 && pause != first {
				t.Errorf("the first pause is %s, want %s", pause, first)
			}
			if pause < last || pause > Longest || pause == last && pause != Longest {
				t.Errorf("after a pause of %s comes one of %s, want a longer one, up to %s", last, pause, Longest)
			}
			last = pause
		}
		if last != Longest {
			t.Errorf("the pauses end at %s, want %s", last, Longest)
		}
		if b.Total != time.Since(begun) {
			t.Errorf("Total = %s after %s", b.Total, time.Since(begun))
		}
	})
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), first/2)
		defer cancel()
		begun := time.Now()
		if err := (&Backoff{}).Next(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != first/2 {
			t.Errorf("Next = %v after %s, want the end of the context after %s", err, time.Since(begun), first/2)
		}
	})
}
