package nats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// legalName is what may stand as one token of a subject; a superset of what the
// manifest allows, and never a wildcard.
var legalName = pattern(`^[a-z0-9][a-z0-9-]{0,254}$`)

// pattern is compiled when it is first used: those that count to hundreds take a
// millisecond, which every command line would pay for.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// record is a workload as it is written.
type record struct {
	Revision *workload.Revision `json:"revision"`
	Replicas int                `json:"replicas"`
	Cause    string             `json:"cause,omitempty"`
	Outcome  workload.Outcome   `json:"outcome,omitzero"`
	Serving  *workload.Revision `json:"serving,omitempty"`
	Unproven bool               `json:"unproven,omitempty"`
}

// Put writes w if the record is still at w.Version.
func (s *Store) Put(ctx context.Context, w store.Workload) (store.Version, error) {
	if w.Revision == nil || !legalName().MatchString(w.Revision.Name) {
		return 0, illegalName(w.Revision)
	}
	data, err := encode(record{Revision: w.Revision, Replicas: w.Replicas, Cause: w.Cause, Outcome: w.Outcome, Serving: w.Serving, Unproven: w.Unproven})
	if err != nil {
		return 0, fmt.Errorf("writing %s: %w", w.Name(), err)
	}
	defer s.names.share(w.Name())()
	ss, ctx, done, err := s.begin(ctx, len(data), reserveGrow)
	if err != nil {
		return 0, err
	}
	defer done()
	var seq uint64
	if w.Version == 0 {
		seq, err = ss.kv.Create(ctx, w.Name(), data)
	} else {
		seq, err = ss.kv.Update(ctx, w.Name(), data, uint64(w.Version))
	}
	if isConflict(err) {
		return 0, conflict(w.Name())
	}
	if err != nil {
		return 0, s.failure(ctx, "writing "+w.Name(), err)
	}
	return store.Version(seq), nil
}

// Get returns one workload.
func (s *Store) Get(ctx context.Context, name string) (store.Workload, error) {
	if !legalName().MatchString(name) {
		return store.Workload{}, notDeployed(name)
	}
	ss, ctx, done, err := s.begin(ctx, 0, 0)
	if err != nil {
		return store.Workload{}, err
	}
	defer done()
	if s.cfg.Replicas > 1 {
		return s.getFromLeader(ctx, ss, name)
	}
	entry, err := ss.kv.Get(ctx, name)
	if errors.Is(err, jetstream.ErrKeyNotFound) { // ErrKeyDeleted wraps it too
		return store.Workload{}, notDeployed(name)
	}
	if err != nil {
		return store.Workload{}, s.failure(ctx, "reading "+name, err)
	}
	return s.decodeWorkload(name, entry.Value(), entry.Revision())
}

// getFromLeader is Get where the copy that would answer may be behind.
func (s *Store) getFromLeader(ctx context.Context, ss *session, name string) (store.Workload, error) {
	m, err := s.newest(ctx, ss, streamWorkloads, prefixWorkloads+name)
	if err != nil {
		return store.Workload{}, s.failure(ctx, "reading "+name, err)
	}
	if m.sequence == 0 || m.operation != "" {
		return store.Workload{}, notDeployed(name)
	}
	return s.decodeWorkload(name, m.data, m.sequence)
}

// List returns all workloads, by name.
func (s *Store) List(ctx context.Context) ([]store.Workload, error) {
	present, _, err := s.present(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]store.Workload, 0, len(present))
	for _, w := range present {
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b store.Workload) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

