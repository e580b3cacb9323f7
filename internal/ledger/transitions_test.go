package ledger

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cortex.dev/cortex/internal/fault"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// The whole table: whatever is not here is refused.
func TestTable(t *testing.T) {
	t.Parallel()
	const want = `
due:     delayed→queued retrying→queued
begin:   queued→running
succeed: running→succeeded cancelling→succeeded
retry:   running→retrying cancelling→cancelled
fail:    running→failed cancelling→cancelled
cancel:  delayed→cancelled queued→cancelled retrying→cancelled running→cancelling
expire:  delayed→expired queued→expired retrying→expired
again:   succeeded→queued failed→queued cancelled→queued expired→queued
`
	var got strings.Builder
	got.WriteString("\n")
	for _, e := range []EventType{Due, Begin, Succeed, Retry, Fail, Cancel, Expire, Again} {
		fmt.Fprintf(&got, "%-8s", string(e)+":")
		for _, from := range States() {
			at := start.Add(time.Hour)
			was := Item{ID: "x", State: from, Attempt: 3, Due: start, Payload: &Content{}}
			if e == Expire {
				was.Expires = start
			}
			next, err := Next(was, Event{Type: e, At: at, Attempt: 3, Keep: time.Hour})
			if err != nil {
				if next.State != from {
					t.Errorf("%s of %s fails and says %s", e, from, next.State)
				}
				continue
			}
			fmt.Fprintf(&got, " %s→%s", from, next.State)
			if next.State.Ended() != (!next.Forget.IsZero()) {
				t.Errorf("%s of %s: it is %s, and forgotten at %v", e, from, next.State, next.Forget)
			}
		}
		got.WriteString("\n")
	}
	if got.String() != want {
		t.Errorf("the table is%swant%s", got.String(), want)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	late := start.Add(time.Hour)
	for _, tt := range []struct {
		name string
		item Item
		e    Event
		code string
	}{
		{"an execution that was taken over", Item{State: Running, Attempt: 2}, Event{Type: Succeed, Attempt: 1, At: late}, CodeFenced},
		{"an execution whose item has ended", Item{State: Failed, Attempt: 1}, Event{Type: Succeed, Attempt: 1, At: late}, CodeFenced},
		{"a second beginning", Item{State: Running, Attempt: 1}, Event{Type: Begin, At: late}, CodeRefused},
		{"too early", Item{State: Retrying, Due: late}, Event{Type: Due, At: start}, CodeRefused},
		{"too late to begin", Item{State: Queued, Expires: start}, Event{Type: Begin, At: late}, CodeRefused},
		{"too early to expire", Item{State: Queued, Expires: late}, Event{Type: Expire, At: start}, CodeRefused},
		{"never expires", Item{State: Queued}, Event{Type: Expire, At: late}, CodeRefused},
		{"again without its payload", Item{State: Failed}, Event{Type: Again, At: late}, CodeRefused},
		{"again what succeeded and has no payload", Item{State: Succeeded}, Event{Type: Again, At: late}, CodeRefused},
		{"again what is queued", Item{State: Queued, Payload: &Content{}}, Event{Type: Again, At: late}, CodeRefused},
	} {
		if next, err := Next(tt.item, tt.e); fault.Code(err) != tt.code || next.State != tt.item.State {
			t.Errorf("%s: Next() = %s, %v, want %s", tt.name, next.State, err, tt.code)
		}
	}
}

// world is one item, and all who do something about it, each of whom may have looked a
// while ago, and may die.
type world struct {
	t     *rapid.T
	now   time.Time
	item  Item
	rules Rules
	hands map[string]int // executions under way, by dispatcher: the number each believes in
	ends  map[int]State  // by generation
	most  int            // attempt seen
}

func (w *world) apply(e Event) bool {
	e.At, e.Keep = w.now, w.rules.Keep
	next, err := Next(w.item, e)
	if err != nil {
		return false
	}
	w.item = next
	if next.State.Ended() {
		if was, twice := w.ends[next.Generation]; twice {
			w.t.Fatalf("generation %d ended as %s, and then as %s", next.Generation, was, next.State)
		}
		w.ends[next.Generation] = next.State
	}
	return true
}

// conclude is what a dispatcher says of the execution that it believes to be its own.
func (w *world) conclude(who string, outcome Outcome, status int) {
	n := w.hands[who]
	if n == 0 {
		return
	}
	delete(w.hands, who)
	if outcome == OK {
		w.apply(Event{Type: Succeed, Attempt: n, Outcome: OK, Status: 200, Result: &Content{Size: int64(n)}})
		return
	}
	seen := w.item // it may have been changed since by others: the fence knows
	seen.Attempt = n
	w.apply(Judge(seen, Ending{Outcome: outcome, Status: status}, w.rules, w.now, 0.5))
}

func (w *world) check() {
	i := w.item
	switch {
	case i.Attempt < w.most:
		w.t.Fatalf("execution %d comes after %d", i.Attempt, w.most)
	case i.State.Executing() != (i.Owner != ""):
		w.t.Fatalf("%s, and its owner is %q", i.State, i.Owner)
	case (i.State == Delayed || i.State == Retrying) && i.Due.IsZero():
		w.t.Fatalf("%s without a time", i.State)
	case i.State == Succeeded && (i.Result == nil || i.Result.Size != int64(i.Attempt)):
		w.t.Fatalf("the result is %+v, of execution %d", i.Result, i.Attempt)
	case i.State != Succeeded && i.Result != nil:
		w.t.Fatalf("%s with a result", i.State)
	case i.State.Ended() != !i.Ended.IsZero():
		w.t.Fatalf("%s, ended at %v", i.State, i.Ended)
	case !i.State.Ended() && i.Payload == nil:
		w.t.Fatalf("%s without a payload", i.State)
	case i.Charged > w.rules.Attempts || i.Losses > w.rules.Redeliver+1:
		w.t.Fatalf("%d executions and %d losses charged, of %+v", i.Charged, i.Losses, w.rules)
	}
	w.most = i.Attempt
}

// Whatever two dispatchers, the sweeper, the timer and callers do, in whatever order, and
// whoever dies: an item has one end for each generation, of the execution that was the
// latest, and it does come to an end once everybody does what is theirs.
func TestInterleavings(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &world{
			t: t, now: start, hands: map[string]int{}, ends: map[int]State{},
			item:  Item{ID: "x", State: Queued, Accepted: start, Payload: &Content{}},
			rules: Rules{Attempts: rapid.IntRange(1, 4).Draw(t, "attempts"), Redeliver: rapid.IntRange(0, 3).Draw(t, "redeliver"), MinDelay: time.Second, MaxDelay: time.Minute, Keep: time.Hour},
		}
		if rapid.Bool().Draw(t, "delayed") {
			w.item.State, w.item.Due = Delayed, start.Add(time.Minute)
		}
		if rapid.Bool().Draw(t, "expires") {
			w.item.Expires = start.Add(10 * time.Minute)
		}
		dispatcher := rapid.SampledFrom([]string{"a", "b"})
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { w.check() },
			"time": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 400).Draw(t, "seconds")) * time.Second)
			},
			"timer":  func(*rapid.T) { w.apply(Event{Type: Due}) },
			"expire": func(*rapid.T) { w.apply(Event{Type: Expire}) },
			"begin":  func(t *rapid.T) { w.begin(dispatcher.Draw(t, "who")) },
			"end":    func(t *rapid.T) { w.end(dispatcher.Draw(t, "who"), t) },
			"crash":  func(t *rapid.T) { delete(w.hands, dispatcher.Draw(t, "who")) },
			"sweep":  func(*rapid.T) { w.sweep() },
			"takeover": func(*rapid.T) { // what a fence is for, more often than by chance
				w.begin("a")
				w.sweep()
				w.now = w.now.Add(time.Minute)
				w.apply(Event{Type: Due})
				w.begin("b")
			},
			"restart": func(*rapid.T) { w.apply(Judge(w.item, Ending{Outcome: Interrupted}, w.rules, w.now, 0)) },
			"killed":  func(*rapid.T) { w.apply(Judge(w.item, Ending{Outcome: Interrupted, Crashed: true}, w.rules, w.now, 0)) },
			"cancel":  func(*rapid.T) { w.apply(Event{Type: Cancel, Reason: &Reason{Code: "item_cancelled"}}) },
			"again":   func(*rapid.T) { w.apply(Event{Type: Again}) },
		})
		w.settle()
	})
}

