package journal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
)

// Batch is one that was found.
type Batch struct {
	Number uint64
	Data   []byte
}

// Found is what is in a journal.
type Found struct {
	ID      uint64
	Batches []Batch // in order
	// Lost are the numbers of batches that were acknowledged and cannot be read, and Rest is
	// everything that is in no batch: what is left of them is in there.
	Lost []uint64
	Rest [][]byte
	// Problems says in words what is damaged; empty: nothing is.
	Problems []string
}

// Read reads the journal of a folder that has an id; 0: whichever is there. It leaves out the
// batches up to a number, which are in their place. Its error is that a file cannot be read,
// and not that it is damaged.
func Read(dir string, id, after uint64) (Found, error) {
	var all [2][]byte
	for i, name := range names(dir) {
		data, err := readFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Found{}, err
		}
		all[i] = data
	}
	return read(all, id, after), nil
}

func read(files [2][]byte, id, after uint64) (f Found) {
	f.ID = id
	acknowledged := after
	for i, data := range files {
		own, size, ok := headOf(data)
		switch {
		case len(data) == 0:
			f.problem("log-%d is not there, or empty", i)
		case !ok:
			f.problem("the head of log-%d does not match its checksum", i)
		case f.ID != 0 && own != f.ID:
			f.problem("log-%d is another one", i)
			files[i] = nil
		case size != uint64(len(data)):
			f.problem("log-%d has %d bytes and should have %d", i, len(data), size)
			f.ID = own
		default:
			f.ID = own
		}
	}
	for _, data := range files {
		acknowledged = max(acknowledged, f.scan(data, after))
	}
	slices.SortFunc(f.Batches, func(a, b Batch) int { return cmp.Compare(a.Number, b.Number) })
	next := after + 1
	lost := func(until uint64) {
		// A number that is far off is in a record that matches its checksum, and cannot be; still,
		// what is said of it is bounded.
		if until > next {
			f.problem("batches %d to %d were acknowledged and cannot be read", next, until-1)
		}
		for ; next < until && len(f.Lost) < maxLost; next++ {
			f.Lost = append(f.Lost, next)
		}
	}
	for _, b := range f.Batches {
		lost(b.Number)
		next = b.Number + 1
	}
	lost(acknowledged + 1)
	return f
}

const maxLost = 100_000

func (f *Found) problem(format string, args ...any) {
	f.Problems = append(f.Problems, fmt.Sprintf(format, args...))
}

func headOf(data []byte) (id, size uint64, ok bool) {
	const n = len(magic) + 8 + 8
	if len(data) < headSize || string(data[:len(magic)]) != magic || crc32.Checksum(data[:n], table) != binary.LittleEndian.Uint32(data[n:]) {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint64(data[len(magic):]), binary.LittleEndian.Uint64(data[len(magic)+8:]), true
}

// scan takes every record of a file, wherever it is: what is between two may be damaged. It
// returns the last number that a mark has.
func (f *Found) scan(data []byte, after uint64) (acknowledged uint64) {
	from := headSize // of what is in no batch
	rest := func(to int) {
		if to > from {
			f.Rest = append(f.Rest, data[from:to])
		}
	}
	for at := headSize; at+recordHead <= len(data); {
		kind, number, length, ok := recordAt(data[at:], f.ID)
		switch {
		case !ok:
			at += sector
		case kind == kindMark:
			acknowledged = max(acknowledged, number)
			at += sector
		default:
			rest(at)
			if number > after {
				f.Batches = append(f.Batches, Batch{number, data[at+recordHead:][:length:length]})
			}
			at += int(aligned(int64(recordHead + length)))
			from = at
		}
	}
	rest(len(data))
	return acknowledged
}

func recordAt(data []byte, id uint64) (kind uint32, number uint64, length int, ok bool) {
	kind = binary.LittleEndian.Uint32(data)
	n := uint64(binary.LittleEndian.Uint32(data[4:]))
	if kind != kindBatch && (kind != kindMark || n > 0) || recordHead+n > uint64(len(data)) {
		return 0, 0, 0, false
	}
	said := binary.LittleEndian.Uint64(data[16:])
	ok = said == uint64(sum(id, data[:16], data[recordHead:recordHead+n]))
	return kind, binary.LittleEndian.Uint64(data[8:]), int(n), ok
}
