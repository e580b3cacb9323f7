package sidecar

import (
	"context"
	"fmt"
	"time"
)

// lookEvery is how often a drain looks whether it is over.
const lookEvery = 20 * time.Millisecond

// restAfter is how long a drain that is over counts for whoever asks next: the
// containers of a pod ask at the same time, and the end of the pod last.
const restAfter = 10 * time.Second

// drain is one drain, for everybody who asks while it is under way.
type drain struct {
	done  chan struct{}
	ended time.Time // once done
}

// Drain returns when the container can be stopped: nothing is in flight, and
// gateways have stopped sending. What comes meanwhile is served as ever, since
// whoever sends it cannot know yet; but the replica is not ready, because the pod
// may be one that stays, with a container that is started anew. After the grace it
// returns an error that says what is left.
func (s *Sidecar) Drain(ctx context.Context) error {
	s.drainMu.Lock()
	d := s.draining
	fresh := d == nil || !d.ended.IsZero() && (time.Since(d.ended) > restAfter || s.came.Load() > d.ended.UnixNano())
	if fresh && !s.over { // after Run nothing comes any more
		d = &drain{done: make(chan struct{})}
		s.draining = d
		s.drains.Go(func() { s.drain(context.WithoutCancel(ctx), d) })
	}
	s.drainMu.Unlock()
	if d == nil {
		return nil
	}
	select {
	case <-d.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if running, waiting := s.limit.InFlight(); running+waiting > 0 {
		return fmt.Errorf("%d requests are in flight after %s", running+waiting, s.cfg.Grace)
	}
	return nil
}

// isDraining reports whether a drain is under way.
func (s *Sidecar) isDraining() bool {
	s.drainMu.Lock()
	defer s.drainMu.Unlock()
	return s.draining != nil && s.draining.ended.IsZero()
}

func (s *Sidecar) drain(ctx context.Context, d *drain) {
	defer func() {
		s.drainMu.Lock()
		d.ended = time.Now()
		s.drainMu.Unlock()
		close(d.done)
	}()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Grace)
	defer cancel()
	began := time.Now()
	s.log.Info("draining")
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		now := time.Now()
		running, waiting := s.limit.InFlight()
		quiet := now.Sub(time.Unix(0, s.came.Load()))
		if running+waiting == 0 && now.Sub(began) >= s.cfg.Least && quiet >= s.cfg.Quiet && !s.items.awaited(now) {
			s.log.Info("drained", "took", now.Sub(began).Round(time.Millisecond))
			return
		}
		select {
		case <-ctx.Done():
			s.log.Warn("the grace period is over", "running", running, "waiting", waiting)
			s.upstream.Cut()
			s.items.cut()
			return
		case <-t.C:
		}
	}
}
