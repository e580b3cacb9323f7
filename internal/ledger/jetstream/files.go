package jetstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// segmentSize is how many bytes of a file that grows are one object: what is added to an
// object that is not full replaces it.
const segmentSize = 256 << 10

// Files keeps the files of jobs in an object store beside the ledger, for one program that
// writes them at a time. It is a jobs.Files. A file that was put is an object; one that was
// appended to is an object for each segment.
type Files struct{ bucket }

// Files are those of jobs.
func (l *Ledger) Files() *Files {
	return &Files{l.bucket(l.cfg.Name+"-jobs", "files of jobs of Cortex")}
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

// segment is the name of a part of a file.
func segment(name string, n int64) string { return fmt.Sprintf("%s#%08d", name, n) }

// read returns a whole segment; nil: there is none.
func (f *Files) read(ctx context.Context, name string, n int64) ([]byte, error) {
	from, err := f.object(ctx, segment(name, n))
	if from == nil || err != nil {
		return nil, err
	}
	defer from.Close()
	data, err := io.ReadAll(from)
	if err != nil {
		return nil, unavailable("reading "+name, err)
	}
	return data, nil
}

// Append makes data what a file has from a byte on.
func (f *Files) Append(ctx context.Context, name string, at int64, data []byte) error {
	for first := true; first || len(data) > 0; first = false {
		n, within := at/segmentSize, at%segmentSize
		var whole []byte
		if within > 0 {
			var err error
			if whole, err = f.read(ctx, name, n); err != nil {
				return err
			}
			if int64(len(whole)) < within {
				return fmt.Errorf("%s has lost its end", name)
			}
		}
		added := data[:min(int64(len(data)), segmentSize-within)]
		if len(added) == 0 {
			return nil
		}
		if _, err := f.Put(ctx, segment(name, n), bytes.NewReader(append(whole[:within:within], added...))); err != nil {
			return err
		}
		at, data = at+int64(len(added)), data[len(added):]
	}
	return nil
}

// Read returns the bytes from one up to another of a file that was appended to.
func (f *Files) Read(ctx context.Context, name string, from, to int64) (io.ReadCloser, error) {
	return &segments{ctx: ctx, f: f, name: name, at: from, to: to}, nil
}

// segments reads the segments of a file, one after the other.
type segments struct {
	ctx    context.Context //nolint:containedctx // of one read, which is a value as long as it lasts
	f      *Files
	name   string
	at, to int64
	ahead  []byte
}

// Read implements io.Reader.
func (s *segments) Read(p []byte) (int, error) {
	if s.at >= s.to {
		return 0, io.EOF
	}
	if len(s.ahead) == 0 {
		n, within := s.at/segmentSize, s.at%segmentSize
		data, err := s.f.read(s.ctx, s.name, n)
		if err != nil {
			return 0, err
		}
		if int64(len(data)) <= within || int64(len(data)) < segmentSize && n*segmentSize+int64(len(data)) < s.to {
			return 0, fmt.Errorf("%s has lost its end", s.name)
		}
		s.ahead = data[within:min(int64(len(data)), s.to-n*segmentSize)]
	}
	n := copy(p, s.ahead)
	s.ahead, s.at = s.ahead[n:], s.at+int64(n)
	return n, nil
}

// Close implements io.Closer.
func (s *segments) Close() error { return nil }

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
