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
	"path/filepath"

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
	// goOn is asked whether to go on without a page, or without one record of it, that is
	// damaged; nil: the first damage ends the walk.
	goOn func(id uint64, buf, low, high []byte, why error) bool
	bad  func(key []byte, why error) bool
	each func(key, data []byte) // sees every record that matches its checksum; nil: nobody
}

// verify reads the whole state before bbolt sees it.
func verify(ctx context.Context, path string) (batches []batch, _ error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, folderFault(path, err)
	}
	defer file.Close()
	w := &walk{ctx: ctx, file: file, seen: map[uint64]bool{}}
	m, err := w.state()
	if err == nil && m.Log != 0 {
		batches, err = readLog(filepath.Dir(path), *m)
	}
	if err != nil {
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case fault.Code(err) != "":
			return nil, err
		case errors.Is(err, io.EOF), errors.As(err, new(damage)):
			return nil, corrupt(path, "%v", err)
		}
		return nil, folderFault(path, err)
	}
	return batches, nil
}

// damage is what is wrong with the bytes, not with reading them.
type damage string

func (d damage) Error() string { return string(d) }

func damaged(format string, args ...any) error { return damage(fmt.Sprintf(format, args...)) }

func (w *walk) state() (*summary, error) {
	root, err := w.meta()
	if err != nil {
		return nil, err
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
		return nil, err
	}
	if inner == nil {
		return nil, damaged("there is no bucket %s", bucket)
	}
	var told *summary
	var found summary
	w.leaf = func(key, value []byte, isBucket bool) error {
		data, sum, ok := unseal(key, value)
		if !ok || isBucket {
			why := damaged("the record %q does not match its checksum", key)
			if w.bad != nil && w.bad(key, why) {
				return nil
			}
			return why
		}
		if string(key) == keySummary {
			return json.Unmarshal(data, &told)
		}
		found.Sum += sum
		found.Records++
		if w.each != nil {
			w.each(key, data)
		}
		return nil
	}
	// A bucket begins with the page of its root; 0 says that the page follows at once.
	if root = native.Uint64(inner); root == 0 {
		if err = w.elements(inner[16:], nil, nil, 0); err != nil && w.goOn != nil && w.goOn(0, inner[16:], nil, nil, err) {
			err = nil
		}
	} else {
		err = w.page(root, nil, nil, 0)
	}
	switch {
	case err != nil:
		return nil, err
	case told == nil:
		return nil, damaged("the summary is missing")
	case told.Format > formatLogged:
		return nil, tooNew(told.Format)
	case told.Records != found.Records || told.Sum != found.Sum:
		return told, damaged("it holds %d records and should hold %d, or others", found.Records, told.Records)
	}
	return told, nil
}

// meta returns the page at which the newest state begins. Either of the first two
// pages is written with every second commit, and fits in one sector, so it is never
// written in part. Bbolt would go on with the older one, which is a silent loss.
func (w *walk) meta() (root uint64, _ error) {
	newest := uint64(0)
	for i := range 2 {
		m, err := readMeta(w.file, i)
		if err != nil {
			return 0, err
		}
		if m.commit >= newest {
			newest, root, w.pages = m.commit, m.root, m.pages
		}
	}
	return root, nil
}

// metaPage is one of the first two pages.
type metaPage struct{ root, pages, commit uint64 }

func readMeta(file io.ReaderAt, i int) (metaPage, error) {
	page := make([]byte, pageSize)
	if _, err := file.ReadAt(page, int64(i)*pageSize); err != nil {
		return metaPage{}, err
	}
	m := page[pageHeader:]
	hash := fnv.New64a()
	_, _ = hash.Write(m[:metaBytes]) // a hash never fails
	if native.Uint32(m) != metaMagic || native.Uint32(m[4:]) != 2 || native.Uint32(m[8:]) != pageSize || native.Uint64(m[metaBytes:]) != hash.Sum64() {
		return metaPage{}, damaged("page %d does not match its checksum", i)
	}
	return metaPage{root: native.Uint64(m[16:]), pages: native.Uint64(m[40:]), commit: native.Uint64(m[48:])}, nil
}

