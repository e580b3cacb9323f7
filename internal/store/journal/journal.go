// Package journal keeps batches of bytes that are not in their place yet, in order.
//
// It promises that what Append was given is on the disk when it returns, for one write and
// one wait for the disk; and that Read finds every such batch again, or says which it cannot
// find: what was not finished is told from what was damaged later. For the first, it writes
// into two files of a fixed size that were filled beforehand, so that the file system has
// nothing of its own to write; while one takes batches, what is in the other is brought to
// its place. For the second, a batch that was acknowledged is followed by another one or by
// a mark, which says so.
//
// It must not know what a batch is, or whether it was brought to its place: that is for its
// user to remember, with the id of the journal.
package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"cortex.dev/cortex/internal/atomicfile"
)

// The layout of a file: a head, which is magic, the id of the journal, the size of the file and
// a checksum of these; and from headSize on records, each at the begin of a sector.
// A record is its kind, the length of what it carries, its number and a checksum of these,
// of the id of the journal and of what it carries; then that.
const (
	sector     = 512
	headSize   = 4096
	recordHead = 24
	magic      = "cxlog\x00\x00\x01"

	kindBatch = 0x68637462
	kindMark  = 0x6b72616d // without contents: the batch of this number was acknowledged
)

// MinSize is the smallest size of a file that makes sense.
const MinSize = headSize + 16*sector

var table = crc32.MakeTable(crc32.Castagnoli)

func names(dir string) [2]string {
	return [2]string{filepath.Join(dir, "log-0"), filepath.Join(dir, "log-1")}
}

// Writer appends to a journal. It is not for several callers at once.
type Writer struct {
	id     uint64
	files  [2]*os.File
	infos  [2]os.FileInfo
	size   int64
	active int
	at     int64  // in the active file
	last   uint64 // number of the last batch
	buf    []byte
}

// Create makes an empty journal in a folder, in the place of any that is there, with files of
// a size. It has an id that no other one has.
func Create(dir string, size int64) (_ *Writer, err error) {
	w := &Writer{id: rand.Uint64() | 1, size: size &^ (sector - 1), at: headSize}
	defer func() {
		if err != nil {
			_ = errors.Join(w.Close(), Remove(dir)) // why there is none is known
		}
	}()
	for i, name := range names(dir) {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return nil, err
		}
		w.files[i] = f
		if err := w.fill(f); err != nil {
			return nil, err
		}
		if w.infos[i], err = f.Stat(); err != nil {
			return nil, err
		}
	}
	return w, atomicfile.SyncFolder(dir)
}

// fill writes a whole file, so that nothing has to be found for it later.
func (w *Writer) fill(f *os.File) error {
	head := binary.LittleEndian.AppendUint64([]byte(magic), w.id)
	head = binary.LittleEndian.AppendUint64(head, uint64(w.size))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, table))
	piece := make([]byte, 1<<20)
	copy(piece, head)
	for left := w.size; left > 0; {
		n, err := f.Write(piece[:min(left, int64(len(piece)))])
		if err != nil {
			return err
		}
		left -= int64(n)
		clear(piece[:len(head)])
	}
	return f.Sync()
}

// ID is what tells this journal from all others. It is never 0.
func (w *Writer) ID() uint64 { return w.id }

// Next is the number that the next batch gets. The first one is 1.
func (w *Writer) Next() uint64 { return w.last + 1 }

// Fits reports whether a batch of n bytes fits into the active file; fresh, whether it would
// if that was empty.
func (w *Writer) Fits(n int) (now, fresh bool) {
	need := aligned(recordHead+int64(n)) + sector // and the mark
	return w.at+need <= w.size, headSize+need <= w.size
}

// Used is the share of the active file that is taken.
func (w *Writer) Used() float64 { return float64(w.at) / float64(w.size) }

func aligned(n int64) int64 { return (n + sector - 1) &^ (sector - 1) }

// Append writes a batch, which has to fit. After an error nothing is known of it, and nothing
// more can be appended.
func (w *Writer) Append(batch []byte) error {
	if now, err := os.Stat(w.files[w.active].Name()); err != nil || !os.SameFile(now, w.infos[w.active]) {
		return fmt.Errorf("%s was moved or deleted while it was in use", w.files[w.active].Name())
	}
	w.last++
	w.buf = record(w.buf[:0], w.id, kindBatch, w.last, batch)
	f := w.files[w.active]
	if _, err := f.WriteAt(w.buf, w.at); err != nil {
		return err
	}
	if err := syncData(f); err != nil {
		return err
	}
	w.at += aligned(int64(len(w.buf)))
	if cap(w.buf) > 1<<20 { // a large one is rare
		w.buf = nil
	}
	// Not waited for: it lasts as long as the machine, and tells a batch that was damaged then
	// from one that was not finished. After the machine has died, the next batch tells so.
	_, err := f.WriteAt(record(make([]byte, 0, recordHead), w.id, kindMark, w.last, nil), w.at)
	return err
}

// Turn goes on in the other file, from its beginning. What was in that has to be in its place.
func (w *Writer) Turn() { w.active, w.at = 1-w.active, headSize }

// Close gives the files back.
func (w *Writer) Close() (err error) {
	for _, f := range w.files {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

func record(out []byte, id uint64, kind uint32, number uint64, data []byte) []byte {
	out = binary.LittleEndian.AppendUint32(out, kind)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(data)))
	out = binary.LittleEndian.AppendUint64(out, number)
	out = binary.LittleEndian.AppendUint64(out, uint64(sum(id, out[len(out)-16:], data)))
	return append(out, data...)
}

func sum(id uint64, head, data []byte) uint32 {
	var salt [8]byte // who submits what is in a batch does not know it, and cannot make what looks like a record
	binary.LittleEndian.PutUint64(salt[:], id)
	return crc32.Update(crc32.Update(crc32.Checksum(salt[:], table), table, head), table, data)
}

// Remove forgets the journal of a folder, if there is one.
func Remove(dir string) error {
	for _, name := range names(dir) {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Aside gives the files of a folder other names, which begin with a path.
func Aside(dir, path string) error {
	for i, name := range names(dir) {
		if err := os.Rename(name, fmt.Sprintf("%s.log-%d", path, i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// maxFile bounds what is read of a file that may be anything.
const maxFile = 256 << 20

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}
