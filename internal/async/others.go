package async

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"cortex.dev/cortex/internal/ledger"
)

// Others is how several programs share a ledger: all of them accept items, and one at a time
// hands them out. Each is known by its owner, which is in the items that it has executed.
type Others interface {
	// Follow tells of every item that changes, whoever changes it. It calls listening when no
	// later change is missed, and fails when changes may be missed, or ctx ends.
	Follow(ctx context.Context, listening func(), fn func(ledger.Item)) error
	// Tell passes on to all others how far the execution of an item is, and Hear calls fn with
	// what they tell until ctx ends. It may be lost.
	Tell(api, id string, said []byte)
	Hear(ctx context.Context, fn func(api, id string, said []byte))
	// Attend says until ctx ends that owner is there.
	Attend(ctx context.Context, owner string)
	// Gone waits until owner is not there any more, and fails with ctx only.
	Gone(ctx context.Context, owner string) error
	// Lead calls work each time that owner becomes the one that hands items out, with a
	// context that ends when it no longer is; until ctx ends, or work fails. The next one may
	// begin when work has returned.
	Lead(ctx context.Context, owner string, work func(context.Context) error) error
}

// share hands items out while this program is the one to do so, until ctx ends. known is
// called when what is open is known.
func (s *Service) share(ctx, following context.Context, others *sync.WaitGroup, known func()) error {
	if s.cfg.Others == nil {
		return s.lead(ctx, known)
	}
	// Who has items executed is there until the last of them has ended.
	others.Go(func() { s.cfg.Others.Attend(s.own, s.owner) })
	others.Go(func() {
		s.cfg.Others.Hear(following, func(api, id string, said []byte) { s.relayed(api, id, said) })
	})
	known()
	s.mirror(ctx, following, others)
	return s.cfg.Others.Lead(ctx, s.owner, func(leading context.Context) error {
		s.insist(leading, func() error { return s.lead(leading, known) })
		s.unlearn()
		s.insist(ctx, func() error { return s.readOpen(ctx) })
		return nil
	})
}

// insist calls fn until it succeeds, or ctx ends: a ledger of several programs may be away.
func (s *Service) insist(ctx context.Context, fn func() error) {
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		err := fn()
		if err == nil || ctx.Err() != nil {
			return
		}
		s.log.Warn("what becomes of items is not known here now", "error", err)
		wait(ctx, pause)
	}
}

// letGoAfter is how long executions are waited for that go on without us: most end within
// it, and a payload that is being sent arrives.
const letGoAfter = 3 * time.Second

// letGo leaves the executions that go on without this program to the next one.
func (s *Service) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		l.mu.Lock()
		for _, e := range l.entries {
			if e.done().keeps && e.done().cancel != nil {
				e.doing.cancel(errLetGo)
			}
		}
		l.mu.Unlock()
	}
}

// mirror keeps what others change in mind while following does. It returns when all that is
// open is known, or when ctx ends.
func (s *Service) mirror(ctx, following context.Context, others *sync.WaitGroup) {
	listening := make(chan struct{})
	others.Go(func() {
		began := false
		for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
			err := s.cfg.Others.Follow(following, func() {
				pause = time.Second
				if !began {
					began = true
					close(listening)
				} else if err := s.readOpen(following); err != nil { // what changed meanwhile
					s.log.Warn("items that changed meanwhile are not known", "error", err)
				}
			}, s.heard)
			if following.Err() != nil {
				return
			}
			s.log.Warn("changes of items are not told now", "error", err)
			wait(following, pause)
		}
	})
	select {
	case <-listening:
		s.insist(ctx, func() error { return s.readOpen(ctx) })
	case <-ctx.Done():
	}
}

// readOpen learns which items are open.
func (s *Service) readOpen(ctx context.Context) error {
	err := s.cfg.Ledger.Open(ctx, func(i ledger.Item) error { s.heard(i); return nil })
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("reading the items that are open: %w", err)
	}
	return nil
}

// heard takes note of an item that somebody has changed; what was done here is known
// already.
func (s *Service) heard(i ledger.Item) {
	l := s.line(i.API)
	l.mu.Lock()
	e := l.entries[i.ID]
	old := e != nil && i.Version <= e.version
	if e != nil && !old && e.done().cancel != nil {
		switch {
		case i.State == ledger.Cancelling:
			e.doing.cancel(errCancelled)
		case !i.State.Executing() || i.Owner != s.owner:
			e.doing.cancel(errOvertaken)
		}
	}
	l.mu.Unlock()
	switch {
	case i.State.Ended():
		l.settle(i)
		s.ends.tell(i.ID)
		if h := ledger.HookOf(ledger.Item{}, i, nil); h != nil {
			s.outbox.add(*h)
		}
	case !old:
		l.add(i)
		if i.State.Executing() {
			s.mind(i.Owner)
		}
	}
}

