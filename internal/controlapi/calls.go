package controlapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// Calls keeps who called what at the operator. It is a gateway's end; all methods may be called
// at once.
type Calls struct {
	client *Client

	mu    sync.Mutex
	seq   uint64
	queue [][]workload.Calls // that the operator was not heard to have, in order
}

// maxRows bounds the rows of one call, and maxQueued the calls that wait.
const (
	maxRows      = 1000
	maxQueued    = 200
	callsTimeout = 5 * time.Second
)

// callsReport is who called what at a gateway. One with the number of the report before is the
// same again: its answer was lost.
type callsReport struct {
	Gateway string           `json:"gateway"`
	Seq     uint64           `json:"seq"`
	Rows    []workload.Calls `json:"rows"`
}

// usedRequest asks what callers have used of an API.
type usedRequest struct {
	API   string    `json:"api"`
	Since time.Time `json:"since"`
}

// usedAnswer is how many requests each caller has made.
type usedAnswer struct {
	Used map[string]int64 `json:"used"`
}

// Calls returns where the gateway counts calls.
func (c *Client) Calls() *Calls { return &Calls{client: c, seq: firstSeq()} }

// AddCalls tells the operator of calls. What it has taken is told until it was heard, and is
// an error only where too much waits already.
func (k *Calls) AddCalls(ctx context.Context, more []workload.Calls, _ time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.flush(ctx)
	if err != nil && len(k.queue) >= maxQueued {
		return err
	}
	k.queue = slices.AppendSeq(k.queue, slices.Chunk(more, maxRows))
	if err == nil {
		_ = k.flush(ctx) // the next time
	}
	return nil
}

// flush tells what waits.
func (k *Calls) flush(ctx context.Context) error {
	for len(k.queue) > 0 {
		report := callsReport{Gateway: k.client.cfg.Gateway, Seq: k.seq + 1, Rows: k.queue[0]}
		var refused *refusedError
		switch err := k.client.call(ctx, pathCalls, report, nil, callsTimeout); {
		case errors.As(err, &refused) && (refused.status == http.StatusBadRequest || refused.status == http.StatusRequestEntityTooLarge):
			k.client.cfg.Log.Error("calls were counted that the operator refuses: they are left out", "rows", len(report.Rows), "error", err)
		case err != nil:
			return err
		}
		k.seq++
		k.queue = k.queue[1:]
	}
	return nil
}

// EachCalls calls fn with how many requests each caller has made since a time, and nothing else.
func (k *Calls) EachCalls(ctx context.Context, api string, since time.Time, fn func(workload.Calls) error) error {
	var answer usedAnswer
	if err := k.client.call(ctx, pathUsed, usedRequest{api, since}, &answer, callsTimeout); err != nil {
		return err
	}
	for caller, n := range answer.Used {
		if err := fn(workload.Calls{API: api, Caller: caller, CallCounts: workload.CallCounts{Requests: n}}); err != nil {
			return err
		}
	}
	return nil
}

// CallsKeeper keeps who called what. Every store.Calls is one.
type CallsKeeper interface {
	AddCalls(ctx context.Context, more []workload.Calls, now time.Time) error
	EachCalls(ctx context.Context, api string, since time.Time, fn func(workload.Calls) error) error
}

const maxCaller = 2048 // bytes of the name of a caller

// check refuses what no gateway says.
func (r *callsReport) check() error {
	if !gatewayName.MatchString(r.Gateway) {
		return refuse(http.StatusBadRequest, "gateway is not the name of a pod")
	}
	if len(r.Rows) > maxRows {
		return refuse(http.StatusBadRequest, "too many rows")
	}
	for _, c := range r.Rows {
		if !workloadName.MatchString(c.API) || c.Caller == "" || len(c.Caller) > maxCaller || c.Requests < 0 || c.Limited < 0 {
			return refuse(http.StatusBadRequest, "a row is not about calls of an API")
		}
	}
	return nil
}

// calls keeps what a gateway has counted, once.
func (s *Server) calls(w http.ResponseWriter, r *http.Request, caller Caller) (told any, err error) {
	var report callsReport
	if err := decode(w, r, &report); err != nil {
		return nil, err
	}
	if err := report.check(); err != nil {
		return nil, err
	}
	if caller.Pod != "" && caller.Pod != report.Gateway {
		return nil, refuse(http.StatusForbidden, "not for this token")
	}
	from := s.reporter(report.Gateway)
	if !from.calls.AllowN(s.cfg.Now(), 1) {
		return nil, refuse(http.StatusTooManyRequests, "too many reports of calls")
	}
	from.mu.Lock()
	defer from.mu.Unlock()
	if from.seq == report.Seq {
		return nil, nil // it is the answer that was lost
	}
	if err := s.cfg.Calls.AddCalls(r.Context(), report.Rows, s.cfg.Now()); err != nil {
		return nil, err
	}
	from.seq = report.Seq
	return nil, nil
}

// used says what callers have used of an API.
func (s *Server) used(w http.ResponseWriter, r *http.Request, _ Caller) (told any, err error) {
	var asked usedRequest
	if err := decode(w, r, &asked); err != nil {
		return nil, err
	}
	if !workloadName.MatchString(asked.API) {
		return nil, refuse(http.StatusBadRequest, "api is not the name of an API")
	}
	answer := usedAnswer{Used: map[string]int64{}}
	err = s.cfg.Calls.EachCalls(r.Context(), asked.API, asked.Since, func(c workload.Calls) error {
		if _, known := answer.Used[c.Caller]; known || len(answer.Used) < maxUsed {
			answer.Used[c.Caller] += c.Requests
		}
		return nil
	})
	return answer, err
}
