package bolt

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc64"
	"math"
)

// A batch in the log is an index of the records that it changes, their values one after the
// other, and the index again: of a batch that is damaged, one of the two says which records
// it was about, and what of them is whole.
//
// An index is indexMagic, its length, the number of records, the number of the batch, the
// length of all values; of each record the length of its key, that of its value, or gone, and
// its key; and a checksum of all that and of the log's id.
const (
	indexMagic = "cxindex\x01"
	indexHead  = len(indexMagic) + 4 + 4 + 8 + 8
	indexEntry = 2 + 4
	gone       = math.MaxUint32
)

// batch are changes that were made durable together. The last one is that of the summary.
type batch struct {
	number  uint64
	changes []change
}

func encodeBatch(id, number uint64, changes *layer, after summary) ([]byte, error) {
	noted, err := json.Marshal(after)
	if err != nil {
		return nil, err
	}
	sealed, _ := seal([]byte(keySummary), noted)
	list := make([]change, 0, changes.tree.Len()+1)
	changes.tree.Ascend(func(c change) bool {
		list = append(list, c)
		return true
	})
	list = append(list, change{[]byte(keySummary), sealed})
	size, values := indexHead+8, 0
	for _, c := range list {
		size, values = size+indexEntry+len(c.key), values+len(c.value)
	}
	out := make([]byte, 0, 2*size+values)
	out = append(out, indexMagic...)
	out = binary.LittleEndian.AppendUint32(out, uint32(size))
	out = binary.LittleEndian.AppendUint32(out, uint32(len(list)))
	out = binary.LittleEndian.AppendUint64(out, number)
	out = binary.LittleEndian.AppendUint64(out, uint64(values))
	for _, c := range list {
		n := uint32(len(c.value))
		if c.value == nil {
			n = gone
		}
		out = binary.LittleEndian.AppendUint16(out, uint16(len(c.key)))
		out = binary.LittleEndian.AppendUint32(out, n)
		out = append(out, c.key...)
	}
	out = binary.LittleEndian.AppendUint64(out, indexSum(id, out))
	for _, c := range list {
		out = append(out, c.value...)
	}
	return append(out, out[:size]...), nil
}

func indexSum(id uint64, index []byte) uint64 {
	return crc64.Update(crc64.Checksum(binary.LittleEndian.AppendUint64(nil, id), table), table, index)
}

// decodeBatch reads a whole batch.
func decodeBatch(data []byte, id, number uint64) (batch, error) {
	x, ok := indexAt(data, id)
	if !ok || x.number != number || len(data) != 2*x.size+x.values {
		return batch{}, damaged("its index is wrong")
	}
	b := batch{number: number}
	at := x.size
	for _, e := range x.entries {
		c := change{key: e.key}
		if e.size != gone {
			c.value = data[at : at+int(e.size) : at+int(e.size)]
			at += int(e.size)
		}
		b.changes = append(b.changes, c)
	}
	return b, nil
}

// index says what a batch changes.
type index struct {
	number       uint64
	size, values int // bytes
	entries      []indexed
}

type indexed struct {
	key  []byte
	size uint32 // of its value
}

// indexAt reads the index that data begins with, if it begins with one.
func indexAt(data []byte, id uint64) (x index, ok bool) {
	if len(data) < indexHead+8 || string(data[:len(indexMagic)]) != indexMagic {
		return x, false
	}
	head := data[len(indexMagic):]
	size, count := uint64(binary.LittleEndian.Uint32(head)), uint64(binary.LittleEndian.Uint32(head[4:]))
	values := binary.LittleEndian.Uint64(head[16:])
	if size < uint64(indexHead+8) || size > uint64(len(data)) || count*indexEntry > size || values > math.MaxUint32 ||
		indexSum(id, data[:size-8]) != binary.LittleEndian.Uint64(data[size-8:]) {
		return x, false
	}
	x = index{number: binary.LittleEndian.Uint64(head[8:]), size: int(size), values: int(values)}
	rest, left := data[indexHead:size-8], values
	for range count {
		if len(rest) < indexEntry {
			return x, false
		}
		k, e := int(binary.LittleEndian.Uint16(rest)), indexed{size: binary.LittleEndian.Uint32(rest[2:])}
		if rest = rest[indexEntry:]; len(rest) < k {
			return x, false
		}
		e.key, rest = rest[:k:k], rest[k:]
		if e.size != gone {
			if uint64(e.size) > left {
				return x, false
			}
			left -= uint64(e.size)
		}
		x.entries = append(x.entries, e)
	}
	return x, left == 0 && len(rest) == 0
}

// remains is what is left of a damaged batch.
type remains struct {
	whole []change // as they were
	hurt  [][]byte // keys of records of which it is not known what they became
}

// remainsIn finds what is left of batches in bytes that may have been anything.
func remainsIn(rest []byte, id uint64, into map[uint64]remains) {
	for at := 0; ; at++ {
		next := bytes.Index(rest[at:], []byte(indexMagic))
		if next < 0 {
			return
		}
		at += next
		x, ok := indexAt(rest[at:], id)
		if !ok {
			continue
		}
		// It is the first one, with the values behind it, or the second.
		best := remainsAt(rest, x, at+x.size)
		if before := remainsAt(rest, x, at-x.values); len(before.hurt) < len(best.hurt) {
			best = before
		}
		if was, known := into[x.number]; !known || len(best.hurt) < len(was.hurt) {
			into[x.number] = best
		}
	}
}

func remainsAt(rest []byte, x index, at int) (r remains) {
	for _, e := range x.entries {
		if e.size == gone {
			r.whole = append(r.whole, change{key: e.key})
			continue
		}
		end := at + int(e.size)
		if at >= 0 && end <= len(rest) {
			if _, _, ok := unseal(e.key, rest[at:end]); ok {
				r.whole = append(r.whole, change{e.key, rest[at:end:end]})
				at = end
				continue
			}
		}
		r.hurt = append(r.hurt, e.key)
		at = end
	}
	return r
}
