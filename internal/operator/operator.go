// Package operator implements workload.Service: it checks what a user deploys,
// remembers it in the store, keeps the engine at what the store says, and tells
// what became of it.
//
// It promises that the store is the only truth: it is written before the engine is
// asked for anything, one record at a time, so that a death at any moment leaves
// the old desired state or the new one. Whole files are checked before any of
// them is applied. What it says about a workload (phases, explanations) is computed
// by pure functions of the record and the engine's status.
//
// It must not know how replicas run, how state is kept or how callers reach it.
package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
)

// Config of an Operator.
type Config struct {
	Store  store.Store   // required
	Engine engine.Engine // required
	// Source is where others declare workloads, past Deploy. Nil: nobody does.
	Source store.Source
	// Jobs is where others submit jobs. Nil: nobody does.
	Jobs store.JobSource
	// Telemetry receives the metrics. Nil measures nothing.
	Telemetry *telemetry.Registry
	// Log receives what goes wrong in the background. Nil discards it.
	Log *slog.Logger
	// Info is what Info answers; APIs and Replicas are counted afresh. The host of
	// Info.APIEndpoint begins every endpoint that is shown.
	Info workload.Info
	// APIEndpoint is asked each time for what begins every endpoint: a load balancer
	// may get its address later. Nil is Info.APIEndpoint.
	APIEndpoint func() string
	// HostEndpoint is where an API is reached that has a host name of its own. Nil: nowhere.
	HostEndpoint func(host string) string
	// Hosts are the names that APIs may have: names, and *.example.com for every name below
	// example.com. Nil: any.
	Hosts []string
	// Engines says which ways of running containers work here now. Nil says none.
	Engines func(context.Context) []workload.Engine
	// Permit is asked before a file is deployed, for everything that it is about at once.
	// Nil permits everything.
	Permit func(context.Context, []workload.Subject) error
	// Secrets keeps values that replicas get. Nil: there are none here.
	Secrets store.Secrets
	// UseSecrets is asked before anything is deployed that can read secrets, for all of
	// them by name. Nil permits everything.
	UseSecrets func(context.Context, []string) error
	// Keys keeps access keys. Nil: there are none here.
	Keys store.Keys
	// Calls keeps who called what. Nil: nobody does.
	Calls store.Calls
	// CreateKeys is asked before keys are made or replaced, RevokeKeys before they are
	// revoked.
	CreateKeys, RevokeKeys PermitKeys
	// Volumes has the folders that pods mount. Nil: others keep those.
	Volumes Volumes
	// UseVolumes is asked before anything is deployed that mounts volumes, for all of them
	// by name, and by path where they are folders of the machine. Nil permits everything.
	UseVolumes func(context.Context, []string) error
	// ImagesOnly refuses containers without an image, which would run as processes of
	// the operator's own user.
	ImagesOnly bool
	// Identities says that callers can prove AWS identities here.
	Identities bool
	// RequireAuth refuses APIs that anybody may call.
	RequireAuth bool
	// OneMachine refuses what only Kubernetes has (workload.Spec.OneMachine).
	OneMachine bool
	// Locate finds what the processes of a pod run in a folder, in the folders of their
	// caller's PATH. Nil: callers are elsewhere, so that their PATH says nothing here.
	Locate func(pod *workload.Pod, directory, path string) *workload.Programs
	// Code keeps the code that processes were deployed with. Nil: they run in their folder.
	Code Code
	// Room knows which replicas could ever be placed. Nil: all of them.
	Room Room
	// Traffic knows what APIs have to do. Nil: nobody here does.
	Traffic func(name string) (workload.Traffic, bool)
	// Took knows how long requests took. Nil: nobody here does.
	Took func(name string) (workload.Took, bool)
	// Copies knows what became of the copies that splitters make. Nil: nobody here does.
	Copies func(name string) (workload.Copies, bool)
	// Usage knows what the replicas of an API take and do, by their ids. Nil: nobody here does.
	Usage func(name string) map[string]workload.Usage
	// Caller names who is calling, by an ARN. Nil: nobody has to prove who they are.
	Caller func(context.Context) string
	// Items has the items of AsyncAPIs. Nil: such an API cannot run here.
	Items Items
	// RunJobs runs the jobs of BatchAPIs and TaskAPIs. Nil: such an API cannot run here.
	RunJobs Jobs
	// Schedules begins what is due. Nil: nothing is, here.
	Schedules Schedules
	// Now is the clock of revisions and events. Nil is time.Now.
	Now func() time.Time
}

