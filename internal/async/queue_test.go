package async

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cortex.dev/cortex/internal/ledger"
)

func pushed(q *queue, caller string, class ledger.Class, n int) (all []*entry) {
	for i := range n {
		e := &entry{id: fmt.Sprintf("%s%06d", caller, i), caller: caller, class: class}
		q.push(e)
		all = append(all, e)
	}
	return all
}

// waits says how many items were given a place before each of a caller's.
func waits(q *queue, caller string) (all []int) {
	for n := 0; ; n++ {
		e := q.take()
		if e == nil {
			return all
		}
		q.took(e.caller, -1)
		if e.caller == caller {
			all = append(all, n)
		}
	}
}

// Who has few items waits at most twice as long for them as alone, whatever others have.
func TestFairness(t *testing.T) {
	t.Parallel()
	p95 := func(n []int) int { return n[(len(n)*95+99)/100-1] }
	var alone, beside queue
	pushed(&alone, "b", ledger.Normal, 10)
	pushed(&beside, "a", ledger.Normal, 100_000)
	pushed(&beside, "b", ledger.Normal, 10)
	one, two := p95(waits(&alone, "b")), p95(waits(&beside, "b"))
	if one != 9 || two > 2*one {
		t.Errorf("p95 of what goes before B's items is %d beside A's 100,000, and %d alone; want at most twice that", two, one)
	}
}

// Callers who come one after the other, each with one item, do not hold up who waits.
func TestNewcomersDoNotStarve(t *testing.T) {
	t.Parallel()
	var q queue
	pushed(&q, "a", ledger.Normal, 10)
	given := 0
	for n := range 40 {
		pushed(&q, fmt.Sprintf("new%d", n), ledger.Normal, 1)
		e := q.take()
		q.took(e.caller, -1)
		if e.caller == "a" {
			given++
		}
	}
	if given == 0 {
		t.Error("of 40 places none went to who had waited before")
	}
}

func TestClasses(t *testing.T) {
	t.Parallel()
	var q queue
	pushed(&q, "i", ledger.Idle, 3)
	pushed(&q, "n", ledger.Normal, 30)
	pushed(&q, "h", ledger.High, 300)
	if n := waits(&q, "n"); n[0] != 9 || n[1] != 19 {
		t.Errorf("normal items come after %v others, want 9, 19, …", n[:2])
	}
	q = queue{}
	pushed(&q, "i", ledger.Idle, 3)
	pushed(&q, "n", ledger.Normal, 300)
	if n := waits(&q, "i"); !slices.Equal(n, []int{99, 199, 299}) {
		t.Errorf("idle items come after %v others, want 99, 199 and 299", n)
	}
	q = queue{}
	pushed(&q, "i", ledger.Idle, 1)
	if any, wake := q.ready(); !any || wake {
		t.Errorf("ready() = %v, %v for an idle item, want it to be, and to wake nothing", any, wake)
	}
	pushed(&q, "n", ledger.Normal, 1)
	if any, wake := q.ready(); !any || !wake {
		t.Errorf("ready() = %v, %v, want both", any, wake)
	}
}

func TestPerCaller(t *testing.T) {
	t.Parallel()
	var q queue
	q.limit(2)
	pushed(&q, "a", ledger.Normal, 5)
	pushed(&q, "b", ledger.Normal, 1)
	var got []string
	for e := q.take(); e != nil; e = q.take() {
		got = append(got, e.caller)
	}
	if slices.Sort(got); !slices.Equal(got, []string{"a", "a", "b"}) {
		t.Errorf("places went to %v, want two to a and one to b", got)
	}
	if any, _ := q.ready(); any || q.useful != 0 {
		t.Error("ready() = true, and everybody has as much as may be")
	}
	q.took("a", -1)
	if q.useful != 1 {
		t.Errorf("%d could be executed, want one of a's three", q.useful)
	}
	if e := q.take(); e == nil || e.caller != "a" {
		t.Errorf("take() = %v after one of a's has ended, want another of a's", e)
	}
	q.limit(0)
	if e := q.take(); e == nil {
		t.Error("take() = nil without a limit")
	}
}

func TestAhead(t *testing.T) {
	t.Parallel()
	var q queue
	a := pushed(&q, "a", ledger.Normal, 10)
	if n := q.ahead(a[9]); n != 9 {
		t.Errorf("ahead() of the tenth = %d, want 9", n)
	}
	b := pushed(&q, "b", ledger.Normal, 2)
	h := pushed(&q, "h", ledger.High, 3)
	for _, tt := range []struct {
		e    *entry
		want int
	}{{h[0], 0}, {h[2], 2}, {b[0], 4}, {b[1], 6}, {a[9], 14}} {
		if n := q.ahead(tt.e); n != tt.want {
			t.Errorf("ahead(%s) = %d, want about %d", tt.e.id, n, tt.want)
		}
	}
}

// Whatever happens, each item is given a place once or was removed, nobody has more places
// than he may, and nothing is left of callers who are gone.
func TestQueueKeepsNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		q.limit(rapid.IntRange(0, 3).Draw(t, "limit"))
		waiting, running := map[string]*entry{}, []*entry{}
		n := 0
		take := func() bool {
			e := q.take()
			if e == nil {
				return false
			}
			if waiting[e.id] != e {
				t.Fatalf("%s was taken, and does not wait", e.id)
			}
			delete(waiting, e.id)
			running = append(running, e)
			of := 0
			for _, r := range running {
				if r.caller == e.caller {
					of++
				}
			}
			if q.perCaller > 0 && of > q.perCaller {
				t.Fatalf("%s has %d places, and may have %d", e.caller, of, q.perCaller)
			}
			return true
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				n++
				e := &entry{id: fmt.Sprint(n), caller: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "caller"), class: rapid.SampledFrom(order[:]).Draw(t, "class")}
				waiting[e.id] = e
				q.push(e)
			},
			"take": func(*rapid.T) { take() },
			"end": func(*rapid.T) {
				if len(running) > 0 {
					q.took(running[0].caller, -1)
					running = running[1:]
				}
			},
			"remove": func(t *rapid.T) {
				if len(waiting) > 0 {
					id := rapid.SampledFrom(slices.Sorted(maps.Keys(waiting))).Draw(t, "id")
					q.remove(waiting[id])
					delete(waiting, id)
				}
			},
		})
		for {
			for take() {
			}
			if len(running) == 0 {
				break
			}
			q.took(running[0].caller, -1)
			running = running[1:]
		}
		if len(waiting) > 0 || len(q.callers) > 0 || q.useful != 0 || q.oldest() != nil {
			t.Fatalf("%d items and %d callers are left", len(waiting), len(q.callers))
		}
	})
}
