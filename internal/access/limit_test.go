package access

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

func limited(limits ...workload.Limit) *workload.Spec {
	return &workload.Spec{Name: "iris", Kind: workload.Realtime, Networking: &workload.Networking{Endpoint: "/iris", Limits: limits}}
}

// oracle is a bucket that leaks, in exact fractions: a second way to say what a rate is.
type oracle struct {
	level, burst, perNano *big.Rat // requests in the bucket; its size; what leaks
	at                    int64
}

func (o *oracle) admits(now int64) bool {
	leaked := new(big.Rat).Mul(o.perNano, new(big.Rat).SetInt64(now-o.at))
	o.level.Sub(o.level, leaked)
	if o.level.Sign() < 0 {
		o.level.SetInt64(0)
	}
	o.at = now
	more := new(big.Rat).Add(o.level, big.NewRat(1, 1))
	if more.Cmp(o.burst) > 0 {
		return false
	}
	o.level = more
	return true
}

func TestRateAgainstAnOracle(t *testing.T) {
	t.Parallel()
	arrivals := 1_000_000
	if testing.Short() {
		arrivals = 50_000
	}
	for _, tt := range []workload.Limit{
		{Name: "a", Rate: "10/s", Burst: 20}, {Name: "b", Rate: "1/s"}, {Name: "c", Rate: "500/s", Burst: 1}, {Name: "d", Rate: "100/m", Burst: 7},
		{Name: "e", Rate: "1/h", Burst: 3}, {Name: "f", Rate: "1000000/s", Burst: 3},
	} {
		l := newLimit(tt)
		burst := l.most
		o := &oracle{level: new(big.Rat), burst: new(big.Rat).SetInt64(burst), perNano: big.NewRat(1, l.interval)}
		random := rand.New(rand.NewPCG(1, uint64(len(tt.Name))))
		var c cell
		now := int64(1_700_000_000_000_000_000)
		o.at = now
		let := 0
		for i := range arrivals / 6 {
			switch random.IntN(10) {
			case 0: // a pause
				now += random.Int64N(3*l.interval*burst + 1)
			case 1: // exactly when one would be let in
				now += l.interval
			default:
				now += random.Int64N(l.interval + 1)
			}
			_, got := l.take(&c, now)
			if want := o.admits(now); got != want {
				t.Fatalf("%s: arrival %d at %d is let in: %v, want %v", tt.Rate, i, now, got, want)
			}
			if got {
				let++
			}
		}
		if let == 0 || let == arrivals/6 {
			t.Errorf("%s: %d of %d were let in, which tests nothing", tt.Rate, let, arrivals/6)
		}
	}
}

func admit(p *Policy, keys *Keyring, r Request, now time.Time) (*Grant, *Refusal) {
	g := &Grant{}
	return g, p.Admit(g, Proofs{Keys: keys}, &r, now)
}

