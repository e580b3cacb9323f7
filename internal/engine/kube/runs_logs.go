package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// RunFiles keeps what runs wrote, by names with slashes.
type RunFiles interface {
	Put(ctx context.Context, name string, r io.Reader) (int64, error)
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// List returns the names in a folder.
	List(ctx context.Context, folder string) ([]string, error)
	Remove(ctx context.Context, name string) error
}

// KeepRuns has what runs write kept in files, from now on. Before, it goes with their pods.
func (e *Engine) KeepRuns(files RunFiles) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.runFiles = files
}

func (e *Engine) keeper() RunFiles {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.runFiles
}

// What is kept of the output of the runs of one name.
const (
	keptLogs     = 20        // runs, those that ended last
	keptLogBytes = 512 << 10 // the last of each
)

// logsOf is the folder of what the runs of a name wrote: beside the job's other files.
func logsOf(name string) string { return strings.Replace(name, ".", "/", 1) + "/logs" }

// output is what the containers of a run write, as it is gathered until they end.
type output struct {
	ended chan struct{} // closed then

	mu    sync.Mutex
	lines []workload.LogLine
	size  int
}

// gather reads what the containers of a run wrote and write. It returns when their logs are
// open: a pod that is being deleted takes them along.
func (e *Engine) gather(ctx context.Context, name engine.RunName, p *corev1.Pod) *output {
	out := &output{ended: make(chan struct{})}
	r := &reader{e: e, query: workload.LogQuery{Name: name.Name}, sources: map[sourceKey]*source{}}
	if err := r.discover([]*corev1.Pod{p}); err != nil {
		e.cfg.Log.Warn("what a worker writes cannot be read", "pod", p.Name, "error", err)
	}
	var all sync.WaitGroup
	for _, s := range r.sources {
		if err := s.open(ctx, true); err != nil {
			e.cfg.Log.Warn("what a worker writes cannot be read", "pod", p.Name, "container", s.container, "error", err)
			continue
		}
		all.Go(func() {
			defer s.close()
			for {
				if ok, err := s.fill(); err != nil || !ok {
					return
				}
				out.add(s.take())
			}
		})
	}
	go func() {
		all.Wait()
		close(out.ended)
	}()
	return out
}

// add keeps a line, and the last of those before.
func (o *output) add(l workload.LogLine) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines, o.size = append(o.lines, l), o.size+len(l.Text)
	for o.size > keptLogBytes {
		o.size -= len(o.lines[0].Text)
		o.lines = o.lines[1:]
	}
}

// text is what is kept, in order of time, a line of JSON for each.
func (o *output) text() ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	slices.SortStableFunc(o.lines, func(a, b workload.LogLine) int { return a.Time.Compare(b.Time) })
	var text bytes.Buffer
	lines := json.NewEncoder(&text)
	for _, l := range o.lines {
		if err := lines.Encode(l); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

// keepLogs keeps what a run wrote.
func (e *Engine) keepLogs(ctx context.Context, name engine.RunName, o *output) error {
	text, err := o.text()
	files := e.keeper()
	if err != nil || files == nil || len(text) == 0 {
		return err
	}
	folder := logsOf(name.Name)
	before, err := files.List(ctx, folder)
	if err != nil {
		return err
	}
	slices.Sort(before)
	for _, old := range before[:max(0, len(before)-keptLogs+1)] {
		err = errors.Join(err, files.Remove(ctx, old))
	}
	at := fmt.Sprintf("%s/%013d-%s", folder, e.cfg.Now().UnixMilli(), name.ID)
	_, put := files.Put(ctx, at, bytes.NewReader(text))
	return errors.Join(err, put)
}

// RunLogs implements engine.Runner.
func (e *Engine) RunLogs(ctx context.Context, name string, q workload.LogQuery, fn func(workload.LogLine) error) error {
	if err := e.ready(ctx); err != nil {
		return err
	}
	q.Name = name
	r := &reader{e: e, query: q, sources: map[sourceKey]*source{}}
	if q.Since > 0 {
		r.since = e.cfg.Now().Add(-q.Since)
	}
	changed, done := e.listen(name) // first, so that nothing falls between history and follow
	defer done()
	kept, ids, err := e.keptLines(ctx, name)
	if err != nil {
		return err
	}
	r.live = func() []*corev1.Pod { return e.podsOfRuns(name, ids) }
	if err := r.discover(r.live()); err != nil {
		return err
	}
	wanted := func(fn func(workload.LogLine) error) func(workload.LogLine) error {
		return func(l workload.LogLine) error {
			if !strings.HasPrefix(l.Replica, q.Replica) || l.Time.Before(r.since) {
				return nil
			}
			return fn(l)
		}
	}
	all := func(fn func(workload.LogLine) error) error {
		fn = wanted(fn)
		for _, l := range kept {
			if err := fn(l); err != nil {
				return err
			}
		}
		return r.merge(ctx, fn)
	}
	if err := engine.Tail(q.Tail, all, fn); err != nil || !q.Follow {
		return orEnded(ctx, err)
	}
	return orEnded(ctx, r.follow(ctx, changed, wanted(fn)))
}

// podsOfRuns are the pods of the runs of a name, as they were seen last, but for those whose
// output is kept.
func (e *Engine) podsOfRuns(name string, kept map[string]bool) (pods []*corev1.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, o := range e.jobPods.List() {
		p, ok := o.(*corev1.Pod)
		if !ok {
			continue
		}
		if r, ok := runOfPod(p); ok && r.Name == name && !kept[r.ID] && !e.forgotten[p.UID] {
			pods = append(pods, p)
		}
	}
	return pods
}

// keptLines are what the runs of a name wrote that have ended, in order of time, and which
// runs those are.
func (e *Engine) keptLines(ctx context.Context, name string) (all []workload.LogLine, ids map[string]bool, _ error) {
	files := e.keeper()
	if files == nil {
		return nil, nil, nil
	}
	names, err := files.List(ctx, logsOf(name))
	if err != nil {
		return nil, nil, err
	}
	ids = map[string]bool{}
	for _, n := range names {
		data, err := readLog(ctx, files, n)
		if err != nil {
			return nil, nil, err
		}
		ids[n[strings.LastIndexByte(n, '-')+1:]] = true
		for line := range bytes.Lines(data) {
			var l workload.LogLine
			if json.Unmarshal(line, &l) == nil { // one that is damaged says nothing
				all = append(all, l)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b workload.LogLine) int { return a.Time.Compare(b.Time) })
	return all, ids, nil
}

func readLog(ctx context.Context, files RunFiles, name string) ([]byte, error) {
	f, err := files.Open(ctx, name)
	if errors.Is(err, fs.ErrNotExist) { // dropped meanwhile
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 8*keptLogBytes))
}

// ForgetRuns implements engine.Runner.
func (e *Engine) ForgetRuns(ctx context.Context, name string) {
	files := e.keeper()
	if files == nil {
		return
	}
	names, err := files.List(ctx, logsOf(name))
	for _, n := range names {
		err = errors.Join(err, files.Remove(ctx, n))
	}
	if err != nil {
		e.cfg.Log.Warn("what the workers of a job wrote cannot be dropped", "job", name, "error", err)
	}
}
