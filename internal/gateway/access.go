package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// Keys tells which access keys there are. Every store.Keys is one.
type Keys interface {
	WatchKeys(ctx context.Context, fn func([]store.Key)) error
}

// keysChanged follows which keys there are: one that is gone is good for nothing from here on.
func (g *Gateway) keysChanged(all []store.Key) {
	ring := make([]access.Key, 0, len(all))
	for _, k := range all {
		id, ok := access.ParseID(k.ID)
		if !ok { // nobody can show it
			continue
		}
		ring = append(ring, access.Key{ID: id, Name: k.Name, Hash: k.Hash, APIs: k.APIs, Expires: k.ExpiresAt})
	}
	g.proofs.Keys.Set(ring)
}

// useIssuers follows whose tokens APIs take, where one of the routes that have changed does.
func (g *Gateway) useIssuers(changed ...*route) {
	takes := func(r *route) bool { return r != nil && r.policy.JWT() != nil }
	if !slices.ContainsFunc(changed, takes) {
		return
	}
	var all []*workload.JWT
	for _, r := range g.snap.Load().claims {
		if takes(r) {
			all = append(all, r.policy.JWT())
		}
	}
	g.proofs.Issuers.Use(all)
}

// passage is a request to an API that does not let everybody in, until it is over.
type passage struct {
	to    any // the work or split, as State of every other request
	grant access.Grant
	lines []byte    // what the upstream and the client are told
	api   string    // whose policy let it in
	at    time.Time // when
	in    bool      // it was
	place relay.Place
}

var _ relay.Place = (*passage)(nil)

// through has a request of x take its place by way of its passage, if it has one: what it
// takes of limits lasts as long as the place.
func through(x *relay.Exchange, place relay.Place) relay.Place {
	p, ok := x.State.(*passage)
	if !ok {
		return place
	}
	p.place = place
	return p
}

// Upstream is relay.Place's.
func (p *passage) Upstream() *relay.Upstream { return p.place.Upstream() }

// Done is relay.Place's: before the client has the end of its answer, so that its next
// request finds room.
func (p *passage) Done(status int) {
	p.grant.Release()
	p.place.Done(status)
}

// Unreached is relay.Place's. The request goes on to another place.
func (p *passage) Unreached(err error) { p.place.Unreached(err) }

var passages = sync.Pool{New: func() any { return new(passage) }}

// led is what the way of x led to: a *work, a *split or nil.
func led(x *relay.Exchange) any {
	if p, ok := x.State.(*passage); ok {
		return p.to
	}
	return x.State
}

// enter asks the policies of a request's way whether it is let in: that of its API or, where
// a splitter chose the API, first the splitter's. x.State is what the way led to.
//
// An API that asks who calls is closed by the way of a splitter too: by the splitter's own
// rules, if it has any for that.
func (g *Gateway) enter(x *relay.Exchange, r *route, w *work, strip int) *relay.Answer {
	first, behind := r.policy, (*access.Policy)(nil)
	if r.split != nil {
		behind = w.policy.Load()
	}
	if first == nil && behind == nil {
		return nil
	}
	target := x.Target()
	ask := access.Request{Method: x.Method(), Path: target[strip:]}
	if first.ByAddress() || behind.ByAddress() {
		ask.Address = x.Address()
	}
	ask.Authorization, ask.APIKey, ask.Twice = x.Credentials()
	p := passages.Get().(*passage)
	now := time.Now()
	p.to, p.lines, p.api, p.at = x.State, p.lines[:0], r.name, now
	x.State = p
	refused := first.Admit(&p.grant, g.proofs, &ask, now)
	if refused == nil {
		refused = behind.AdmitBehind(&p.grant, first, g.proofs, &ask, now)
	}
	if p.in = refused == nil; refused != nil {
		if refused.Caller != "" && g.cfg.Calls != nil {
			g.calls.add(p.api, refused.Caller, now, workload.CallCounts{Limited: 1})
		}
		p.lines = appendLimits(p.lines, refused.RateLimit, refused.RateLimitPolicy)
		x.Add(p.lines)
		return &relay.Answer{
			Status: refused.Status, Code: refused.Code, Message: refused.Message, Problem: refused.Type,
			Limit: refused.Limit, Challenge: refused.Challenge, RetryAfter: refused.RetryAfter,
		}
	}
	p.tell(x, r, first, behind)
	return nil
}

// tell has the upstream hear who calls, and the client what is left of its limits.
func (p *passage) tell(x *relay.Exchange, r *route, first, behind *access.Policy) {
	caller := &p.grant.Caller
	if caller.Name != "" {
		switch {
		case r.inside != nil: // items and jobs are the caller's
			p.lines = appendField(p.lines, "X-Cortex-Caller: ", caller.Name)
		case first.Forwards(workload.ForwardSubject) || behind.Forwards(workload.ForwardSubject):
			p.lines = appendField(p.lines, "X-Cortex-Caller: ", caller.Subject)
		}
		if caller.Label != "" && (first.Forwards(workload.ForwardName) || behind.Forwards(workload.ForwardName)) {
			p.lines = appendField(p.lines, "X-Cortex-Caller-Name: ", caller.Label)
		}
	}
	told := len(p.lines)
	p.lines = appendLimits(p.lines, string(p.grant.RateLimit), p.grant.RateLimitPolicy)
	x.Add(p.lines[told:])
	if first.Asks() || behind.Asks() {
		x.Identified(caller.Field, p.lines[:told:told])
	}
}

const crlf = "\r\n"

func appendField(b []byte, name, value string) []byte {
	return append(append(append(b, name...), value...), crlf...)
}

// appendLimits appends the fields by which an answer says what is left.
func appendLimits(b []byte, left, policy string) []byte {
	if left != "" {
		b = appendField(b, "RateLimit: ", left)
	}
	if policy != "" {
		b = appendField(b, "RateLimit-Policy: ", policy)
	}
	return b
}

// leaving gives back what requests have for as long as they last, and counts them.
type leaving struct{ g *Gateway }

var _ relay.Observer = leaving{}

func (leaving) Began(*relay.Exchange)     {}
func (leaving) Answering(*relay.Exchange) {}
func (leaving) Unread(int, string)        {}

// Ended is relay.Observer's. The lines are used until the next exchange, so that what has
// them is not used again before.
func (l leaving) Ended(x *relay.Exchange, status int, _ string) {
	p, ok := x.State.(*passage)
	if !ok {
		return
	}
	if p.in {
		l.g.countCall(p, x, status)
	}
	x.State = p.to
	p.grant.Done()
	p.to, p.place = nil, nil
	passages.Put(p)
}