func (w *world) begin(who string) {
	if w.hands[who] == 0 && w.apply(Event{Type: Begin, Owner: who}) {
		w.hands[who] = w.item.Attempt
	}
}

func (w *world) end(who string, t *rapid.T) {
	outcome := rapid.SampledFrom([]Outcome{OK, Error, TimedOut, Lost, Busy, Interrupted}).Draw(t, "outcome")
	w.conclude(who, outcome, rapid.SampledFrom([]int{0, 400, 503}).Draw(t, "status"))
}

// sweep takes whoever executes the item for dead, rightly or not.
func (w *world) sweep() {
	w.apply(Judge(w.item, Ending{Outcome: Lost}, w.rules, w.now, 0))
}

// settle is what is left to do when nobody does anything any more but what has to be done.
func (w *world) settle() {
	w.hands = map[string]int{}
	bound := 3*(w.rules.Attempts+w.rules.Redeliver+2+MaxCrashes) + 3
	for range bound {
		w.check()
		if w.item.State.Ended() {
			return
		}
		w.now = w.now.Add(time.Hour)
		switch {
		case w.apply(Event{Type: Expire}), w.apply(Event{Type: Due}), w.apply(Event{Type: Begin, Owner: "a"}):
		default:
			w.sweep()
		}
	}
	w.t.Fatalf("%s after %d steps: %+v", w.item.State, bound, w.item)
}