// Operator is the control plane of one environment. Its methods may be called at
// once, also while Run is not running: then changes are remembered and applied
// when it runs.
type Operator struct {
	store  store.Store
	engine engine.Engine
	source store.Source    // nil: there is none
	jobs   store.JobSource // nil: there is none
	log    *slog.Logger
	info   workload.Info
	now    func() time.Time

	images      bool
	oneMachine  bool
	requireAuth bool
	identities  bool
	locate      func(pod *workload.Pod, directory, path string) *workload.Programs // nil: never
	code        Code                                                               // nil: processes run in their folder
	room        Room                                                               // nil: everything fits
	traffic     func(name string) (workload.Traffic, bool)                         // nil: not known
	took        func(name string) (workload.Took, bool)                            // nil: not known
	copies      func(name string) (workload.Copies, bool)                          // nil: not known
	usage       func(name string) map[string]workload.Usage                        // nil: not known
	apiEndpoint func() string
	hostURL     func(host string) string // nil: nowhere
	hosts       []string                 // nil: any
	engines     func(context.Context) []workload.Engine
	permit      func(context.Context, []workload.Subject) error // nil: everything is permitted
	caller      func(context.Context) string
	secrets     store.Secrets                         // nil: there are none
	useSecrets  func(context.Context, []string) error // nil: everything is permitted
	keys        store.Keys                            // nil: there are none
	calls       store.Calls                           // nil: calls are not counted
	createKeys  PermitKeys                            // nil: everything is permitted
	revokeKeys  PermitKeys                            // likewise
	volumes     Volumes                               // nil: others keep them
	useVolumes  func(context.Context, []string) error // nil: everything is permitted
	items       Items                                 // nil: there are none
	runJobs     Jobs                                  // nil: there are none
	schedules   Schedules                             // nil: nothing is due here
	reading     chan struct{}                         // its holders read a file

	// changes serialises what checks the deployed workloads against each other:
	// two files at once must not both take an endpoint, and a target must not
	// vanish while a splitter to it is deployed. Its holder has received from it.
	changes chan struct{}
	// remembered holds, by name, the id of the revision that is known to be in the
	// history. Each name is only used under changes, the names of one file at once.
	remembered sync.Map
	collected  time.Time // when unneeded code was last looked for; used under changes

	cache    cache
	wakes    wakes
	watches  *watches
	recorded *recordings
}

var _ workload.Service = (*Operator)(nil)

