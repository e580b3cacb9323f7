package s3

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/awsrest"
	"cortex.dev/cortex/internal/ledger"
)

// orphanAfter is how old a mark is whose item, and an item whose key, nobody is writing any
// more. A write is given up after minutes.
const orphanAfter = time.Hour

// settledWithin is for how long an end is left to the program that wrote it.
const settledWithin = 2 * time.Minute

// inOrder reads what keys name, many at once, and calls fn in their order until it returns
// false.
func inOrder[K, V any](keys []K, read func(K) (V, error), fn func(K, V) (more bool, _ error)) error {
	for some := range slices.Chunk(keys, atOnce) {
		values := make([]V, len(some))
		if err := parallel(len(some), func(n int) (err error) {
			values[n], err = read(some[n])
			return err
		}); err != nil {
			return err
		}
		for n, k := range some {
			if more, err := fn(k, values[n]); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// markedAt is a mark, and when it was made by S3's clock.
type markedAt struct {
	mark
	modified time.Time
}

// marks lists what is marked as open, of one API or of all, and says what time it is for S3.
func (l *Ledger) marks(ctx context.Context, prefix string) (all []markedAt, clock time.Time, _ error) {
	clock, err := l.bucket.List(ctx, openOf+prefix, "", func(o awsrest.Listed) bool {
		if m, ok := readMark(o.Key); ok {
			all = append(all, markedAt{m, o.Modified})
		}
		return true
	})
	if err != nil {
		return nil, clock, unavailable("looking for items that are open", err)
	}
	slices.SortFunc(all, func(a, b markedAt) int {
		return cmp.Or(cmp.Compare(a.api, b.api), cmp.Compare(a.id, b.id), cmp.Compare(a.generation, b.generation))
	})
	return all, clock, nil
}

// marked reads what a mark is about: an item that is open; or nil, and what was left to be
// done about it is done.
func (l *Ledger) marked(ctx context.Context, m markedAt, clock time.Time) (*ledger.Item, error) {
	s, err := l.stored(ctx, m.api, m.id)
	old := clock.Sub(m.modified) > l.orphanAfter
	drop := func() {
		_ = l.bucket.Delete(ctx, m.key(), "") // else the next one who looks
	}
	if ledger.IsUnknown(err) {
		if old {
			drop()
		}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if s.Key != "" {
		used, _, err := l.once(ctx, m.api, s.Key)
		if err != nil {
			return nil, err
		}
		if used == nil || used.ID != m.id {
			if old && l.bucket.Delete(ctx, stateKey(m.api, m.id), s.etag) == nil {
				drop()
			}
			return nil, nil
		}
	}
	switch {
	case s.Item.Generation > m.generation, s.Item.Generation < m.generation && old:
		drop()
		return nil, nil
	case s.Item.Generation < m.generation:
		return nil, nil
	case s.Item.State.Ended():
		if time.Since(s.Item.Ended) > settledWithin { // by whoever ended it, unless that died
			l.settle(ctx, s)
		}
		return nil, nil
	}
	return &s.Item, nil
}

// Open calls fn with every open item.
func (l *Ledger) Open(ctx context.Context, fn func(ledger.Item) error) error {
	marks, clock, err := l.marks(ctx, "")
	if err != nil {
		return err
	}
	return inOrder(marks, func(m markedAt) (*ledger.Item, error) { return l.marked(ctx, m, clock) }, func(_ markedAt, i *ledger.Item) (bool, error) {
		if i == nil {
			return true, nil
		}
		return true, fn(*i)
	})
}

// List reads items from the newest on until there are enough that fit. Those that are open are
// found by their marks.
func (l *Ledger) List(ctx context.Context, q ledger.Query) (list []ledger.Item, _ error) {
	if q.Limit <= 0 || q.Limit > ledger.MaxList {
		q.Limit = ledger.MaxList
	}
	if !legalName().MatchString(q.API) {
		return nil, nil
	}
	take := func(_ string, i *ledger.Item) (bool, error) {
		switch {
		case i == nil: // it is over by now
		case i.Accepted.Before(q.Since): // and so are all before it
			return false, nil
		case len(q.States) > 0 && !slices.Contains(q.States, i.State), !i.Has(q.Labels):
		default:
			list = append(list, *i)
		}
		return len(list) < q.Limit, nil
	}
	if len(q.States) > 0 && !slices.ContainsFunc(q.States, ledger.State.Ended) {
		marks, _, err := l.marks(ctx, q.API+"/")
		if err != nil {
			return nil, err
		}
		var ids []string
		for _, m := range slices.Backward(marks) {
			if q.Before == "" || m.id < q.Before {
				ids = append(ids, m.id)
			}
		}
		err = inOrder(slices.Compact(ids), l.reading(ctx, q.API), take)
		return list, err
	}
	enough := errors.New("enough")
	err := l.backward(ctx, q.API, q.Before, func(ids []string) error {
		err := inOrder(ids, l.reading(ctx, q.API), func(id string, i *ledger.Item) (bool, error) {
			more, err := take(id, i)
			if err == nil && !more {
				err = enough
			}
			return more, err
		})
		if err == nil && !q.Since.IsZero() && len(ids) > 0 && ids[len(ids)-1] < ledger.FirstID(q.Since) {
			err = enough
		}
		return err
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return list, err
}

// reading reads an item of an API; nil: it is not there.
func (l *Ledger) reading(ctx context.Context, api string) func(string) (*ledger.Item, error) {
	return func(id string) (*ledger.Item, error) {
		s, err := l.item(ctx, api, id)
		if ledger.IsUnknown(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return &s.Item, nil
	}
}

// ids calls fn with the ids of an API's items that are not before one, in their order, until
// fn returns false.
func (l *Ledger) ids(ctx context.Context, api, from string, fn func(id string) bool) error {
	of := "workloads/" + api + "/"
	after := ""
	if from != "" {
		after = of + from
	}
	_, err := l.bucket.List(ctx, of, after, func(o awsrest.Listed) bool {
		id, is := strings.CutSuffix(strings.TrimPrefix(o.Key, of), stateName)
		return !is || !ledger.LegalID(id) || fn(id)
	})
	if err != nil {
		return unavailable("listing items of "+api, err)
	}
	return nil
}

// firstWindow is how long ago items were accepted that are listed first. S3 lists keys in
// their order only, so that the newest are found by looking where they would be: since some
// time, and then since four times as long before that.
const firstWindow = 10 * time.Second

// backward calls fn with the ids of an API's items before one, or all, the newest first, some
// at a time.
func (l *Ledger) backward(ctx context.Context, api, before string, fn func(ids []string) error) error {
	first := ""
	if err := l.ids(ctx, api, "", func(id string) bool { first = id; return false }); err != nil || first == "" {
		return err
	}
	at := time.Now()
	if t := ledger.TimeOf(before); !t.IsZero() {
		at = t
	}
	for window := firstWindow; ; window *= 4 {
		at = at.Add(-window)
		from := ledger.FirstID(at)
		var ids []string
		if err := l.ids(ctx, api, from, func(id string) bool {
			if before != "" && id >= before {
				return false
			}
			ids = append(ids, id)
			return true
		}); err != nil {
			return err
		}
		slices.Reverse(ids)
		if err := fn(ids); err != nil {
			return err
		}
		if from <= first {
			return nil
		}
		before = from
	}
}

// Purge drops ended items of an API, the oldest first.
func (l *Ledger) Purge(ctx context.Context, api string, before time.Time, most int) (gone []ledger.Item, _ error) {
	if !legalName().MatchString(api) {
		return nil, nil // what has no legal name has no items
	}
	if err := l.flush(ctx); err != nil {
		return nil, err
	}
	var ids []string
	until := ledger.FirstID(before.Add(time.Millisecond)) // what was accepted later has not ended before
	if err := l.ids(ctx, api, "", func(id string) bool {
		ids = append(ids, id)
		return id < until
	}); err != nil {
		return nil, err
	}
	var found []*stored
	if err := inOrder(ids, func(id string) (*stored, error) {
		s, err := l.stored(ctx, api, id)
		if ledger.IsUnknown(err) {
			return nil, nil
		}
		return s, err
	}, func(_ string, s *stored) (bool, error) {
		if s != nil && s.Item.State.Ended() && s.Item.Ended.Before(before) {
			found = append(found, s)
		}
		return len(found) < most, nil
	}); err != nil {
		return nil, err
	}
	return l.drop(ctx, found, time.Now())
}
