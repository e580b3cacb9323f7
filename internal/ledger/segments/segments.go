// Package segments makes files that grow of objects that are written whole.
//
// It promises that an append is one read and one write of at most a segment each, for one
// program that writes a file at a time. It must not know where objects are kept.
package segments

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// Size is how many bytes of a file are one object: what is added to an object that is not full
// replaces it.
const Size = 256 << 10

// Files are kept by two functions: Put makes what r has an object, and Open returns one; nil
// where there is none. Failed is the error for an object that breaks off while it is read.
type Files struct {
	Put  func(ctx context.Context, name string, r io.Reader) (int64, error)
	Open func(ctx context.Context, name string) (io.ReadCloser, error)

	Failed func(doing string, err error) error
}

// name is that of a part of a file.
func name(file string, n int64) string { return fmt.Sprintf("%s#%08d", file, n) }

// whole returns a whole segment; nil: there is none.
func (f Files) whole(ctx context.Context, file string, n int64) ([]byte, error) {
	from, err := f.Open(ctx, name(file, n))
	if from == nil || err != nil {
		return nil, err
	}
	defer from.Close()
	data, err := io.ReadAll(from)
	if err != nil {
		return nil, f.Failed("reading "+file, err)
	}
	return data, nil
}

// Append makes data what a file has from a byte on.
func (f Files) Append(ctx context.Context, file string, at int64, data []byte) error {
	for len(data) > 0 {
		n, within := at/Size, at%Size
		var whole []byte
		if within > 0 {
			var err error
			if whole, err = f.whole(ctx, file, n); err != nil {
				return err
			}
			if int64(len(whole)) < within {
				return fmt.Errorf("%s has lost its end", file)
			}
		}
		added := data[:min(int64(len(data)), Size-within)]
		if _, err := f.Put(ctx, name(file, n), bytes.NewReader(append(whole[:within:within], added...))); err != nil {
			return err
		}
		at, data = at+int64(len(added)), data[len(added):]
	}
	return nil
}

// Read returns the bytes from one up to another of a file that was appended to.
func (f Files) Read(ctx context.Context, file string, from, to int64) (io.ReadCloser, error) {
	return &reader{ctx: ctx, f: f, file: file, at: from, to: to}, nil
}

// reader reads the segments of a file, one after the other.
type reader struct {
	ctx    context.Context //nolint:containedctx // of one read, which is a value as long as it lasts
	f      Files
	file   string
	at, to int64
	ahead  []byte
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.at >= r.to {
		return 0, io.EOF
	}
	if len(r.ahead) == 0 {
		n, within := r.at/Size, r.at%Size
		data, err := r.f.whole(r.ctx, r.file, n)
		if err != nil {
			return 0, err
		}
		if int64(len(data)) <= within || int64(len(data)) < Size && n*Size+int64(len(data)) < r.to {
			return 0, fmt.Errorf("%s has lost its end", r.file)
		}
		r.ahead = data[within:min(int64(len(data)), r.to-n*Size)]
	}
	n := copy(p, r.ahead)
	r.ahead, r.at = r.ahead[n:], r.at+int64(n)
	return n, nil
}

// Close implements io.Closer.
func (r *reader) Close() error { return nil }
