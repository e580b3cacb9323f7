// Package store is the port that remembers what should exist: workloads, their
// history and what happened to them. It survives the death of every process.
//
// It promises that a write which returned nil is durable, and that two writers
// cannot overwrite each other unseen. storetest holds every implementation to it.
// It must not know what runs; that is the engine's.
package store

import (
	"context"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// Version grows with each write of a record, also across its deletion; 0 means
// that it does not exist.
type Version uint64

// Workload is the desired state of one workload.
type Workload struct {
	Revision *workload.Revision // wanted
	Replicas int                // requested; 0 for kinds without replicas, and when idle
	Cause    string             // of the revision, as Past.Cause; what History is repaired with after a crash
	Outcome  workload.Outcome   // of the revision
	// Serving is the last revision that was live, for as long as Revision has not
	// been. Nil: none was, or it is Revision itself.
	Serving *workload.Revision
	// Unproven says that a revision without requests is not to be tried with one
	// replica before somebody asks for it.
	Unproven bool
	// Stopped is set while somebody wants nothing of it to run; Replicas is 0 then.
	Stopped *workload.Stopped
	Version Version // of this record, set by the store

	// Owner identifies what the workload is kept in, for whoever makes things that are
	// to end with it: the uid of a custom resource. Empty where there is no such thing.
	// Created is since when it is there. Both are set by the store.
	Owner   string
	Created time.Time
}

// Name returns the name under which w is kept.
func (w Workload) Name() string { return w.Revision.Name }

// Past is one entry of a workload's history.
type Past struct {
	Revision *workload.Revision
	Cause    string           // deploy, rollback to <id>, refresh
	Outcome  workload.Outcome // as far as it was known when it was remembered
}

// Change tells a watcher that a workload was written (Workload set) or deleted.
type Change struct {
	Name     string
	Workload *Workload // nil: deleted
}

// Limits of what is kept. Older entries are dropped.
const (
	MaxHistory = 100  // revisions of one workload
	MaxEvents  = 1000 // events of one workload
)

// Store keeps desired state. All methods may be called at once.
type Store interface {
	// Put writes w if the record is still at w.Version (0: does not exist) and
	// returns its new version; otherwise fault.Conflict, code store.version_conflict.
	Put(ctx context.Context, w Workload) (Version, error)
	// Get returns one workload, or fault.NotFound with resources.api_not_deployed.
	Get(ctx context.Context, name string) (Workload, error)
	// List returns all workloads, by name.
	List(ctx context.Context) ([]Workload, error)
	// Delete forgets the workload if it is still at version; its history and
	// events too unless keepHistory.
	Delete(ctx context.Context, name string, version Version, keepHistory bool) error
	// Watch calls fn with every present workload, then once with Change{} to say
	// that those were all, then with each change in order; one that a later change
	// of the same workload has overtaken may be left out. It returns ctx's error
	// when ctx ends.
	Watch(ctx context.Context, fn func(Change)) error

	// Remember appends to the workload's history, dropping the oldest past MaxHistory.
	// A revision that is in it keeps its place, and gets the cause and outcome of p.
	Remember(ctx context.Context, p Past) error
	// History returns the kept revisions of a workload, newest first. None is no error.
	History(ctx context.Context, name string) ([]Past, error)

	// Record appends an event, dropping the oldest past MaxEvents. Events need not
	// survive the power going off.
	Record(ctx context.Context, e workload.Event) error
	// Events calls fn for the events of q in order of time, and for new ones while
	// q.Follow; it returns when there are no more, when ctx ends (nil) or with fn's error.
	Events(ctx context.Context, q workload.EventQuery, fn func(workload.Event) error) error

	// Close releases the store. Nothing may be called afterwards.
	Close() error
}
