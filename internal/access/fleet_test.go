package access

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// fleet is gateways of one API on a clock of the test's own.
type fleet struct {
	t        *testing.T
	now      time.Time
	fleet    *Fleet
	gateways []*Policy
	away     bool // the operator
	random   *rand.Rand
	ring     *Keyring
	bearer   map[string][]byte

	admitted, refused int
	ends              []end // of requests that are under way
	most              int   // of them at once
}

type end struct {
	at time.Time
	g  *Grant
}

func newTestFleet(t *testing.T, gateways int, limits ...workload.Limit) *fleet {
	t.Helper()
	f := &fleet{t: t, now: time.Unix(1_790_000_000, 0), fleet: NewFleet(), random: rand.New(rand.NewPCG(1, 2)), ring: &Keyring{}, bearer: map[string][]byte{}}
	var keys []Key
	for _, name := range []string{"alice", "bob"} {
		text, id, hash := Mint()
		f.bearer[name] = []byte("Bearer " + text)
		keys = append(keys, Key{ID: ID([]byte(id)), Name: name, Hash: hash})
	}
	f.ring.Set(keys)
	for range gateways {
		spec := &workload.Spec{Name: "iris", Networking: &workload.Networking{Auth: &workload.Auth{Accept: []string{workload.AcceptKeys}}, Limits: limits}}
		p := New(spec, nil)
		p.Share()
		f.gateways = append(f.gateways, p)
	}
	return f
}

// call is a request at one gateway that takes a while.
func (f *fleet) call(gateway int, caller string, takes time.Duration) bool {
	g := &Grant{}
	r := Request{Method: []byte("GET"), Path: []byte("/"), Authorization: f.bearer[caller]}
	if refused := f.gateways[gateway].Admit(g, Proofs{Keys: f.ring}, &r, f.now); refused != nil {
		if refused.Status != 429 {
			f.t.Fatalf("Admit() = %+v", refused)
		}
		f.refused++
		return false
	}
	f.admitted++
	f.ends = append(f.ends, end{f.now.Add(takes), g})
	f.most = max(f.most, len(f.ends))
	return true
}

// pass lets some time pass: every gateway reports each second, at a moment of its own, and
// hears what it is told a little later.
func (f *fleet) pass(d time.Duration, each func()) {
	const tick = 5 * time.Millisecond
	type told struct {
		gateway int
		at      time.Time
		shares  []Share
	}
	var under []told
	for until := f.now.Add(d); f.now.Before(until); f.now = f.now.Add(tick) {
		f.ends = slices.DeleteFunc(f.ends, func(e end) bool {
			if e.at.After(f.now) {
				return false
			}
			e.g.Done()
			return true
		})
		for i, p := range f.gateways {
			if phase := time.Duration(i) * 330 * time.Millisecond; f.now.Add(-phase).UnixMilli()%1000 < tick.Milliseconds() && !f.away {
				shares := f.fleet.Heard(fmt.Sprint("gateway-", i), p.Uses(nil, MaxUses, f.now), false, f.now)
				under = append(under, told{i, f.now.Add(50 * time.Millisecond), shares})
			}
		}
		under = slices.DeleteFunc(under, func(u told) bool {
			if u.at.After(f.now) {
				return false
			}
			for _, s := range u.shares {
				f.gateways[u.gateway].Hear(s, f.now)
			}
			f.gateways[u.gateway].Heard()
			return true
		})
		each()
	}
}

// chance says whether what happens so often in a second happens now.
func (f *fleet) chance(perSecond float64) bool { return f.random.Float64() < perSecond*0.005 }

// Three gateways, each with as much as the limit: together they let in what one would, and at
// most what docs/access.md says besides.
func TestRateOfThreeGateways(t *testing.T) {
	t.Parallel()
	const rate, burst, seconds = 50, 50, 60
	f := newTestFleet(t, 3, workload.Limit{Name: "burst", Per: workload.PerCaller, Rate: "50/s", Burst: burst})
	f.pass(seconds*time.Second, func() {
		for g := range f.gateways {
			if f.chance(rate) {
				f.call(g, "alice", 0)
			}
		}
	})
	bound := rate*seconds + 3*(burst+2*rate)
	t.Logf("let in %d of %d, with %d in a minute; the bound is %d", f.admitted, f.admitted+f.refused, rate*seconds, bound)
	if f.admitted > bound || f.admitted < rate*seconds*9/10 {
		t.Errorf("let in %d in a minute, want from %d to %d", f.admitted, rate*seconds*9/10, bound)
	}
}

// Who keeps to the limit is refused nowhere, however their requests are spread.
func TestRateOfWhoKeepsToIt(t *testing.T) {
	t.Parallel()
	f := newTestFleet(t, 3, workload.Limit{Name: "burst", Per: workload.PerCaller, Rate: "50/s", Burst: 10})
	n := 0
	f.pass(30*time.Second, func() {
		if f.now.UnixMilli()%25 == 0 { // 40 in a second
			f.call(n%3, "alice", 0)
			n++
		}
	})
	if f.refused > 0 || f.admitted < 1190 {
		t.Errorf("%d were let in and %d refused, want none refused", f.admitted, f.refused)
	}
}

