package limiter

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// TestLeastLoadedIsChosen checks that no backend gets a request while another one
// has a smaller share of its slots taken.
func TestLeastLoadedIsChosen(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var p Pool[int]
		limits := rapid.SliceOfN(rapid.IntRange(1, 10), 1, 6).Draw(t, "limits")
		backends := make([]*Backend[int], len(limits))
		slots := 0
		for i, n := range limits {
			backends[i] = p.NewBackend(i, n, 0)
			backends[i].SetReady(true)
			slots += n
		}
		running := make([]int, len(limits))
		for range slots {
			s := p.Try()
			if s == nil {
				t.Fatalf("Try = nil with %v of %v taken", running, limits)
			}
			for i, n := range limits {
				if running[i]*limits[s.Value] < running[s.Value]*n {
					t.Fatalf("Try chose %d with %v of %v taken; %d has less to do", s.Value, running, limits, i)
				}
			}
			running[s.Value]++
			if running[s.Value] > limits[s.Value] {
				t.Fatalf("backend %d runs %d of %d", s.Value, running[s.Value], limits[s.Value])
			}
		}
		if s := p.Try(); s != nil {
			t.Fatalf("Try = backend %d past every limit", s.Value)
		}
	})
}

// TestChoiceIsTheLinearOne drives a pool whose limits differ and compares each choice
// with that of a search through all backends: the smallest share of its slots taken,
// and among equals the one that has had that share for longest.
func TestChoiceIsTheLinearOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var p Pool[int]
		type model struct {
			backend        *Backend[int]
			limit, running int
			ready, ejected bool
			since          int
		}
		clock := 0
		all := make([]*model, rapid.IntRange(1, 8).Draw(t, "backends"))
		for i := range all {
			limit := rapid.SampledFrom([]int{1, 2, 3, 6}).Draw(t, "limit")
			all[i] = &model{backend: p.NewBackend(i, limit, 0), limit: limit}
		}
		pick := func() *model { return all[rapid.IntRange(0, len(all)-1).Draw(t, "which")] }
		moved := func(m *model) {
			clock++
			m.since = clock
		}
		t.Repeat(map[string]func(*rapid.T){
			"try": func(t *rapid.T) {
				var want *model
				for _, m := range all {
					if !m.ready || m.ejected || m.running >= m.limit {
						continue
					}
					if want == nil || m.running*want.limit < want.running*m.limit ||
						m.running*want.limit == want.running*m.limit && m.since < want.since {
						want = m
					}
				}
				got := p.Try()
				switch {
				case got == nil && want == nil:
					return
				case got == nil || want == nil || got != want.backend:
					t.Fatalf("Try() = %+v, want %+v", got, want)
				}
				want.running++
				moved(want)
			},
			"release": func(t *rapid.T) {
				if m := pick(); m.running > 0 {
					m.running--
					m.backend.Release()
					moved(m)
				}
			},
			"ready": func(t *rapid.T) {
				m, ready := pick(), rapid.Bool().Draw(t, "ready")
				if m.ready != ready || ready && m.ejected {
					moved(m)
				}
				m.ready, m.ejected = ready, m.ejected && !ready
				m.backend.SetReady(ready)
			},
			"eject": func(t *rapid.T) {
				m := pick()
				m.ejected = true
				m.backend.Eject()
			},
			"restore": func(t *rapid.T) {
				m := pick()
				if m.ejected {
					moved(m)
				}
				m.ejected = false
				m.backend.Restore()
			},
			"resize": func(t *rapid.T) {
				m, limit := pick(), rapid.SampledFrom([]int{1, 2, 3, 6}).Draw(t, "limit")
				if m.limit != limit {
					moved(m)
				}
				m.limit = limit
				m.backend.Resize(limit, 0)
			},
		})
	})
}

func TestEqualsAreChosenInTurn(t *testing.T) {
	t.Parallel()
	var p Pool[int]
	const n = 5
	var all []*Backend[int]
	for i := range n {
		all = append(all, p.NewBackend(i, 1+i%2, 0)) // idle ones are equals, whatever their limits
		all[i].SetReady(true)
	}
	for i := range 3 * n {
		all[i%n].SetReady(true) // told again: it keeps its turn
		b := p.Try()
		if b == nil || b.Value != i%n {
			t.Fatalf("request %d went to %+v, want backend %d", i, b, i%n)
		}
		b.Release()
	}
}

func TestWhoeverFinishesIsLeastLoadedAgain(t *testing.T) {
	t.Parallel()
	var p Pool[string]
	a, b := p.NewBackend("a", 3, 0), p.NewBackend("b", 3, 0)
	a.SetReady(true)
	b.SetReady(true)
	for range 5 {
		p.Try()
	}
	a.Release()
	b.Release()
	b.Release()
	if got := p.Try(); got != b {
		t.Errorf("Try() = %+v, want b, which runs nothing beside a with 2", got)
	}
}

// BenchmarkChoice is one request at an otherwise idle pool: what the choice costs on
// top of the lock must not grow with the number of replicas.
func BenchmarkChoice(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 5000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			var p Pool[int]
			for i := range n {
				p.NewBackend(i, 4, 100).SetReady(true)
			}
			for b.Loop() {
				p.Try().Release()
			}
		})
	}
}
