package certificate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"cortex.dev/cortex/internal/atomicfile"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// Values is where replicas keep what they share. Every store.Shared is one.
type Values interface {
	Value(ctx context.Context, name string) ([]byte, store.Version, error)
	SetValue(ctx context.Context, name string, data []byte, at store.Version) (store.Version, error)
}

// keep holds the files of an authority of our own, by their names.
type keep interface {
	// read returns a file, or fs.ErrNotExist.
	read(name string) ([]byte, error)
	// write replaces a file; in some keeps it counts only with commit.
	write(name string, data []byte) error
	// commit makes what was written last, all of it or nothing: errOvertaken when
	// somebody else has written meanwhile.
	commit(ctx context.Context) error
	// place is where it is, for people.
	place() string
}

// errOvertaken says that another replica was quicker: what it wrote is read next.
var errOvertaken = errors.New("another replica wrote it first")

// openKeep is the keep as it is now.
func (s *Source) openKeep(ctx context.Context) (keep, error) {
	if s.cfg.Values == nil {
		return folder(s.cfg.Dir), cannotKeep(os.MkdirAll(s.cfg.Dir, 0o700))
	}
	v := &value{values: s.cfg.Values, name: s.cfg.Value, files: map[string][]byte{}}
	data, version, err := v.values.Value(ctx, v.name)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate that replicas share: %w", err)
	}
	v.version = version
	if len(data) == 0 {
		return v, nil
	}
	if err := json.Unmarshal(data, &v.files); err != nil {
		return nil, fault.New(fault.Unavailable, "server.bad_authority", "the certificate authority in %s cannot be read: %w", v.place(), err).
			WithHint("put it back from a copy; or remove it for a new one, which every client then needs")
	}
	return v, nil
}

// folder is a keep on the disk. Each file counts as soon as it is written.
type folder string

func (f folder) read(name string) ([]byte, error) { return os.ReadFile(filepath.Join(string(f), name)) }

func (f folder) write(name string, data []byte) error {
	return atomicfile.Replace(filepath.Join(string(f), name), data)
}

func (f folder) commit(context.Context) error { return nil }

func (f folder) place() string { return string(f) }

// value is a keep in one shared value: replicas that start at once agree on the
// files of whichever was first.
type value struct {
	values  Values
	name    string
	version store.Version
	files   map[string][]byte
	changed bool
}

func (v *value) read(name string) ([]byte, error) {
	data, ok := v.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data, nil
}

func (v *value) write(name string, data []byte) error {
	v.files, v.changed = maps.Clone(v.files), true
	if v.files == nil {
		v.files = map[string][]byte{}
	}
	v.files[name] = data
	return nil
}

func (v *value) commit(ctx context.Context) error {
	if !v.changed {
		return nil
	}
	data, err := json.Marshal(v.files)
	if err != nil {
		return fmt.Errorf("writing the certificate: %w", err)
	}
	_, err = v.values.SetValue(ctx, v.name, data, v.version)
	if fault.Code(err) == store.CodeVersionConflict {
		return errOvertaken
	}
	if err != nil {
		return fmt.Errorf("keeping the certificate that replicas share: %w", err)
	}
	return nil
}

func (v *value) place() string { return "the value " + v.name }
