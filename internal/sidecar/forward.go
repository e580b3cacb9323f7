package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cortex.dev/cortex/internal/limiter"
	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/tracing/proxyspan"
)

var _ relay.Handler = (*Sidecar)(nil)

// Admit waits for one of the container's places.
func (s *Sidecar) Admit(x *relay.Exchange, again int) (relay.Place, *relay.Answer) {
	if s.cfg.CancelWhenGone {
		x.CancelWhenGone()
	}
	if ans := s.acquire(x.Context, again, proxyspan.Of(x)); ans != nil {
		return nil, ans
	}
	return &s.place, nil
}

// acquire takes a place, or says why there is none, and records which. again counts the
// places that were given back because the container accepted no connection. ctx is
// called by a request that waits: the others need no context.
func (s *Sidecar) acquire(ctx func() context.Context, again int, spans *proxyspan.Request) *relay.Answer {
	var a proxyspan.Admission
	a.Start(again)
	ans := s.admit(ctx, again, &a)
	spans.Admitted(&a, ans == nil, "", "")
	return ans
}

func (s *Sidecar) admit(ctx func() context.Context, again int, a *proxyspan.Admission) *relay.Answer {
	if again > 0 {
		// Whoever sent it knows other replicas.
		return &relay.Answer{Status: 503, Code: relay.Unreached, RetryAfter: time.Second,
			Message: fmt.Sprintf("no healthy upstream: nothing listens on port %d of the replica", s.cfg.Target)}
	}
	s.came.Store(time.Now().UnixNano()) // before it is in flight: a drain looks in the other order
	if s.limit.Try() {
		return nil
	}
	a.Waits(proxyspan.Queue)
	switch err := s.limit.Acquire(ctx()); {
	case err == nil:
		return nil
	case errors.Is(err, limiter.ErrFull):
		return &relay.Answer{Status: 503, Code: "queue_full", Text: true, Message: limiter.ErrFull.Error(), RetryAfter: time.Second}
	default: // the client has gone, and reads nothing
		return &relay.Answer{Status: 503, Code: relay.ClientGone, Message: err.Error()}
	}
}

// place is one of the container's places; they are all alike.
type place struct{ s *Sidecar }

var _ relay.Place = (*place)(nil)

func (p *place) Upstream() *relay.Upstream { return p.s.upstream }

func (p *place) Done(int) { p.s.limit.Release() }

func (p *place) Unreached(error) { p.s.limit.Release() }