func TestLimitsSayWhatIsLeft(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	p := New(limited(
		workload.Limit{Name: "daily", Quota: "5/1d"}, workload.Limit{Name: "burst", Rate: "2/s", Burst: 2}, workload.Limit{Name: "parallel", Concurrent: 2},
	), nil)
	const policies = `"daily";q=5;w=86400, "burst";q=2;w=1, "parallel";q=2;qu="concurrent-requests"`
	for i, tt := range []struct {
		at         time.Duration
		done       int // of those let in before
		code       string
		rateLimit  string
		retryAfter time.Duration // at least
	}{
		{0, 0, "", `"parallel";r=1, "burst";r=1;t=1, "daily";r=4;t=43200`, 0},
		{0, 0, "", `"parallel";r=0, "burst";r=0;t=1, "daily";r=3;t=43200`, 0},
		{0, 0, "concurrency_limited", `"parallel";r=0`, time.Second},
		{0, 1, "rate_limited", `"burst";r=0;t=1`, 500 * time.Millisecond},
		{500 * time.Millisecond, 0, "", `"parallel";r=0, "burst";r=0;t=1, "daily";r=2;t=43200`, 0},
		{2 * time.Second, 2, "", `"parallel";r=1, "burst";r=1;t=1, "daily";r=1;t=43198`, 0},
		{2 * time.Second, 0, "", `"parallel";r=0, "burst";r=0;t=1, "daily";r=0;t=43198`, 0},
		{4 * time.Second, 2, "quota_exceeded", `"daily";r=0;t=43196`, 43196 * time.Second},
		{12 * time.Hour, 0, "", `"parallel";r=1, "burst";r=1;t=1, "daily";r=4;t=86400`, 0},
	} {
		for range tt.done {
			grants[len(grants)-1].Done()
			grants = grants[:len(grants)-1]
		}
		g, refused := admit(p, nil, Request{}, noon.Add(tt.at))
		switch {
		case refused == nil:
			grants = append(grants, g)
			if tt.code != "" || string(g.RateLimit) != tt.rateLimit || g.RateLimitPolicy != policies {
				t.Errorf("request %d is let in with %s and %s, want %s%s and %s", i, g.RateLimit, g.RateLimitPolicy, tt.code, tt.rateLimit, policies)
			}
		case refused.Code != tt.code || refused.RateLimit != tt.rateLimit || refused.RateLimitPolicy != policies || refused.Status != 429:
			t.Errorf("request %d is refused: %+v, want %s with %s", i, refused, tt.code, tt.rateLimit)
		case refused.RetryAfter < tt.retryAfter || refused.RetryAfter > tt.retryAfter+tt.retryAfter/10:
			t.Errorf("request %d is to come again after %s, want %s and a tenth at most", i, refused.RetryAfter, tt.retryAfter)
		}
	}
}

var grants []*Grant // of TestLimitsSayWhatIsLeft

// What one limit refuses takes nothing from another one.
func TestARefusalTakesNothing(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	p := New(limited(workload.Limit{Name: "parallel", Concurrent: 1}, workload.Limit{Name: "burst", Rate: "10/h", Burst: 10}, workload.Limit{Name: "daily", Quota: "3/1d"}), nil)
	for i := range 3 {
		g, refused := admit(p, nil, Request{}, now)
		if refused != nil {
			t.Fatalf("request %d is refused: %+v", i, refused)
		}
		for range 50 {
			if _, refused := admit(p, nil, Request{}, now); refused == nil || refused.Code != "concurrency_limited" {
				t.Fatalf("a second request at once: %+v, want it refused", refused)
			}
		}
		g.Done()
	}
	for range 50 { // the quota is used up; the rate of ten in an hour is not
		if _, refused := admit(p, nil, Request{}, now); refused == nil || refused.Code != "quota_exceeded" {
			t.Fatalf("a fourth request: %+v, want the quota used up", refused)
		}
	}
	if g, refused := admit(p, nil, Request{}, now.Add(12*time.Hour)); refused != nil {
		t.Errorf("on the next day: %+v, want it let in", refused)
	} else {
		g.Done()
	}
}

func TestLimitsAreExactAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, limit := range map[string]workload.Limit{
		"rate":       {Name: "l", Rate: "1/h", Burst: 100},
		"quota":      {Name: "l", Quota: "100/24h"},
		"concurrent": {Name: "l", Concurrent: 100},
	} {
		p := New(limited(limit), nil)
		var let atomic.Int32
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for range 50 {
					if _, refused := admit(p, nil, Request{}, now); refused == nil {
						let.Add(1)
					}
				}
			})
		}
		all.Wait()
		if let.Load() != 100 {
			t.Errorf("%s: %d of 800 at once were let in, want 100", name, let.Load())
		}
	}
}

