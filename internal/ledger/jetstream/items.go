package jetstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
)

var _ ledger.Ledger = (*Ledger)(nil)

// once is what an idempotency key was used for.
type once struct {
	ID          string    `json:"id"`
	Fingerprint string    `json:"fingerprint"`
	Until       time.Time `json:"until"`
}

// itemMessage is an item as it is kept.
func (l *Ledger) itemMessage(i ledger.Item, seq uint64) (*nats.Msg, error) {
	data, err := json.Marshal(i)
	if err != nil {
		return nil, fmt.Errorf("writing item %s: %w", i.ID, err)
	}
	m := message(l.subject(subjectItem, i.API, i.ID), data, seq)
	m.Header.Set(headerState, string(i.State))
	if i.State.Ended() {
		m.Header.Set(headerEnded, i.Ended.UTC().Format(time.RFC3339Nano))
	}
	return m, nil
}

// Create writes a new item with its payload and its key in one batch.
func (l *Ledger) Create(ctx context.Context, item ledger.Item, key ledger.Key, payload []byte) (ledger.Item, bool, error) {
	if !legal(item.API, item.ID) {
		return item, false, fmt.Errorf("accepting an item: %q and %q are no names of one", item.API, item.ID)
	}
	m, err := l.itemMessage(item, 0)
	if err != nil {
		return item, false, err
	}
	for {
		all := []*nats.Msg{m}
		if payload != nil {
			all = append(all, unconditional(l.subject(subjectPayload, item.API, item.ID), payload))
		}
		if key.Text != "" {
			kept, replayed, claim, err := l.claim(ctx, item, key)
			if err != nil || replayed {
				return kept, replayed, err
			}
			all = append(all, claim)
		}
		err := l.commit(ctx, all...)
		switch {
		case err == nil:
			return item, false, nil
		case errors.Is(err, errOvertaken) && key.Text != "": // by another one with the same key
			continue
		case errors.Is(err, errOvertaken):
			return item, false, fmt.Errorf("accepting an item of %s: there is an item %s", item.API, item.ID)
		}
		// It may be kept all the same, which is what the caller wants to know.
		if got, _, found := l.item(ctx, item.API, item.ID); found == nil && got.Accepted.Equal(item.Accepted) {
			return item, false, nil
		}
		return item, false, unavailable("accepting an item of "+item.API, err)
	}
}

// claim is the message by which a key becomes an item's, unless it is one's already.
func (l *Ledger) claim(ctx context.Context, item ledger.Item, key ledger.Key) (kept ledger.Item, replayed bool, _ *nats.Msg, _ error) {
	digest := sha256.Sum256([]byte(key.Text))
	subject := l.subject(subjectOnce, item.API, hex.EncodeToString(digest[:]))
	was, err := l.last(ctx, subject)
	if err != nil {
		return item, false, nil, err
	}
	seq := uint64(0)
	if was != nil {
		seq = was.Sequence
		var used once
		if err := json.Unmarshal(was.Data, &used); err != nil {
			return item, false, nil, fmt.Errorf("an idempotency key of %s cannot be read: %w", item.API, err)
		}
		if item.Accepted.Before(used.Until) {
			if used.Fingerprint != key.Fingerprint {
				return item, false, nil, ledger.Mismatch(item.API)
			}
			kept, _, err := l.item(ctx, item.API, used.ID)
			if err == nil {
				return kept, true, nil, nil
			}
			if !ledger.IsUnknown(err) {
				return item, false, nil, err
			} // the item is forgotten already, and so is the key
		}
	}
	data, err := json.Marshal(once{ID: item.ID, Fingerprint: key.Fingerprint, Until: key.Until})
	if err != nil {
		return item, false, nil, err
	}
	m := message(subject, data, seq)
	m.Header.Set(headerTTL, (key.Until.Sub(item.Accepted) + time.Hour).Round(time.Second).String())
	return item, false, m, nil
}

