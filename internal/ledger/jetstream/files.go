package jetstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"cortex.dev/cortex/internal/ledger/segments"
)

// Files keeps the files of jobs in an object store beside the ledger, for one program that
// writes them at a time. It is a jobs.Files. A file that was put is an object; one that was
// appended to is an object for each segment.
type Files struct {
	segments.Files
	bucket
}

// Files are those of jobs.
func (l *Ledger) Files() *Files {
	f := &Files{bucket: l.bucket(l.cfg.Name+"-jobs", "files of jobs of Cortex")}
	f.Files = segments.Files{Put: f.Put, Open: f.object, Failed: unavailable}
	return f
}

// Put keeps what r has under a name, and returns its size.
func (f *Files) Put(ctx context.Context, name string, r io.Reader) (int64, error) {
	store, err := f.get(ctx)
	if err != nil {
		return 0, err
	}
	info, err := store.Put(ctx, jetstream.ObjectMeta{Name: name}, r)
	if err != nil {
		return 0, unavailable("keeping "+name, err)
	}
	return int64(info.Size), nil //nolint:gosec // of what was read
}

// Open returns what was put, or fs.ErrNotExist.
func (f *Files) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	data, err := f.object(ctx, name)
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return data, nil
}

// object opens an object; nil: there is none.
func (f *Files) object(ctx context.Context, name string) (io.ReadCloser, error) {
	store, err := f.get(ctx)
	if err != nil {
		return nil, err
	}
	data, err := store.Get(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable("reading "+name, err)
	}
	return data, nil
}

// names returns those that begin with a prefix.
func (f *Files) names(ctx context.Context, prefix string) (names []string, _ error) {
	store, err := f.get(ctx)
	if err != nil {
		return nil, err
	}
	all, err := store.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil, unavailable("listing the files of jobs", err)
	}
	for _, o := range all {
		if strings.HasPrefix(o.Name, prefix) {
			names = append(names, o.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// RemoveAll drops the files of a job.
func (f *Files) RemoveAll(ctx context.Context, api, id string) error {
	names, err := f.names(ctx, api+"/"+id+"/")
	for _, name := range names {
		err = errors.Join(err, f.Remove(ctx, name))
	}
	return err
}

// Jobs calls fn with every job that has files.
func (f *Files) Jobs(ctx context.Context, fn func(api, id string)) error {
	names, err := f.names(ctx, "")
	last := ""
	for _, name := range names {
		if parts := strings.SplitN(name, "/", 3); len(parts) == 3 && parts[0]+"/"+parts[1] != last {
			last = parts[0] + "/" + parts[1]
			fn(parts[0], parts[1])
		}
	}
	return err
}

// List returns the names in a folder.
func (f *Files) List(ctx context.Context, folder string) ([]string, error) {
	return f.names(ctx, folder+"/")
}

// Remove drops what was put. Nothing is no error.
func (f *Files) Remove(ctx context.Context, name string) error { return f.drop(ctx, name) }