func TestAddressesAreCountedByHousehold(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := New(limited(workload.Limit{Name: "strangers", Per: workload.PerAddress, Rate: "1/h"}), nil)
	for _, tt := range []struct {
		addr string
		in   bool
	}{
		{"10.0.0.1", true}, {"10.0.0.1", false}, {"::ffff:10.0.0.1", false}, {"10.0.0.2", true},
		{"2001:db8::1", true}, {"2001:db8::2", false}, {"2001:db8:0:0:ffff::", false}, {"2001:db8:0:1::1", true},
	} {
		_, refused := admit(p, nil, Request{Address: netip.MustParseAddr(tt.addr)}, now)
		if (refused == nil) != tt.in {
			t.Errorf("%s is let in: %v, want %v", tt.addr, refused == nil, tt.in)
		}
	}
	for i, in := range []bool{true, false} { // of which nothing is known: one for all
		if _, refused := admit(p, nil, Request{}, now); (refused == nil) != in {
			t.Errorf("request %d without an address is let in: %v, want %v", i, refused == nil, in)
		}
	}
}

// A redeploy gives nobody more, and a changed limit begins anew.
func TestLimitsOutliveADeploy(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a, b := workload.Limit{Name: "a", Rate: "1/h"}, workload.Limit{Name: "b", Quota: "1/1d"}
	first := New(limited(a, b), nil)
	if _, refused := admit(first, nil, Request{}, now); refused != nil {
		t.Fatal(refused)
	}
	if _, refused := admit(New(limited(b, a), first), nil, Request{}, now); refused == nil {
		t.Error("after a deploy of the same limits a request is let in, want it refused")
	}
	b.Quota = "2/1d"
	if _, refused := admit(New(limited(b), first), nil, Request{}, now); refused != nil {
		t.Errorf("after a deploy of another quota: %+v, want it let in", refused)
	}
	if New(limited(), first) != nil {
		t.Error("a policy of nothing is not nil")
	}
}

// Who has very many addresses makes no memory grow, and does not get as many times the limit.
func TestCallersAreBounded(t *testing.T) {
	t.Parallel()
	l := newLimit(workload.Limit{Name: "l", Rate: "1/s"})
	now := int64(1e18)
	let := 0
	for i := range 2 * maxCells {
		c := l.cells.get(who{caller: fmt.Sprint(i)}, now, l.idle)
		if _, ok := l.take(c, now); ok {
			let++
		}
		l.cells.release(c)
	}
	if let > maxCells+1 {
		t.Errorf("%d of %d callers at once were let in, want at most %d", let, 2*maxCells, maxCells+1)
	}
	count := func() (n int) {
		for i := range l.cells.parts {
			n += len(l.cells.parts[i].of)
		}
		return n
	}
	if n := count(); n > maxCells {
		t.Errorf("%d callers are remembered, want at most %d", n, maxCells)
	}
	now += int64(time.Minute) // all have rested
	for i := range 2 * maxCells / 100 {
		l.cells.release(l.cells.get(who{caller: fmt.Sprint("new ", i)}, now, l.idle))
	}
	if n := count(); n > 2*maxCells/100 {
		t.Errorf("%d callers are remembered, of whom %d came lately", n, 2*maxCells/100)
	}
}

func BenchmarkAdmit(b *testing.B) {
	keys, text := ring("alice", nil, time.Time{})
	spec := limited(
		workload.Limit{Name: "parallel", Per: "caller", Concurrent: 1000}, workload.Limit{Name: "burst", Per: "caller", Rate: "1000000/s", Burst: 1000000},
		workload.Limit{Name: "daily", Per: "caller", Quota: "10000000000/1d"},
	)
	spec.Networking.Auth = &workload.Auth{Accept: []string{"keys"}}
	p := New(spec, nil)
	r := Request{Method: []byte("POST"), Path: []byte("/"), Authorization: []byte("Bearer " + text)}
	b.ReportAllocs()
	var g Grant
	for b.Loop() {
		if refused := p.Admit(&g, Proofs{Keys: keys}, &r, time.Now()); refused != nil {
			b.Fatal(refused)
		}
		g.Done()
	}
}
