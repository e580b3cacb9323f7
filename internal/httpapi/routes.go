package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"slices"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// RollbackRequest is the body of a rollback.
type RollbackRequest struct {
	ID string `json:"id,omitempty" doc:"the version to deploy again; empty means the one before the current"`
}

// RefreshRequest is the body of a refresh.
type RefreshRequest struct {
	Force bool `json:"force,omitempty" doc:"replace an update that is under way"`
}

// ScaleRequest is the body of a change of the number of replicas.
type ScaleRequest struct {
	Replicas *int `json:"replicas" doc:"how many there are to be, from autoscaling.min_replicas to autoscaling.max_replicas"`
}

// input is a request that has been read and checked.
type input struct {
	name  string // path parameter {name}
	id    string // path parameter {id}
	query query
	after string // header Last-Event-ID
	body  any    // what route.body returned, filled; never nil when that is set

	origin auth.Origin // where it came from
}

// route is one operation: how it is reached, what it does, and what the document
// says about it.
type route struct {
	id, method, path string
	summary, about   string
	query            []param
	body             func() any // a new value to read the body into; nil for none
	bodyOptional     bool
	faults           []fault.Kind // beyond those that any operation can end in

	// action is what a guard is asked before the operation runs; open operations
	// have none and say so. There is no third: see TestEveryOperationIsClassified.
	action auth.Action
	each   bool // the action is asked for each API that it turns out to be about
	open   bool
	of     func(name string) auth.Resource // what {name} names; nil: an API
	guard  bool                            // only where a guard stands: not on the socket of this machine

	call   func(context.Context, services, input) (any, error) // one answer…
	stream func(context.Context, services, input, func(any) error) error
	// events: the stream can also be had as server-sent events, and taken up again.
	events bool
	// converse runs a command over the connection of the request: see serveExec.
	converse bool
	answer   reflect.Type // of the answer, or of each line of the stream
}

// services is what operations are carried out by.
type services struct {
	workload.Service
	guard auth.Guard // nil: whoever can connect may do everything
	kind  func(ctx context.Context, name string) workload.Kind
}

// answers makes an operation with one answer; its type is part of the document.
func answers[T any](rt route, call func(context.Context, services, input) (T, error)) route {
	rt.answer = reflect.TypeFor[T]()
	rt.call = func(ctx context.Context, s services, in input) (any, error) {
		v, err := call(ctx, s, in)
		if err != nil {
			return nil, err
		}
		if list := reflect.ValueOf(v); list.Kind() == reflect.Slice && list.IsNil() {
			return []struct{}{}, nil // a list is a list, even when it is empty
		}
		return v, nil
	}
	return rt
}

// streams makes an operation that answers with a line for each value.
func streams[T any](rt route, run func(context.Context, services, input, func(T) error) error) route {
	rt.answer = reflect.TypeFor[T]()
	rt.stream = func(ctx context.Context, s services, in input, emit func(any) error) error {
		return run(ctx, s, in, func(v T) error { return emit(v) })
	}
	return rt
}

// routes is every operation of the contract, in the order of the document.
var routes = slices.Concat(workloadRoutes, itemRoutes, jobRoutes, scheduleRoutes, secretRoutes, keyRoutes, callRoutes, volumeRoutes, guardRoutes)

