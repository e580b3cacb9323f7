package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	created time.Time
	version uint64          // the resource's, which grows with every change of anything in it
	work    *store.Workload // nil: nothing is deployed by it
	pending *pending        // nil: its specification was resolved
	refused *store.Refusal  // nil: its specification was not refused
	problem error           // why the record cannot be read
}

type key struct {
	name string
	kind workload.Kind
}

// pending is a specification that is not resolved yet.
type pending struct {
	version string // of Declaration
	spec    json.RawMessage
}

// status is crd.Status with the record still closed: one that cannot be read must be
// kept as it is by whoever writes the rest.
type status struct {
	crd.Status
	Deployed json.RawMessage `json:"deployed,omitempty"`
}

// entryOf reads what matters of a resource.
func entryOf(o *object) (entry, error) {
	version, err := number(o.ResourceVersion)
	if err != nil {
		return entry{}, err
	}
	e := entry{key: key{name: o.Name, kind: workload.Kind(o.Kind)}, uid: o.UID, created: o.CreationTimestamp.Time, version: version}
	// What is being deleted is no workload any more; that it is still there is
	// because something else wants to clean up first.
	if o.DeletionTimestamp != nil {
		return e, nil
	}
	s := statusOf(o)
	d, err := s.record(o)
	if err != nil {
		e.problem = err
		return e, nil
	}
	if d != nil {
		e.work = workloadOf(o, d)
	}
	if isPending(o, s) {
		e.pending = &pending{version: writing(o), spec: o.Spec}
	}
	e.refused = refusalOf(o, s)
	return e, nil
}

// isPending reports whether the specification of o is not resolved yet. The API server
// counts the changes of a specification, and of nothing else.
func isPending(o *object, s status) bool { return s.ObservedGeneration != o.Generation || s.Waiting }

// writing names one specification of one resource.
func writing(o *object) string { return string(o.UID) + "/" + strconv.FormatInt(o.Generation, 10) }

// refusalOf says why the specification that o holds was refused; nil when it was not.
func refusalOf(o *object, s status) *store.Refusal {
	c := meta.FindStatusCondition(s.Conditions, crd.Accepted)
	if c == nil || c.Status != metav1.ConditionFalse || s.ObservedGeneration != o.Generation {
		return nil
	}
	return &store.Refusal{
		Name: o.Name, Kind: workload.Kind(o.Kind), Resource: crd.Source(workload.Kind(o.Kind), o.Name),
		Message: c.Message, Waiting: s.Waiting, Since: c.LastTransitionTime.UTC(),
	}
}

// deployedOf reads the record in a resource, or nil when it holds none.
func deployedOf(o *object) (*crd.Deployed, error) { return statusOf(o).record(o) }

// record reads the record in s, the status of o, or nil when it holds none.
func (s status) record(o *object) (*crd.Deployed, error) {
	if len(s.Deployed) == 0 || bytes.Equal(s.Deployed, []byte("null")) {
		return nil, nil
	}
	var d crd.Deployed
	err := decode(s.Deployed, &d)
	if err == nil && (d.Revision == nil || d.Revision.Name != o.Name || string(d.Revision.Kind) != o.Kind || d.Serial <= 0) {
		err = fmt.Errorf("it is not the record of %s %s", o.Kind, o.Name)
	}
	if err != nil {
		return nil, fault.New(fault.Unavailable, "store.corrupt", "the record in the status of %s cannot be read: %w", crd.Source(workload.Kind(o.Kind), o.Name), err).
			WithHint("was it written by a newer version, or by hand? otherwise delete the resource and deploy %s again", o.Name)
	}
	return &d, nil
}

// workloadOf is the record in o as the port has it.
func workloadOf(o *object, d *crd.Deployed) *store.Workload {
	return &store.Workload{
		Revision: d.Revision, Replicas: d.Replicas, Cause: d.Cause,
		Outcome: d.Outcome, Serving: d.Serving, Unproven: d.Unproven, Stopped: d.Stopped, Version: store.Version(d.Serial),
		Owner: string(o.UID), Created: o.CreationTimestamp.UTC(),
	}
}

// statusOf reads the status of a resource. What cannot be read of it is as good as
// absent: it only says what is, and is written again. The record is not: it stays, and
// where not even that can be told, all there is stands for it and is refused (record).
func statusOf(o *object) status {
	var s status
	if len(o.Status) == 0 || decode(o.Status, &s) == nil {
		return s
	}
	var only struct {
		Deployed json.RawMessage `json:"deployed"`
	}
	if decode(o.Status, &only) != nil {
		only.Deployed = o.Status
	}
	return status{Deployed: only.Deployed}
}

// specFor returns the specification that o is to have once w is deployed, or nil when
// it stays, as its author wrote it; resolved says that w is what it asks for. It stays
//   - when the revision is the one that is deployed already (d), as in scaling,
//   - when the revision was made from just this specification,
//   - and when it was not resolved yet: somebody applied it a moment ago, and will
//     have it deployed or learn why not.
func specFor(o *object, d *crd.Deployed, w store.Workload) (spec json.RawMessage, resolved bool, err error) {
	if d != nil && d.Revision.ID == w.Revision.ID {
		return nil, false, nil
	}
	present, err := crd.SpecHash(o.Spec)
	if err != nil {
		return nil, false, err
	}
	if isSubmitted(present, w.Revision) {
		return nil, true, nil
	}
	if spec, err = crd.SpecOf(&w.Revision.Spec); err != nil {
		return nil, false, err
	}
	switch canonical, err := crd.SpecHash(spec); {
	case err != nil:
		return nil, false, err
	case canonical == present:
		return nil, true, nil
	case isPending(o, statusOf(o)):
		return nil, false, nil
	}
	return spec, true, nil
}

// recorded returns the status of o with w in it. Resolved says that w is what the
// specification of o asks for.
func recorded(o *object, d *crd.Deployed, w store.Workload, serial uint64, resolved bool) (status, error) {
	s := statusOf(o)
	record, err := json.Marshal(crd.Deployed{
		Serial: int64(serial), Cause: w.Cause, Replicas: w.Replicas,
		Revision: w.Revision, Outcome: w.Outcome, Serving: w.Serving, Unproven: w.Unproven, Stopped: w.Stopped,
	})
	if err != nil {
		return s, fmt.Errorf("writing the record: %w", err)
	}
	s.Deployed, s.Requested = record, w.Replicas
	if resolved {
		resolve(&s, nil, o.Generation)
	}
	// What was seen of the revision before says nothing about this one.
	if d == nil || !w.Revision.SamePod(d.Revision) || s.Phase == "" {
		s.UpToDate, s.Phase, s.Reason = 0, string(workload.PhaseUpdating), "not started yet"
		if !w.Revision.Kind.Scales() {
			s.Phase, s.Reason = string(workload.PhaseLive), ""
		}
	}
	settle(&s, w.Revision.Kind, w.Outcome)
	return s, nil
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