func TestJudge(t *testing.T) {
	t.Parallel()
	rules := Rules{Attempts: 3, Redeliver: 1, MinDelay: time.Second, MaxDelay: 5 * time.Second, Keep: time.Hour}
	once := rules
	once.Attempts = 1
	why := &Reason{Code: "upstream_503", Message: "it said 503"}
	for _, tt := range []struct {
		name  string
		item  Item
		end   Ending
		rules Rules
		typ   EventType
		after time.Duration
		to    Charge
		code  string
	}{
		{"the first of three", Item{}, Ending{Outcome: Error, Status: 503, Reason: why}, rules, Retry, time.Second, ToItem, "upstream_503"},
		{"the second waits longer", Item{Charged: 1}, Ending{Outcome: Error, Status: 503, Reason: why}, rules, Retry, 2 * time.Second, ToItem, "upstream_503"},
		{"the last", Item{Charged: 2}, Ending{Outcome: Error, Status: 503, Reason: why}, rules, Fail, 0, ToItem, "attempts_exhausted"},
		{"the only one", Item{}, Ending{Outcome: Error, Status: 503, Reason: why}, once, Fail, 0, ToItem, "upstream_503"},
		{"never longer than the most", Item{Charged: 9}, Ending{Outcome: TimedOut, Reason: why}, Rules{Attempts: 20, MinDelay: time.Second, MaxDelay: 5 * time.Second}, Retry, 5 * time.Second, ToItem, "upstream_503"},
		{"an answer that another execution would get too", Item{}, Ending{Outcome: Error, Status: 400, Reason: why}, rules, Fail, 0, ToItem, "upstream_503"},
		{"unless the container says when", Item{}, Ending{Outcome: Error, Status: 500, RetryAfter: 30 * time.Second, Reason: why}, rules, Retry, 30 * time.Second, ToItem, "upstream_503"},
		{"the container says never", Item{}, Ending{Outcome: Error, Status: 503, Never: true, Reason: why}, rules, Fail, 0, ToItem, "upstream_503"},
		{"busy is charged to nobody", Item{Charged: 2}, Ending{Outcome: Busy, Status: 503, RetryAfter: time.Minute, Reason: why}, rules, Retry, time.Minute, ToNobody, "upstream_503"},
		{"at least a second", Item{}, Ending{Outcome: Busy, Status: 429, RetryAfter: time.Millisecond, Reason: why}, rules, Retry, time.Second, ToNobody, "upstream_503"},
		{"a loss has its own budget", Item{Charged: 2}, Ending{Outcome: Lost, Reason: why}, rules, Retry, time.Second, ToLoss, "upstream_503"},
		{"which ends", Item{Losses: 1}, Ending{Outcome: Lost, Reason: why}, rules, Fail, 0, ToLoss, "losses_exhausted"},
		{"an interruption is nobody's", Item{Charged: 2, Losses: 1}, Ending{Outcome: Interrupted, Reason: why}, rules, Retry, 0, ToNobody, "upstream_503"},
		{"what could not be kept waits", Item{}, Ending{Outcome: Interrupted, RetryAfter: 30 * time.Second, Reason: why}, rules, Retry, 30 * time.Second, ToNobody, "upstream_503"},
		{"a crash begins it again at once", Item{}, Ending{Outcome: Interrupted, Crashed: true, Reason: why}, rules, Retry, 0, ToCrash, "upstream_503"},
		{"a third one apart from others", Item{Crashes: 2}, Ending{Outcome: Interrupted, Crashed: true, Reason: why}, rules, Retry, 2 * time.Second, ToCrash, "upstream_503"},
		{"not for ever", Item{Crashes: MaxCrashes}, Ending{Outcome: Interrupted, Crashed: true, Reason: why}, rules, Fail, 0, ToCrash, "crashes_exhausted"},
	} {
		e := Judge(tt.item, tt.end, tt.rules, start, 0)
		if e.Type != tt.typ || e.Charge != tt.to || e.Reason.Code != tt.code || e.Type == Retry && e.Due.Sub(start) != tt.after {
			t.Errorf("%s: Judge() = %s after %v, charged to %q, %+v; want %s after %v, %q, %s", tt.name, e.Type, e.Due.Sub(start), e.Charge, e.Reason, tt.typ, tt.after, tt.to, tt.code)
		}
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	earlier, later := NewID(start), NewID(start.Add(time.Millisecond))
	if earlier >= later || !LegalID(earlier) || !LegalID(later) {
		t.Errorf("NewID() = %s, and a millisecond later %s", earlier, later)
	}
	if at := TimeOf(later); !at.Equal(start.Add(time.Millisecond)) {
		t.Errorf("TimeOf() = %v, want a millisecond after %v", at, start)
	}
	for _, bad := range []string{"", "x", earlier + "0", strings.ToUpper(earlier), "../" + earlier[3:]} {
		if LegalID(bad) {
			t.Errorf("LegalID(%q) = true", bad)
		}
	}
}
