package load

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cortex.dev/cortex/bench/row"
)

// connections is how many clients call while something changes: with a moderate rate,
// what fails is not for want of capacity.
const connections = 16

// Change is something that is done again and again while requests come.
type Change struct {
	What           string
	Endpoint, Path string
	Rate           int   // requests a second
	Enough         int64 // requests that have to be sent
	// Do does it and returns when it is over. The n-th call counts from 0.
	Do func(ctx context.Context, n int) error
	// Replica is who gave an answer.
	Replica func(body string) string
	// Least is how many different replicas must at least have answered after n changes,
	// as the proof that they were replaced.
	Least func(n int) int
}

// Row changes until enough requests were sent, and counts those that failed.
func (c Change) Row(ctx context.Context) (row.Row, error) {
	stream := Start(ctx, c.Endpoint, c.Path, connections, c.Rate)
	done := 0
	err := Wait(ctx, time.Second)
	for ; err == nil && (stream.Sent() < c.Enough || done < 2); done++ {
		err = c.Do(ctx, done)
	}
	if err == nil {
		err = Wait(ctx, time.Second)
	}
	stream.End()
	failed, sent := stream.Failed(), stream.Sent()
	if err != nil {
		return row.Row{}, fmt.Errorf("%w (until then %d of %d requests failed)", err, failed, sent)
	}
	replicas := map[string]bool{}
	for body := range stream.Seen() {
		replicas[c.Replica(body)] = true
	}
	if least := c.Least(done); len(replicas) < least {
		return row.Row{}, fmt.Errorf("after %d changes %d different replicas answered, want at least %d", done, len(replicas), least)
	}
	r := row.Row{
		What: c.What, Ours: fmt.Sprintf("%d of %d", failed, sent), Target: fmt.Sprintf("0 of ≥ %d", c.Enough),
		Met:  failed == 0 && sent >= c.Enough,
		Note: fmt.Sprintf("%d changes, %d replicas answered, %d keep-alive connections", done, len(replicas), connections),
	}
	if failed > 0 {
		r.Note += "; the first failures: " + strings.Join(stream.Failures(), " | ")
	}
	return r, nil
}

// Wait waits, or returns ctx's error.
func Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
