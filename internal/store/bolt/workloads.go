package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"regexp"
	"sync"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// legalName is a superset of what the manifest allows, and never holds a zero byte.
var legalName = pattern(`^[a-z0-9][a-z0-9-]{0,254}$`)

// pattern is compiled when it is first used: those that count to hundreds take a
// millisecond, which every command line would pay for.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// record is a workload as it is written, after its version.
type record struct {
	Revision *workload.Revision `json:"revision"`
	Replicas int                `json:"replicas"`
	Cause    string             `json:"cause,omitempty"`
	Outcome  workload.Outcome   `json:"outcome,omitzero"`
	Serving  *workload.Revision `json:"serving,omitempty"`
	Unproven bool               `json:"unproven,omitempty"`
	Stopped  *workload.Stopped  `json:"stopped,omitempty"`
}

// version is the one with which data begins; 0 when there is none.
func version(data []byte) store.Version {
	if len(data) < 8 {
		return 0
	}
	return store.Version(binary.BigEndian.Uint64(data))
}

// replace writes data under key, after a new version, if it is still at one.
func (t *txn) replace(key, name string, at store.Version, data []byte) (store.Version, error) {
	old, err := t.get(key)
	if err != nil {
		return 0, err
	}
	if version(old) != at {
		return 0, refusal{conflict(name)}
	}
	next := t.next()
	return store.Version(next), t.put(key, append([]byte(number(next)), data...))
}

// Put writes w if the record is still at w.Version.
func (s *Store) Put(ctx context.Context, w store.Workload) (written store.Version, _ error) {
	if w.Revision == nil || !legalName().MatchString(w.Revision.Name) {
		return 0, illegalName(w.Revision)
	}
	data, err := encode(record{Revision: w.Revision, Replicas: w.Replicas, Cause: w.Cause, Outcome: w.Outcome, Serving: w.Serving, Unproven: w.Unproven, Stopped: w.Stopped})
	if err != nil {
		return 0, fmt.Errorf("writing %s: %w", w.Name(), err)
	}
	err = s.update(ctx, "writing "+w.Name(), len(data), reserveGrow, func(t *txn) (err error) {
		t.workloads = true
		written, err = t.replace(keyWorkload+w.Name(), w.Name(), w.Version, data)
		return err
	})
	if err != nil {
		return 0, err
	}
	return written, nil
}

// Get returns one workload.
func (s *Store) Get(_ context.Context, name string) (w store.Workload, _ error) {
	if !legalName().MatchString(name) {
		return w, notDeployed(name)
	}
	err := s.view(func(r *reader) error {
		data, err := r.get(keyWorkload + name)
		if err != nil {
			return err
		}
		if data == nil {
			return notDeployed(name)
		}
		w, err = s.decodeWorkload(name, data)
		return err
	})
	return w, err
}

// List returns all workloads, by name.
func (s *Store) List(context.Context) (list []store.Workload, _ error) {
	err := s.view(func(r *reader) error {
		return r.scan(keyWorkload, keyWorkload, func(key, data []byte) (bool, error) {
			w, err := s.decodeWorkload(string(key[len(keyWorkload):]), data)
			list = append(list, w)
			return true, err
		})
	})
	return list, err
}

// Delete forgets the workload if it is still at version, in one commit with what goes
// with it.
func (s *Store) Delete(ctx context.Context, name string, at store.Version, keepHistory bool) error {
	if !legalName().MatchString(name) || at == 0 {
		return notDeployed(name)
	}
	return s.update(ctx, "deleting "+name, 0, reserveShrink, func(t *txn) error {
		data, err := t.get(keyWorkload + name)
		switch {
		case err != nil:
			return err
		case data == nil:
			return refusal{notDeployed(name)}
		case version(data) != at:
			return refusal{conflict(name)}
		}
		gone := []string{keyWorkload + name}
		if !keepHistory {
			gone = append(gone, t.keys(keyHistory+name+"\x00")...)
			gone = append(gone, t.keys(keyEvent+name+"\x00")...)
		}
		t.workloads = true
		return t.removeAll(gone)
	})
}

func (s *Store) decodeWorkload(name string, data []byte) (store.Workload, error) {
	var r record
	at := version(data)
	if at == 0 {
		return store.Workload{}, corrupt(s.path, "the record of %s is too short", name)
	}
	if err := decode(data[8:], &r); err != nil || r.Revision == nil || r.Revision.Name != name {
		return store.Workload{}, fault.New(fault.Unavailable, "store.corrupt", "the record of %s in %s cannot be read: %v", name, s.path, err).
			WithHint("was it written by a newer version? otherwise delete %s and deploy it again", name)
	}
	return store.Workload{
		Revision: r.Revision, Replicas: r.Replicas, Cause: r.Cause,
		Outcome: r.Outcome, Serving: r.Serving, Unproven: r.Unproven, Stopped: r.Stopped, Version: at,
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
