package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// tries bounds how often a write begins again because somebody else wrote the same
// resource in between; most often that is a status.
const tries = 20

// Put writes w if the record is still at w.Version. Serials grow also across the
// deletion of a name, because none is lower than the version of the API server's
// whole state when it was written.
//
// A resource that somebody applied and that was not deployed yet is at version 0.
//
// A specification that has to change is written first, and the record after it: who
// dies in between leaves a specification that is not resolved, which the next leader
// deploys. The other way round it would leave one that is not what is deployed, and
// that nobody would look at again.
func (s *Store) Put(ctx context.Context, w store.Workload) (store.Version, error) {
	if w.Revision == nil || !legalName().MatchString(w.Revision.Name) {
		return 0, illegalName(nameOf(w.Revision))
	}
	if !slices.Contains(workload.Kinds(), w.Revision.Kind) {
		return 0, fault.New(fault.Invalid, "store.illegal_kind", "%q is not a kind", w.Revision.Kind)
	}
	ctx, done, err := s.beginWrite(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	defer s.names.share(w.Name())()
	// What is written here for a moment without its record is not for others to deploy.
	defer s.view.hold(key{name: w.Name(), kind: w.Revision.Kind})()
	doing := "writing " + w.Name()
	for range tries {
		o, err := s.put(ctx, w)
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || isMissing(err) {
			continue
		}
		if err != nil {
			return 0, s.failure(ctx, doing, err)
		}
		e, err := entryOf(o)
		if err == nil {
			err = e.problem
		}
		if err != nil {
			return 0, fmt.Errorf("%s: reading what was written: %w", doing, err)
		}
		s.view.set(e)
		return e.work.Version, nil
	}
	return 0, busy(doing)
}

// put is one attempt. Errors that say that the resource is not as it was read are
// returned as they are.
func (s *Store) put(ctx context.Context, w store.Workload) (*object, error) {
	kind, name := w.Revision.Kind, w.Name()
	if e, ok := s.view.deployed(name); ok && e.key.kind != kind {
		return nil, conflict(name)
	}
	o, err := s.client.get(ctx, kind, name)
	if isMissing(err) {
		o, err = s.create(ctx, w)
	}
	if err != nil {
		return nil, err
	}
	if o.DeletionTimestamp != nil {
		return nil, fault.New(fault.Conflict, store.CodeVersionConflict, "%s is being deleted", crd.Source(kind, name)).
			WithHint("try again when it is gone; its finalizers say what it waits for")
	}
	d, err := deployedOf(o)
	if err != nil {
		return nil, err
	}
	if serialOf(d) != w.Version {
		return nil, conflict(name)
	}
	spec, resolved, err := specFor(o, d, w)
	if err != nil {
		return nil, err
	}
	if spec != nil {
		o.Spec = spec
		if o, err = s.client.update(ctx, o); err != nil {
			return nil, err
		}
	}
	version, err := number(o.ResourceVersion)
	if err != nil {
		return nil, err
	}
	now, err := recorded(o, d, w, max(version, uint64(w.Version)+1), resolved)
	if err != nil {
		return nil, err
	}
	if o.Status, err = json.Marshal(now); err != nil {
		return nil, err
	}
	return s.client.updateStatus(ctx, o)
}

// create makes the resource of w, still without a record.
func (s *Store) create(ctx context.Context, w store.Workload) (*object, error) {
	if w.Version != 0 {
		return nil, conflict(w.Name())
	}
	spec, err := crd.SpecOf(&w.Revision.Spec)
	if err != nil {
		return nil, err
	}
	o := &object{Spec: spec}
	o.APIVersion, o.Kind = crd.GroupVersion.String(), string(w.Revision.Kind)
	o.Name, o.Namespace, o.Labels = w.Name(), s.cfg.Namespace, labels(w.Name(), w.Revision.Kind)
	return s.client.create(ctx, o)
}

// Get returns one workload.
func (s *Store) Get(ctx context.Context, name string) (store.Workload, error) {
	ctx, done := s.begin(ctx)
	defer done()
	o, d, err := s.find(ctx, name)
	if err != nil {
		return store.Workload{}, s.failure(ctx, "reading "+name, err)
	}
	return *workloadOf(o, d), nil
}

// find reads the resource that deploys name. The view only says which kind to look
// at first.
func (s *Store) find(ctx context.Context, name string) (*object, *crd.Deployed, error) {
	if !legalName().MatchString(name) {
		return nil, nil, notDeployed(name)
	}
	kinds := workload.Kinds()
	if e, ok := s.view.deployed(name); ok {
		kinds = slices.DeleteFunc(kinds, func(k workload.Kind) bool { return k == e.key.kind })
		kinds = append([]workload.Kind{e.key.kind}, kinds...)
	}
	for _, kind := range kinds {
		o, err := s.client.get(ctx, kind, name)
		if isMissing(err) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		d, err := deployedOf(o)
		if err != nil {
			return nil, nil, err
		}
		if d != nil && o.DeletionTimestamp == nil {
			return o, d, nil
		}
	}
	return nil, nil, notDeployed(name)
}

// List returns all workloads, by name. One whose record cannot be read is left out
// and logged; Get says what is wrong with it.
func (s *Store) List(_ context.Context) ([]store.Workload, error) {
	if s.closing.Err() != nil {
		return nil, errClosed()
	}
	list, problems := s.view.workloads()
	for _, err := range problems {
		s.log.Error("store: record left out", "error", err)
	}
	return list, nil
}

// Delete forgets the workload if it is still at version. Where history is kept, it
// is made independent of the resource first, which would take it along.
func (s *Store) Delete(ctx context.Context, name string, version store.Version, keepHistory bool) error {
	if !legalName().MatchString(name) || version == 0 {
		return notDeployed(name)
	}
	ctx, done, err := s.beginWrite(ctx)
	if err != nil {
		return err
	}
	defer done()
	// What is remembered under this name from now on belongs to a workload to come.
	defer s.names.exclude(name)()
	if err := s.remove(ctx, name, version, keepHistory); err != nil {
		return s.failure(ctx, "deleting "+name, err)
	}
	if keepHistory {
		return nil
	}
	// The deletion is durable; it must not stay half done because a caller left.
	ctx, done = s.begin(context.WithoutCancel(ctx))
	defer done()
	return s.failure(ctx, "deleting the history of "+name, s.forget(ctx, name))
}

func (s *Store) remove(ctx context.Context, name string, version store.Version, keepHistory bool) error {
	disowned := false
	for range tries {
		o, d, err := s.find(ctx, name)
		if err != nil {
			return err
		}
		if serialOf(d) != version {
			return conflict(name)
		}
		if keepHistory && !disowned {
			if err := s.own(ctx, name, nil); err != nil {
				return err
			}
			disowned = true
		}
		kind := workload.Kind(o.Kind)
		err = s.client.remove(ctx, kind, o)
		if apierrors.IsConflict(err) || isMissing(err) {
			continue
		}
		if err != nil {
			return err
		}
		s.view.forget(key{name: name, kind: kind}, o.UID)
		return nil
	}
	return busy("deleting " + name)
}

// isMissing reports whether err says that an object is not there, as opposed to its
// namespace or its kind.
func isMissing(err error) bool {
	if !apierrors.IsNotFound(err) || isNotServed(err) {
		return false
	}
	var status apierrors.APIStatus
	return !errors.As(err, &status) || status.Status().Details == nil || status.Status().Details.Kind != "namespaces"
}

func serialOf(d *crd.Deployed) store.Version {
	if d == nil {
		return 0
	}
	return store.Version(d.Serial)
}

func nameOf(r *workload.Revision) string {
	if r == nil {
		return ""
	}
	return r.Name
}
