package boundedcache

import (
	"sync"
	"testing"
)

func TestBoundAndWhatIsAskedForAgain(t *testing.T) {
	t.Parallel()
	const most = 100
	m := New[int, string](most)
	m.Put(-1, "asked for")
	m.Put(-2, "forgotten")
	for i := range 10 * most {
		m.Put(i, "new")
		if v, ok := m.Get(-1); !ok || v != "asked for" {
			t.Fatalf("after %d others: Get(asked for) = %q, %v", i+1, v, ok)
		}
		if n := m.Len(); n > most {
			t.Fatalf("after %d others: %d entries, want at most %d", i+1, n, most)
		}
	}
	if _, ok := m.Get(-2); ok {
		t.Error("what nobody asked for is still there")
	}
	if v, ok := m.Get(10*most - 1); !ok || v != "new" {
		t.Errorf("Get(the last) = %q, %v", v, ok)
	}
}

func TestGetOrPutMakesOne(t *testing.T) {
	t.Parallel()
	m := New[string, *int](10)
	made := 0
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() { m.GetOrPut("a", func() *int { made++; return new(int) }) })
	}
	wait.Wait()
	if made != 1 {
		t.Errorf("made %d, want 1", made)
	}
}
