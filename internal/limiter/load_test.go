package limiter

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Ten requests of 0.3 s at each full second are three in flight, whenever one looks.
func TestMeanLoadIsTheIntegral(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p Pool[string]
		b := p.NewBackend("a", 4, 100) // some of them wait
		b.SetReady(true)
		<-time.After(700 * time.Millisecond) // the phase of whoever looks
		p.MeanLoad()
		for range 5 {
			<-time.After(300 * time.Millisecond) // a full second
			for range 10 {
				if _, err := p.Join(0, false); err != nil {
					t.Fatal(err)
				}
			}
			<-time.After(300 * time.Millisecond)
			for range 10 {
				b.Release() // and the next one has it
			}
			<-time.After(400 * time.Millisecond)
			if got := p.MeanLoad(); math.Abs(got-3) > 1e-9 {
				t.Errorf("MeanLoad() = %v, want 3", got)
			}
		}
		<-time.After(time.Second)
		if got := p.MeanLoad(); got != 0 {
			t.Errorf("MeanLoad() of nothing = %v, want 0", got)
		}
	})
}

// However requests come, wait, leave and end: none of them is counted for good.
func TestMeanLoadForgetsNobody(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var p Pool[string]
		p.SetQueueLimit(QueueLimit{Requests: 3})
		b := p.NewBackend("a", 2, 3)
		var waiting []*Waiter[string]
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0:
				p.Try()
			case 1:
				if w, err := p.Join(1, false); err == nil {
					waiting = append(waiting, w)
				}
			case 2:
				if b.Running() > 0 {
					b.Release()
				}
			case 3:
				if len(waiting) > 0 && waiting[0].done != nil {
					waiting[0].leave()
					waiting = waiting[1:]
				}
			case 4:
				b.SetReady(rapid.Bool().Draw(t, "ready"))
			case 5:
				p.Refuse(ErrTimeout)
				p.Refuse(nil)
			case 6:
				b.Eject()
				b.Restore()
			}
			if l := p.Load(); p.load.now != l.Running+l.Waiting {
				t.Fatalf("%d are counted, and %d run and %d wait", p.load.now, l.Running, l.Waiting)
			}
		}
	})
}

func BenchmarkTryAndRelease(b *testing.B) {
	l := New(10, 10)
	b.ReportAllocs()
	for b.Loop() {
		if l.Try() {
			l.Release()
		}
	}
}