var workloadRoutes = []route{
	answers(route{
		id: "info", method: http.MethodGet, path: "/v1/info", action: auth.ActionClusterInfo,
		summary: "Describe the environment that answers",
	}, func(ctx context.Context, s services, _ input) (workload.Info, error) { return s.Info(ctx) }),

	answers(route{
		id: "deploy", method: http.MethodPost, path: "/v1/deploy", action: auth.ActionDeploy, each: true, // see Permit
		summary: "Deploy every API of a cortex.yaml",
		about: "The whole file is validated first, and nothing changes when any of it is wrong. After that each API " +
			"succeeds or fails on its own: see error in each result.",
		body:   func() any { return new(workload.DeployRequest) },
		faults: []fault.Kind{fault.Invalid, fault.Conflict, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) ([]workload.DeployResult, error) {
		return s.Deploy(ctx, *in.body.(*workload.DeployRequest))
	}),

	answers(route{
		id: "listAPIs", method: http.MethodGet, path: "/v1/apis", action: auth.ActionList, each: true,
		summary: "List what is deployed, with its status",
	}, func(ctx context.Context, s services, _ input) ([]workload.APIResponse, error) {
		all, err := s.List(ctx)
		if err != nil || s.guard == nil {
			return all, err
		}
		return visible(ctx, s.guard, auth.ActionList, all, func(api *workload.APIResponse) []auth.Resource {
			if m := api.Metadata; m != nil {
				return []auth.Resource{{API: m.Name, Kind: string(m.Kind)}}
			}
			return []auth.Resource{{}}
		})
	}),

	answers(route{
		id: "getAPI", method: http.MethodGet, path: "/v1/apis/{name}", action: auth.ActionGet,
		summary: "Show one API: spec, status, endpoint and its newest versions",
		faults:  []fault.Kind{fault.NotFound},
	}, func(ctx context.Context, s services, in input) (workload.APIResponse, error) {
		return s.Get(ctx, in.name)
	}),

	answers(route{
		id: "deleteAPI", method: http.MethodDelete, path: "/v1/apis/{name}", action: auth.ActionDelete,
		summary: "Delete an API",
		query:   []param{paramKeepCache},
		faults:  []fault.Kind{fault.NotFound, fault.Conflict},
	}, func(ctx context.Context, s services, in input) (workload.Message, error) {
		return s.Delete(ctx, in.name, workload.DeleteOptions{KeepCache: in.query.keepCache})
	}),

	answers(route{
		id: "getVersion", method: http.MethodGet, path: "/v1/apis/{name}/versions/{id}", action: auth.ActionGet,
		summary: "Show one earlier version of an API",
		about:   "The id may be shortened to a unique prefix of six or more characters.",
		faults:  []fault.Kind{fault.NotFound, fault.Invalid},
	}, func(ctx context.Context, s services, in input) (workload.APIResponse, error) {
		return s.Version(ctx, in.name, in.id)
	}),

	answers(route{
		id: "describeAPI", method: http.MethodGet, path: "/v1/apis/{name}/describe", action: auth.ActionGet,
		summary: "Count the replicas of an API, with the reason of each that is not ready",
		faults:  []fault.Kind{fault.NotFound, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) (workload.APIResponse, error) {
		return s.Describe(ctx, in.name)
	}),

	answers(route{
		id: "getHistory", method: http.MethodGet, path: "/v1/apis/{name}/history", action: auth.ActionGet,
		summary: "List every kept version of an API, newest first",
		faults:  []fault.Kind{fault.NotFound},
	}, func(ctx context.Context, s services, in input) ([]workload.APIVersion, error) {
		return s.History(ctx, in.name)
	}),

	answers(route{
		id: "rollbackAPI", method: http.MethodPost, path: "/v1/apis/{name}/rollback", action: auth.ActionDeploy,
		summary: "Deploy the spec of an earlier version again, as a new version",
		body:    func() any { return new(RollbackRequest) }, bodyOptional: true,
		faults: []fault.Kind{fault.NotFound, fault.Invalid, fault.Conflict},
	}, func(ctx context.Context, s services, in input) (workload.DeployResult, error) {
		return s.Rollback(ctx, in.name, in.body.(*RollbackRequest).ID)
	}),

	answers(route{
		id: "refreshAPI", method: http.MethodPost, path: "/v1/apis/{name}/refresh", action: auth.ActionRefresh,
		summary: "Replace every replica of an API without changing its spec",
		body:    func() any { return new(RefreshRequest) }, bodyOptional: true,
		faults: []fault.Kind{fault.NotFound, fault.Conflict, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) (workload.Message, error) {
		return s.Refresh(ctx, in.name, in.body.(*RefreshRequest).Force)
	}),

	answers(route{
		id: "stopAPI", method: http.MethodPost, path: "/v1/apis/{name}/stop", action: auth.ActionStop,
		summary: "Leave an API without replicas, and refuse its requests until it is started or deployed",
		faults:  []fault.Kind{fault.NotFound, fault.Invalid},
	}, func(ctx context.Context, s services, in input) (workload.DeployResult, error) {
		return s.Stop(ctx, in.name)
	}),

	answers(route{
		id: "startAPI", method: http.MethodPost, path: "/v1/apis/{name}/start", action: auth.ActionStart,
		summary: "Start an API that is stopped, with as many replicas as it had",
		faults:  []fault.Kind{fault.NotFound, fault.Invalid},
	}, func(ctx context.Context, s services, in input) (workload.DeployResult, error) {
		return s.Start(ctx, in.name)
	}),

	answers(route{
		id: "scaleAPI", method: http.MethodPost, path: "/v1/apis/{name}/scale", action: auth.ActionScale,
		summary: "Set the number of replicas of an API within the bounds of its spec, from which its autoscaler goes on",
		body:    func() any { return new(ScaleRequest) },
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Conflict},
	}, func(ctx context.Context, s services, in input) (workload.DeployResult, error) {
		n := in.body.(*ScaleRequest).Replicas
		if n == nil {
			return workload.DeployResult{}, fault.New(fault.Malformed, "endpoints.body_malformed", "the body has no replicas").
				WithHint(`send {"replicas": N}`)
		}
		return s.Resize(ctx, in.name, *n)
	}),

	answers(route{
		id: "explainAPI", method: http.MethodGet, path: "/v1/apis/{name}/explain", action: auth.ActionGet,
		summary: "Find the first cause of an API not being ready",
		faults:  []fault.Kind{fault.NotFound},
	}, func(ctx context.Context, s services, in input) (workload.Explanation, error) {
		return s.Explain(ctx, in.name)
	}),

	answers(route{
		id: "readSeries", method: http.MethodGet, path: "/v1/apis/{name}/series", action: auth.ActionGet,
		summary: "Read what an API did lately, over time",
		about: "In steps of ten seconds for an hour, which is what is told when nobody says how long, and of a minute for up to 24. It is in the " +
			"memory of the operator, of 1000 APIs, and begins anew when that does. Where the front doors are programs of their own, only replicas are known.",
		query:  []param{paramSince},
		faults: []fault.Kind{fault.NotFound, fault.Invalid},
	}, func(ctx context.Context, s services, in input) (workload.Series, error) {
		return s.Series(ctx, workload.SeriesQuery{Name: in.name, Since: in.query.since})
	}),

	{
		id: "execInAPI", method: http.MethodPost, path: "/v1/apis/{name}/exec", action: auth.ActionExec, converse: true,
		summary: "Run a command in a replica of an API",
		about: "The connection is upgraded to " + execProtocol + ": frames of a letter, four bytes of length and as many bytes. " +
			"The caller sends i (standard input; an empty one ends it) and r (another size of the terminal, as JSON); the command " +
			"o and e (its outputs), the operator a (it is still there) and last x: an ExecEnd. The command ends with the connection.",
		body:   func() any { return new(workload.ExecRequest) },
		faults: []fault.Kind{fault.NotFound, fault.Invalid, fault.Conflict, fault.Unsupported, fault.TooMany},
		answer: reflect.TypeFor[ExecEnd](),
	},

	streams(route{
		id: "readLogs", method: http.MethodGet, path: "/v1/apis/{name}/logs", action: auth.ActionLogs,
		summary: "Read the log lines of an API, all replicas merged",
		query:   []param{paramFollow, paramSince, paramTail, paramPrevious, paramReplica, paramJob},
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Unsupported},
	}, func(ctx context.Context, s services, in input, emit func(workload.LogLine) error) error {
		return s.Logs(ctx, workload.LogQuery{
			Name: in.name, Follow: in.query.follow, Since: in.query.since, Tail: in.query.tail,
			Previous: in.query.previous, Replica: in.query.replica, Job: in.query.job,
		}, emit)
	}),

	streams(route{
		id: "watch", method: http.MethodGet, path: "/v1/watch", action: auth.ActionGet, each: true, events: true,
		summary: "Follow everything that is deployed: what there is, and then what changes",
		about: "The first line is a snapshot, or what has changed since the line whose id Last-Event-ID has, if that is still known. " +
			"Changes that a caller is too slow for come together in one line. Behind identities, the APIs are those that the caller " +
			"may get, asked again every ten seconds, and the first line is always a snapshot.",
		faults: []fault.Kind{fault.TooMany},
	}, func(ctx context.Context, s services, in input, emit func(workload.Watched) error) error {
		return s.Watch(ctx, workload.WatchQuery{After: in.after}, emit)
	}),

	streams(route{
		id: "readAPIEvents", method: http.MethodGet, path: "/v1/apis/{name}/events", action: auth.ActionGet,
		summary: "Read what happened to one API",
		query:   []param{paramFollow, paramSince},
		faults:  []fault.Kind{fault.NotFound},
	}, readEvents),

	streams(route{
		id: "readEvents", method: http.MethodGet, path: "/v1/events", action: auth.ActionList,
		summary: "Read what happened to every API",
		query:   []param{paramFollow, paramSince},
	}, readEvents),
}

// readEvents serves both routes of events: without {name}, the name is empty.
func readEvents(ctx context.Context, s services, in input, emit func(workload.Event) error) error {
	show := emit
	if in.name == "" && s.guard != nil {
		// Whoever may list may be kept from single APIs.
		show = func(e workload.Event) error {
			if !s.guard.May(ctx, auth.ActionGet, auth.Resource{API: e.API, Kind: string(e.Kind)}) {
				return nil
			}
			return emit(e)
		}
	}
	return s.Events(ctx, workload.EventQuery{Name: in.name, Follow: in.query.follow, Since: in.query.since}, show)
}
