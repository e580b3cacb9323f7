package gateway

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// snapshot is everything a request is routed by. It is never changed; a new one
// takes its place.
type snapshot struct {
	routes map[string]*route // by endpoint
	hosts  map[string]*route // by host name, of those who have one of their own
	claims map[string]*route // by name; more than one may claim an endpoint
	depth  int               // path segments of the deepest endpoint
}

// route is where the requests under one endpoint go: to one workload, or to those
// of a splitter.
type route struct {
	name     string
	endpoint string
	host     string    // a name of its own; empty: none
	created  time.Time // of the workload
	work     *work
	kind     workload.Kind
	inside   *relay.Upstream // of an AsyncAPI, BatchAPI or TaskAPI: where its requests go
	split    *split
	policy   *access.Policy // nil: everybody may ask for as much as they like
}

// jobs reports whether the requests are about jobs.
func (r *route) jobs() bool { return r.kind == workload.Batch || r.kind == workload.Task }

// with returns a snapshot in which the workload name has the given route, or none.
//
// Nobody is deployed at an endpoint that is taken, nor with a host name that is. Should two claim one all the same,
// because a backup brought both back or somebody wrote records by hand, it is the
// older's, and the other gets it when that is gone.
func (s *snapshot) with(name string, r *route) *snapshot {
	next := &snapshot{routes: maps.Clone(s.routes), claims: maps.Clone(s.claims)}
	if next.routes == nil {
		next.routes, next.claims = map[string]*route{}, map[string]*route{}
	}
	changed, renamed := map[string]bool{}, map[string]bool{}
	if before := s.claims[name]; before != nil {
		changed[before.endpoint], renamed[before.host] = true, true
		delete(next.claims, name)
	}
	if r != nil {
		changed[r.endpoint], renamed[r.host] = true, true
		next.claims[name] = r
	}
	next.hosts = s.hosts
	if delete(renamed, ""); len(renamed) > 0 {
		next.hosts = maps.Clone(s.hosts)
		if next.hosts == nil {
			next.hosts = map[string]*route{}
		}
	}
	for endpoint := range changed {
		delete(next.routes, endpoint)
	}
	for host := range renamed {
		delete(next.hosts, host)
	}
	for _, claim := range next.claims {
		if changed[claim.endpoint] && isOlder(claim, next.routes[claim.endpoint]) {
			next.routes[claim.endpoint] = claim
		}
		if renamed[claim.host] && isOlder(claim, next.hosts[claim.host]) {
			next.hosts[claim.host] = claim
		}
	}
	for e := range next.routes {
		next.depth = max(next.depth, strings.Count(e, "/"))
	}
	return next
}

// isOlder reports whether a has an endpoint before b (nil: nobody) has.
func isOlder(a, b *route) bool {
	return b == nil || cmp.Or(a.created.Compare(b.created), strings.Compare(a.name, b.name)) < 0
}

// storeChanged follows the desired state.
func (g *Gateway) storeChanged(c store.Change) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.Name == "" { // that was everything there is
		g.knows()
		return
	}
	snap := g.snap.Load()
	if c.Workload == nil {
		g.snap.Store(snap.with(c.Name, nil))
		g.useIssuers(snap.claims[c.Name])
		if w := g.works[c.Name]; w != nil {
			w.deployed.Store(false)
			w.pool.Refuse(errDeleted)
			g.forget(w)
		}
		return
	}
	spec := &c.Workload.Revision.Spec
	r := &route{name: c.Name, created: c.Workload.Created, kind: spec.Kind}
	if before := snap.claims[c.Name]; before != nil {
		r.policy = access.New(spec, before.policy)
	} else {
		r.policy = access.New(spec, nil)
	}
	if g.cfg.Shared {
		r.policy.Share() // its quotas are read later: others have what was used
	} else if err := g.readQuotas(g.life, r); err != nil {
		g.log.Warn("reading what was used of a quota: it begins anew", "api", c.Name, "error", err)
	}
	switch {
	case spec.Kind == workload.Realtime, spec.Kind == workload.Async && g.cfg.Items != nil, r.jobs() && g.cfg.Jobs != nil:
		w := g.workOf(c.Name)
		w.items.Store(spec.Kind != workload.Realtime)
		w.jobs.Store(r.jobs())
		if w.items.Load() && w.inside == nil {
			w.inside = g.inside.upstream(c.Name)
		}
		w.configure(spec, c.Workload.Replicas, g.cfg.Hold)
		w.policy.Store(r.policy)
		isNew, stopped := !w.deployed.Swap(true), c.Workload.Stopped != nil
		switch wasStopped := w.stopped.Swap(stopped); {
		case g.stopping.Load():
		case stopped:
			w.pool.Refuse(errStopped)
		case isNew, wasStopped:
			w.pool.Refuse(nil)
		}
		if r.work = w; w.items.Load() {
			r.inside = w.inside
		}
	case spec.Kind == workload.Splitter:
		r.split = newSplit(spec.APIs, g.workOf)
	default: // its requests are not HTTP exchanges with a replica
		r = nil
	}
	endpoint := "/" + c.Name
	if spec.Networking != nil && spec.Networking.Endpoint != "" {
		endpoint = spec.Networking.Endpoint
	}
	if r != nil {
		if r.endpoint = endpoint; spec.Networking != nil {
			r.host = spec.Networking.Host
		}
	}
	g.snap.Store(snap.with(c.Name, r))
	g.useIssuers(snap.claims[c.Name], r)
}

// replicasChanged follows what runs.
func (g *Gateway) replicasChanged(s engine.Status) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.works[s.Name]
	if w == nil {
		if s.Removed {
			return
		}
		w = g.workOf(s.Name)
	}
	w.update(s)
	switch {
	case g.stopping.Load(), w.stopped.Load() && !s.Removed:
	case s.Removed:
		g.forget(w)
	case s.Failed != nil && s.Desired > 0 && !mayServe(s):
		w.pool.Refuse(&failedError{name: s.Name, reason: s.Failed})
	default:
		w.pool.Refuse(nil)
	}
}

// mayServe reports whether replicas of an earlier revision are on their way to serve
// in place of one that has failed.
func mayServe(s engine.Status) bool {
	return slices.ContainsFunc(s.Replicas, func(r engine.Replica) bool {
		return !r.UpToDate && slices.Contains([]workload.ReplicaState{workload.Pending, workload.Creating, workload.NotReady, workload.ReadyOutOfDate}, r.State)
	})
}

// workOf returns what is kept about a workload, beginning to if it is new: a
// splitter may name it, or a replica of it run, before it is known itself.
func (g *Gateway) workOf(name string) *work {
	w := g.works[name]
	if w == nil {
		w = newWork(name)
		g.works[name] = w
	}
	return w
}

// forget drops what is kept about a workload that neither exists nor runs, unless
// a splitter sends requests to it.
func (g *Gateway) forget(w *work) {
	if w.deployed.Load() || len(w.replicas) > 0 {
		return
	}
	for _, r := range g.snap.Load().claims {
		if r.split != nil && r.split.has(w) {
			return
		}
	}
	delete(g.works, w.name)
	if w.inside != nil {
		w.inside.Close()
	}
}
