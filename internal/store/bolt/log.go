package bolt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"cortex.dev/cortex/internal/store/journal"
)

// A commit of bbolt writes twice and waits for the disk twice. Where many small changes are
// made and each is waited for, they go into a log, for one write and one wait, and are kept
// in memory until there are enough of them to be worth a commit: then they are brought into
// the file, in the background, while the other half of the log takes what comes (ADR 64).
//
// The file names its log. It has a format that is too new for who does not know of logs, and
// what must be brought into the file from the log is what has a greater number than it says.
// At a clean end everything is in the file, the log is gone and the format is the older one.

// logSize is the size of one half of a log.
const logSize = 4 << 20

// logged is what a store with a log has beside its file.
type logged struct {
	size   int64
	seen   atomic.Pointer[moment] // nil: everything is in the file
	writer *journal.Writer        // nil: there is no log

	// Of who commits:
	summary summary       // after the last change
	frozen  *layer        // is being brought into the file; nil: nothing is
	active  *layer        // what came later
	ready   chan error    // says when frozen is in the file
	late    *summary      // of frozen, where that failed for want of room
	turns   atomic.Uint64 // how often frozen was dropped: see at
}

// moment is what is over the file.
type moment struct {
	turn uint64
	over []*layer
}

// at begins to read: what is in the file, and what is over it. Between the two looks the file
// can only gain what is over it already, unless a layer was dropped meanwhile.
func (s *Store) at() (*bbolt.Tx, []*layer, error) {
	for {
		var over []*layer
		turn := s.log.turns.Load()
		if m := s.log.seen.Load(); m != nil {
			turn, over = m.turn, m.over
		}
		tx, err := s.db.Begin(false)
		if err != nil {
			return nil, nil, err
		}
		if s.log.turns.Load() == turn {
			return tx, over, nil
		}
		_ = tx.Rollback() // of reading nothing is left
	}
}

// begin makes a log, if there is none, and has the file name it.
func (s *Store) begin() error {
	l := &s.log
	if l.writer != nil {
		return nil
	}
	w, err := journal.Create(s.cfg.Dir, l.size)
	if err != nil {
		return err
	}
	if err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		m, err := summaryOf(&reader{path: s.path, b: inFile{b}})
		if err != nil {
			return err
		}
		m.Format, m.Log, m.Applied = formatLogged, w.ID(), 0
		l.summary = m
		return putSummary(b, m)
	}); err != nil {
		_ = errors.Join(w.Close(), journal.Remove(s.cfg.Dir)) // why is known
		return err
	}
	l.writer, l.active = w, newLayer()
	l.show()
	return nil
}

// over are the layers over the file.
func (l *logged) over() []*layer {
	if l.frozen != nil {
		return []*layer{l.active, l.frozen}
	}
	return []*layer{l.active}
}

// show has the layers that there are now be seen.
func (l *logged) show() { l.seen.Store(&moment{turn: l.turns.Load(), over: l.over()}) }

// commitLogged makes a batch of changes durable. It is applied to the layers before it is in
// the log, and nobody sees it before it is there.
func (s *Store) commitLogged(batch []*write, answers []error) error {
	l := &s.log
	if err := s.begin(); err != nil {
		return err
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return err
	}
	changes := newLayer()
	t := &txn{summary: l.summary, reader: reader{path: s.path, b: layered{file: tx.Bucket(bucket), over: append([]*layer{changes}, l.over()...), into: changes}}}
	err = applyAll(t, batch, answers)
	_ = tx.Rollback() // of reading nothing is left
	if err != nil || changes.tree.Len() == 0 {
		return err
	}
	if err := s.append(changes, t.summary); err != nil {
		return err
	}
	l.summary = t.summary
	s.fire(t)
	return nil
}

// append writes changes to the log, and has them seen.
func (s *Store) append(changes *layer, after summary) error {
	l := &s.log
	data, err := encodeBatch(l.writer.ID(), l.writer.Next(), changes, after)
	if err != nil {
		return err
	}
	now, fresh := l.writer.Fits(len(data))
	if !now {
		if err := s.turn(); err != nil {
			return err
		}
	}
	if !fresh { // it is worth a commit of its own, after all that was before
		if err := s.settled(true); err != nil {
			return err
		}
		after.Applied = l.summary.Applied
		return s.bring(changes, after)
	}
	if err := l.writer.Append(data); err != nil {
		return err
	}
	l.active = l.active.with(changes)
	l.show()
	return s.settled(false)
}

// turn has what came last be brought into the file, and goes on in the other half of the log:
// what was there has to be in the file before.
func (s *Store) turn() error {
	l := &s.log
	if err := s.settled(true); err != nil {
		return err
	}
	l.frozen, l.active = l.active, newLayer()
	l.show()
	l.writer.Turn()
	l.summary.Applied = l.writer.Next() - 1
	l.bring(s, l.summary)
	return nil
}

// bring begins to bring frozen into the file.
func (l *logged) bring(s *Store, after summary) {
	ready, frozen := make(chan error, 1), l.frozen
	l.ready, l.late = ready, &after
	go func() { ready <- s.bring(frozen, after) }()
}