// New returns an operator that is not running yet.
func New(c Config) (*Operator, error) {
	if c.Store == nil || c.Engine == nil {
		return nil, errors.New("operator: a store and an engine are needed")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Caller == nil {
		c.Caller = func(context.Context) string { return "" }
	}
	if c.APIEndpoint == nil {
		c.APIEndpoint = func() string { return c.Info.APIEndpoint }
	}
	o := &Operator{
		store: c.Store, engine: c.Engine, source: c.Source, jobs: c.Jobs, log: c.Log, info: c.Info, now: c.Now, engines: c.Engines, permit: c.Permit, caller: c.Caller, secrets: c.Secrets, useSecrets: c.UseSecrets, keys: c.Keys, calls: c.Calls, createKeys: c.CreateKeys, revokeKeys: c.RevokeKeys, volumes: c.Volumes, useVolumes: c.UseVolumes, images: c.ImagesOnly, oneMachine: c.OneMachine, requireAuth: c.RequireAuth, identities: c.Identities, locate: c.Locate, code: c.Code, room: c.Room, traffic: c.Traffic, took: c.Took, copies: c.Copies, usage: c.Usage, items: c.Items, runJobs: c.RunJobs, schedules: c.Schedules, apiEndpoint: c.APIEndpoint, hostURL: c.HostEndpoint, hosts: c.Hosts,
		changes: make(chan struct{}, 1), reading: make(chan struct{}, readAtOnce), watches: newWatches(), recorded: &recordings{apis: map[string]*history{}},
	}
	o.changes <- struct{}{}
	o.measure(c.Telemetry)
	return o, nil
}

// change runs fn while no other change is under way. Once it runs, it runs to its
// end: a caller that hangs up leaves no file half applied.
func (o *Operator) change(ctx context.Context, fn func(context.Context) error) error {
	select {
	case <-o.changes:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { o.changes <- struct{}{} }()
	return fn(context.WithoutCancel(ctx))
}

// Info describes the environment.
func (o *Operator) Info(ctx context.Context) (workload.Info, error) {
	list, err := o.store.List(ctx)
	if err != nil {
		return workload.Info{}, err
	}
	info := o.info
	info.APIEndpoint = o.apiEndpoint()
	info.APIs = len(list)
	if o.engines != nil {
		info.Engines = o.engines(ctx)
	}
	for _, w := range list {
		if es, err := o.engineStatus(ctx, w); err == nil && es != nil {
			ready, _ := es.Ready()
			info.Replicas += ready
		}
	}
	return info, nil
}

// attempts bounds how often a change is tried that another one overtook.
const attempts = 50

// mutate changes the record of a workload to what edit makes of it, again from
// the start when someone else changed it in between. Edit says whether there is
// anything to write. It returns the record before and after.
func (o *Operator) mutate(ctx context.Context, name string, edit func(*store.Workload) (bool, error)) (before, after store.Workload, err error) {
	for range attempts {
		before, err = o.store.Get(ctx, name)
		if err != nil {
			return before, before, err
		}
		after = before
		write, err := edit(&after)
		if err != nil || !write {
			return before, before, err
		}
		after.Version, err = o.store.Put(ctx, after)
		if fault.Code(err) == store.CodeVersionConflict {
			continue
		}
		return before, after, err
	}
	return before, before, fault.New(fault.Conflict, store.CodeVersionConflict, "%s is being changed by others all the time", name).
		WithHint("try again")
}

// endpoint is where a workload is reached.
func (o *Operator) endpoint(r *workload.Revision) string {
	if r.Networking == nil {
		return ""
	}
	return o.apiEndpoint() + r.Networking.Endpoint
}

// hostEndpoint is where a workload is reached by its own host name, if it has one.
func (o *Operator) hostEndpoint(r *workload.Revision) string {
	if r.Networking == nil || r.Networking.Host == "" || o.hostURL == nil {
		return ""
	}
	return o.hostURL(r.Networking.Host)
}

// reached is where a workload is reached, in words.
func (o *Operator) reached(r *workload.Revision) string {
	text := o.endpoint(r)
	if h := o.hostEndpoint(r); h != "" {
		text += " and " + h
	}
	return text
}

// label is how messages name a workload: iris (RealtimeAPI).
func label(s *workload.Spec) string { return fmt.Sprintf("%s (%s)", s.Name, s.Kind) }

func notDeployed(name string) error {
	return fault.New(fault.NotFound, "resources.api_not_deployed", "%s is not deployed", name).
		WithHint("cortex get shows what is")
}

// onlyFor refuses an operation that the kind does not have.
func onlyFor(what string, s *workload.Spec) error {
	return fault.New(fault.Invalid, "resources.operation_is_only_supported_for_kind",
		"%s is only supported for RealtimeAPI, and %s is a %s", what, s.Name, s.Kind)
}