// mind has the items that an owner has executed begin again when it is gone, if this
// program hands items out.
func (s *Service) mind(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := s.minding
	if ctx == nil || s.cfg.Others == nil || s.minded[owner] {
		return
	}
	s.minded[owner] = true
	s.tasks.Go(func() {
		if s.cfg.Others.Gone(ctx, owner) != nil {
			return
		}
		n := 0
		s.mu.Lock()
		delete(s.minded, owner) // what it wrote at last may still be heard of
		lines := slices.Collect(maps.Values(s.lines))
		s.mu.Unlock()
		for _, l := range lines {
			ids := l.executedBy(owner)
			n += len(ids)
			each(ids, func(id string) { l.takeOver(ctx, id, owner) })
		}
		if n > 0 {
			s.log.Info("items are taken over from a program that is gone", "program", owner, "items", n)
		}
	})
}

// executedBy returns the items that an owner has executed.
func (l *line) executedBy(owner string) (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, e := range l.entries {
		if e.state.Executing() && e.done().owner == owner {
			ids = append(ids, id)
		}
	}
	return ids
}

// takeOver goes on with an item whose owner is gone: with its execution, where its replica
// keeps that, or else with another one.
func (l *line) takeOver(ctx context.Context, id, owner string) {
	i, err := l.read(ctx, id)
	if err != nil || !i.State.Executing() || i.Owner != owner || len(i.Attempts) == 0 {
		return // it has gone on
	}
	l.mu.Lock()
	e := l.entries[id]
	adopts := l.s.cfg.At != nil && e != nil && !e.ours
	if adopts {
		e.ours = true
	}
	l.mu.Unlock()
	if adopts {
		l.s.executions.Go(func() { l.adopt(ctx, e, i) })
	} else {
		l.lost(ctx, i)
	}
}

// adopt waits for the end of an execution that another program began.
func (l *line) adopt(leading context.Context, e *entry, i ledger.Item) {
	defer l.leaveOff(e)
	ctx, cancel := context.WithCancelCause(l.s.own)
	defer cancel(nil)
	lasting, release := lasting(l.s.own)
	defer release()
	latest := i.Attempts[len(i.Attempts)-1]
	place, err := l.s.cfg.At(leading, l.name, latest.Replica)
	if err != nil {
		if leading.Err() == nil {
			l.lost(lasting, i)
		}
		return
	}
	defer place.Done()
	l.mu.Lock()
	e.executed().cancel, e.executed().keeps = cancel, true
	l.mu.Unlock()
	item, err := l.apply(lasting, i.ID, ledger.Event{Type: ledger.Adopt, At: time.Now(), Attempt: i.Attempt, Owner: l.s.owner}, nil)
	if err != nil {
		l.leaveOff(e)
		l.resync(lasting, e)
		return
	}
	if item.State == ledger.Cancelling {
		cancel(errCancelled)
	}
	l.carry(ctx, lasting, item, latest.Started, func(ctx context.Context) (*content, ledger.Ending, Place) {
		resp, err := place.Attach(l.listening(ctx, item.ID), executionOf(item))
		switch {
		case err == nil:
			defer resp.Body.Close()
			answer, end := l.receive(ctx, place, item, resp, latest.Started)
			return answer, end, place
		case ctx.Err() == nil && !place.Cut():
			return nil, l.s.ownerLost(), place
		}
		return nil, broken(ctx, place, err), place
	})
}

// leaveOff notes that an item is not executed here any more.
func (l *line) leaveOff(e *entry) {
	l.mu.Lock()
	if e.ours = false; e.doing != nil {
		e.doing.cancel = nil
		if !e.state.Executing() {
			e.doing = nil
		}
	}
	l.mu.Unlock()
}

// unlearn forgets what was known of open items by who handed them out, but for those that
// are executed here: the one who hands out now says what they are.
func (s *Service) unlearn() {
	s.mu.Lock()
	lines := slices.Collect(maps.Values(s.lines))
	s.mu.Unlock()
	for _, l := range lines {
		l.mu.Lock()
		for id, e := range l.entries {
			if e.ours {
				continue
			}
			l.move(e, ledger.Cancelled) // for what is counted here: it waits for nothing
			s.clock.set(e, time.Time{})
			delete(l.entries, id)
		}
		l.measure()
		l.mu.Unlock()
	}
}

// hands reports whether this program hands items out: the one that does tells of them.
func (s *Service) hands() bool { return s.cfg.Others == nil || s.leading.Load() }
