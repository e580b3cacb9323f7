package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Files keeps the files of jobs. Names have slashes; the first two parts are the API and
// the job. What is there when a method returned nil is durable.
type Files interface {
	// Put keeps what r has under a name, whole or not at all, and returns its size.
	Put(ctx context.Context, name string, r io.Reader) (int64, error)
	// Open returns what Put kept, or an error that is fs.ErrNotExist.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// Append makes data what a file has from a byte on. It fails where there is less before
	// that byte, as far as it can tell.
	Append(ctx context.Context, name string, at int64, data []byte) error
	// Read returns the bytes from one up to another of a file that was appended to. Reading
	// fails where they are not there.
	Read(ctx context.Context, name string, from, to int64) (io.ReadCloser, error)
	// RemoveAll drops the files of a job. None is no error.
	RemoveAll(ctx context.Context, api, id string) error
	// Jobs calls fn with every job that has files.
	Jobs(ctx context.Context, fn func(api, id string)) error
}

// Folder is the files of jobs in a folder of this machine.
type Folder string

func (f Folder) path(name string) string { return filepath.Join(string(f), filepath.FromSlash(name)) }

// Put implements Files.
func (f Folder) Put(_ context.Context, name string, r io.Reader) (int64, error) {
	path := f.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, err
	}
	to, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(to.Name()) // when it was not renamed
	n, err := io.Copy(to, r)
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return n, err
	}
	return n, os.Rename(to.Name(), path)
}

// Open implements Files.
func (f Folder) Open(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(f.path(name))
}

// Append implements Files.
func (f Folder) Append(_ context.Context, name string, at int64, data []byte) error {
	to, err := os.OpenFile(f.path(name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	info, err := to.Stat()
	switch {
	case err != nil:
	case info.Size() < at:
		err = fmt.Errorf("%s has lost its end", to.Name())
	case info.Size() > at:
		err = to.Truncate(at)
	}
	if err == nil {
		_, err = to.WriteAt(data, at)
	}
	if err == nil {
		err = to.Sync()
	}
	return errors.Join(err, to.Close())
}

// Read implements Files.
func (f Folder) Read(_ context.Context, name string, from, to int64) (io.ReadCloser, error) {
	file, err := os.Open(f.path(name))
	if err != nil {
		return nil, err
	}
	return &part{io.NewSectionReader(file, from, to-from), file, name, to - from}, nil
}

// part is a part of a file, of which not a byte may be missing.
type part struct {
	io.Reader
	io.Closer
	name string
	left int64
}

// Read implements io.Reader.
func (p *part) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if p.left -= int64(n); errors.Is(err, io.EOF) && p.left > 0 {
		err = fmt.Errorf("%s has lost its end", p.name)
	}
	return n, err
}

// RemoveAll implements Files.
func (f Folder) RemoveAll(_ context.Context, api, id string) error {
	return os.RemoveAll(filepath.Join(string(f), api, id))
}

// Jobs implements Files.
func (f Folder) Jobs(_ context.Context, fn func(api, id string)) error {
	apis, err := os.ReadDir(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, a := range apis {
		ids, err := os.ReadDir(filepath.Join(string(f), a.Name()))
		if err != nil {
			continue // no folder
		}
		for _, id := range ids {
			fn(a.Name(), id.Name())
		}
	}
	return err
}
