package local

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Logs implements engine.Engine.
func (e *Engine) Logs(ctx context.Context, q workload.LogQuery, fn func(workload.LogLine) error) error {
	_, known := e.feed.Get(q.Name)
	if !known && (strings.ContainsAny(q.Name, `/\`) || !filepath.IsLocal(q.Name) || !isDir(filepath.Join(e.logs.root, q.Name))) {
		return fault.New(fault.NotFound, "resources.api_not_deployed", "%s is not deployed", q.Name)
	}
	return e.logs.read(ctx, q, e.begun(q.Name), fn)
}

// begun is when the API of a name was first deployed: what is older is of another that was
// deleted. Zero where none is deployed; then the logs are those of the last one.
func (e *Engine) begun(name string) time.Time {
	e.mu.Lock()
	c := e.controllers[name]
	e.mu.Unlock()
	if c == nil {
		return time.Time{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.desired == nil || c.desired.Revision.InitialDeploymentTime == 0 {
		return time.Time{}
	}
	return time.Unix(0, c.desired.Revision.InitialDeploymentTime)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// reader reads the logs of one workload, merged.
type reader struct {
	store   *logStore
	query   workload.LogQuery
	replica string // resolved; empty for all
	since   time.Time
	sources map[logKey]*logSource
}

func (s *logStore) read(ctx context.Context, q workload.LogQuery, begun time.Time, fn func(workload.LogLine) error) error {
	wake, done := s.follow(q.Name) // first, so that nothing falls between history and follow
	defer done()
	r := &reader{store: s, query: q, since: begun, sources: map[logKey]*logSource{}}
	defer r.close()
	if young := time.Now().Add(-q.Since); q.Since > 0 && young.After(begun) {
		r.since = young
	}
	if err := r.resolve(); err != nil {
		return err
	}
	r.discover(true)
	if err := r.history(ctx, fn); err != nil || !q.Follow {
		return ended(ctx, err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		}
		r.discover(false)
		if err := r.merge(ctx, fn); err != nil {
			return ended(ctx, err)
		}
	}
}

// ended maps the end of the caller's patience to success.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// resolve finds the replica that a prefix names.
func (r *reader) resolve() error {
	if r.query.Replica == "" {
		return nil
	}
	var found []string
	for _, name := range r.store.replicas(r.query.Name) {
		if name == r.query.Replica {
			found = []string{name}
			break
		}
		if strings.HasPrefix(name, r.query.Replica) {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		return fault.New(fault.NotFound, "logs.replica_not_found", "%s has no replica %q", r.query.Name, r.query.Replica).
			WithHint("cortex describe %s lists the replicas", r.query.Name)
	case 1:
		r.replica = found[0]
		return nil
	}
	return fault.New(fault.Invalid, "logs.replica_ambiguous", "%q names %d replicas of %s: %s", r.query.Replica, len(found), r.query.Name, strings.Join(found, ", ")).
		WithHint("give more of its letters")
}

// replicas lists those of which there is or will be something to read.
func (s *logStore) replicas(workload string) []string {
	var names []string
	s.mu.Lock()
	for k := range s.live {
		if k.workload == workload {
			names = append(names, k.replica)
		}
	}
	s.mu.Unlock()
	entries, _ := os.ReadDir(filepath.Join(s.root, workload)) // none is no error
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// discover adds sources that are not read yet. At the beginning those of replicas
// that are gone count too.
func (r *reader) discover(beginning bool) {
	runs := map[logKey]int{}
	r.store.mu.Lock()
	for k, w := range r.store.live {
		if k.workload == r.query.Name {
			runs[k] = w.currentRun()
		}
	}
	r.store.mu.Unlock()
	add := func(k logKey) {
		if r.sources[k] != nil || r.replica != "" && k.replica != r.replica {
			return
		}
		src := &logSource{key: k, dir: filepath.Join(r.store.root, k.workload, k.replica)}
		if r.query.Previous {
			if src.onlyRun = runs[k] - 1; src.onlyRun < 1 {
				return
			}
		}
		r.sources[k] = src
	}
	for k := range runs {
		add(k)
	}
	if !beginning {
		return
	}
	for _, replica := range r.store.replicas(r.query.Name) {
		files, _ := os.ReadDir(filepath.Join(r.store.root, r.query.Name, replica)) // none is no error
		for _, f := range files {
			if c, _, ok := parseLogName(f.Name()); ok {
				add(logKey{r.query.Name, replica, c})
			}
		}
	}
}

// history calls fn for what there is already.
func (r *reader) history(ctx context.Context, fn func(workload.LogLine) error) error {
	if n := min(r.query.Tail, engine.MaxTail); n > 0 && !r.query.Previous {
		for _, s := range r.sources {
			s.seekTail(n)
		}
	}
	return engine.Tail(r.query.Tail, func(fn func(workload.LogLine) error) error { return r.merge(ctx, fn) }, fn)
}

// merge calls fn for every line that is there and was not read yet, in order of time.
func (r *reader) merge(ctx context.Context, fn func(workload.LogLine) error) error {
	var live []*logSource
	for _, s := range r.sources {
		if s.fill(r.since) {
			live = append(live, s)
		}
	}
	for len(live) > 0 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		first := 0
		for i, s := range live {
			if s.before(live[first]) {
				first = i
			}
		}
		s := live[first]
		line := s.line
		s.full = false
		if err := fn(line); err != nil {
			return err
		}
		if !s.fill(r.since) {
			live = slices.Delete(live, first, first+1)
		}
	}
	return nil
}

func (r *reader) close() {
	for _, s := range r.sources {
		s.close()
	}
}
