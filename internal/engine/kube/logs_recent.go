package kube

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"cortex.dev/cortex/internal/engine"
)

// Bounds on asking for the last log lines of containers that ended.
const (
	fetchers     = 2                // at once
	fetchQueue   = 100              // waiting
	fetchPods    = 5                // of one workload: more say the same
	fetchBytes   = 16 << 10         // of one run
	fetchTimeout = 10 * time.Second // for one run
)

// recent holds the last log lines of runs that ended, as evidence. They are asked
// for in the background; what cannot be had is not asked for again.
type recent struct {
	e     *Engine
	queue chan fetch

	mu    sync.Mutex
	lines map[string]map[run][]string // by workload; present once asked and answered
	asked map[run]bool
}

type fetch struct {
	name, pod string
	run       run
	previous  bool // the container has been started again since
}

func newRecent(e *Engine) *recent {
	return &recent{e: e, queue: make(chan fetch, fetchQueue), lines: map[string]map[run][]string{}, asked: map[run]bool{}}
}

// of returns what is known of a workload. The lines are not changed afterwards.
func (r *recent) of(name string) map[run][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[run][]string, len(r.lines[name]))
	for k, v := range r.lines[name] {
		out[k] = v
	}
	return out
}

// want asks for the lines of what ended in pods, and forgets all others of the
// workload.
func (r *recent) want(name string, pods []*corev1.Pod) {
	if r.e.cfg.ReadOnly {
		return
	}
	wanted := map[run]fetch{}
	from := 0
	for _, pod := range pods {
		n := len(wanted)
		for i := range pod.Status.ContainerStatuses {
			if f, ok := endedRun(name, pod, &pod.Status.ContainerStatuses[i]); ok && from < fetchPods {
				wanted[f.run] = f
			}
		}
		if len(wanted) > n {
			from++
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.lines[name] {
		if _, ok := wanted[k]; !ok {
			delete(r.lines[name], k)
			delete(r.asked, k)
		}
	}
	if len(r.lines[name]) == 0 {
		delete(r.lines, name)
	}
	for k, f := range wanted {
		if r.asked[k] {
			continue
		}
		select {
		case r.queue <- f:
			r.asked[k] = true
		default: // the next look tries again
		}
	}
}

// endedRun returns how to ask for the last lines of a container that keeps its pod
// from being ready.
func endedRun(name string, pod *corev1.Pod, s *corev1.ContainerStatus) (fetch, bool) {
	last := lastRun(s)
	ready := condition(pod, corev1.PodReady)
	if last == nil || last.ContainerID == "" || slices.Contains(startReasons, last.Reason) || pod.DeletionTimestamp != nil ||
		ready != nil && ready.Status == corev1.ConditionTrue {
		return fetch{}, false
	}
	return fetch{name: name, pod: pod.Name, run: run{pod.UID, s.Name, last.ContainerID}, previous: s.State.Running != nil}, true
}

// work answers what was asked until ctx ends. After each answer done is called.
func (r *recent) work(ctx context.Context, done func(name string)) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-r.queue:
			r.answer(ctx, f)
			done(f.name)
		}
	}
}

func (r *recent) answer(ctx context.Context, f fetch) {
	lines, err := r.read(ctx, f)
	if err != nil {
		r.e.cfg.Log.Debug("reading the last log lines of a container that ended", "pod", f.pod, "container", f.run.container, "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.asked, f.run)
	if ctx.Err() != nil {
		return
	}
	r.asked[f.run] = true
	if r.lines[f.name] == nil {
		r.lines[f.name] = map[run][]string{}
	}
	r.lines[f.name][f.run] = lines
}

func (r *recent) read(ctx context.Context, f fetch) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	tail, limit := int64(engine.EvidenceLines), int64(fetchBytes)
	body, err := r.e.streams.CoreV1().Pods(r.e.cfg.Pods.Namespace).GetLogs(f.pod, &corev1.PodLogOptions{
		Container: f.run.container, Previous: f.previous, TailLines: &tail, LimitBytes: &limit,
	}).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	text, err := io.ReadAll(io.LimitReader(body, fetchBytes))
	if err != nil {
		return nil, err
	}
	var lines []string
	for l := range strings.Lines(strings.ToValidUTF8(string(text), "\uFFFD")) {
		lines = append(lines, strings.TrimRight(l, "\r\n"))
	}
	return lines, nil
}