// legal reports whether names can be parts of a subject.
func legal(api, id string) bool {
	return api != "" && !strings.ContainsAny(api, ".*> \x00\t\r\n") && ledger.LegalID(id)
}

// item reads an item, and at which sequence it is.
func (l *Ledger) item(ctx context.Context, api, id string) (i ledger.Item, seq uint64, _ error) {
	if !legal(api, id) {
		return i, 0, ledger.Unknown(api, id)
	}
	m, err := l.last(ctx, l.subject(subjectItem, api, id))
	switch {
	case err != nil:
		return i, 0, err
	case m == nil:
		return i, 0, ledger.Unknown(api, id)
	case m.Header.Get(headerGone) != "":
		return i, m.Sequence, ledger.Gone(api, id)
	}
	if err := json.Unmarshal(m.Data, &i); err != nil {
		return i, m.Sequence, fmt.Errorf("item %s of %s cannot be read: %w", id, api, err)
	}
	return i, m.Sequence, nil
}

// Get returns one item.
func (l *Ledger) Get(ctx context.Context, api, id string) (ledger.Item, error) {
	i, _, err := l.item(ctx, api, id)
	return i, err
}

// Apply changes an item by ledger.Next, from what it was read as, until nobody came first.
func (l *Ledger) Apply(ctx context.Context, api, id string, e ledger.Event, result []byte) (ledger.Item, error) {
	for {
		was, seq, err := l.item(ctx, api, id)
		if err != nil {
			return was, err
		}
		next, err := ledger.Next(was, e)
		if err != nil {
			return was, err
		}
		all, err := l.change(was, next, seq, e, result)
		if err != nil {
			return was, err
		}
		err = l.commit(ctx, all...)
		switch {
		case err == nil:
			if was.Payload != nil && was.Payload.Blob == "" && next.Payload == nil {
				l.drop(ctx, subjectPayload, api, id)
			}
			return next, nil
		case errors.Is(err, errOvertaken):
			if ctx.Err() != nil {
				return was, context.Cause(ctx)
			}
			continue
		}
		// It may be kept all the same: then nobody else may be told that it is not.
		if got, _, read := l.item(ctx, api, id); read == nil && sameItem(got, next) {
			return next, nil
		}
		return was, unavailable("changing an item of "+api, err)
	}
}

// change is what is kept of an item's change.
func (l *Ledger) change(was, next ledger.Item, seq uint64, e ledger.Event, result []byte) ([]*nats.Msg, error) {
	m, err := l.itemMessage(next, seq)
	if err != nil {
		return nil, err
	}
	all := []*nats.Msg{m}
	if e.Type == ledger.Succeed && next.State == ledger.Succeeded && result != nil {
		all = append(all, unconditional(l.subject(subjectResult, next.API, next.ID), result))
	}
	if !was.State.Ended() && next.State.Ended() {
		all = append(all, l.due(next.Forget, next.API, next.ID))
	}
	if h := ledger.HookOf(was, next, result); h != nil {
		about, err := l.hookMessage(*h, 0)
		if err != nil {
			return nil, err
		}
		all = append(all, about)
	}
	return all, nil
}

// sameItem compares by what is kept.
func sameItem(a, b ledger.Item) bool {
	x, err := json.Marshal(a)
	if err != nil {
		return false
	}
	y, err := json.Marshal(b)
	return err == nil && bytes.Equal(x, y)
}

// due marks an item as over at a time.
func (l *Ledger) due(at time.Time, api, id string) *nats.Msg {
	m := unconditional(l.subject(subjectForget, hourOf(hours(at)), api+"."+id), nil)
	m.Header.Set(headerForget, at.UTC().Format(time.RFC3339Nano))
	return m
}

// hourOf is the part of a subject for an hour.
func hourOf(h int64) string { return strconv.FormatInt(h, 10) }

func hours(t time.Time) int64 { return t.Unix() / 3600 }

// drop removes what nothing refers to any more. What stays is removed with its item.
func (l *Ledger) drop(ctx context.Context, kind, api, id string) {
	_ = l.purge(ctx, l.subject(kind, api, id)) // see above
}

