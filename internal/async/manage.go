package async

import (
	"context"
	"slices"
	"sync"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/workload"
)

// words are the four words of earlier releases, for which programs wait.
var words = map[ledger.State]string{
	ledger.Delayed: "in_queue", ledger.Queued: "in_queue", ledger.Retrying: "in_queue",
	ledger.Running: "in_progress", ledger.Cancelling: "in_progress",
	ledger.Succeeded: "completed",
	ledger.Failed:    "failed", ledger.Cancelled: "failed", ledger.Expired: "failed",
}

// Show is an item as callers see it, without its result.
func Show(i ledger.Item) workload.Item {
	shown := workload.Item{
		ID: i.ID, Status: words[i.State], State: string(i.State), Timestamp: i.Updated, AcceptedAt: i.Accepted,
		Reason: reason(i.Reason), NextAttemptAt: moment(i.Due), Priority: string(i.Class), Labels: i.Labels,
	}
	if i.State.Waiting() {
		shown.ExpiresAt = moment(i.Expires)
	}
	for _, a := range i.Attempts {
		one := workload.ItemAttempt{
			N: a.N, Outcome: string(a.Outcome), HTTPStatus: a.Status, Reason: reason(a.Reason), Replica: a.Replica, Revision: a.Revision, StartedAt: a.Started,
		}
		if a.Outcome != "" {
			one.Duration = a.Took.Round(time.Millisecond).String()
		}
		shown.Attempts = append(shown.Attempts, one)
	}
	return shown
}

func reason(r *ledger.Reason) *workload.ItemReason {
	if r == nil {
		return nil
	}
	return &workload.ItemReason{Code: r.Code, Message: r.Message}
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Cancel ends an item, or has its execution ended; what has ended stays as it is.
func (s *Service) Cancel(ctx context.Context, api, id string) (ledger.Item, error) {
	l, err := s.deployed(ctx, api)
	if err != nil {
		return ledger.Item{}, err
	}
	return l.cancel(ctx, id, &ledger.Reason{Code: "item_cancelled", Message: "it was cancelled"})
}

// Again has an item that failed, was cancelled or has expired tried again.
func (s *Service) Again(ctx context.Context, api, id string) (ledger.Item, error) {
	l, rules, err := s.comes(ctx, api)
	if err != nil {
		return ledger.Item{}, err
	}
	defer l.came()
	now := time.Now().UTC()
	earlier, _ := s.cfg.Ledger.Get(ctx, api, id) // its result, if it has one, is about to be nobody's; what is wrong is said below
	i, err := l.apply(ctx, id, ledger.Event{Type: ledger.Again, At: now, Expires: now.Add(rules.expireAfter)}, nil)
	if fault.Code(err) == ledger.CodeRefused {
		was, getting := s.cfg.Ledger.Get(ctx, api, id)
		switch {
		case getting != nil:
			return was, getting
		case was.State == ledger.Succeeded:
			return was, fault.New(fault.Conflict, ledger.CodeRefused, "%s succeeded, and its payload is not kept", id).WithHint("with async.keep.payloads: always it would be")
		case !was.State.Ended():
			return was, fault.New(fault.Conflict, ledger.CodeRefused, "%s is %s: it has not ended", id, was.State)
		}
	}
	if err == nil {
		s.dropBlob(earlier.Result)
	}
	return i, err
}

// shown is Show, with what is known of an item that has no end yet.
func (s *Service) shown(i ledger.Item) workload.Item {
	shown := Show(i)
	if i.State.Ended() {
		return shown
	}
	if l := s.existing(i.API); l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if e := l.entries[i.ID]; e != nil && e.state == i.State {
			shown.Progress = e.done().progress.latest
			shown.Queue = l.place(e)
		}
	}
	return shown
}

// place says where in the line an item waits; nil: it does not.
func (l *line) place(e *entry) *workload.ItemQueue {
	if e.spot.caller == nil {
		return nil
	}
	q := &workload.ItemQueue{Ahead: l.queue.ahead(e), Approximate: true}
	if l.pace > 0 {
		q.Estimate = (time.Duration(q.Ahead+1) * l.pace).Round(time.Second).String()
	}
	return q
}

