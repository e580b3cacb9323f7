package operator

import (
	"context"
	"slices"
	"strings"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// Room knows which replicas could ever be placed, on the nodes that there are or may
// come to be. Whether there is room for them now is not its business.
type Room interface {
	// Against returns why a replica of s could never be placed, as rules that s breaks;
	// none when it could, or when nobody knows. It answers at once.
	Against(s *workload.Spec) []workload.Violation
	// Changes calls fn once, and each time its answers may have changed since fn was
	// called, until ctx ends, and returns ctx's error.
	Changes(ctx context.Context, fn func()) error
}

// tooLarge returns why replicas of one API of the file could never be placed. It is
// not asked again of replicas that are deployed already: a change of something else
// must not fail for nodes that went away.
func tooLarge(e manifest.Entry, deployed []store.Workload, room Room) (problems []fault.Problem) {
	if room == nil || e.Spec.Pod == nil {
		return nil
	}
	if slices.ContainsFunc(deployed, func(w store.Workload) bool { return asksTheSame(&w.Revision.Spec, &e.Spec) }) {
		return nil
	}
	for _, v := range room.Against(&e.Spec) {
		p := e.Problem(v.Path, v.Code, "%s", v.Message)
		p.Found, p.Allowed, p.Hint = v.Found, v.Allowed, v.Hint
		problems = append(problems, p)
	}
	return problems
}

// asksTheSame reports whether both are one API whose replicas are the same, and are
// placed on the same nodes.
func asksTheSame(was, is *workload.Spec) bool {
	return was.Name == is.Name && was.Kind == is.Kind && !slices.ContainsFunc(workload.Diff(was, is), func(path string) bool {
		return strings.HasPrefix(path, "pod") || strings.HasPrefix(path, "node_groups")
	})
}

// follow has what was refused resolved again whenever the room changes, until ctx ends.
func (a *sourceController) follow(ctx context.Context) {
	if a == nil || a.room == nil {
		return
	}
	a.retry(ctx, "following the nodes", func() error { return a.room.Changes(ctx, a.roomChanged) })
}

func (a *sourceController) roomChanged() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen++
	if a.waiting {
		a.restart()
	}
}