// Payload returns what is kept here of a payload.
func (l *Ledger) Payload(ctx context.Context, api, id string) ([]byte, error) {
	return l.content(ctx, subjectPayload, api, id, func(i ledger.Item) *ledger.Content { return i.Payload })
}

// Result returns what is kept here of a result.
func (l *Ledger) Result(ctx context.Context, api, id string) ([]byte, error) {
	return l.content(ctx, subjectResult, api, id, func(i ledger.Item) *ledger.Content { return i.Result })
}

func (l *Ledger) content(ctx context.Context, kind, api, id string, of func(ledger.Item) *ledger.Content) ([]byte, error) {
	i, err := l.Get(ctx, api, id)
	if err != nil && !ledger.IsUnknown(err) {
		return nil, err
	}
	if c := of(i); err != nil || c == nil || c.Blob != "" {
		return nil, ledger.Unknown(api, id)
	}
	m, err := l.last(ctx, l.subject(kind, api, id))
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, ledger.Unknown(api, id)
	}
	return m.Data, nil
}

// named is an item as its subject names it.
type named struct{ api, id string }

func (l *Ledger) named(subject string) (n named, ok bool) {
	parts := strings.Split(strings.TrimPrefix(subject, l.cfg.Name+"."), ".")
	if len(parts) < 3 {
		return n, false
	}
	return named{parts[len(parts)-2], parts[len(parts)-1]}, true
}

