package s3

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"cortex.dev/cortex/internal/awsrest"
	"cortex.dev/cortex/internal/ledger"
)

// Times of a queue. Hints that nobody fetches within a few minutes say nothing that a look at
// what is open has not said.
const (
	hintKept   = 5 * time.Minute
	hintHidden = 30 * time.Second
)

// Follow calls fn with items that have changed, whoever changed them, until ctx ends;
// listening is called once, when every other program knows that this one wants to hear of
// them. What a lost hint was about, Follow finds by looking at what is open. It fails when it
// hears of nothing, and may be called again: what was missed then is in Open. Run has to run.
func (l *Ledger) Follow(ctx context.Context, listening func(), fn func(ledger.Item)) error {
	queue, err := l.cfg.Client.CreateQueue(ctx, l.cfg.Queues+"items-"+l.name, hintKept, hintHidden)
	if err != nil {
		return unavailable("making a queue for hints", err)
	}
	if err := l.say(ctx, func(p *program) { p.Queue = queue }); err != nil {
		return err
	}
	l.tellLook() // who is told so looks at once; the others within a while
	f := &follower{l: l, queue: queue, fn: fn, seen: map[mark]ledger.State{}}
	l.mail.following(f)
	defer l.mail.following(nil)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var all sync.WaitGroup
	defer all.Wait()
	alone := l.alone()
	all.Go(func() {
		if !alone {
			wait(ctx, l.cfg.Times.Look+time.Second)
		}
		if ctx.Err() == nil {
			listening()
		}
	})
	all.Go(func() {
		every(ctx, l.cfg.Times.Sweep, func() {
			if err := f.sweep(ctx); err != nil && ctx.Err() == nil {
				l.cfg.Log.Warn("what is open cannot be looked at now", "error", err)
			}
		})
	})
	err = f.listen(ctx)
	stop(err)
	return context.Cause(ctx)
}

// alone reports whether no other program is there that could change anything: one that comes
// knows of this one from its first look on.
func (l *Ledger) alone() bool {
	r, _, _ := l.programs.known()
	for name := range r.Programs {
		if name != l.name {
			return false
		}
	}
	return true
}

// follower is one call of Follow.
type follower struct {
	l     *Ledger
	queue string
	fn    func(ledger.Item)

	mu   sync.Mutex
	seen map[mark]ledger.State // what is open, as it was told of last
}

// listen fetches hints until ctx ends, or there are none to be had.
func (f *follower) listen(ctx context.Context) error {
	c := f.l.cfg.Client
	failed := time.Time{}
	for ctx.Err() == nil {
		messages, err := c.Receive(ctx, f.queue, f.l.cfg.Times.Poll)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if failed.IsZero() {
				failed = time.Now()
			}
			if awsrest.NoQueue(err) || time.Since(failed) > f.l.cfg.Times.Life {
				return unavailable("fetching hints", err)
			}
			wait(ctx, time.Second)
			continue
		}
		failed = time.Time{}
		if len(messages) == 0 {
			continue
		}
		var all hints
		for _, m := range messages {
			var h hints
			if json.Unmarshal([]byte(m.Body), &h) == nil { // another release may say more, or less
				all.Items, all.Told, all.Look = append(all.Items, h.Items...), append(all.Told, h.Told...), all.Look || h.Look
			}
		}
		f.heard(ctx, all)
		if err := c.DeleteMessages(ctx, f.queue, messages); err != nil && ctx.Err() == nil {
			f.l.cfg.Log.Warn("hints come again", "error", err)
		}
	}
	return nil
}

// heard passes on what hints are about.
func (f *follower) heard(ctx context.Context, h hints) {
	if h.Look {
		f.l.programs.atOnce()
	}
	f.l.mail.mu.Lock()
	hear := f.l.mail.hear
	f.l.mail.mu.Unlock()
	for _, t := range h.Told {
		if hear != nil && legal(t.API, t.ID) {
			hear(t.API, t.ID, []byte(t.Said))
		}
	}
	once := map[[2]string]bool{}
	var items [][2]string
	for _, i := range h.Items {
		if !once[i] {
			once[i] = true
			items = append(items, i)
		}
	}
	_ = parallel(len(items), func(n int) error {
		if i, err := f.l.Get(ctx, items[n][0], items[n][1]); err == nil { // what cannot be read is found later
			f.tell(i)
		}
		return nil
	})
}

// tell passes an item on.
func (f *follower) tell(i ledger.Item) {
	f.note(i)
	f.fn(i)
}

// note remembers what an item was when it was last told of, or changed here.
func (f *follower) note(i ledger.Item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i.State.Ended() {
		delete(f.seen, markOf(i))
	} else {
		f.seen[markOf(i)] = i.State
	}
}

// sweep finds what hints were lost of: items that are marked as open and were not told of, or
// were and are marked no more; and those that are executed, which others may cancel or end.
func (f *follower) sweep(ctx context.Context) error {
	marks, clock, err := f.l.marks(ctx, "")
	if err != nil {
		return err
	}
	var look []markedAt
	f.mu.Lock()
	marked := make(map[mark]bool, len(marks))
	for _, m := range marks {
		marked[m.mark] = true
		if state, seen := f.seen[m.mark]; !seen || state.Executing() {
			look = append(look, m)
		}
	}
	var over []mark
	for m := range f.seen {
		if !marked[m] {
			over = append(over, m)
		}
	}
	f.mu.Unlock()
	for _, m := range over {
		f.mu.Lock()
		delete(f.seen, m)
		f.mu.Unlock()
	}
	if err := parallel(len(over), func(n int) error {
		if i, err := f.l.Get(ctx, over[n].api, over[n].id); err == nil {
			f.tell(i)
		}
		return nil
	}); err != nil {
		return err
	}
	return parallel(len(look), func(n int) error {
		i, err := f.l.marked(ctx, look[n], clock)
		if err != nil {
			return err
		}
		if i != nil {
			f.tell(*i)
		} else if i, err := f.l.Get(ctx, look[n].api, look[n].id); err == nil && i.State.Ended() {
			f.tell(i)
		}
		return nil
	})
}
