package kube

import (
	"context"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

var _ store.JobSource = (*Store)(nil)

// PendingJobs calls fn for every job that is not resolved yet. It watches only while it
// is called, which one operator does. What cannot be watched, such as a definition
// that is not installed, is tried again and said once.
func (s *Store) PendingJobs(ctx context.Context, fn func(store.Submission)) error {
	follow, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	f := &jobFeed{fn: fn, ended: func() bool { return follow.Err() != nil }}
	var running sync.WaitGroup
	for _, kind := range workload.JobKinds() {
		running.Go(func() { s.reflectUntil(follow, workload.Kind(kind), &jobsOf{jobFeed: f, kind: kind}) })
	}
	running.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errClosed()
}

// jobFeed tells of jobs that are not resolved, one at a time.
type jobFeed struct {
	mu    sync.Mutex
	fn    func(store.Submission)
	ended func() bool
}

// jobsOf is what a reflector of one kind fills. It keeps nothing.
type jobsOf struct {
	*jobFeed
	kind workload.JobKind
}

var _ cache.ReflectorStore = (*jobsOf)(nil)

// Add tells of a job that is new.
func (f *jobsOf) Add(obj any) error {
	o, err := objectOf(obj, f.kind)
	if err != nil {
		return err
	}
	status := jobStatusOf(o)
	resolved := status.ObservedGeneration == o.Generation
	if over := status.Status != "" && !status.Status.InProgress(); resolved && (over || meta.IsStatusConditionFalse(status.Conditions, crd.Accepted)) {
		return nil
	}
	f.tell(o, resolved, o.DeletionTimestamp != nil)
	return nil
}

func (f *jobsOf) tell(o *object, accepted, gone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended() {
		f.fn(store.Submission{
			ID: o.Name, Kind: f.kind, Spec: o.Spec, Resource: crd.Source(f.kind, o.Name), Version: string(o.UID), Created: o.CreationTimestamp.Time, Accepted: accepted, Gone: gone,
		})
	}
}

// Update tells of a job that somebody touched and that is not over.
func (f *jobsOf) Update(obj any) error { return f.Add(obj) }

// Delete tells that a job is gone.
func (f *jobsOf) Delete(obj any) error {
	if o, ok := obj.(*object); ok {
		f.tell(o, true, true)
	}
	return nil
}

// Replace tells of all that are not resolved.
func (f *jobsOf) Replace(list []any, _ string) error {
	for _, obj := range list {
		if err := f.Add(obj); err != nil {
			return err
		}
	}
	return nil
}

// Resync does nothing.
func (f *jobsOf) Resync() error { return nil }

// jobStatusOf reads the status of a job. One that cannot be read is as good as none.
func jobStatusOf(o *object) crd.JobStatus {
	var s crd.JobStatus
	if len(o.Status) > 0 && decode(o.Status, &s) != nil {
		return crd.JobStatus{}
	}
	return s
}

// ResolveJob writes what became of a job into its status.
func (s *Store) ResolveJob(ctx context.Context, j store.Submission, outcome error) error {
	return s.changeJob(ctx, j, func(o *object, status *crd.JobStatus) {
		status.ObservedGeneration = o.Generation
		verdict := accepted(outcome, "the job passed every rule", o.Generation)
		meta.SetStatusCondition(&status.Conditions, verdict)
		// What is refused has failed, what is accepted is on its way.
		verdict.Status = metav1.ConditionFalse
		stand(&status.Conditions, verdict, o.Generation, outcome == nil, outcome != nil)
		if outcome == nil {
			status.Status = workload.JobPending
		}
	})
}

// ReportJob writes what a job is doing into its status. It is ready when it has succeeded.
func (s *Store) ReportJob(ctx context.Context, j store.Submission, now workload.JobStatus, why *workload.ItemReason) error {
	return s.changeJob(ctx, j, func(o *object, status *crd.JobStatus) {
		status.Status = now
		ready := metav1.Condition{Status: metav1.ConditionFalse, Reason: camelCase(string(now)), Message: "the job is " + strings.ReplaceAll(string(now), "_", " ")}
		if why != nil {
			ready.Message += ": " + why.Message
		}
		if now == workload.JobSucceeded {
			ready.Status = metav1.ConditionTrue
		}
		stand(&status.Conditions, ready, o.Generation, now.InProgress(), !now.InProgress() && now != workload.JobSucceeded)
	})
}

// changeJob changes the status of a job. One that is gone, and another one of its name, have
// none to change.
func (s *Store) changeJob(ctx context.Context, j store.Submission, change func(*object, *crd.JobStatus)) error {
	doing := "writing the status of " + j.Resource
	return s.writeStatus(ctx, doing, func(ctx context.Context) (again bool, err error) {
		o, err := s.client.get(ctx, workload.Kind(j.Kind), j.ID)
		if isMissing(err) || err == nil && string(o.UID) != j.Version {
			return false, nil
		}
		if err != nil {
			return false, s.failure(ctx, doing, err)
		}
		status := jobStatusOf(o)
		change(o, &status)
		_, again, err = s.putStatus(ctx, o, status)
		return again, s.failure(ctx, doing, err)
	})
}
