package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"cortex.dev/cortex/internal/limiter"
	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/tracing/proxyspan"
	"cortex.dev/cortex/internal/workload"
)

var (
	errStopping = errors.New("the gateway is shutting down")
	errDeleted  = errors.New("the API was deleted")
	errStopped  = errors.New("the API is stopped")
	errAsleep   = errors.New("no replica is ready, and none is started for this")
	errRefused  = errors.New("no replica took it")
)

// failedError is why a workload cannot serve: its revision does not become ready.
type failedError struct {
	name   string
	reason *workload.Reason
}

// Error is for callers. What it is about the machine, in reason, is for the owner of the
// API, who is told by its status and by explain.
func (e *failedError) Error() string {
	return e.name + " cannot start; whoever runs it finds the reason with `cortex explain " + e.name + "`"
}

var _ relay.Handler = (*Gateway)(nil)

// Admit is the whole way of a request to its replica: route, split, limit. One to an
// AsyncAPI goes to who accepts items, and takes no place of a replica.
func (g *Gateway) Admit(x *relay.Exchange, again int) (relay.Place, *relay.Answer) {
	var v visit
	r, ans := g.admit(x, again, &v)
	v.record(proxyspan.Of(x), r)
	switch {
	case ans != nil:
		return nil, ans
	case r == nil:
		return through(x, itemsPlace{v.route.inside}), nil
	}
	return through(x, r), nil
}

// admit returns neither a replica nor an answer for a request to an AsyncAPI.
func (g *Gateway) admit(x *relay.Exchange, again int, v *visit) (*replica, *relay.Answer) {
	if w, _ := led(x).(*work); again > 0 && w.items.Load() {
		return nil, unavailable("shutting_down", "api", time.Second, "%s", errStopping.Error()) // nobody else accepts it
	} else if again > 0 {
		r, ans := g.acquire(x.Context, w, x.Size(), again, v)
		if v.held {
			x.Held()
		}
		return r, ans
	}
	if ans := g.misled(x); ans != nil {
		return nil, ans
	}
	w, strip, s, ans := g.route(x, v)
	if ans != nil {
		if v.route != nil {
			x.State = v.route.split
		}
		return nil, ans
	}
	x.State = w
	if ans := g.enter(x, v.route, w, strip); ans != nil {
		return nil, ans
	}
	if v.route.inside != nil {
		x.Strip(strip)
		x.Ours()
		x.CancelWhenGone()
		return nil, g.answerHere(x, v.route, strip)
	}
	if w.stopped.Load() { // also while its last replicas end
		return nil, g.refusal(w, errStopped)
	}
	if x.IsCall() && bytes.Count(pathOf(x.Target())[strip:], slash) < 2 {
		// A method is called /service/name. An endpoint that took the service itself must be
		// the service's name: the server has to see it.
		strip = 0
	}
	x.Strip(strip)
	if s != nil {
		x.CopyTo(g.copyFor(s.shadow))
	}
	if w.cancels.Load() {
		x.CancelWhenGone()
	}
	r, ans := g.acquire(x.Context, w, x.Size(), again, v)
	if v.held {
		x.Held()
	}
	return r, ans
}

var slash = []byte("/")

// acquire takes a slot of a replica of w, at once or after a wait. The caller owes a
// Done. ctx is called by a request that waits: the others need no context.
func (g *Gateway) acquire(ctx func() context.Context, w *work, size int64, again int, v *visit) (*replica, *relay.Answer) {
	v.Start(again)
	if s := w.pool.Try(); s != nil {
		return s.Value, nil
	}
	return g.wait(ctx(), w, size, again, v)
}

// visit is what is learned of a request while it is admitted. It is recorded once, at
// the end.
type visit struct {
	held  bool   // it waited for a first replica
	route *route // nil: it was found before, or there is none
	work  *work  // that the route led to; nil: it leads nowhere
	proxyspan.Admission
}

// record adds v to the spans of a request, which goes to r if that is not nil.
func (v *visit) record(spans *proxyspan.Request, r *replica) {
	if spans == nil {
		return
	}
	switch way := v.route; {
	case way == nil:
	case way.split == nil:
		spans.Routed(way.endpoint, way.name, string(way.kind), "")
	case v.work == nil:
		spans.Routed(way.endpoint, way.name, string(workload.Splitter), "")
	default:
		spans.Routed(way.endpoint, v.work.name, string(workload.Realtime), way.name)
	}
	if r == nil {
		spans.Admitted(&v.Admission, v.route != nil && v.route.inside != nil, "", "")
		return
	}
	spans.Admitted(&v.Admission, true, r.id, *r.revision.Load()) // set before the backend is ready
}

