package async

import (
	"context"
	"math"
	"sync"
	"time"

	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/limiter"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// line is what is known of the open items of one API: which of them wait for a place, and
// whose turn it is.
type line struct {
	s    *Service
	name string

	mu       sync.Mutex
	deployed bool
	stopped  bool
	settings settings
	entries  map[string]*entry
	queue    queue
	queued   int           // of entries, that wait for a place
	running  int           // of entries, that are executed
	coming   int           // requests that are being accepted
	demand   int           // items that are executed or could be, but for those that are idle
	load     limiter.Meter // demand, over time
	turn     chan struct{} // holds a token after what dispatch looks at has changed
	leave    func()        // ends the wait for a place when nobody needs it; nil: none waits
	wakes    bool          // the wait for a place is one that starts a replica
	drained  time.Time     // when an item last ended while others waited, and how long one takes
	pace     time.Duration
	service  workload.ServiceTime
	idle     int // of running, whose class is that
}

// entry is one open item. There may be a million of them, most of which wait: it is kept small.
type entry struct {
	id      string
	line    *line
	state   ledger.State
	class   ledger.Class
	caller  string
	version uint64
	expire  instant
	next    instant    // that it waits for
	spot    spot       // in the queue
	doing   *execution // nil: it is not executed, and was not lately
	slot    int32      // in the timers, from 1; 0: it waits for no time
	ours    bool       // it is executed by this program, or about to be
}

// execution is what is known of an item that is executed.
type execution struct {
	cancel   context.CancelCauseFunc // nil: it is not executed here
	owner    string                  // who executes it
	keeps    bool                    // it goes on when this program ends
	progress progress
}

// done is what is known of the execution of e.
func (e *entry) done() execution {
	if e.doing == nil {
		return execution{}
	}
	return *e.doing
}

// executed is the same, to be changed.
func (e *entry) executed() *execution {
	if e.doing == nil {
		e.doing = &execution{}
	}
	return e.doing
}

// instant is a time in nanoseconds since 1970; 0: none. It is a third of a time.Time, and has
// no pointer that the collector would follow.
type instant int64

func instantOf(t time.Time) instant {
	if t.IsZero() {
		return 0
	}
	return instant(t.UnixNano())
}

func (i instant) time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(i))
}

func newLine(s *Service, name string) *line {
	return &line{s: s, name: name, settings: settingsOf(nil), entries: map[string]*entry{}, turn: make(chan struct{}, 1)}
}

func (l *line) rules() settings {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settings
}

// configure takes note of what is deployed; nil: nothing is.
func (l *line) configure(w *store.Workload) {
	l.mu.Lock()
	l.deployed, l.stopped = w != nil, w != nil && w.Stopped != nil
	if w != nil {
		l.settings = settingsOf(&w.Revision.Spec)
		l.settings.reached = l.s.reached(&w.Revision.Spec)
		l.queue.limit(l.settings.perCaller)
		l.measure()
	}
	l.mu.Unlock()
	l.poke()
}

func (l *line) poke() {
	select {
	case l.turn <- struct{}{}:
	default:
	}
}

// abandon cancels every item of an API that is not deployed any more.
func (l *line) abandon(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deployed {
		return
	}
	ids := make([]string, 0, len(l.entries))
	for id := range l.entries {
		ids = append(ids, id)
	}
	l.s.tasks.Go(func() {
		each(ids, func(id string) {
			_, _ = l.cancel(ctx, id, &ledger.Reason{Code: "api_deleted", Message: l.name + " was deleted"}) // what fails is found again by the next start
		})
		l.poke()
	})
}

// cancel ends an item, or its execution. What has ended stays as it is.
func (l *line) cancel(ctx context.Context, id string, why *ledger.Reason) (ledger.Item, error) {
	rules := l.rules()
	i, err := l.apply(ctx, id, ledger.Event{Type: ledger.Cancel, At: time.Now(), Reason: why, Keep: rules.Keep, Payloads: rules.Payloads}, nil)
	if err != nil {
		if isOver(err) {
			return l.s.cfg.Ledger.Get(ctx, l.name, id)
		}
		return i, err
	}
	l.mu.Lock()
	if e := l.entries[id]; e != nil && e.done().cancel != nil {
		e.doing.cancel(errCancelled)
	}
	l.mu.Unlock()
	return i, nil
}

