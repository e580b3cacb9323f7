package operator

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// hall is a room for so many cores; it remembers who asked.
type hall struct {
	mu    sync.Mutex
	cores int64
	asked []string
	news  chan struct{}
}

func newHall(cores int64) *hall { return &hall{cores: cores, news: make(chan struct{})} }

var _ Room = (*hall)(nil)

func (h *hall) Against(s *workload.Spec) []workload.Violation {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, s.Name)
	if s.Pod.Containers[0].Compute.CPU.Value() <= h.cores {
		return nil
	}
	return []workload.Violation{{Path: "pod", Code: workload.CodeNoCapacity, Message: "no node could ever hold a replica\n\n  requested\n\n  available", Hint: "ask for less"}}
}

func (h *hall) Changes(ctx context.Context, fn func()) error {
	for {
		h.mu.Lock()
		news := h.news // of what comes after what fn sees
		h.mu.Unlock()
		fn()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		}
	}
}

// extend makes the hall larger.
func (h *hall) extend(cores int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cores = cores
	close(h.news)
	h.news = make(chan struct{})
}

func (h *hall) take() (asked []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	asked, h.asked = h.asked, nil
	return asked
}

// cores is the YAML of an API that asks for so many, and more of its keys.
func cores(name, n, more string) string {
	return strings.Replace(realtime(name, more), "command: [./serve]", "command: [./serve]\n        compute: {cpu: "+n+"}", 1)
}

// What no node could ever hold is refused with its position, and with it the file:
// nothing of it is stored, in a dry run or not.
func TestTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	for _, dry := range []bool{false, true} {
		w := newWorld(t)
		h := newHall(4)
		w.room = h
		file := cores("small", "4", "") + cores("large", "5", "") + cores("huge", "500", "") + splitter("split", "small")
		_, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: file, DryRun: dry})
		f := fault.From(err)
		if f == nil || f.Kind != fault.Invalid || f.Code != workload.CodeNoCapacity || len(f.Problems) != 2 {
			t.Fatalf("Deploy() = %+v, want two problems by %s", f, workload.CodeNoCapacity)
		}
		p := f.Problems[0]
		if p.API != "large (RealtimeAPI)" || p.Path != "pod" || p.Line == 0 || p.Hint != "ask for less" || !strings.Contains(p.Message, "available") {
			t.Errorf("the first problem is %+v, want large, with its position, the tables and what to do", p)
		}
		if deployed, err := w.store.List(t.Context()); err != nil || len(deployed) != 0 {
			t.Errorf("%d are deployed (%v), want none", len(deployed), err)
		}
		if asked := h.take(); !slices.Equal(asked, []string{"small", "large", "huge"}) {
			t.Errorf("asked for %q, want every API that has replicas", asked)
		}
	}
}

// Replicas that are deployed are not looked at again when something else changes:
// the nodes that held them may be gone.
func TestOnlyOtherReplicasAreLookedAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := newHall(4)
	w.room = h
	deploy := func(config string) error {
		_, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: config, Force: true})
		return err
	}
	if err := deploy(cores("iris", "4", "")); err != nil {
		t.Fatal(err)
	}
	h.extend(2)
	h.take()
	for _, tt := range []struct {
		name, config string
		refused      bool
	}{
		{"the same", cores("iris", "4", ""), false},
		{"other autoscaling", cores("iris", "4", "  autoscaling: {max_replicas: 7}\n"), false},
		{"another endpoint", cores("iris", "4", "  networking: {endpoint: /x}\n"), false},
		{"other node groups", cores("iris", "4", "  node_groups: [gpu]\n"), true},
		{"another pod", cores("iris", "3", ""), true},
		{"another name", cores("rose", "4", ""), true},
		{"less", cores("iris", "2", ""), false},
		{"as before, which is another pod now", cores("iris", "4", ""), true},
	} {
		if err := deploy(tt.config); (fault.Code(err) == workload.CodeNoCapacity) != tt.refused || err != nil && !tt.refused {
			t.Errorf("%s: Deploy() = %v, want it refused: %t", tt.name, err, tt.refused)
		}
		if asked := h.take(); (len(asked) > 0) != (tt.refused || tt.name == "less") {
			t.Errorf("%s: asked for %q", tt.name, asked)
		}
	}
}

func TestRollbackToWhatFitsNoMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := newHall(8)
	w.room = h
	w.deploy(cores("iris", "8", ""))
	if _, err := w.Deploy(t.Context(), workload.DeployRequest{Config: cores("iris", "1", ""), Force: true}); err != nil {
		t.Fatal(err)
	}
	h.extend(4)
	if _, err := w.Rollback(t.Context(), "iris", "v1"); fault.Code(err) != workload.CodeNoCapacity {
		t.Errorf("Rollback() = %v, want %s", err, workload.CodeNoCapacity)
	}
	h.extend(8)
	if _, err := w.Rollback(t.Context(), "iris", "v1"); err != nil {
		t.Errorf("Rollback() to what fits = %v", err)
	}
}

// What was declared and fits no node is refused for now, and deployed when the nodes
// have become larger.
func TestDeclarationsWaitForLargerNodes(t *testing.T) {
	t.Parallel()
	b, w := newBoard(t)
	h := newHall(4)
	w.room = h
	w.run()
	source := b.declare(workload.Realtime, "iris", "1", `{"pod": {"containers": [{"name": "api", "image": "i", "compute": {"cpu": 8}}]}}`)
	f := fault.From(b.verdict(t, source))
	if f == nil || f.Kind != fault.Conflict || f.Code != workload.CodeNoCapacity || !strings.HasPrefix(f.Message, "spec.pod: no node could ever hold a replica\n") {
		t.Fatalf("Resolve() = %+v, want it refused for now, with its tables", f)
	}
	h.extend(8)
	eventually(t, source+" is accepted", func() bool { return b.verdict(t, source) == nil })
	if got := w.record("iris"); got.Revision == nil {
		t.Errorf("iris is %+v, want it deployed", got)
	}
}
