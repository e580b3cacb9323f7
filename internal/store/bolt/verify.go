package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"cortex.dev/cortex/internal/fault"
)

// The layout of bbolt's file, format 2, which has not changed since 2014. It is read
// here because bbolt believes its pages: one that is damaged ends in a panic, in an
// endless loop, or in a record that is not found.
const (
	pageSize      = 4096
	pageHeader    = 16
	elementHeader = 16
	metaBytes     = 56
	metaMagic     = 0xED0CDAED
	flagBranch    = 1
	flagLeaf      = 2
	flagBucket    = 1
	maxDepth      = 32
)

var native = binary.NativeEndian

// walk reads every page that a lookup can reach.
type walk struct {
	ctx   context.Context
	file  io.ReaderAt
	pages uint64 // those below this number are in use
	seen  map[uint64]bool
	leaf  func(key, value []byte, bucket bool) error
}

// verify reads the whole state before bbolt sees it.
func verify(ctx context.Context, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return folderFault(path, err)
	}
	defer file.Close()
	w := &walk{ctx: ctx, file: file, seen: map[uint64]bool{}}
	if err := w.state(); err != nil {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case fault.Code(err) != "":
			return err
		case errors.Is(err, io.EOF), errors.As(err, new(damage)):
			return corrupt(path, "%v", err)
		}
		return folderFault(path, err)
	}
	return nil
}

// damage is what is wrong with the bytes, not with reading them.
type damage string

func (d damage) Error() string { return string(d) }

func damaged(format string, args ...any) error { return damage(fmt.Sprintf(format, args...)) }

func (w *walk) state() error {
	root, err := w.meta()
	if err != nil {
		return err
	}
	var inner []byte
	w.leaf = func(key, value []byte, isBucket bool) error {
		if inner != nil || !isBucket || !bytes.Equal(key, bucket) || len(value) < pageHeader {
			return damaged("the list of buckets holds %q", key)
		}
		inner = bytes.Clone(value)
		return nil
	}
	if err := w.page(root, nil, nil, 0); err != nil {
		return err
	}
	if inner == nil {
		return damaged("there is no bucket %s", bucket)
	}
	var told *summary
	var found summary
	w.leaf = func(key, value []byte, isBucket bool) error {
		data, sum, ok := unseal(key, value)
		if !ok || isBucket {
			return damaged("the record %q does not match its checksum", key)
		}
		if string(key) == keySummary {
			return json.Unmarshal(data, &told)
		}
		found.Sum += sum
		found.Records++
		return nil
	}
	// A bucket begins with the page of its root; 0 says that the page follows at once.
	if root = native.Uint64(inner); root == 0 {
		err = w.elements(inner[16:], nil, nil, 0)
	} else {
		err = w.page(root, nil, nil, 0)
	}
	switch {
	case err != nil:
		return err
	case told == nil:
		return damaged("the summary is missing")
	case told.Format > formatVersion:
		return tooNew(told.Format)
	case told.Records != found.Records || told.Sum != found.Sum:
		return damaged("it holds %d records and should hold %d, or others", found.Records, told.Records)
	}
	return nil
}

// meta returns the page at which the newest state begins. Either of the first two
// pages is written with every second commit, and fits in one sector, so it is never
// written in part. Bbolt would go on with the older one, which is a silent loss.
func (w *walk) meta() (root uint64, _ error) {
	buf := make([]byte, 2*pageSize)
	if _, err := w.file.ReadAt(buf, 0); err != nil {
		return 0, err
	}
	newest := uint64(0)
	for i := range 2 {
		page := buf[i*pageSize:]
		m := page[pageHeader:]
		hash := fnv.New64a()
		_, _ = hash.Write(m[:metaBytes]) // a hash never fails
		if native.Uint32(m) != metaMagic || native.Uint32(m[4:]) != 2 || native.Uint32(m[8:]) != pageSize || native.Uint64(m[metaBytes:]) != hash.Sum64() {
			return 0, damaged("page %d does not match its checksum", i)
		}
		if id := native.Uint64(m[48:]); i == 0 || id > newest {
			newest, root, w.pages = id, native.Uint64(m[16:]), native.Uint64(m[40:])
		}
	}
	return root, nil
}

// page reads one page and what is below it. Its keys are from low on, and below high
// unless that is nil.
func (w *walk) page(id uint64, low, high []byte, depth int) error {
	if id < 2 || id >= w.pages || w.seen[id] || depth > maxDepth {
		return damaged("page %d is where it cannot be", id)
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	w.seen[id] = true
	at := int64(id) * pageSize
	buf := make([]byte, pageSize)
	if _, err := w.file.ReadAt(buf, at); err != nil {
		return err
	}
	more := uint64(native.Uint32(buf[12:]))
	if native.Uint64(buf) != id || id+more >= w.pages {
		return damaged("page %d has a wrong header", id)
	}
	for next := id + 1; next <= id+more; next++ {
		if w.seen[next] {
			return damaged("page %d is used twice", next)
		}
		w.seen[next] = true
	}
	if more > 0 {
		buf = make([]byte, (more+1)*pageSize)
		if _, err := w.file.ReadAt(buf, at); err != nil {
			return err
		}
	}
	if err := w.elements(buf, low, high, depth); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

func (w *walk) elements(buf, low, high []byte, depth int) error {
	if len(buf) < pageHeader {
		return damaged("it is too short")
	}
	flags, count := native.Uint16(buf[8:]), int(native.Uint16(buf[10:]))
	if flags != flagBranch && flags != flagLeaf || pageHeader+count*elementHeader > len(buf) || flags == flagBranch && count == 0 {
		return damaged("its header is wrong")
	}
	keys, rest := make([][]byte, count), make([][]byte, count)
	for i := range count {
		at := uint64(pageHeader + i*elementHeader)
		e := buf[at:]
		from, k, v := uint64(native.Uint32(e)), uint64(native.Uint32(e[4:])), uint64(0)
		if flags == flagLeaf {
			from, k, v = uint64(native.Uint32(e[4:])), uint64(native.Uint32(e[8:])), uint64(native.Uint32(e[12:]))
		}
		from += at
		if from+k+v > uint64(len(buf)) || from < uint64(pageHeader+count*elementHeader) {
			return damaged("element %d is not in it", i)
		}
		keys[i], rest[i] = buf[from:from+k:from+k], buf[from+k:from+k+v]
		if i > 0 && bytes.Compare(keys[i-1], keys[i]) >= 0 || bytes.Compare(keys[i], low) < 0 || high != nil && bytes.Compare(keys[i], high) >= 0 {
			return damaged("key %d is not in order", i)
		}
	}
	for i := range count {
		e := buf[pageHeader+i*elementHeader:]
		if flags == flagLeaf {
			if err := w.leaf(keys[i], rest[i], native.Uint32(e)&flagBucket != 0); err != nil {
				return err
			}
			continue
		}
		end := high
		if i+1 < count {
			end = keys[i+1]
		}
		if err := w.page(native.Uint64(e[8:]), keys[i], end, depth+1); err != nil {
			return err
		}
	}
	return nil
}
