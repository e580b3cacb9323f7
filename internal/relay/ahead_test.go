package relay

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
)

func TestAheadIsDoneWhenTheBodyWasRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out, in := io.Pipe()
		var done atomic.Int32
		b := NewAhead(1<<20).of(out, func() { done.Add(1) })
		go func() {
			_, _ = io.WriteString(in, "first ")
			_, _ = io.WriteString(in, "second")
			in.Close()
		}()
		if n, err := b.Read(make([]byte, 6)); n != 6 || err != nil {
			t.Fatalf("Read = %d, %v, want the first piece", n, err)
		}
		synctest.Wait()
		if done.Load() != 1 {
			t.Error("the body was read to its end, and who asked was not told")
		}
		rest, err := io.ReadAll(b)
		if string(rest) != "second" || err != nil {
			t.Errorf("the rest is %q, %v, want second", rest, err)
		}
		b.Close()
		if done.Load() != 1 {
			t.Errorf("told %d times, want once", done.Load())
		}
	})
}

// What is read ahead has a bound, of each body and of all together, past which a client
// holds its server back as ever.
func TestAheadIsBounded(t *testing.T) {
	t.Parallel()
	for name, budget := range map[string]int64{"of one": 10 << 20, "of all": pieceSize} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				out, in := io.Pipe()
				a := NewAhead(budget)
				done := false
				b := a.of(out, func() { done = true })
				var sent atomic.Int64
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					for {
						n, err := in.Write(make([]byte, 1<<10))
						sent.Add(int64(n))
						if err != nil {
							return
						}
					}
				}()
				_, _ = b.Read(make([]byte, 1))
				synctest.Wait()
				if most := min(budget, aheadBytes) + 2*pieceSize; sent.Load() > most {
					t.Errorf("%d bytes were read of a body that nobody takes, want at most %d", sent.Load(), most)
				}
				if _, err := io.ReadFull(b, make([]byte, 500<<10)); err != nil { // it goes on
					t.Errorf("reading on: %v", err)
				}
				b.Close()
				<-ended
				if !done {
					t.Error("a body that was closed is not done")
				}
				if left := a.budget.left.Load(); left != budget {
					t.Errorf("%d of %d bytes of the budget are left", left, budget)
				}
			})
		})
	}
}

func TestAheadTellsHowABodyEnds(t *testing.T) {
	t.Parallel()
	broke := errors.New("broke off")
	for _, size := range []int{0, 10, 100_000} {
		from := io.NopCloser(io.MultiReader(strings.NewReader(strings.Repeat("x", size)), iotest.ErrReader(broke)))
		b := NewAhead(1<<20).of(from, func() {})
		got, err := io.ReadAll(b)
		if len(got) != size || !errors.Is(err, broke) {
			t.Errorf("read %d bytes and %v, want %d and that it broke off", len(got), err, size)
		}
		b.Close()
	}
}
