package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

const (
	// maxSources bounds how many containers are read at once: each is a connection
	// from the API server to a node.
	maxSources = 200
)

// Logs implements engine.Engine. What a node has kept of a container can be read as
// long as its pod is there; standard output and standard error are one stream
// there, told as stdout. Replicas that come later are followed too.
func (e *Engine) Logs(ctx context.Context, q workload.LogQuery, fn func(workload.LogLine) error) error {
	if e.cfg.ReadOnly {
		return readOnly()
	}
	if err := e.ready(ctx); err != nil {
		return err
	}
	changed, done := e.listen(q.Name) // first, so that nothing falls between history and follow
	defer done()
	pods := e.podsOf(q.Name, e.deployment(q.Name))
	if len(pods) == 0 && e.deployment(q.Name) == nil {
		return notDeployed(q.Name)
	}
	r := &reader{e: e, query: q, sources: map[sourceKey]*source{}, live: func() []*corev1.Pod { return e.podsOf(q.Name, e.deployment(q.Name)) }}
	if q.Since > 0 {
		r.since = e.cfg.Now().Add(-q.Since)
	}
	if err := r.resolve(pods); err != nil {
		return err
	}
	if err := r.discover(pods); err != nil {
		return err
	}
	if err := r.history(ctx, fn); err != nil || !q.Follow || q.Previous {
		return orEnded(ctx, err)
	}
	return orEnded(ctx, r.follow(ctx, changed, fn))
}

// orEnded maps the end of the caller's patience to success.
func orEnded(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return nil
	}
	return err
}

// reader reads the logs of one workload, merged.
type reader struct {
	e       *Engine
	query   workload.LogQuery
	replica string // resolved; empty for all
	since   time.Time
	sources map[sourceKey]*source
	live    func() []*corev1.Pod // whose containers are read
}

type sourceKey struct {
	pod       types.UID
	container string
}

// resolve finds the replica that a prefix names: of its id, or its whole pod.
func (r *reader) resolve(pods []*corev1.Pod) error {
	want := r.query.Replica
	if want == "" {
		return nil
	}
	var found []string
	for _, p := range pods {
		id := replicaID(p)
		if id == want || p.Name == want {
			r.replica = id
			return nil
		}
		if strings.HasPrefix(id, want) {
			found = append(found, id)
		}
	}
	slices.Sort(found)
	switch len(found) {
	case 0:
		return fault.New(fault.NotFound, "logs.replica_not_found", "%s has no replica %q", r.query.Name, want).
			WithHint("cortex describe %s lists the replicas", r.query.Name)
	case 1:
		r.replica = found[0]
		return nil
	}
	return fault.New(fault.Invalid, "logs.replica_ambiguous", "%q names %d replicas of %s: %s", want, len(found), r.query.Name, strings.Join(found[:min(len(found), 20)], ", ")).
		WithHint("give more of its letters")
}

// discover adds sources that are not read yet, and forgets those whose pod is gone.
func (r *reader) discover(pods []*corev1.Pod) error {
	present := map[sourceKey]bool{}
	for _, p := range pods {
		id := replicaID(p)
		if r.replica != "" && id != r.replica {
			continue
		}
		for _, c := range p.Spec.Containers {
			k := sourceKey{p.UID, c.Name}
			present[k] = true
			if r.sources[k] == nil {
				r.sources[k] = &source{reader: r, pod: p.Name, replica: id, container: c.Name, running: runs(p, c.Name), after: r.since}
			}
		}
	}
	for k, s := range r.sources {
		if !present[k] && !s.following {
			delete(r.sources, k)
		}
	}
	if len(r.sources) > maxSources {
		return fault.New(fault.Invalid, "logs.too_many_replicas", "%s has %d containers to read, and %d can be read at once", r.query.Name, len(r.sources), maxSources).
			WithHint("name one replica; cortex describe %s lists them", r.query.Name)
	}
	return nil
}

// runs says whether a container of a pod runs.
func runs(pod *corev1.Pod, container string) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.Name == container && s.State.Running != nil
	})
}

// history calls fn for what there is already, in order of time.
func (r *reader) history(ctx context.Context, fn func(workload.LogLine) error) error {
	return engine.Tail(r.query.Tail, func(fn func(workload.LogLine) error) error { return r.merge(ctx, fn) }, fn)
}

// merge calls fn for every line that is there, in order of time.
func (r *reader) merge(ctx context.Context, fn func(workload.LogLine) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var live []*source
	defer func() {
		for _, s := range r.sources {
			s.close()
		}
	}()
	if err := r.openAll(ctx); err != nil {
		return err
	}
	for _, s := range r.sources {
		ok, err := s.fill()
		if err != nil {
			return err
		}
		if ok {
			live = append(live, s)
		}
	}
	for len(live) > 0 {
		first := 0
		for i, s := range live {
			if s.before(live[first]) {
				first = i
			}
		}
		s := live[first]
		if err := fn(s.take()); err != nil {
			return err
		}
		ok, err := s.fill()
		if err != nil {
			return err
		}
		if !ok {
			live = slices.Delete(live, first, first+1)
		}
	}
	return nil
}

// openers is how many sources are opened at once.
const openers = 8

func (r *reader) openAll(ctx context.Context) error {
	todo := make(chan *source)
	errs := make(chan error, openers)
	var wg sync.WaitGroup
	for range openers {
		wg.Go(func() {
			var first error
			for s := range todo {
				if err := s.open(ctx, false); err != nil && first == nil {
					first = fmt.Errorf("reading the log of container %s of replica %s: %w", s.container, s.replica, err)
				}
			}
			errs <- first
		})
	}
	for _, s := range r.sources {
		todo <- s
	}
	close(todo)
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	if err := errors.Join(all...); err != nil {
		return failed(ctx, "reading logs of "+r.query.Name, err)
	}
	return nil
}

// follow calls fn for every line that comes, until ctx ends or fn returns an error.
func (r *reader) follow(ctx context.Context, changed <-chan struct{}, fn func(workload.LogLine) error) error {
	ctx, cancel := context.WithCancel(ctx)
	lines := make(chan workload.LogLine) // unbuffered: a slow reader slows the nodes, not our memory
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	gone := make(chan sourceKey)
	start := func() {
		for k, s := range r.sources {
			if s.following {
				continue
			}
			s.following = true
			wg.Go(func() {
				s.follow(ctx, lines)
				select {
				case gone <- k:
				case <-ctx.Done():
				}
			})
		}
	}
	start()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case l := <-lines:
			if err := fn(l); err != nil {
				return err
			}
		case k := <-gone:
			delete(r.sources, k)
		case <-changed:
			if err := r.discover(r.live()); err != nil {
				return err
			}
			start()
		}
	}
}
