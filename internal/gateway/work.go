package gateway

import (
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/limiter"
	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/workload"
)

// work is what the gateway keeps about one API with replicas for as long as its name is
// known, across revisions: its queue, its replicas and its counters.
type work struct {
	name      string
	pool      limiter.Pool[*replica]
	replicas  map[string]*replica // guarded by Gateway.mu
	deployed  atomic.Bool         // the store has it, as a kind with replicas
	requested atomic.Int64        // replicas there should be
	woken     atomic.Int64        // Unix nanoseconds of the last wake-up
	stopped   atomic.Bool         // somebody wants its requests refused
	cancels   atomic.Bool         // requests whose callers leave are cancelled
	items     atomic.Bool         // it is an AsyncAPI: requests become items
	jobs      atomic.Bool         // it has jobs: its requests go inside too, and it has no replicas
	inside    *relay.Upstream     // where its requests go if it is; guarded by Gateway.mu, and set once
	counts    counts
	policy    atomic.Pointer[access.Policy]
}

// replica is one running copy as a place to send requests to. It is a relay.Place:
// the slot it stands for is one of its backend.
type replica struct {
	id       string
	work     *work
	backend  *limiter.Backend[*replica]
	upstream *relay.Upstream
	restarts int // of its containers: with each begins another run
	draining bool
	ejected  atomic.Bool
	revision atomic.Pointer[string] // of which it is; a deploy may change it and nothing else
}

var _ relay.Place = (*replica)(nil)

func newWork(name string) *work {
	return &work{name: name, replicas: map[string]*replica{}, counts: newCounts()}
}

// Upstream is where the replica listens.
func (r *replica) Upstream() *relay.Upstream { return r.upstream }

// Done gives a slot back after a request.
func (r *replica) Done(int) { r.backend.Release() }

// Unreached gives a slot back that could not be used, and leaves the replica out
// of the choice for a moment: it has died, or is about to be reported.
func (r *replica) Unreached(error) {
	r.ejected.Store(true)
	r.backend.Eject()
	r.backend.Release()
}

// configure takes the bounds of a queue without replicas from the pod.
func (w *work) configure(spec *workload.Spec, requested int, hold HoldLimits) {
	n := hold.Requests
	if n <= 0 && spec.Pod != nil {
		n = int(spec.Pod.MaxConcurrency + spec.Pod.MaxQueueLength)
	}
	w.pool.SetQueueLimit(limiter.QueueLimit{Requests: n, Bytes: hold.Bytes})
	w.requested.Store(int64(requested))
	w.cancels.Store(spec.Pod != nil && spec.Pod.OnClientGone == workload.Cancel)
}

// update brings the replicas in line with what runs.
func (w *work) update(s engine.Status) {
	present := make(map[string]bool, len(s.Replicas))
	for i := range s.Replicas {
		r := &s.Replicas[i]
		present[r.ID] = true
		w.place(r)
	}
	for id, r := range w.replicas {
		if !present[id] || s.Removed {
			r.leave()
			delete(w.replicas, id)
		}
	}
}

// place adds, resizes or takes out the backend of one replica.
func (w *work) place(from *engine.Replica) {
	r := w.replicas[from.ID]
	if r != nil && from.Address != "" && (r.upstream.Addr() != from.Address || r.restarts != from.Restarts) {
		// It was started anew, maybe elsewhere. Places are those of one run: who has one of
		// the run before works on nothing.
		r.leave()
		draining := r.draining
		r = w.add(from.ID, from.Address, 0, 0)
		r.restarts, r.draining = from.Restarts, draining
	}
	if !from.Ready() || from.Address == "" {
		if r != nil {
			r.backend.SetReady(false)
		}
		return
	}
	limit, queue := int(max(from.MaxConcurrency, 1)), int(max(from.MaxQueueLength, 0))
	if r == nil {
		r = w.add(from.ID, from.Address, limit, queue)
		r.restarts = from.Restarts
	}
	if was := r.revision.Load(); was == nil || *was != from.APIID {
		id := from.APIID
		r.revision.Store(&id)
	}
	if r.draining {
		return
	}
	r.backend.Resize(limit, queue)
	r.ejected.Store(false)
	r.backend.SetReady(true)
	w.woken.Store(0) // the wake-up did its work; the next one need not wait
}

func (w *work) add(id, addr string, limit, queue int) *replica {
	r := &replica{id: id, work: w, upstream: relay.NewUpstream(addr)}
	r.backend = w.pool.NewBackend(r, limit, queue)
	w.replicas[id] = r
	return r
}

// drain takes a replica out of the choice for good, known or not yet known.
func (w *work) drain(id string) *replica {
	r := w.replicas[id]
	if r == nil {
		r = w.add(id, "", 0, 0)
	}
	r.draining = true
	r.backend.SetReady(false)
	return r
}

// leave ends the use of a replica that is gone.
func (r *replica) leave() {
	r.backend.SetReady(false)
	r.upstream.Close()
}

func (w *work) tend(now time.Time) {
	if w.inside != nil {
		w.inside.Sweep(now)
	}
	for _, r := range w.replicas {
		if r.ejected.Swap(false) {
			r.backend.Restore()
		}
		r.upstream.Sweep(now)
	}
}
