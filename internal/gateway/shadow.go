package gateway

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/relay"
)

// shadow sends copies of a splitter's requests to one workload and forgets the
// answers. It never delays or changes what the client gets: past its bounds copies
// are dropped and counted.
type shadow struct {
	work    *work
	draw    draw // 1: copy it
	sent    atomic.Uint64
	dropped atomic.Uint64

	running atomic.Int64 // copies that wait or are being answered
	bytes   atomic.Int64 // they keep in memory
}

// Bounds of the copies of one splitter that are under way.
const (
	maxCopies    = 128
	maxCopyBytes = 64 << 20
)

// newShadow returns one that gets so many percent of the requests.
func newShadow(w *work, weight int32) *shadow {
	s := &shadow{work: w}
	weight = min(max(weight, 0), 100)
	s.draw.init([]int32{100 - weight, weight}, rand.Uint64())
	return s
}

// due reports whether the next request is to be copied: of a hundred, exactly as many as
// the weight says.
func (s *shadow) due() bool {
	i, _ := s.draw.pick()
	return i == 1
}

// copyFor returns what to do with a copy of the next request; nil: make none.
func (g *Gateway) copyFor(s *shadow) func(*relay.Copy) {
	if s == nil || !s.due() {
		return nil
	}
	if s.running.Load() >= maxCopies || !s.work.deployed.Load() || s.work.stopped.Load() {
		s.dropped.Add(1)
		return nil
	}
	return func(c *relay.Copy) { g.send(s, c) }
}

// send sends c in a goroutine of its own, if the bounds allow.
func (g *Gateway) send(s *shadow, c *relay.Copy) {
	size := c.Size()
	count, bytes := s.running.Add(1), s.bytes.Add(size)
	release := func() {
		s.running.Add(-1)
		s.bytes.Add(-size)
	}
	if c.Over() || count > maxCopies || bytes > maxCopyBytes || g.stopping.Load() {
		release()
		s.dropped.Add(1)
		return
	}
	g.tasks.Go(func() {
		defer release()
		if err := g.mirror(g.life, s.work, c, size); err != nil {
			s.dropped.Add(1)
			return
		}
		s.sent.Add(1)
	})
}

// mirror gets c a place like any other request of w, and sends it there.
func (g *Gateway) mirror(ctx context.Context, w *work, c *relay.Copy, size int64) error {
	began := time.Now()
	ended := func(status int, reason string, placed bool) {
		w.counts.requests.Count(status, reason, placed, time.Since(began))
	}
	for again := 0; ; again++ {
		var v visit // of which nothing is recorded
		r, ans := g.acquire(func() context.Context { return ctx }, w, size, again, &v)
		if ans != nil {
			ended(ans.Status, ans.Code, false)
			return errRefused
		}
		status, err := c.Send(ctx, r.upstream)
		if relay.Unreachable(err) {
			r.Unreached(err)
			continue
		}
		r.Done(status)
		switch {
		case err == nil:
			ended(status, "", true)
		case ctx.Err() != nil:
			ended(0, "shutting_down", true)
		default:
			ended(0, "upstream_closed", true)
		}
		return err
	}
}
