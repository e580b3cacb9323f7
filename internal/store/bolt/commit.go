package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"cortex.dev/cortex/internal/fault"
)

// maxBatch and maxBatchBytes bound what shares one commit.
const (
	maxBatch      = 512
	maxBatchBytes = 1 << 20
)

// write is one change that waits for the disk.
type write struct {
	apply func(*txn) error // refuses before it writes anything
	size  int              // about how many bytes it writes
	done  chan error
}

// refusal is an answer to one write that says nothing about the others.
type refusal struct{ error }

// update applies a change and returns once it is on the disk. An error of apply that
// is a refusal is returned as it is; apply has changed nothing then. It must not
// change anything outside but what it assigns, because it may be called again.
func (s *Store) update(ctx context.Context, doing string, size int, reserve uint64, apply func(*txn) error) error {
	if s.closing.Err() != nil {
		return errClosed()
	}
	if err := s.room(size, reserve); err != nil {
		return err
	}
	w := &write{apply: apply, size: size, done: make(chan error, 1)}
	select {
	case s.queue <- w:
	case <-s.closing.Done():
		return errClosed()
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	// Once it was handed over it is going to be decided; who left before would not know.
	if err := <-w.done; err != nil {
		if r := (refusal{}); errors.As(err, &r) {
			return r.error
		}
		return s.failure(doing, err)
	}
	return nil
}

// commits writes, one batch after the other, until the store is closed. While one is
// on its way to the disk, the next gathers.
func (s *Store) commits() {
	defer close(s.done)
	for {
		var batch []*write
		size := 0
		select {
		case w := <-s.queue:
			batch, size = append(batch, w), w.size
		case <-s.closing.Done():
			return
		}
	gather:
		for len(batch) < maxBatch && size < maxBatchBytes {
			select {
			case w := <-s.queue:
				batch, size = append(batch, w), size+w.size
			default:
				break gather
			}
		}
		answers := make([]error, len(batch))
		err := s.dead
		if err == nil {
			err = s.commit(batch, answers)
		}
		if err != nil && !isDiskFull(err) {
			s.dead = err
		}
		for i, w := range batch {
			if err != nil {
				answers[i] = err
			}
			w.done <- answers[i]
		}
	}
}

func (s *Store) commit(batch []*write, answers []error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = corrupt(s.path, "%v", r)
		}
	}()
	// Writes to a file that was deleted would be lost without an error.
	if now, err := os.Stat(s.path); err != nil || !os.SameFile(now, s.identity) {
		return fault.New(fault.Unavailable, "store.unavailable", "the state file %s was moved or deleted while it was in use", s.path).
			WithHint("put it back, or deploy your files again, after: cortex local stop && cortex local start")
	}
	if s.log.size > 0 {
		return s.commitLogged(batch, answers)
	}
	var t *txn
	if err := s.db.Update(func(tx *bbolt.Tx) error {
		t = &txn{reader: reader{path: s.path, b: inFile{tx.Bucket(bucket)}}}
		if t.summary, err = summaryOf(&t.reader); err != nil {
			return err
		}
		if err := applyAll(t, batch, answers); err != nil {
			return err
		}
		return putSummary(t.b, t.summary)
	}); err != nil {
		return err
	}
	s.fire(t)
	return nil
}

// fire tells of the changes of t.
func (s *Store) fire(t *txn) {
	if t.workloads {
		s.workloads.fire()
	}
	if t.events {
		s.events.fire()
	}
	if t.access {
		s.access.fire()
	}
}

// applyAll makes the changes of a batch, and notes what each is answered.
func applyAll(t *txn, batch []*write, answers []error) error {
	for i, w := range batch {
		err := w.apply(t)
		if r := (refusal{}); err != nil && !errors.As(err, &r) {
			return err
		}
		answers[i] = err
	}
	return nil
}

// failure says in words why a write was not made.
func (s *Store) failure(doing string, err error) error {
	switch {
	case isDiskFull(err):
		return diskFull(s.cfg.Dir)
	case fault.Code(err) != "":
		return err
	}
	return fault.New(fault.Unavailable, "store.unavailable", "%s: the state in %s cannot be written: %w", doing, s.cfg.Dir, err).
		WithHint("check that the disk works, then: cortex local stop && cortex local start")
}
