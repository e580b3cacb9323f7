package dataplane

import (
	"context"
	"fmt"
	"strconv"

	"cortex.dev/cortex/bench/row"
)

// The rows of OverloadRows.
const (
	WhatGoodput = "twice what replicas can take: goodput"
	WhatRefused = "twice what replicas can take: 99 of 100 refusals within"
)

// OverloadNames returns the names of the rows of OverloadRows.
func OverloadNames() []string { return []string{WhatGoodput, WhatRefused} }

// atOnce is how many requests the replica of the overload takes at once, and has waiting: of
// 10 ms each, so that its peak is a hundred times as many a second.
const atOnce = 20

// pressing is what came of requests that did not wait for each other.
type pressing struct {
	answered, refused int
	tail              float64 // of refusals, in microseconds
}

// OverloadRows measures what becomes of an API that is asked for twice its peak.
func OverloadRows(ctx context.Context, o Options) ([]row.Row, error) {
	b, err := newBed(ctx, o)
	defer b.close()
	if err != nil {
		return nil, err
	}
	backend, err := b.startGo(ctx, backendCore, "slow", "-kind", "slow")
	if err != nil {
		return nil, err
	}
	defer backend.stop()
	gateway, err := b.startGatewayTo(ctx, backend.addr, "-concurrency", strconv.Itoa(atOnce))
	if err != nil {
		return nil, err
	}
	defer gateway.stop()
	var shares, tails []float64
	refused := 0
	for range b.rounds {
		peak, err := b.press(ctx, gateway, 2*atOnce, 0)
		if err != nil {
			return nil, err
		}
		if peak.answered == 0 || peak.refused > 0 {
			return nil, fmt.Errorf("as many requests as may be taken and wait were not all answered: %+v", peak)
		}
		rate := 2 * peak.answered / int(b.duration.Seconds())
		over, err := b.press(ctx, gateway, 40*atOnce, rate)
		if err != nil {
			return nil, err
		}
		b.log("%d requests answered at the peak; twice that, %d, and %d refused, 99 of 100 within %.0f µs", peak.answered, over.answered, over.refused, over.tail)
		shares, tails = append(shares, float64(over.answered)/float64(peak.answered)), append(tails, over.tail)
		refused += over.refused
	}
	share, tail := median(shares), median(tails)
	const bound = 1000
	return []row.Row{
		{What: WhatGoodput, Ours: fmt.Sprintf("%.2f of the peak", share), Target: "≥ 0.95", Met: share >= 0.95, Note: "20 requests at once of 10 ms each, 20 wait"},
		{What: WhatRefused, Ours: micros(tail), Target: "≤ 1 ms", Met: tail <= bound && refused > 0, Note: fmt.Sprintf("%d refusals, client and gateway on a core each", refused)},
	}, nil
}

// press runs a client against p that sends so many requests a second; 0: as they are answered.
func (b *bed) press(ctx context.Context, p *process, conns, rate int) (pressing, error) {
	out, err := pinned(ctx, loadCore, b.proxy, "-kind", "press", "-backend", p.addr, "-streams", strconv.Itoa(conns), "-rate", strconv.Itoa(rate), "-for", b.duration.String()).Output()
	if err != nil {
		return pressing{}, fmt.Errorf("pressing %s: %w", p.name, err)
	}
	var is pressing
	_, err = fmt.Sscan(string(out), &is.answered, &is.refused, &is.tail)
	return is, err
}
