package bolt

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc64"
)

// Keys of the one bucket. They are a format: a daemon of tomorrow reads what one of
// today wrote. A name has no zero byte, so a prefix ends with one.
const (
	keyWorkload = "w/" // name → version, workload
	keyHistory  = "h/" // name, 0, number → id of the revision, line feed, entry
	keyEvent    = "e/" // name, 0, number → event
	keyClaim    = "c/" // key → end
	keyEnd      = "t/" // end, key of a claim → nothing
	keyValue    = "v/" // name → version, value
	keySecret   = "s/" // name → secret
	keyAccess   = "a/" // name, 0, id → access key
	keySchedule = "d/" // API, 0, name → what is remembered of a schedule
	keyCalls    = "q/" // API, 0, hour, caller → counts
	keySummary  = "summary"
)

var (
	bucket = []byte("state")
	table  = crc64.MakeTable(crc64.ECMA)
)

// summary is what is known of all records together.
type summary struct {
	Format  int    `json:"format"`
	Version uint64 `json:"version"` // the last that was given
	Records uint64 `json:"records"`
	Sum     uint64 `json:"sum"` // of the checksums of all records but this one
	Claims  int    `json:"claims"`
	// Log is the id of the log that goes on where the file ends, and Applied the number of the
	// last batch of it that is in the file; 0: everything is.
	Log     uint64 `json:"log,omitempty"`
	Applied uint64 `json:"applied,omitempty"`
}

func checksum(key, data []byte) uint64 {
	return crc64.Update(crc64.Update(0, table, key), table, data)
}

// unseal returns the data of a stored value, and its checksum, if they agree.
func unseal(key, value []byte) (data []byte, sum uint64, ok bool) {
	if len(value) < 8 {
		return nil, 0, false
	}
	sum, data = binary.BigEndian.Uint64(value), value[8:]
	return data, sum, sum == checksum(key, data)
}

func seal(key, data []byte) (value []byte, sum uint64) {
	sum = checksum(key, data)
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(data)), sum), data...), sum
}

func putSummary(b interface{ Put(key, value []byte) error }, m summary) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	value, _ := seal([]byte(keySummary), data)
	return b.Put([]byte(keySummary), value)
}

func number(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

// numberOf is the number at the end of a key.
func numberOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// reader reads records at one moment. What it returns is valid until then only.
type reader struct {
	path string
	b    records
}

// get returns the data under key, nil when there is none.
func (r *reader) get(key string) ([]byte, error) {
	value := r.b.Get([]byte(key))
	if value == nil {
		return nil, nil
	}
	data, _, ok := unseal([]byte(key), value)
	if !ok {
		return nil, corrupt(r.path, "the record %q does not match its checksum", key)
	}
	return data, nil
}

// scan calls fn with every record below prefix from key on, until it says stop.
func (r *reader) scan(prefix, from string, fn func(key, data []byte) (more bool, err error)) error {
	return r.each(func(each func(k, v []byte) bool) { r.b.ascend([]byte(from), each) }, prefix, fn)
}

// scanBack calls fn with every record below prefix that is before a key, backwards, until
// it says stop.
func (r *reader) scanBack(prefix, before string, fn func(key, data []byte) (more bool, err error)) error {
	return r.each(func(each func(k, v []byte) bool) { r.b.descend([]byte(before), each) }, prefix, fn)
}

func (r *reader) each(walk func(func(k, v []byte) bool), prefix string, fn func(key, data []byte) (more bool, err error)) (err error) {
	walk(func(k, v []byte) bool {
		if !bytes.HasPrefix(k, []byte(prefix)) {
			return false
		}
		data, _, ok := unseal(k, v)
		if !ok {
			err = corrupt(r.path, "the record %q does not match its checksum", k)
			return false
		}
		more := false
		more, err = fn(k, data)
		return more && err == nil
	})
	return err
}

// keys returns the keys below prefix, in order.
func (r *reader) keys(prefix string) []string {
	var list []string
	r.b.ascend([]byte(prefix), func(k, _ []byte) bool {
		if !bytes.HasPrefix(k, []byte(prefix)) {
			return false
		}
		list = append(list, string(k))
		return true
	})
	return list
}

// txn is a reader that also writes, and keeps the summary right.
type txn struct {
	reader
	summary
	workloads, events, access bool // were changed
}

// next gives a version, or a number of an entry: they grow for ever.
func (t *txn) next() uint64 {
	t.Version++
	return t.Version
}

func (t *txn) put(key string, data []byte) error {
	if err := t.remove(key); err != nil {
		return err
	}
	value, sum := seal([]byte(key), data)
	t.Sum += sum
	t.Records++
	return t.b.Put([]byte(key), value)
}

// remove forgets a record; one that is not there is no error.
func (t *txn) remove(key string) error {
	old := t.b.Get([]byte(key))
	if old == nil {
		return nil
	}
	_, sum, ok := unseal([]byte(key), old)
	if !ok {
		return corrupt(t.path, "the record %q does not match its checksum", key)
	}
	t.Sum -= sum
	t.Records--
	return t.b.Delete([]byte(key))
}

func (t *txn) removeAll(keys []string) error {
	for _, key := range keys {
		if err := t.remove(key); err != nil {
			return err
		}
	}
	return nil
}
