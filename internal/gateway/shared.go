package gateway

import (
	"context"
	"sync"
	"time"

	"cortex.dev/cortex/internal/access"
)

// shared is how limits are held together with other gateways.
type shared struct {
	mu    sync.Mutex // one at a time tells or hears
	heard time.Time
}

// aloneAfter is after how long a gateway that hears nothing of the others goes on by itself.
const aloneAfter = 5 * time.Second

// Uses returns what was used of limits since it was called before.
func (g *Gateway) Uses() (all []access.Use) {
	g.shared.mu.Lock()
	defer g.shared.mu.Unlock()
	now := time.Now()
	for _, r := range g.snap.Load().claims {
		all = r.policy.Uses(all, access.MaxUses, now)
	}
	return all
}

// Hear takes what others used of limits, and what of them is this gateway's.
func (g *Gateway) Hear(shares []access.Share) {
	g.shared.mu.Lock()
	defer g.shared.mu.Unlock()
	g.shared.heard = time.Now()
	claims := g.snap.Load().claims
	for _, s := range shares {
		if r := claims[s.API]; r != nil {
			r.policy.Hear(s, g.shared.heard)
		}
	}
	for _, r := range claims {
		r.policy.Heard()
	}
}

// tendShared reads what was used of quotas that are new here, and forgets what was heard when
// that is too long ago: limits then hold at this gateway alone.
func (g *Gateway) tendShared(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	said := false
	for {
		claims := g.snap.Load().claims
		for _, r := range claims {
			err := g.readQuotas(ctx, r)
			if err == nil {
				continue
			}
			if !said && ctx.Err() == nil {
				g.log.Warn("reading what was used of quotas: they begin anew until that is known", "error", err)
			}
			said = true
			break
		}
		g.shared.mu.Lock()
		if time.Since(g.shared.heard) > aloneAfter {
			for _, r := range claims {
				r.policy.Heard()
			}
		}
		g.shared.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