// List reads the heads of all items of the API and then the newest that fit.
func (l *Ledger) List(ctx context.Context, q ledger.Query) ([]ledger.Item, error) {
	if q.Limit <= 0 || q.Limit > ledger.MaxList {
		q.Limit = ledger.MaxList
	}
	if !legal(q.API, ledger.NewID(time.Now())) {
		return nil, nil
	}
	var ids []string
	err := l.scan(ctx, []string{l.subject(subjectItem, q.API, "*")}, func(subject string, h nats.Header) error {
		n, ok := l.named(subject)
		if !ok || h.Get(headerGone) != "" || q.Before != "" && n.id >= q.Before ||
			len(q.States) > 0 && !slices.Contains(q.States, ledger.State(h.Get(headerState))) {
			return nil
		}
		ids = append(ids, n.id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(b, a) })
	var list []ledger.Item
	for _, id := range ids {
		if len(list) == q.Limit {
			break
		}
		i, err := l.Get(ctx, q.API, id)
		switch {
		case ledger.IsUnknown(err): // it is over by now
			continue
		case err != nil:
			return nil, err
		case i.Accepted.Before(q.Since): // and so are all before it
			return list, nil
		case !i.Has(q.Labels):
			continue
		}
		list = append(list, i)
	}
	return list, nil
}

// Open calls fn with every open item.
func (l *Ledger) Open(ctx context.Context, fn func(ledger.Item) error) error {
	var open []named
	err := l.scan(ctx, []string{l.cfg.Name + "." + subjectItem + ".>"}, func(subject string, h nats.Header) error {
		if n, ok := l.named(subject); ok && h.Get(headerGone) == "" && !ledger.State(h.Get(headerState)).Ended() {
			open = append(open, n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(open, func(a, b named) int {
		return cmp.Or(cmp.Compare(a.api, b.api), cmp.Compare(a.id, b.id))
	})
	for _, n := range open {
		i, err := l.Get(ctx, n.api, n.id)
		if ledger.IsUnknown(err) || err == nil && i.State.Ended() {
			continue
		}
		if err == nil {
			err = fn(i)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// manyHours is how many hours are looked at one by one; beyond, all that there is.
const manyHours = 48

// Forget drops items whose time has come. Keys end by themselves: the server drops them.
func (l *Ledger) Forget(ctx context.Context, now time.Time, most int) (gone []ledger.Item, _ error) {
	l.forgetting.Lock()
	defer l.forgetting.Unlock()
	if err := l.forgetHooks(ctx, now, most); err != nil {
		return nil, err
	}
	filters := []string{l.cfg.Name + "." + subjectForget + ".>"}
	if l.from > 0 && hours(now)-l.from < manyHours {
		filters = nil
		for h := l.from; h <= hours(now); h++ {
			filters = append(filters, l.subject(subjectForget, hourOf(h), ">"))
		}
	}
	var over []string
	if err := l.scan(ctx, filters, func(subject string, h nats.Header) error {
		if at, err := time.Parse(time.RFC3339Nano, h.Get(headerForget)); err != nil || !at.After(now) {
			over = append(over, subject)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	left := false
	for _, subject := range over {
		n, _ := l.named(subject)
		i, seq, err := l.item(ctx, n.api, n.id)
		switch code := fault.Code(err); {
		case code == ledger.CodeGone: // for long enough, if this is the mark of that
			if err := l.ungone(ctx, now, n); err != nil {
				return gone, err
			}
		case err != nil && code != ledger.CodeUnknown:
			return gone, err
		case err == nil && i.State.Ended() && !i.Forget.After(now):
			if len(gone) >= most {
				left = true
				continue
			}
			dropped, err := l.forget(ctx, now, i, seq)
			if err != nil {
				return gone, err
			}
			if dropped {
				gone = append(gone, i)
			}
		}
		if err := l.purge(ctx, subject); err != nil {
			return gone, err
		}
	}
	if !left {
		l.from = hours(now) - 1 // clocks differ
	}
	return gone, nil
}

// forget drops one item, unless somebody wants it after all. That it was there stays known.
func (l *Ledger) forget(ctx context.Context, now time.Time, i ledger.Item, seq uint64) (bool, error) {
	until := now.Add(ledger.GoneKept)
	taken := message(l.subject(subjectItem, i.API, i.ID), nil, seq)
	taken.Header.Set(headerGone, until.UTC().Format(time.RFC3339Nano))
	err := l.commit(ctx, taken, l.due(until, i.API, i.ID))
	if errors.Is(err, errOvertaken) {
		return false, nil
	}
	if err != nil {
		return false, unavailable("dropping an item of "+i.API, err)
	}
	l.drop(ctx, subjectPayload, i.API, i.ID)
	l.drop(ctx, subjectResult, i.API, i.ID)
	return true, nil
}

// ungone drops the mark of what was forgotten long ago, and contents that were left.
func (l *Ledger) ungone(ctx context.Context, now time.Time, n named) error {
	m, err := l.last(ctx, l.subject(subjectItem, n.api, n.id))
	if err != nil || m == nil {
		return err
	}
	if until, err := time.Parse(time.RFC3339Nano, m.Header.Get(headerGone)); err == nil && until.After(now) {
		return nil
	}
	return l.purge(ctx, l.subject("*", n.api, n.id))
}

// Purge drops ended items of an API, the oldest first.
func (l *Ledger) Purge(ctx context.Context, api string, before time.Time, most int) (gone []ledger.Item, _ error) {
	if !legal(api, ledger.NewID(before)) {
		return nil, nil // what has no legal name has no items
	}
	type ended struct {
		id string
		at time.Time
	}
	var all []ended
	if err := l.scan(ctx, []string{l.subject(subjectItem, api, "*")}, func(subject string, h nats.Header) error {
		at, err := time.Parse(time.RFC3339Nano, h.Get(headerEnded))
		if n, ok := l.named(subject); ok && err == nil && at.Before(before) {
			all = append(all, ended{n.id, at})
		}
		return nil
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b ended) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.id, b.id)) })
	for _, e := range all {
		if len(gone) == most {
			break
		}
		i, seq, err := l.item(ctx, api, e.id)
		if ledger.IsUnknown(err) || err == nil && !i.State.Ended() {
			continue
		}
		if err != nil {
			return gone, err
		}
		dropped, err := l.forget(ctx, time.Now(), i, seq)
		if err != nil {
			return gone, err
		}
		if dropped {
			gone = append(gone, i)
		}
	}
	return gone, nil
}