// each calls fn with every id, many at once.
func each(ids []string, fn func(id string)) {
	turns := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for _, id := range ids {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			fn(id)
		})
	}
	all.Wait()
}

// add begins to keep what is known of an item that is open.
func (l *line) add(i ledger.Item) {
	l.mu.Lock()
	if l.entries[i.ID] == nil {
		l.entries[i.ID] = &entry{id: i.ID, line: l, class: i.Class, caller: i.Caller}
	}
	l.mu.Unlock()
	l.settle(i)
}

// settle brings what is known here in line with what an item has become. It may hear of
// changes in another order than they were made.
func (l *line) settle(i ledger.Item) {
	l.mu.Lock()
	e := l.entries[i.ID]
	// What this program has taken is ahead of what is known of it until its beginning is
	// written down.
	if e == nil || i.Version < e.version || i.Version == e.version && e.ours {
		l.mu.Unlock()
		return
	}
	was := e.state
	e.version, e.expire = i.Version, instantOf(i.Expires)
	l.move(e, i.State)
	l.measure()
	if i.State.Executing() {
		e.executed().owner = i.Owner
	} else if e.doing != nil {
		e.doing.owner, e.doing.progress = "", progress{}
	}
	if i.State.Ended() {
		delete(l.entries, i.ID)
		if was.Executing() {
			l.paced(i)
		}
	}
	if some, wake := l.queue.ready(); l.leave != nil && (!some || wake && !l.wakes) {
		l.leave()
	}
	l.mu.Unlock()
	l.s.clock.set(e, nextOf(i))
	if i.State.Ended() {
		l.s.ends.tell(i.ID)
	}
	l.s.changes.tell(i.ID)
	l.poke()
}

// move notes that e is in another state now.
func (l *line) move(e *entry, to ledger.State) {
	was := e.state
	if was == to {
		return
	}
	e.state = to
	l.queue.remove(e)
	if to == ledger.Queued {
		l.queue.push(e)
	}
	switch {
	case was.Executing() && !to.Executing():
		l.queue.took(e.caller, -1)
	case !was.Executing() && to.Executing():
		l.queue.took(e.caller, 1)
	}
	l.count(e, was, -1)
	l.count(e, to, 1)
}

// count notes that e is, or is no longer, one of those in a state.
func (l *line) count(e *entry, state ledger.State, by int) {
	switch {
	case state == ledger.Queued:
		l.queued += by
	case state.Executing():
		l.running += by
		if e.class == ledger.Idle {
			l.idle += by
		}
	default:
		return
	}
}

// measure notes what the line has to do now. What is idle, and what waits because of
// another item of its caller, starts nothing.
func (l *line) measure() {
	demand := l.queue.useful + l.running - l.idle
	l.load.Change(demand - l.demand)
	l.demand = demand
}

// paced learns how fast items end while others wait.
func (l *line) paced(i ledger.Item) {
	if !l.drained.IsZero() {
		took := i.Ended.Sub(l.drained)
		if l.pace == 0 {
			l.pace = took
		}
		l.pace += (took - l.pace) / 8
	}
	if l.drained = i.Ended; l.queued == 0 {
		l.drained = time.Time{}
	}
}

// nextOf is the time that an item waits for; zero: none.
func nextOf(i ledger.Item) time.Time {
	if !i.State.Waiting() {
		return time.Time{}
	}
	if i.State == ledger.Queued || i.Due.IsZero() || !i.Expires.IsZero() && i.Expires.Before(i.Due) {
		return i.Expires
	}
	return i.Due
}

// apply changes an item, and what is known of it. Nothing follows from an error that says
// that the item has gone on without us; any other one is tried again until ctx ends,
// because nobody else would.
func (l *line) apply(ctx context.Context, id string, e ledger.Event, result []byte) (ledger.Item, error) {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		next, err := l.s.cfg.Ledger.Apply(ctx, l.name, id, e, result)
		switch {
		case err == nil:
			l.s.counts.applied(next, e)
			if next.State.Ended() && e.Payloads == ledger.Never {
				l.s.dropBlob(&ledger.Content{Blob: payloadName(l.name, id)})
			}
			if h := ledger.HookOf(ledger.Item{}, next, nil); h != nil {
				l.s.outbox.add(*h)
			}
			if e.Type == ledger.Again {
				l.add(next)
			} else {
				l.settle(next)
			}
			return next, nil
		case isOver(err):
			if e.Attempt > 0 {
				l.s.counts.fenced.Add(1)
			}
			return next, err
		}
		if ctx.Err() == nil {
			l.s.log.Warn("an item cannot be changed now", "api", l.name, "item", id, "event", e.Type, "error", err)
		}
		select {
		case <-ctx.Done():
			return next, err
		case <-time.After(pause):
		}
	}
}

