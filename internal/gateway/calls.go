package gateway

import (
	"context"
	"sync"
	"time"

	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// keepCallsEvery is how often what was counted is kept: what a process that is killed has not
// kept is lost, to the good of the callers whose quotas it is.
const keepCallsEvery = 10 * time.Second

// maxCalls bounds the rows that wait to be kept: callers have names that somebody gave them.
const maxCalls = 100_000

// calls counts who calls what, until it is kept.
type calls struct {
	mu   sync.Mutex
	rows map[callsOf]*workload.CallCounts
}

type callsOf struct {
	api, caller string
	hour        int64 // since 1970
}

func newCalls() *calls { return &calls{rows: map[callsOf]*workload.CallCounts{}} }

// add counts c for the hour of a time.
func (c *calls) add(api, caller string, at time.Time, more workload.CallCounts) {
	of := callsOf{api, caller, at.Unix() / 3600}
	c.mu.Lock()
	defer c.mu.Unlock()
	row := c.rows[of]
	if row == nil {
		if len(c.rows) >= maxCalls {
			return
		}
		row = &workload.CallCounts{}
		c.rows[of] = row
	}
	row.Add(more)
}

// take returns what was counted, and begins anew.
func (c *calls) take() (all []workload.Calls) {
	c.mu.Lock()
	rows := c.rows
	c.rows = make(map[callsOf]*workload.CallCounts, len(rows))
	c.mu.Unlock()
	for of, counts := range rows {
		all = append(all, workload.Calls{Hour: time.Unix(of.hour*3600, 0).UTC(), API: of.api, Caller: of.caller, CallCounts: *counts})
	}
	return all
}

// keepCalls keeps what is counted until ctx ends, and the last of it then.
func (g *Gateway) keepCalls(ctx context.Context, keep store.Calls) {
	t := time.NewTicker(keepCallsEvery)
	defer t.Stop()
	for {
		ended := false
		select {
		case <-ctx.Done():
			ended = true
		case <-t.C:
		}
		if all := g.calls.take(); len(all) > 0 {
			if err := keep.AddCalls(context.WithoutCancel(ctx), all, time.Now()); err != nil {
				g.log.Warn("keeping who called", "error", err)
				for _, c := range all { // with the next ones
					g.calls.add(c.API, c.Caller, c.Hour, c.CallCounts)
				}
			}
		}
		if ended {
			return
		}
	}
}

// countCall counts the end of a request that was let in.
func (g *Gateway) countCall(p *passage, x *relay.Exchange, status int) {
	caller := p.grant.Caller.Name
	if caller == "" || g.cfg.Calls == nil {
		return
	}
	counts := workload.CallCounts{Requests: 1, Seconds: x.Age().Seconds()}
	switch {
	case status == 0:
		counts.Broken = 1
	case status < 400:
		counts.Succeeded = 1
	case status < 500:
		counts.ClientErrors = 1
	default:
		counts.ServerErrors = 1
	}
	g.calls.add(p.api, caller, p.at, counts)
}

// readQuotas has the quotas of a route begin with what was used of them.
func (g *Gateway) readQuotas(ctx context.Context, r *route) error {
	return r.policy.Quotas(time.Now(), func(since time.Time) (map[string]int64, error) { return g.used(ctx, r.name, since) })
}

// used is what callers have used of an API since a time, of all together by no name.
func (g *Gateway) used(ctx context.Context, api string, since time.Time) (map[string]int64, error) {
	used := map[string]int64{}
	if g.cfg.Calls == nil {
		return used, nil
	}
	err := g.cfg.Calls.EachCalls(ctx, api, since, func(c workload.Calls) error {
		used[c.Caller] += c.Requests
		used[""] += c.Requests
		return nil
	})
	return used, err
}
