package jetstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Contents keeps what is too large for the ledger in an object store beside it, in chunks.
type Contents struct{ bucket }

// Contents are those of the ledger's items.
func (l *Ledger) Contents() *Contents {
	return &Contents{l.bucket(l.cfg.Name, "large contents of items of Cortex")}
}

// patience is how long one call to the server may take.
const patience = 30 * time.Second

func (c *Contents) open() (jetstream.ObjectStore, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.get(ctx)
}

// Put keeps what r has. Chunks of what did not come whole are dropped by the store.
func (c *Contents) Put(name string, r io.Reader) error {
	store, err := c.open()
	if err != nil {
		return err
	}
	// No deadline: how long a body may take is decided where it is read.
	if _, err := store.Put(context.Background(), jetstream.ObjectMeta{Name: name}, r); err != nil {
		return fmt.Errorf("keeping %s: %w", name, err)
	}
	return nil
}

// Open returns what is kept, or fs.ErrNotExist. The store checks its digest when it is read
// to its end.
func (c *Contents) Open(name string) (io.ReadSeekCloser, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	store, err := c.get(ctx)
	if err != nil {
		return nil, err
	}
	info, err := store.GetInfo(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return &object{store: store, name: name, size: int64(info.Size)}, nil
}

// Remove drops what is kept.
func (c *Contents) Remove(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.drop(ctx, name)
}

// Each calls fn with every name.
func (c *Contents) Each(fn func(name string)) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	store, err := c.get(ctx)
	if err != nil {
		return err
	}
	all, err := store.List(ctx)
	if errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing contents: %w", err)
	}
	for _, o := range all {
		fn(o.Name)
	}
	return nil
}

// object reads one content. The store reads from the beginning only, so what is before a
// position is read and dropped.
type object struct {
	store    jetstream.ObjectStore
	name     string
	size, at int64
	from     jetstream.ObjectResult
	read     int64 // of from
}

// Read is io.Reader's.
func (o *object) Read(p []byte) (int, error) {
	if o.at >= o.size {
		return 0, io.EOF
	}
	if o.from != nil && o.read > o.at {
		_ = o.from.Close() // nothing more is wanted of it
		o.from = nil
	}
	if o.from == nil {
		from, err := o.store.Get(context.Background(), o.name)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", o.name, err)
		}
		o.from, o.read = from, 0
	}
	if o.read < o.at {
		n, err := io.CopyN(io.Discard, o.from, o.at-o.read)
		o.read += n
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", o.name, err)
		}
	}
	n, err := o.from.Read(p)
	o.read, o.at = o.read+int64(n), o.at+int64(n)
	return n, err
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
		return o.at, fmt.Errorf("%s: a position before its beginning", o.name)
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