// dispatch hands items out until handing ends.
func (l *line) dispatch(handing context.Context) {
	for {
		acquire, wake, ok := l.await(handing)
		if !ok {
			return
		}
		place, err := l.s.cfg.Acquire(acquire, l.name, wake)
		l.mu.Lock()
		leave := l.leave
		l.leave = nil
		l.mu.Unlock()
		left := acquire.Err() != nil // nobody needs a place any more
		leave()
		if err != nil {
			if handing.Err() == nil && !left {
				l.patiently(handing, wake)
			}
			continue
		}
		e := l.take(handing)
		if e == nil {
			place.Done()
			continue
		}
		l.s.executions.Go(func() { l.execute(l.s.own, place, e) })
	}
}

// await returns when an item can be given a place, with a context that ends when none can
// any more, and whether one can that a replica is started for; false when handing has ended.
func (l *line) await(handing context.Context) (_ context.Context, wake, ok bool) {
	for {
		l.mu.Lock()
		if some, wake := l.queue.ready(); some && l.deployed && !l.stopped && handing.Err() == nil {
			ctx, leave := context.WithCancel(handing)
			l.leave, l.wakes = leave, wake
			l.mu.Unlock()
			return ctx, wake, true
		}
		over := !l.deployed && len(l.entries) == 0
		l.mu.Unlock()
		if over && l.s.drop(l) {
			return nil, false, false
		}
		select {
		case <-handing.Done():
			return nil, false, false
		case <-l.turn:
		}
	}
}

// retryEvery is how often a place is asked for of an API that cannot have one.
const retryEvery = time.Second

// patiently pauses; not for longer than until there is something to start a replica for,
// where there was nothing.
func (l *line) patiently(ctx context.Context, woken bool) {
	if woken {
		l.pause(ctx)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, retryEvery)
	defer cancel()
	for {
		l.mu.Lock()
		_, wake := l.queue.ready()
		l.mu.Unlock()
		if wake {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-l.turn:
		}
	}
}

func (l *line) pause(ctx context.Context) { wait(ctx, retryEvery) }

// take takes the item out of the line whose turn it is; nil: there is none.
func (l *line) take(handing context.Context) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if handing.Err() != nil {
		return nil
	}
	e := l.queue.take()
	if e != nil { // nobody else takes it; whether it may still begin is the ledger's to say
		e.state, e.ours = ledger.Running, true
		l.count(e, ledger.Queued, -1)
		l.count(e, ledger.Running, 1)
		l.measure()
	}
	return e
}

// resync reads an item again of which what is known here turned out to be wrong.
func (l *line) resync(ctx context.Context, e *entry) { l.resyncID(ctx, e.id) }

func (l *line) resyncID(ctx context.Context, id string) {
	i, err := l.read(ctx, id)
	if err != nil && !isOver(err) {
		return // the next start reads everything again
	}
	if err != nil { // it is not there, and nothing can be done with it
		i = ledger.Item{API: l.name, ID: id, State: ledger.Cancelled, Version: math.MaxUint64}
	}
	l.settle(i)
	// An execution may have been written down although we were told that it was not.
	if i.State.Executing() && i.Owner == l.s.owner && !l.isOurs(id) {
		end := ledger.Ending{Outcome: ledger.Interrupted, Reason: &ledger.Reason{Code: "not_begun", Message: "whether it had begun was not known in time"}}
		_, _ = l.apply(ctx, id, ledger.Judge(i, end, l.rules().Rules, time.Now(), share()), nil) // what is over by now needs nothing
	}
}

// read reads an item, until that succeeds, it is over or ctx ends: nobody else would.
func (l *line) read(ctx context.Context, id string) (ledger.Item, error) {
	for {
		i, err := l.s.cfg.Ledger.Get(ctx, l.name, id)
		if err == nil || isOver(err) || ctx.Err() != nil {
			return i, err
		}
		l.pause(ctx)
	}
}
