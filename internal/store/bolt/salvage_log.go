package bolt

import (
	"encoding/json"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/store/journal"
)

// goOn goes on from what the tree has with what is in the log. A batch that can be read is
// made as it was. Of one that cannot be, what is left of it says which records it was about,
// and has those that are whole; an item of which it is not known what it became fails.
func (s *salvage) goOn() {
	var id, after uint64
	if s.summary != nil {
		if id, after = s.summary.Log, s.summary.Applied; id == 0 {
			return
		}
	}
	found, err := journal.Read(s.dir, id, after)
	if err != nil {
		s.report.problem("the log: %v", err)
		return
	}
	if found.ID == 0 {
		return // there is none
	}
	for _, p := range found.Problems {
		s.report.problem("the log: %s", p)
	}
	if len(found.Problems) > 0 && len(found.Lost) == 0 {
		s.report.problem("the log: whether it had more, and of which items that was, cannot be told")
	}
	left, order := map[uint64]remains{}, slices.Clone(found.Lost)
	for _, rest := range found.Rest {
		remainsIn(rest, found.ID, left)
	}
	for _, b := range found.Batches {
		order = append(order, b.Number)
		whole, err := decodeBatch(b.Data, found.ID, b.Number)
		if err != nil {
			s.report.problem("the log: batch %d: %v", b.Number, err)
			remainsIn(b.Data, found.ID, left)
			continue
		}
		left[b.Number] = remains{whole: whole.changes}
	}
	slices.Sort(order)
	s.err = s.into.Update(func(tx *bbolt.Tx) error {
		return s.write(tx, func(t *txn) error { return s.make(t, order, left) })
	})
}

// make makes the changes that are left of batches, in order.
func (s *salvage) make(t *txn, order []uint64, left map[uint64]remains) error {
	hurt := map[string]bool{}
	for _, number := range order {
		r, known := left[number]
		if !known {
			s.report.problem("the log: of which items batch %d was cannot be told", number)
			continue
		}
		for _, key := range r.hurt {
			if takenOver(string(key)) {
				hurt[string(key)] = true
			}
			s.report.problem("the log: batch %d: the record %q does not match its checksum", number, key)
		}
		for _, c := range r.whole {
			if err := s.change(t, c); err != nil {
				return err
			}
			delete(hurt, string(c.key))
		}
	}
	for key := range hurt {
		// Whatever is found of it elsewhere is older.
		s.torn = append(s.torn, span{low: []byte(key), high: []byte(key + "\x00"), kind: leafPage})
		if err := s.hurt(t, key); err != nil {
			return err
		}
	}
	return nil
}

// takenOver reports whether a record is not one that is made anew, as the summary is.
func takenOver(key string) bool {
	return slices.Contains([]string{keyItem, keyHook, keyOnce, keyPayload, keyResult, keyOpen, keyForget}, key[:min(2, len(key))])
}

// change makes one change, if it is of a record that is taken over.
func (s *salvage) change(t *txn, c change) error {
	key := string(c.key)
	if !takenOver(key) {
		return nil
	}
	data, _, ok := unseal(c.key, c.value)
	if !ok {
		return t.remove(key)
	}
	var item ledger.Item
	if strings.HasPrefix(key, keyItem) && json.Unmarshal(data, &item) == nil && item.Accepted.After(s.latest) {
		s.latest = item.Accepted
	}
	return t.put(key, data)
}

// hurt does what follows from a record of which it is not known what it became.
func (s *salvage) hurt(t *txn, key string) error {
	name, is := strings.CutPrefix(key, keyItem)
	if !is {
		return t.remove(key) // what it was before is not what it is
	}
	api, id, _ := strings.Cut(name, "\x00")
	if legalItem(api, id) != nil || id == "" {
		return nil
	}
	item, err := t.item(api, id)
	if err != nil {
		item = ledger.Item{API: api, ID: id, Version: 1, Accepted: ledger.TimeOf(id)}
	}
	data, err := encode(s.fail(item))
	if err != nil {
		return err
	}
	return t.put(key, data)
}
