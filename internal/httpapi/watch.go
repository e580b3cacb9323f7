package httpapi

import (
	"context"
	"net/http"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// headerLastEvent has the id of the last line that a caller has of a stream.
const headerLastEvent = "Last-Event-ID"

// Watch leaves out APIs that the caller may not get, and asks that again and again. What
// they may see can have changed since a line that they had, so that it is not taken up
// there: it begins with a snapshot.
func (s services) Watch(ctx context.Context, q workload.WatchQuery, fn func(workload.Watched) error) error {
	if s.guard == nil {
		return s.Service.Watch(ctx, q, fn)
	}
	v := view{services: s, fn: fn}
	for { // once at least: who may see nothing is told so
		some, end := context.WithTimeout(ctx, askAgain)
		err := s.Service.Watch(some, workload.WatchQuery{After: v.after}, func(line workload.Watched) error { return v.tell(ctx, line) })
		over := some.Err() == nil
		end()
		if err != nil || over || ctx.Err() != nil {
			return err
		}
		v.askAgain(ctx)
	}
}

// view is what one caller sees of a stream of changes.
type view struct {
	services
	fn    func(workload.Watched) error
	after string // the line that is known; empty: everything is to be told from the start
	begun bool
	may   map[string]permitted // everything there is, by name
}

type permitted struct {
	of      auth.Resource
	visible bool
}

// tell passes on what the caller may see of a line.
func (v *view) tell(ctx context.Context, line workload.Watched) error {
	if line.Snapshot {
		v.may = make(map[string]permitted, len(line.APIs))
	}
	shown := workload.Watched{ID: line.ID, Snapshot: line.Snapshot, APIs: []workload.WatchedAPI{}}
	if !v.begun { // the one that the audit has
		allowed, err := visible(ctx, v.guard, auth.ActionGet, line.APIs, func(a *workload.WatchedAPI) []auth.Resource { return []auth.Resource{resourceOfWatched(a)} })
		if err != nil {
			return err
		}
		for i := range allowed {
			v.may[allowed[i].Name] = permitted{resourceOfWatched(&allowed[i]), true}
		}
	}
	for i := range line.APIs {
		api := &line.APIs[i]
		of := resourceOfWatched(api)
		known, ok := v.may[api.Name]
		if !ok || known.of != of {
			known = permitted{of, v.begun && v.guard.May(ctx, auth.ActionGet, of)}
			if ok && v.may[api.Name].visible && !known.visible { // of another kind now
				shown.Gone = append(shown.Gone, api.Name)
			}
			v.may[api.Name] = known
		}
		if known.visible {
			shown.APIs = append(shown.APIs, *api)
		}
	}
	for _, name := range line.Gone {
		if v.may[name].visible {
			shown.Gone = append(shown.Gone, name)
		}
		delete(v.may, name)
	}
	v.begun, v.after = true, line.ID
	if !shown.Snapshot && len(shown.APIs) == 0 && len(shown.Gone) == 0 {
		return nil
	}
	return v.fn(shown)
}

// askAgain looks whether the caller may still see the same, and has everything told from
// the start if not.
func (v *view) askAgain(ctx context.Context) {
	for _, p := range v.may {
		if v.guard.May(ctx, auth.ActionGet, p.of) != p.visible {
			v.after = ""
			return
		}
	}
}

func resourceOfWatched(a *workload.WatchedAPI) auth.Resource {
	return auth.Resource{API: a.Name, Kind: string(a.Kind)}
}

// Watch implements workload.Service. When the session is over it is taken up with another
// one. Other errors end it; with the ID of the last line it can be taken up again.
func (c *Client) Watch(ctx context.Context, q workload.WatchQuery, fn func(workload.Watched) error) error {
	for {
		begun, err := streamOnce(ctx, c, call{method: http.MethodGet, path: "/v1/watch", after: q.After}, func(w workload.Watched) error {
			q.After = w.ID
			return fn(w)
		})
		if c.sessions == nil || !begun || !fault.Is(err, fault.Unproven) || ctx.Err() != nil {
			return err
		}
	}
}