// route finds the workload whose host name x asks for or under whose endpoint its target
// lies, the length of that endpoint within target, and the splitter that chose the workload,
// if one did.
func (g *Gateway) route(x *relay.Exchange, v *visit) (w *work, strip int, s *split, ans *relay.Answer) {
	path := pathOf(x.Target())
	if climbs(path) {
		return nil, 0, nil, &relay.Answer{Status: 400, Code: "dot_segment", Message: "the path has a . or .. segment; resolve it before sending"}
	}
	snap := g.snap.Load()
	r := snap.ofHost(x)
	if r == nil {
		r, strip = snap.find(path)
	}
	if r == nil {
		return nil, 0, nil, &relay.Answer{Status: 404, Code: "endpoint_not_found", Message: "no API is deployed at this path"}
	}
	v.route = r
	if r.work != nil {
		return r.work, strip, nil, nil
	}
	w = r.split.pick()
	v.work = w
	switch {
	case w == nil:
		return nil, 0, nil, unavailable("no_target", "", 0, "%s sends its traffic nowhere: every weight is 0", r.name)
	case !w.deployed.Load():
		return nil, 0, nil, unavailable("target_not_deployed", "", 5*time.Second, "%s sends this request to %s, which is not deployed", r.name, w.name)
	}
	return w, strip, r.split, nil
}

func unavailable(code, origin string, retry time.Duration, format string, args ...any) *relay.Answer {
	return &relay.Answer{Status: 503, Code: code, Origin: origin, RetryAfter: retry, Message: fmt.Sprintf(format, args...)}
}

// maxUnreached is how many replicas in a row may refuse a connection before the
// request is answered without one. While they are all suspected, each try takes
// up to tendEvery, so this is some seconds.
const maxUnreached = 25

// wait joins the queue of w, wakes w if it sleeps, and returns the
// replica whose turn it is.
func (g *Gateway) wait(ctx context.Context, w *work, size int64, again int, v *visit) (*replica, *relay.Answer) {
	if again > maxUnreached {
		return nil, unavailable("replica_unreachable", "api", time.Second,
			"no healthy upstream: %s has replicas that are ready, and none accepts a connection", w.name)
	}
	t, err := w.pool.Join(size, again > 0)
	if err != nil {
		return nil, g.refusal(w, err)
	}
	if !t.Held() {
		v.Waits(proxyspan.Queue)
		s, err := t.Wait(ctx, g.cfg.Hold.Time)
		if err != nil {
			return nil, g.refusal(w, err)
		}
		return s.Value, nil
	}
	v.Waits(proxyspan.ColdStart)
	v.held = true
	w.counts.held.Add(1)
	g.wake(w, v.Since())
	s, err := t.Wait(ctx, g.cfg.Hold.Time)
	if err != nil {
		return nil, g.refusal(w, err)
	}
	w.counts.coldStart.Observe(time.Since(v.Since()))
	return s.Value, nil
}

// refusal is the answer for a request that got no replica.
func (g *Gateway) refusal(w *work, err error) *relay.Answer {
	origin := "api"
	if w.pool.Load().Ready == 0 {
		origin = "activator"
	}
	var failed *failedError
	switch {
	case errors.Is(err, limiter.ErrFull):
		return &relay.Answer{Status: 503, Code: "queue_full", Origin: origin, Text: true, Message: limiter.ErrFull.Error(), RetryAfter: time.Second}
	case errors.Is(err, limiter.ErrTimeout):
		return unavailable("hold_timeout", origin, 10*time.Second,
			"no healthy upstream: no replica of %s became ready within %s", w.name, g.cfg.Hold.Time)
	case errors.As(err, &failed):
		return unavailable(failed.reason.Code, origin, 10*time.Second, "%s", failed.Error())
	case errors.Is(err, errStopped):
		return unavailable("stopped", origin, time.Minute, "%s is stopped; whoever runs it can start it with `cortex start %s`", w.name, w.name)
	case errors.Is(err, errStopping):
		return unavailable("shutting_down", origin, time.Second, "%s", errStopping.Error())
	case errors.Is(err, errDeleted), errors.Is(err, limiter.ErrClosed):
		return &relay.Answer{Status: 404, Code: "endpoint_not_found", Origin: origin, Message: errDeleted.Error()}
	}
	return &relay.Answer{Status: 503, Code: relay.ClientGone, Origin: origin, Message: err.Error()} // nobody reads it
}