// page reads one page and what is below it. Its keys are from low on, and below high
// unless that is nil.
func (w *walk) page(id uint64, low, high []byte, depth int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	var buf []byte
	err := damaged("page %d is where it cannot be", id)
	if id >= 2 && id < w.pages && !w.seen[id] && depth <= maxDepth {
		w.seen[id] = true
		if buf, err = readPage(w.file, id, w.pages); err == nil {
			err = w.within(id, buf, low, high, depth)
		}
	}
	if err != nil && w.goOn != nil && w.goOn(id, buf, low, high, err) {
		return nil
	}
	return err
}

// within reads what is in a page.
func (w *walk) within(id uint64, buf, low, high []byte, depth int) error {
	for next := id + 1; next < id+uint64(len(buf)/pageSize); next++ {
		if w.seen[next] {
			return damaged("page %d is used twice", next)
		}
		w.seen[next] = true
	}
	if err := w.elements(buf, low, high, depth); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// readPage returns a page with those that it goes on in, of a file in which those below
// pages are in use.
func readPage(file io.ReaderAt, id, pages uint64) ([]byte, error) {
	at := int64(id) * pageSize
	buf := make([]byte, pageSize)
	if _, err := file.ReadAt(buf, at); err != nil {
		return nil, err
	}
	more := uint64(native.Uint32(buf[12:]))
	if native.Uint64(buf) != id || id+more >= pages {
		return nil, damaged("page %d has a wrong header", id)
	}
	if more > 0 {
		buf = make([]byte, (more+1)*pageSize)
		if _, err := file.ReadAt(buf, at); err != nil {
			return nil, err
		}
	}
	return buf, nil
}

// element is one entry of a page: of a leaf with a value, of a branch with a page.
type element struct {
	key, value []byte
	bucket     bool
	page       uint64
}

// pageOf reads the header of a page.
func pageOf(buf []byte) (leaf bool, count int, _ error) {
	if len(buf) < pageHeader {
		return false, 0, damaged("it is too short")
	}
	flags, count := native.Uint16(buf[8:]), int(native.Uint16(buf[10:]))
	if flags != flagBranch && flags != flagLeaf || pageHeader+count*elementHeader > len(buf) || flags == flagBranch && count == 0 {
		return false, 0, damaged("its header is wrong")
	}
	return flags == flagLeaf, count, nil
}

// elementOf returns entry i of a page that has count.
func elementOf(buf []byte, leaf bool, count, i int) (e element, _ error) {
	at := uint64(pageHeader + i*elementHeader)
	raw := buf[at:]
	from, k, v := uint64(native.Uint32(raw)), uint64(native.Uint32(raw[4:])), uint64(0)
	if leaf {
		e.bucket = native.Uint32(raw)&flagBucket != 0
		from, k, v = uint64(native.Uint32(raw[4:])), uint64(native.Uint32(raw[8:])), uint64(native.Uint32(raw[12:]))
	} else {
		e.page = native.Uint64(raw[8:])
	}
	from += at
	if from+k+v > uint64(len(buf)) || from < uint64(pageHeader+count*elementHeader) {
		return e, damaged("element %d is not in it", i)
	}
	e.key, e.value = buf[from:from+k:from+k], buf[from+k:from+k+v]
	return e, nil
}

func (w *walk) elements(buf, low, high []byte, depth int) error {
	leaf, list, err := elementsOf(buf, low, high)
	if err != nil {
		return err
	}
	for i, e := range list {
		if leaf {
			if err := w.leaf(e.key, e.value, e.bucket); err != nil {
				return err
			}
			continue
		}
		end := high
		if i+1 < len(list) {
			end = list[i+1].key
		}
		if err := w.page(e.page, e.key, end, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// elementsOf returns the entries of a page, if all are where they have to be.
func elementsOf(buf, low, high []byte) (leaf bool, list []element, _ error) {
	leaf, count, err := pageOf(buf)
	if err != nil {
		return false, nil, err
	}
	list = make([]element, count)
	for i := range list {
		if list[i], err = elementOf(buf, leaf, count, i); err != nil {
			return false, nil, err
		}
		key := list[i].key
		if i > 0 && bytes.Compare(list[i-1].key, key) >= 0 || bytes.Compare(key, low) < 0 || high != nil && bytes.Compare(key, high) >= 0 {
			return false, nil, damaged("key %d is not in order", i)
		}
	}
	return leaf, list, nil
}
