package bolt

import (
	"bytes"

	"github.com/google/btree"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// records are sealed values by their keys.
type records interface {
	Get(key []byte) []byte
	Put(key, value []byte) error
	Delete(key []byte) error
	// ascend calls fn with every record from a key on, descend with every one before it,
	// backwards, until fn says stop. None may be changed meanwhile.
	ascend(from []byte, fn func(key, value []byte) bool)
	descend(before []byte, fn func(key, value []byte) bool)
}

// inFile are the records of the file alone.
type inFile struct{ *bbolt.Bucket }

var _ records = inFile{}

func (f inFile) ascend(from []byte, fn func(key, value []byte) bool) {
	c := f.Cursor()
	for k, v := c.Seek(from); k != nil && fn(k, v); k, v = c.Next() {
	}
}

func (f inFile) descend(before []byte, fn func(key, value []byte) bool) {
	c := f.Cursor()
	step := c.Prev
	if k, _ := c.Seek(before); k == nil {
		step = c.Last
	}
	for k, v := step(); k != nil && fn(k, v); k, v = c.Prev() {
	}
}

// layer are changes that are not in the file yet.
type layer struct {
	tree *btree.BTreeG[change]
	size int // bytes of its keys and values
}

// change is what a record has become.
type change struct {
	key   []byte
	value []byte // nil: it is gone
}

func newLayer() *layer {
	return &layer{tree: btree.NewG(32, func(a, b change) bool { return bytes.Compare(a.key, b.key) < 0 })}
}

func (l *layer) set(c change) {
	l.size += len(c.key) + len(c.value)
	if was, replaced := l.tree.ReplaceOrInsert(c); replaced {
		l.size -= len(was.key) + len(was.value)
	}
}

// with returns a layer that has what is in another one too. What reads l goes on to read what
// was in it.
func (l *layer) with(more *layer) *layer {
	next := &layer{tree: l.tree.Clone(), size: l.size}
	more.tree.Ascend(func(c change) bool {
		next.set(c)
		return true
	})
	return next
}

// layered are the records of the file, below changes that are not in it yet.
type layered struct {
	file *bbolt.Bucket
	over []*layer // the latest first
	into *layer   // the first of over, where it may be changed; nil: nothing may
}

var _ records = layered{}

// Get is records'.
func (l layered) Get(key []byte) []byte {
	for _, o := range l.over {
		if c, ok := o.tree.Get(change{key: key}); ok {
			return c.value
		}
	}
	return l.file.Get(key)
}

// Put is records'.
func (l layered) Put(key, value []byte) error {
	if l.into == nil {
		return bbolterrors.ErrTxNotWritable
	}
	l.into.set(change{key, value})
	return nil
}

// Delete is records'.
func (l layered) Delete(key []byte) error {
	if l.into == nil {
		return bbolterrors.ErrTxNotWritable
	}
	l.into.set(change{key: key})
	return nil
}

func (l layered) ascend(from []byte, fn func(key, value []byte) bool) {
	l.merge(inFile{l.file}.ascend, from, 1, fn)
}

func (l layered) descend(before []byte, fn func(key, value []byte) bool) {
	l.merge(inFile{l.file}.descend, before, -1, fn)
}

// merge calls fn with what file has from a key on, in its direction, and with what is over it.
func (l layered) merge(file func([]byte, func(key, value []byte) bool), from []byte, direction int, fn func(key, value []byte) bool) {
	over := make([]*run, len(l.over))
	for i, o := range l.over {
		over[i] = &run{tree: o.tree, from: from, direction: direction}
		over[i].fill()
	}
	// Whatever is over the file comes first, until it is past a key; nil: all of it.
	until := func(key []byte) (more, same bool) {
		for {
			best := -1
			for i, r := range over {
				if c, ok := r.head(); ok && (best < 0 || direction*bytes.Compare(c.key, over[best].buf[over[best].at].key) < 0) {
					best = i
				}
			}
			if best < 0 {
				return true, same
			}
			c, _ := over[best].head()
			at := -1
			if key != nil {
				if at = direction * bytes.Compare(c.key, key); at > 0 {
					return true, same
				}
			}
			same = same || at == 0
			for _, r := range over { // of one key the latest is what it is
				if d, ok := r.head(); ok && bytes.Equal(d.key, c.key) {
					r.next()
				}
			}
			if c.value != nil && !fn(c.key, c.value) {
				return false, same
			}
		}
	}
	stopped := false
	file(from, func(key, value []byte) bool {
		more, same := until(key)
		stopped = !more || !same && !fn(key, value)
		return !stopped
	})
	if !stopped {
		until(nil)
	}
}

// run reads a layer in one direction, some of it at a time.
type run struct {
	tree      *btree.BTreeG[change]
	from      []byte // the next one is this, where ascending, or beyond it
	past      bool   // it was read
	direction int
	buf       []change
	at        int
}

const runLength = 64

func (r *run) head() (change, bool) {
	if r.at < len(r.buf) {
		return r.buf[r.at], true
	}
	return change{}, false
}

func (r *run) next() {
	if r.at++; r.at == len(r.buf) && r.at == runLength {
		r.from, r.past = r.buf[r.at-1].key, true
		r.fill()
	}
}

func (r *run) fill() {
	r.buf, r.at = r.buf[:0], 0
	take := func(c change) bool {
		if (r.past || r.direction < 0) && bytes.Equal(c.key, r.from) {
			return true
		}
		r.buf = append(r.buf, c)
		return len(r.buf) < runLength
	}
	if r.direction > 0 {
		r.tree.AscendGreaterOrEqual(change{key: r.from}, take)
	} else {
		r.tree.DescendLessOrEqual(change{key: r.from}, take)
	}
}