// present reads every workload, and the sequence after which to look for changes:
// every one that is not in the result comes after it. That is the last that was
// seen: the copy of a stream that answers may be behind its leader, but what it has
// seen it has seen in order.
func (s *Store) present(ctx context.Context) (map[string]store.Workload, uint64, error) {
	ss, ctx, done, err := s.begin(ctx, 0, 0)
	if err != nil {
		return nil, 0, err
	}
	defer done()
	last := uint64(0)
	present := make(map[string]store.Workload)
	err = s.scan(ctx, ss, streamWorkloads, prefixWorkloads+"*", func(m message) error {
		last = max(last, m.sequence)
		if m.operation != "" {
			delete(present, m.name)
			return nil
		}
		w, err := s.decodeWorkload(m.name, m.data, m.sequence)
		if err != nil {
			return err
		}
		present[m.name] = w
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return present, last, nil
}

// Delete forgets the workload if it is still at version.
//
// The marker it leaves says whether history goes too; when this process dies in
// between, the next Open finishes the work.
func (s *Store) Delete(ctx context.Context, name string, version store.Version, keepHistory bool) error {
	if !legalName().MatchString(name) || version == 0 {
		return notDeployed(name)
	}
	// What is remembered under this name from now on belongs to a workload to come.
	defer s.names.exclude(name)()
	ss, ctx, done, err := s.begin(ctx, 0, reserveShrink)
	if err != nil {
		return err
	}
	defer done()
	remove := ss.kv.Purge
	if keepHistory {
		remove = ss.kv.Delete
	}
	err = remove(ctx, name, jetstream.LastRevision(uint64(version)))
	if isConflict(err) {
		if _, err := s.Get(ctx, name); fault.Is(err, fault.NotFound) {
			return err
		}
		return conflict(name)
	}
	if err != nil {
		return s.failure(ctx, "deleting "+name, err)
	}
	if keepHistory {
		return nil
	}
	// The deletion is durable; it must not stay half done because a caller left.
	return s.forget(context.WithoutCancel(ctx), ss, name)
}

// Headers of the markers that end what was before them.
const (
	headerOperation = "KV-Operation"
	headerRollup    = "Nats-Rollup"
	operationPurge  = "PURGE"
)

// forget drops history and events of a workload. It leaves a marker in each,
// because the server may find messages again after a crash that a limit had
// dropped: whoever reads begins after the marker. For the same reason markers stay.
func (s *Store) forget(ctx context.Context, ss *session, name string) error {
	for _, subject := range []string{prefixHistory + name, prefixEvents + name} {
		marker := natsgo.NewMsg(subject)
		marker.Header.Set(headerOperation, operationPurge)
		marker.Header.Set(headerRollup, "sub")
		if _, err := ss.js.PublishMsg(ctx, marker); err != nil {
			return s.failure(ctx, "deleting the history of "+name, err)
		}
	}
	return nil
}

// finishDeletions does what a Delete of an earlier life may have left undone, and
// notes that it is done.
func (s *Store) finishDeletions(ctx context.Context, ss *session) error {
	unsure := map[string]uint64{}
	if err := s.scan(ctx, ss, streamWorkloads, prefixWorkloads+"*", func(m message) error {
		if m.operation == operationPurge {
			unsure[m.name] = m.sequence
		}
		return nil
	}); err != nil {
		return err
	}
	for name, sequence := range unsure {
		// Another replica may have deployed it meanwhile.
		m, err := s.newest(ctx, ss, streamWorkloads, prefixWorkloads+name)
		if err != nil {
			return s.failure(ctx, "deleting "+name, err)
		}
		if m.sequence != sequence {
			continue
		}
		if err := s.forget(ctx, ss, name); err != nil {
			return err
		}
		err = ss.kv.Delete(ctx, name, jetstream.LastRevision(sequence))
		if isConflict(err) {
			continue // another replica was faster
		}
		if err != nil {
			return s.failure(ctx, "deleting "+name, err)
		}
	}
	return nil
}

func (s *Store) decodeWorkload(name string, data []byte, version uint64) (store.Workload, error) {
	var r record
	if err := decode(data, &r); err != nil || r.Revision == nil || r.Revision.Name != name {
		return store.Workload{}, fault.New(fault.Unavailable, "store.corrupt",
			"the record of %s in %s cannot be read: %v", name, s.cfg.place(), err).
			WithHint("was it written by a newer version? otherwise delete %s and deploy it again", name)
	}
	return store.Workload{
		Revision: r.Revision, Replicas: r.Replicas, Cause: r.Cause,
		Outcome: r.Outcome, Serving: r.Serving, Unproven: r.Unproven, Version: store.Version(version),
	}, nil
}

func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(data) > maxRecordBytes {
		return nil, fault.New(fault.Invalid, "store.too_large", "it takes %d bytes, more than the %d that one API may take", len(data), maxRecordBytes).
			WithHint("split the file, and keep data out of it")
	}
	return data, nil
}

// decode keeps numbers as they were written: the user's YAML may hold integers
// that a float64 cannot.
func decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(v)
}

func notDeployed(name string) error {
	return fault.New(fault.NotFound, "resources.api_not_deployed", "%s is not deployed", name)
}

func conflict(name string) error {
	return fault.New(fault.Conflict, "store.version_conflict", "%s was changed by someone else at the same time", name).
		WithHint("try again")
}

func illegalName(r *workload.Revision) error {
	name := ""
	if r != nil {
		name = r.Name
	}
	return fault.New(fault.Invalid, "store.illegal_name", "%q cannot be the name of an API", name)
}

// isConflict reports whether err says that a record is not where it was expected.
// A stream of several copies has a code of its own for that.
func isConflict(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) || errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
