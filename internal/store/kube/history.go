package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// past is one entry of a history as it goes over the wire: crd.Revision with the
// revision still closed. Its name is that of the workload and a number, which says
// what came after what: clocks of two processes may not.
type past struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	API        string           `json:"api"`
	Cause      string           `json:"cause"`
	Remembered time.Time        `json:"remembered"`
	Revision   json.RawMessage  `json:"revision"`
	Outcome    workload.Outcome `json:"outcome,omitzero"`
}

// sequences knows the number of the newest entry of each history that this process
// has read.
type sequences struct {
	mu     sync.Mutex
	newest map[string]uint64
}

func (q *sequences) of(name string) (uint64, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, ok := q.newest[name]
	return n, ok
}

func (q *sequences) set(name string, n uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.newest == nil {
		q.newest = make(map[string]uint64)
	}
	q.newest[name] = max(n, q.newest[name])
}

func (q *sequences) forget(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.newest, name)
}

func pastName(name string, n uint64) string { return fmt.Sprintf("%s-%06d", name, n) }

// pastNumber is the number in the name of an entry, or 0 where it has none.
func pastNumber(name, entry string) uint64 {
	n, err := strconv.ParseUint(strings.TrimPrefix(entry, name+"-"), 10, 63)
	if err != nil {
		return 0
	}
	return n
}

// Remember appends to the workload's history and drops what is more than MaxHistory
// back, or changes the entry that the revision has. The entry belongs to the workload's resource, so that whoever deletes that
// with kubectl deletes it too.
func (s *Store) Remember(ctx context.Context, p store.Past) error {
	if p.Revision == nil || !legalName().MatchString(p.Revision.Name) {
		return illegalName(nameOf(p.Revision))
	}
	name := p.Revision.Name
	ctx, done, err := s.beginWrite(ctx)
	if err != nil {
		return err
	}
	defer done()
	defer s.names.share(name)()
	return s.failure(ctx, "remembering "+name, s.remember(ctx, name, p))
}

func (s *Store) remember(ctx context.Context, name string, p store.Past) error {
	owner := s.owner(name)
	newest, known := s.past.of(name)
	if !known {
		if err := s.own(ctx, name, owner); err != nil {
			return err
		}
		var err error
		if newest, err = s.trim(ctx, name); err != nil {
			return err
		}
	}
	if p.Outcome.IsKnown() { // so it may have been remembered before that
		if found, err := s.amend(ctx, name, p); found || err != nil {
			return err
		}
	}
	entry := past{API: name, Cause: p.Cause, Outcome: p.Outcome, Remembered: time.Now().UTC()}
	entry.APIVersion, entry.Kind = crd.GroupVersion.String(), crd.RevisionKind
	entry.Labels, entry.OwnerReferences = labels(name, p.Revision.Kind), owner
	var err error
	if entry.Revision, err = json.Marshal(p.Revision); err != nil {
		return err
	}
	newest = max(newest, uint64(max(p.Revision.Number-1, 0)))
	for {
		newest++
		entry.Name = pastName(name, newest)
		body, err := json.Marshal(entry)
		if err != nil {
			return err
		}
		err = s.client.rest.Post().Namespace(s.cfg.Namespace).Resource(crd.RevisionPlural).
			Param("fieldManager", fieldManager).Param("fieldValidation", metav1.FieldValidationStrict).Body(body).Do(ctx).Error()
		if apierrors.IsAlreadyExists(err) {
			continue // another process was faster
		}
		if err != nil {
			return err
		}
		s.past.set(name, newest)
		if newest <= store.MaxHistory {
			return nil
		}
		err = s.client.delete(ctx, crd.RevisionPlural, pastName(name, newest-store.MaxHistory), &metav1.DeleteOptions{})
		if isMissing(err) {
			return nil
		}
		return err
	}
}

// amend writes cause and outcome into the entry of the revision, and reports whether
// there is one.
func (s *Store) amend(ctx context.Context, name string, p store.Past) (found bool, err error) {
	list, err := s.entries(ctx, name)
	if err != nil {
		return false, err
	}
	for _, e := range list {
		var r struct {
			ID string `json:"id"`
		}
		if decode(e.Revision, &r) != nil || r.ID != p.Revision.ID {
			continue
		}
		body, err := json.Marshal(map[string]any{"cause": p.Cause, "outcome": p.Outcome})
		if err != nil {
			return true, err
		}
		return true, s.client.patch(ctx, crd.RevisionPlural, e.Name, body)
	}
	return false, nil
}