func TestQuotaOfThreeGateways(t *testing.T) {
	t.Parallel()
	const quota = 1000
	f := newTestFleet(t, 3, workload.Limit{Name: "daily", Per: workload.PerCaller, Quota: "1000/1d"})
	f.pass(30*time.Second, func() {
		for g := range f.gateways {
			if f.chance(40) {
				f.call(g, "alice", 0)
			}
		}
		if f.chance(10) { // another caller takes nothing of it
			f.call(0, "bob", 0)
		}
	})
	alice := f.admitted
	if most := quota + 300 + 2*40*2; alice > most || alice < quota {
		t.Errorf("let in %d, want from %d to %d", alice, quota, most)
	}
	f.admitted = 0
	f.pass(5*time.Second, func() {
		for g := range f.gateways {
			if f.chance(40) {
				f.call(g, "alice", 0)
			}
		}
	})
	if f.admitted > 0 {
		t.Errorf("let in %d after the quota was used up", f.admitted)
	}
}

// Of requests at once there are too many for as long as nobody has heard of the others.
func TestRequestsAtOnceAtThreeGateways(t *testing.T) {
	t.Parallel()
	const most = 10
	f := newTestFleet(t, 3, workload.Limit{Name: "parallel", Per: workload.PerCaller, Concurrent: most})
	all := func() {
		for g := range f.gateways {
			if f.chance(100) {
				f.call(g, "alice", 300*time.Millisecond)
			}
		}
	}
	f.pass(3*time.Second, all)
	if f.most > 3*most {
		t.Errorf("%d at once in the first seconds, want at most %d", f.most, 3*most)
	}
	f.most, f.admitted = 0, 0
	f.pass(60*time.Second, all)
	if f.most > most {
		t.Errorf("%d at once, want at most %d", f.most, most)
	}
	if least := 60 * most * 1000 / 300 * 7 / 10; f.admitted < least {
		t.Errorf("%d were let in, want at least %d", f.admitted, least)
	}
	// One gateway alone has all of it, soon.
	f.pass(5*time.Second, func() {})
	f.most = 0
	f.pass(5*time.Second, func() {
		if f.chance(100) {
			f.call(1, "alice", 300*time.Millisecond)
		}
	})
	if f.most != most {
		t.Errorf("a gateway alone has %d at once, want %d", f.most, most)
	}
}

// Without an operator each gateway goes on by itself; quotas are told when it is back, rates
// are not.
func TestFleetWithoutOperator(t *testing.T) {
	t.Parallel()
	f := newTestFleet(t, 2, workload.Limit{Name: "parallel", Per: workload.PerCaller, Concurrent: 5})
	f.pass(3*time.Second, func() {
		f.call(0, "alice", time.Second)
		f.call(1, "alice", time.Second)
	})
	f.away = true
	f.pass(2*time.Second, func() {})
	for _, p := range f.gateways { // as the gateway does when it has heard nothing for long
		p.Heard()
		p.Heard()
	}
	f.most = 0
	f.pass(time.Second, func() { f.call(0, "alice", time.Second); f.call(1, "alice", time.Second) })
	if f.most != 10 {
		t.Errorf("%d at once at two gateways that hear nothing, want 5 at each", f.most)
	}
}

// An answer that was lost is given again, and what was used counts once.
func TestFleetCountsOnce(t *testing.T) {
	t.Parallel()
	f, now := NewFleet(), time.Unix(1_790_000_000, 0)
	use := func(n int64) []Use { return []Use{{API: "iris", Limit: "daily", Who: "alice", Taken: n, Kept: true}} }
	f.Heard("a", nil, false, now)
	f.Heard("b", nil, false, now)
	f.Heard("a", use(3), false, now)
	f.Heard("a", use(3), true, now)
	for range 2 {
		got := f.Heard("b", nil, true, now)
		if len(got) != 1 || got[0].Taken != 3 {
			t.Fatalf("b is told %+v, want that 3 were taken", got)
		}
	}
	if got := f.Heard("b", nil, false, now); len(got) != 0 {
		t.Errorf("b is told %+v once more", got)
	}
	f.Heard("a", use(4), false, now)
	if got := f.Heard("b", nil, false, now.Add(silence+1)); len(got) != 0 { // it was away: a new one
		t.Errorf("a gateway that was silent is told %+v", got)
	}
}

func TestFair(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		n     int64
		wants []int64
		turn  int
		want  []int64
	}{
		{10, []int64{20, 20}, 0, []int64{5, 5}},
		{10, []int64{2, 20}, 0, []int64{2, 8}},
		{10, []int64{1, 4, 20}, 0, []int64{1, 4, 5}},
		{1, []int64{9, 9, 9}, 0, []int64{0, 0, 1}},
		{1, []int64{9, 9, 9}, 1, []int64{0, 1, 0}},
		{1, []int64{9, 9, 9}, 2, []int64{1, 0, 0}},
		{5, []int64{0, 0}, 0, []int64{0, 0}},
	} {
		if got := fair(tt.n, tt.wants, tt.turn); !slices.Equal(got, tt.want) {
			t.Errorf("fair(%d, %v, %d) = %v, want %v", tt.n, tt.wants, tt.turn, got, tt.want)
		}
	}
}
