package local

import (
	"context"
	"errors"
	"slices"
	"strings"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

var _ engine.Executor = (*Engine)(nil)

// Exec implements engine.Executor.
func (e *Engine) Exec(ctx context.Context, req workload.ExecRequest, streams workload.ExecStreams) (int, error) {
	e.mu.Lock()
	c := e.controllers[req.Name]
	e.mu.Unlock()
	if c == nil {
		return 0, fault.New(fault.NotFound, "resources.api_not_deployed", "%s is not deployed", req.Name)
	}
	h, err := c.inside(req)
	if err != nil {
		return 0, err
	}
	code, err := h.Exec(ctx, req.Command, req.TTY, streams)
	var start *StartError
	if errors.As(err, &start) {
		return 0, fault.New(fault.Invalid, "exec."+start.Reason.Code, "%s", start.Reason.Message).WithHint("%s", start.Reason.Fix)
	}
	return code, err
}

// inside returns the container that a request names: of several replicas the oldest that
// runs.
func (c *controller) inside(req workload.ExecRequest) (Container, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := slices.DeleteFunc(slices.Clone(c.replicas), func(r *replica) bool { return !strings.HasPrefix(r.id, req.Replica) })
	switch {
	case len(found) == 0 && req.Replica != "":
		return nil, fault.New(fault.NotFound, "exec.replica_not_found", "%s has no replica %q", req.Name, req.Replica).
			WithHint("cortex describe %s lists them", req.Name)
	case len(found) > 1 && req.Replica != "":
		ids := make([]string, len(found))
		for i, r := range found {
			ids[i] = r.id
		}
		return nil, fault.New(fault.Invalid, "exec.replica_ambiguous", "%q names %d replicas of %s: %s", req.Replica, len(ids), req.Name, strings.Join(ids, ", ")).
			WithHint("give more of its id")
	}
	for _, r := range found {
		h, err := r.inside(req.Container)
		if h != nil || err != nil {
			return h, err
		}
	}
	return nil, fault.New(fault.Conflict, engine.CodeNothingRuns, "nothing of %s runs in which a command could", req.Name).
		WithHint("cortex explain %s says why", req.Name)
}

// inside returns what runs of a container, the first if name is empty; nil: nothing does.
func (r *replica) inside(name string) (Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, c := range r.containers {
		if name == "" || c.spec.Name == name {
			return c.handle, nil
		}
		names = append(names, c.spec.Name)
	}
	return nil, fault.New(fault.NotFound, "exec.container_not_found", "there is no container %q", name).
		WithHint("its containers are %s", strings.Join(names, ", "))
}