// owner is the resource that the history of a name belongs to; none where there is
// no such resource.
func (s *Store) owner(name string) []metav1.OwnerReference {
	e, ok := s.view.deployed(name)
	if !ok {
		return nil
	}
	return []metav1.OwnerReference{{APIVersion: crd.GroupVersion.String(), Kind: string(e.key.kind), Name: name, UID: e.uid}}
}

// own makes the entries of a history belong to a resource, or to none.
func (s *Store) own(ctx context.Context, name string, owner []metav1.OwnerReference) error {
	entries, err := s.client.metadata(ctx, crd.RevisionPlural, selector(name))
	if err != nil {
		return err
	}
	if owner == nil {
		owner = []metav1.OwnerReference{} // null would mean: as it is
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"ownerReferences": owner}})
	if err != nil {
		return err
	}
	for i := range entries {
		have := entries[i].OwnerReferences
		if len(have) == len(owner) && (len(have) == 0 || have[0].UID == owner[0].UID) {
			continue
		}
		err := s.client.patch(ctx, crd.RevisionPlural, entries[i].Name, body)
		if err != nil && !isMissing(err) {
			return err
		}
	}
	return nil
}

// trim drops what is more than MaxHistory back and returns the number of the newest
// entry.
func (s *Store) trim(ctx context.Context, name string) (uint64, error) {
	entries, err := s.client.metadata(ctx, crd.RevisionPlural, selector(name))
	if err != nil {
		return 0, err
	}
	newest := uint64(0)
	for i := range entries {
		newest = max(newest, pastNumber(name, entries[i].Name))
	}
	for i := range entries {
		if pastNumber(name, entries[i].Name)+store.MaxHistory > newest {
			continue
		}
		err := s.client.delete(ctx, crd.RevisionPlural, entries[i].Name, &metav1.DeleteOptions{})
		if err != nil && !isMissing(err) {
			return 0, err
		}
	}
	return newest, nil
}

// History returns the kept revisions of a workload, newest first.
func (s *Store) History(ctx context.Context, name string) ([]store.Past, error) {
	if !legalName().MatchString(name) {
		return nil, nil
	}
	ctx, done := s.begin(ctx)
	defer done()
	list, err := s.entries(ctx, name)
	if err != nil {
		return nil, s.failure(ctx, "reading the history of "+name, err)
	}
	var kept []store.Past
	for _, p := range list[:min(len(list), store.MaxHistory)] {
		var r workload.Revision
		if err := decode(p.Revision, &r); err != nil {
			return nil, fault.New(fault.Unavailable, "store.corrupt", "the entry %s/%s of the history of %s cannot be read: %w", crd.RevisionPlural, p.Name, name, err).
				WithHint("was it written by a newer version, or by hand? otherwise delete it with kubectl")
		}
		if r.Number == 0 { // remembered by a version that numbered the entries only
			r.Number = int(pastNumber(name, p.Name))
		}
		kept = append(kept, store.Past{Revision: &r, Cause: p.Cause, Outcome: p.Outcome})
	}
	return kept, nil
}

// entries returns the history of a workload as it is kept, newest first.
func (s *Store) entries(ctx context.Context, name string) ([]past, error) {
	opts := metav1.ListOptions{LabelSelector: selector(name)}
	text, err := s.client.rest.Get().Namespace(s.cfg.Namespace).Resource(crd.RevisionPlural).VersionedParams(&opts, s.client.params).Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []past `json:"items"`
	}
	if err := decode(text, &list); err != nil {
		return nil, err
	}
	slices.SortFunc(list.Items, func(a, b past) int {
		x, y := pastNumber(name, a.Name), pastNumber(name, b.Name)
		return int(min(max(int64(y)-int64(x), -1), 1))
	})
	return list.Items, nil
}

// forget drops history and events of a name.
func (s *Store) forget(ctx context.Context, name string) error {
	s.past.forget(name)
	err := s.client.rest.Delete().Namespace(s.cfg.Namespace).Resource(crd.RevisionPlural).
		VersionedParams(&metav1.ListOptions{LabelSelector: selector(name)}, s.client.params).
		Body(&metav1.DeleteOptions{}).Do(ctx).Error()
	if err != nil {
		return err
	}
	return s.core.Events(s.cfg.Namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: selector(name)})
}