// settled drops frozen when it is in the file; with wait, it waits for that, and tries once
// more where there was no room.
func (s *Store) settled(wait bool) error {
	l := &s.log
	for again := false; l.frozen != nil; again = true {
		if wait {
			err := <-l.ready
			l.ready <- err
		}
		select {
		case err := <-l.ready:
			switch {
			case err == nil:
				l.frozen, l.ready, l.late = nil, nil, nil
				l.turns.Add(1)
				l.show()
			case !isDiskFull(err):
				return err
			case !wait: // there is room for what comes until the log is full
				l.ready <- err
				return nil
			case again:
				l.ready <- err
				return err
			default:
				l.bring(s, *l.late)
			}
		default:
			return nil
		}
	}
	return nil
}

// bring commits a layer into the file.
func (s *Store) bring(from *layer, after summary) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = corrupt(s.path, "%v", r)
		}
	}()
	return s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		var err error
		from.tree.Ascend(func(c change) bool {
			if c.value == nil {
				err = b.Delete(c.key)
			} else {
				err = b.Put(c.key, c.value)
			}
			return err == nil
		})
		if err != nil {
			return err
		}
		return putSummary(b, after)
	})
}

// finish brings everything into the file, which then has the format of one without a log. What
// cannot be brought stays in the log, for the next Open.
func (s *Store) finish() error {
	l := &s.log
	if l.writer == nil {
		return nil
	}
	err := s.settled(true)
	if err == nil && s.dead == nil {
		last := l.summary
		last.Format, last.Log, last.Applied = formatVersion, 0, 0
		if err = s.bring(l.active, last); err == nil {
			err = journal.Remove(s.cfg.Dir)
		}
	}
	return errors.Join(err, l.writer.Close())
}

// recover brings the batches that verify found in a log into the file, and ends the log.
func (s *Store) recover(batches []batch) error {
	var m summary
	if err := s.db.View(func(tx *bbolt.Tx) (err error) {
		m, err = summaryOf(&reader{path: s.path, b: inFile{tx.Bucket(bucket)}})
		return err
	}); err != nil {
		return err
	}
	if m.Log == 0 {
		// Of one that has come to its end, or that an older version did not know of when it
		// went on without it.
		return journal.Remove(s.cfg.Dir)
	}
	if err := s.db.Update(func(tx *bbolt.Tx) error {
		t := &txn{summary: m, reader: reader{path: s.path, b: inFile{tx.Bucket(bucket)}}}
		for _, b := range batches {
			if err := t.again(b); err != nil {
				return err
			}
		}
		t.Format, t.Log, t.Applied = formatVersion, 0, 0
		return putSummary(t.b, t.summary)
	}); err != nil {
		return err
	}
	return journal.Remove(s.cfg.Dir)
}

// again makes the changes of a batch, and compares what comes of them with what was noted.
func (t *txn) again(b batch) error {
	var after *summary
	for _, c := range b.changes {
		if string(c.key) == keySummary {
			data, _, ok := unseal(c.key, c.value)
			if !ok || json.Unmarshal(data, &after) != nil {
				return corrupt(t.path, "batch %d of its log has no summary", b.number)
			}
			continue
		}
		if err := t.remove(string(c.key)); err != nil {
			return err
		}
		if c.value == nil {
			continue
		}
		_, sum, ok := unseal(c.key, c.value)
		if !ok {
			return corrupt(t.path, "the record %q in its log does not match its checksum", c.key)
		}
		t.Sum, t.Records = t.Sum+sum, t.Records+1
		if err := t.b.Put(c.key, c.value); err != nil {
			return err
		}
	}
	if after == nil || after.Sum != t.Sum || after.Records != t.Records {
		return corrupt(t.path, "batch %d of its log does not lead to what it should", b.number)
	}
	t.Version, t.Claims = after.Version, after.Claims
	return nil
}

// readLog reads what a log has that is not in the file, whole.
func readLog(dir string, m summary) (batches []batch, _ error) {
	path := filepath.Join(dir, "log-*")
	found, err := journal.Read(dir, m.Log, m.Applied)
	if err != nil {
		return nil, folderFault(path, err)
	}
	if len(found.Problems) > 0 {
		return nil, corrupt(path, "%s", found.Problems[0])
	}
	for _, f := range found.Batches {
		b, err := decodeBatch(f.Data, m.Log, f.Number)
		if err != nil {
			return nil, corrupt(path, "batch %d: %v", f.Number, err)
		}
		batches = append(batches, b)
	}
	return batches, nil
}

func summaryOf(r *reader) (m summary, _ error) {
	data, err := r.get(keySummary)
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	return m, err
}

// load reads and verifies everything, and opens the file.
func (s *Store) load(ctx context.Context) error {
	batches, err := verify(ctx, s.path)
	if err != nil {
		return err
	}
	db, err := openFile(s.path, false)
	if err != nil {
		return folderFault(s.path, err)
	}
	s.db = db
	if err := s.recover(batches); err != nil {
		_ = db.Close() // why it is closed is already known
		s.db = nil
		if isDamage(err) {
			return err
		}
		return fmt.Errorf("going on from the log: %w", folderFault(s.path, err))
	}
	return nil
}
