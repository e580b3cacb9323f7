package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"cortex.dev/cortex/internal/awsrest"
)

// Contents keeps what is too large for the ledger beside the item: its payload, and a result
// for each execution that had one. It is an async.Blobs.
type Contents struct{ l *Ledger }

// Contents are those of the ledger's items.
func (l *Ledger) Contents() *Contents { return &Contents{l} }

// patience is how long one call may take that no caller bounds.
const patience = time.Minute

// The last parts of keys of contents.
const (
	payloadName = "payload"
	resultName  = "result-"
)

// key is where API/ID.payload is, or API/ID.EXECUTION.
func (c *Contents) key(name string) (string, error) {
	api, file, _ := strings.Cut(name, "/")
	id, what, _ := strings.Cut(file, ".")
	if !legal(api, id) || !legalName().MatchString(what) {
		return "", fmt.Errorf("s3: %q is no name of a content", name)
	}
	if what != payloadName {
		what = resultName + what
	}
	return "workloads/" + api + "/" + id + "/" + what, nil
}

// Put keeps what r has.
func (c *Contents) Put(name string, r io.Reader) error {
	key, err := c.key(name)
	if err != nil {
		return err
	}
	// No deadline: how long a body may take is decided where it is read.
	if _, err := c.l.bucket.PutAll(context.Background(), key, r); err != nil {
		return fmt.Errorf("keeping %s: %w", name, err)
	}
	return nil
}

// Open returns what is kept, or fs.ErrNotExist.
func (c *Contents) Open(name string) (io.ReadSeekCloser, error) {
	key, err := c.key(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	size, err := c.l.bucket.Size(ctx, key)
	if missing(err) {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return &object{bucket: c.l.bucket, key: key, size: size}, nil
}

// Remove drops what is kept.
func (c *Contents) Remove(name string) error {
	key, err := c.key(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.l.bucket.Delete(ctx, key, "")
}

// Each calls fn with every name.
func (c *Contents) Each(fn func(name string)) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	if _, err := c.l.bucket.List(ctx, "workloads/", "", func(o awsrest.Listed) bool {
		parts := strings.Split(o.Key, "/")
		if len(parts) != 4 || !legal(parts[1], parts[2]) {
			return true
		}
		what, result := strings.CutPrefix(parts[3], resultName)
		if result || what == payloadName {
			fn(parts[1] + "/" + parts[2] + "." + what)
		}
		return true
	}); err != nil {
		return unavailable("listing contents", err)
	}
	return nil
}

// object reads one object, from wherever it is asked to, and goes on where a connection ends.
type object struct {
	bucket   *awsrest.Bucket
	key      string
	size, at int64
	from     io.ReadCloser // nil: nothing is open
	again    int           // connections that ended without a byte
}

// mostAgain is how often a connection may end without a byte.
const mostAgain = 3

// Read is io.Reader's.
func (o *object) Read(p []byte) (int, error) {
	for {
		if o.at >= o.size {
			return 0, io.EOF
		}
		if o.from == nil {
			from, err := o.bucket.Open(context.Background(), o.key, o.at)
			if missing(err) {
				return 0, fmt.Errorf("%s: %w", o.key, fs.ErrNotExist)
			}
			if err != nil {
				return 0, unavailable("reading "+o.key, err)
			}
			o.from = from
		}
		n, err := o.from.Read(p)
		o.at += int64(n)
		if n > 0 || err == nil {
			o.again = 0
			return n, nil
		}
		_ = o.from.Close() // it has ended
		o.from = nil
		if o.again++; o.again > mostAgain {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, unavailable("reading "+o.key, err)
		}
	}
}

// Seek is io.Seeker's.
func (o *object) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.at
	case io.SeekEnd:
		offset += o.size
	}
	if offset < 0 {
		return o.at, fmt.Errorf("%s: a position before its beginning", o.key)
	}
	if offset != o.at && o.from != nil {
		_ = o.from.Close() // nothing more is wanted of it
		o.from = nil
	}
	o.at = offset
	return offset, nil
}

// Close is io.Closer's.
func (o *object) Close() error {
	if o.from == nil {
		return nil
	}
	return o.from.Close()
}