// List returns items without their results.
func (s *Service) List(ctx context.Context, q workload.ItemQuery) ([]workload.Item, error) {
	query := ledger.Query{API: q.Name, States: statesOf(q.States), Labels: q.Labels, Before: q.Before, Limit: q.Limit}
	if q.Since > 0 {
		query.Since = time.Now().Add(-q.Since)
	}
	list, err := s.cfg.Ledger.List(ctx, query)
	shown := make([]workload.Item, len(list))
	for i := range list {
		shown[i] = s.shown(list[i])
	}
	return shown, err
}

func statesOf(names []string) (states []ledger.State) {
	for _, n := range names {
		states = append(states, ledger.State(n))
	}
	return states
}

// One returns an item without its result.
func (s *Service) One(ctx context.Context, api, id string) (workload.Item, error) {
	i, err := s.cfg.Ledger.Get(ctx, api, id)
	if err != nil {
		return workload.Item{}, err
	}
	return s.shown(i), nil
}

// CancelMany cancels items and returns those that were not over.
func (s *Service) CancelMany(ctx context.Context, api string, sel workload.ItemSelection) (workload.ItemsChanged, error) {
	return s.many(ctx, api, sel, func(i ledger.Item) bool { return !i.State.Ended() }, func(id string) error {
		_, err := s.Cancel(ctx, api, id)
		return err
	})
}

// RetryMany has items tried again and returns those that are.
func (s *Service) RetryMany(ctx context.Context, api string, sel workload.ItemSelection) (workload.ItemsChanged, error) {
	return s.many(ctx, api, sel, func(i ledger.Item) bool { return i.State.Ended() && i.Payload != nil }, func(id string) error {
		_, err := s.Again(ctx, api, id)
		return err
	})
}

// Purge forgets items that ended so long ago, up to MaxItems of them.
func (s *Service) Purge(ctx context.Context, api string, endedFor time.Duration) (purged workload.ItemsPurged, _ error) {
	gone, err := s.cfg.Ledger.Purge(ctx, api, time.Now().Add(-endedFor), workload.MaxItems)
	for _, i := range gone {
		s.dropBlob(i.Payload)
		s.dropBlob(i.Result)
	}
	return workload.ItemsPurged{Purged: len(gone), More: len(gone) == workload.MaxItems}, err
}

// many changes the items that are selected, many at once. What is named by its id has to
// be there and to be changed; of what is selected by its state, what cannot be changed is
// left out.
func (s *Service) many(ctx context.Context, api string, sel workload.ItemSelection, of func(ledger.Item) bool, change func(id string) error) (changed workload.ItemsChanged, _ error) {
	ids := sel.IDs
	if len(sel.States) > 0 {
		list, err := s.cfg.Ledger.List(ctx, ledger.Query{API: api, States: statesOf(sel.States), Limit: workload.MaxItems})
		if err != nil {
			return changed, err
		}
		changed.More = len(list) == workload.MaxItems
		for _, i := range list {
			if of(i) {
				ids = append(ids, i.ID)
			}
		}
	}
	var mu sync.Mutex
	var first error
	each(ids, func(id string) {
		err := change(id)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			changed.Changed = append(changed.Changed, id)
		case len(sel.IDs) == 0 && isOver(err): // it has gone on since it was listed
		case first == nil:
			first = err
		}
	})
	slices.Sort(changed.Changed)
	if len(changed.Changed) == 0 {
		changed.More = false // the next call would change nothing either
	}
	return changed, first
}

// Waiting says what an API has to do.
func (s *Service) Waiting(api string) (w workload.Waiting) {
	l := s.existing(api)
	if l == nil {
		return w
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w.Queued, w.Running = l.queued, l.running
	w.Idle, w.Limited = l.queue.held()
	if e := l.queue.oldest(); e != nil {
		w.Oldest = ledger.TimeOf(e.id)
	}
	return w
}
