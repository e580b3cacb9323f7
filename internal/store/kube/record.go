package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// legalName is what may be the name of a resource and the value of a label; a
// superset of what the manifest allows.
var legalName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`) })

// entry is what the view knows of one resource.
type entry struct {
	key     key
	uid     types.UID
	version uint64          // the resource's, which grows with every change of anything in it
	work    *store.Workload // nil: nothing is deployed by it
	pending *pending        // nil: its specification was resolved
	problem error           // why the record cannot be read
}

type key struct {
	name string
	kind workload.Kind
}

// pending is a specification that is not resolved yet.
type pending struct {
	hash string
	spec json.RawMessage
}

// entryOf reads what matters of a resource.
func entryOf(o *object) (entry, error) {
	version, err := number(o.ResourceVersion)
	if err != nil {
		return entry{}, err
	}
	e := entry{key: key{name: o.Name, kind: workload.Kind(o.Kind)}, uid: o.UID, version: version}
	// What is being deleted is no workload any more; that it is still there is
	// because something else wants to clean up first.
	if o.DeletionTimestamp != nil {
		return e, nil
	}
	d, err := deployedOf(o)
	if err != nil {
		e.problem = err
		return e, nil
	}
	if d != nil {
		e.work = workloadOf(d)
	}
	hash, err := crd.SpecHash(o.Spec)
	if err != nil {
		e.problem = fmt.Errorf("%s: %w", crd.Source(workload.Kind(o.Kind), o.Name), err)
		return e, nil
	}
	if isPending(hash, d, statusOf(o)) {
		e.pending = &pending{hash: hash, spec: o.Spec}
	}
	return e, nil
}

// isPending reports whether the specification with this hash is not resolved yet. One
// that was refused and then taken back is resolved again, so that the status does not
// go on to refuse what is not there any more.
func isPending(hash string, d *crd.Deployed, s crd.Status) bool {
	if hash == s.ObservedHash {
		return false
	}
	return d == nil || hash != d.SpecHash || isRefused(s)
}

// deployedOf reads the record in a resource, or nil when it holds none.
func deployedOf(o *object) (*crd.Deployed, error) {
	if len(o.Deployed) == 0 || bytes.Equal(o.Deployed, []byte("null")) {
		return nil, nil
	}
	var d crd.Deployed
	err := decode(o.Deployed, &d)
	if err == nil && (d.Revision == nil || d.Revision.Name != o.Name || string(d.Revision.Kind) != o.Kind || d.Serial <= 0) {
		err = fmt.Errorf("it is not the record of %s %s", o.Kind, o.Name)
	}
	if err != nil {
		return nil, fault.New(fault.Unavailable, "store.corrupt", "the record in %s cannot be read: %w", crd.Source(workload.Kind(o.Kind), o.Name), err).
			WithHint("was it written by a newer version, or by hand? otherwise delete the resource and deploy %s again", o.Name)
	}
	return &d, nil
}

// workloadOf is the record as the port has it.
func workloadOf(d *crd.Deployed) *store.Workload {
	return &store.Workload{
		Revision: d.Revision, Replicas: d.Replicas, Cause: d.Cause,
		Outcome: d.Outcome, Serving: d.Serving, Unproven: d.Unproven, Version: store.Version(d.Serial),
	}
}

// statusOf reads the status of a resource. One that cannot be read is as good as
// none: it only says what is, and is written again.
func statusOf(o *object) crd.Status {
	var s crd.Status
	if len(o.Status) > 0 && decode(o.Status, &s) != nil {
		return crd.Status{}
	}
	return s
}

// write puts w into o, which may hold an earlier record d. The specification stays
// as its author wrote it
//   - when the revision is the one that is deployed already, as in scaling,
//   - when the revision was made from just this specification,
//   - and when it was not resolved yet: somebody applied it a moment ago, and will
//     have it deployed or learn why not.
//
// In the last case the record keeps saying that something else is deployed.
func write(o *object, d *crd.Deployed, w store.Workload, serial uint64) error {
	next := crd.Deployed{
		Serial: int64(serial), Cause: w.Cause, Replicas: w.Replicas,
		Revision: w.Revision, Outcome: w.Outcome, Serving: w.Serving, Unproven: w.Unproven,
	}
	present, err := crd.SpecHash(o.Spec)
	if err != nil {
		return err
	}
	switch {
	case d != nil && d.Revision.ID == w.Revision.ID:
		next.SpecHash = d.SpecHash
	case o.UID != "" && isSubmitted(present, w.Revision):
		next.SpecHash = present
	default:
		spec, err := crd.SpecOf(&w.Revision.Spec)
		if err != nil {
			return err
		}
		if next.SpecHash, err = crd.SpecHash(spec); err != nil {
			return err
		}
		if o.UID == "" || !isPending(present, d, statusOf(o)) {
			o.Spec = spec
		}
	}
	if o.Deployed, err = json.Marshal(next); err != nil {
		return fmt.Errorf("writing the record: %w", err)
	}
	return nil
}

// isSubmitted reports whether the specification with this hash is what the revision
// was made from.
func isSubmitted(hash string, r *workload.Revision) bool {
	text, err := json.Marshal(r.SubmittedAPISpec)
	if err != nil {
		return false
	}
	var submitted map[string]json.RawMessage
	if decode(text, &submitted) != nil {
		return false
	}
	delete(submitted, "name")
	delete(submitted, "kind")
	if text, err = json.Marshal(submitted); err != nil {
		return false
	}
	same, err := crd.SpecHash(text)
	return err == nil && same == hash
}

// decode keeps numbers as they were written: the user's YAML may hold integers
// that a float64 cannot.
func decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(v)
}

// number reads a resource version. They are numbers that grow, of the API server's
// whole state; Kubernetes promises so since 1.35, and was so before.
func number(resourceVersion string) (uint64, error) {
	v, err := strconv.ParseUint(resourceVersion, 10, 63)
	if err != nil {
		return 0, fault.New(fault.Unavailable, "store.unavailable", "the API server numbers its versions in a way that is not known: %w", err)
	}
	return v, nil
}
