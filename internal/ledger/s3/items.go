package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"cortex.dev/cortex/internal/awsrest"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
)

// once is what an idempotency key was used for.
type once struct {
	ID          string    `json:"id"`
	Fingerprint string    `json:"fingerprint"`
	Until       time.Time `json:"until"`
}

// Create marks that there is something open, and writes the item. One with a key is there
// when its key names it.
func (l *Ledger) Create(ctx context.Context, item ledger.Item, key ledger.Key, payload []byte) (ledger.Item, bool, error) {
	if !legal(item.API, item.ID) {
		return item, false, fmt.Errorf("accepting an item: %q and %q are no names of one", item.API, item.ID)
	}
	s := &stored{Item: item, payload: payload}
	if key.Text != "" {
		sum := sha256.Sum256([]byte(key.Text))
		s.Key = hex.EncodeToString(sum[:])
		used, _, err := l.once(ctx, item.API, s.Key)
		if err != nil {
			return item, false, err
		}
		if kept, replayed, err := l.used(ctx, item, key, s.Key, used); err != nil || replayed {
			return kept, replayed, err
		}
	}
	data, _, err := s.write()
	if err != nil {
		return item, false, err
	}
	accepting := "accepting an item of " + item.API
	if _, err := l.bucket.Put(ctx, markOf(item).key(), nil, awsrest.If{}); err != nil {
		return item, false, unavailable(accepting, err)
	}
	err = l.swap(ctx, stateKey(item.API, item.ID), data, awsrest.If{Absent: true}, func(now []byte) bool {
		got, err := read(now) // nobody else makes an item of this id, but somebody may have begun it
		return err == nil && got.Item.Accepted.Equal(item.Accepted)
	})
	switch {
	case errors.Is(err, errOvertaken):
		return item, false, fmt.Errorf("%s: there is an item %s", accepting, item.ID)
	case err != nil:
		return item, false, unavailable(accepting, err)
	}
	if s.Key != "" {
		kept, replayed, err := l.claim(ctx, item, key, s.Key)
		if err != nil || replayed {
			if replayed || fault.Code(err) == ledger.CodeMismatch {
				l.withdraw(ctx, item)
			}
			return kept, replayed, err
		}
	}
	l.tell(item)
	return item, false, nil
}

// withdraw removes an item that was not accepted. What fails is done by whoever finds it.
func (l *Ledger) withdraw(ctx context.Context, item ledger.Item) {
	if l.bucket.Delete(ctx, stateKey(item.API, item.ID), "") == nil {
		_ = l.bucket.Delete(ctx, markOf(item).key(), "") // see above
	}
}

func onceKey(api, digest string) string { return "keys/" + api + "/" + digest }

// once reads what a key was used for, and its ETag; nil: for nothing.
func (l *Ledger) once(ctx context.Context, api, digest string) (*once, string, error) {
	o, err := l.bucket.Get(ctx, onceKey(api, digest), "")
	switch {
	case missing(err):
		return nil, "", nil
	case err != nil:
		return nil, "", unavailable("reading an idempotency key of "+api, err)
	}
	used := &once{}
	if err := json.Unmarshal(o.Data, used); err != nil {
		return nil, "", fmt.Errorf("an idempotency key of %s cannot be read: %w", api, err)
	}
	return used, o.ETag, nil
}

// used says what a key that was used before means for an item: that it is the one of then, that
// it is refused, or nothing any more.
func (l *Ledger) used(ctx context.Context, item ledger.Item, key ledger.Key, digest string, used *once) (ledger.Item, bool, error) {
	if used == nil {
		return item, false, nil
	}
	if !item.Accepted.Before(used.Until) {
		return item, false, l.confirm(ctx, item.API, used.ID, digest)
	}
	if used.Fingerprint != key.Fingerprint {
		return item, false, ledger.Mismatch(item.API)
	}
	s, err := l.item(ctx, item.API, used.ID)
	switch {
	case err == nil:
		return s.Item, true, nil
	case ledger.IsUnknown(err): // it is forgotten already, and so is the key
		return item, false, nil
	}
	return item, false, err
}

// claim makes a key an item's, unless it is one's already.
func (l *Ledger) claim(ctx context.Context, item ledger.Item, key ledger.Key, digest string) (ledger.Item, bool, error) {
	data, err := json.Marshal(once{ID: item.ID, Fingerprint: key.Fingerprint, Until: key.Until})
	if err != nil {
		return item, false, err
	}
	for {
		was, etag, err := l.once(ctx, item.API, digest)
		if err != nil {
			return item, false, err
		}
		cond := awsrest.If{ETag: etag}
		switch {
		case was == nil:
			cond.Absent = true
		case was.ID == item.ID:
			return item, false, nil
		default:
			if kept, replayed, err := l.used(ctx, item, key, digest, was); err != nil || replayed {
				return kept, replayed, err
			}
		}
		err = l.swap(ctx, onceKey(item.API, digest), data, cond, func(now []byte) bool {
			var is once
			return json.Unmarshal(now, &is) == nil && is.ID == item.ID
		})
		switch {
		case err == nil:
			return item, false, nil
		case !errors.Is(err, errOvertaken):
			return item, false, unavailable("accepting an item of "+item.API, err)
		}
		if err := breather(ctx); err != nil {
			return item, false, err
		}
	}
}

// confirm has an item stay accepted whatever becomes of its key.
func (l *Ledger) confirm(ctx context.Context, api, id, digest string) error {
	for {
		s, err := l.item(ctx, api, id)
		if ledger.IsUnknown(err) {
			return nil
		}
		if err != nil || s.Key != digest {
			return err
		}
		n := *s
		n.Key = ""
		err = l.put(ctx, &n, s.etag)
		if err == nil || !errors.Is(err, errOvertaken) {
			return err
		}
		if err := breather(ctx); err != nil {
			return err
		}
	}
}

// put writes an item on top of what was read.
func (l *Ledger) put(ctx context.Context, s *stored, etag string) error {
	data, token, err := s.write()
	if err != nil {
		return err
	}
	err = l.swap(ctx, stateKey(s.Item.API, s.Item.ID), data, awsrest.If{ETag: etag}, wrote(token))
	if err == nil || errors.Is(err, errOvertaken) {
		return err
	}
	return unavailable("changing an item of "+s.Item.API, err)
}

// item reads an item that was accepted.
func (l *Ledger) item(ctx context.Context, api, id string) (*stored, error) {
	s, err := l.stored(ctx, api, id)
	if err != nil || s.Key == "" {
		return s, err
	}
	used, _, err := l.once(ctx, api, s.Key)
	if err != nil {
		return nil, err
	}
	if used == nil || used.ID != id {
		return nil, ledger.Unknown(api, id)
	}
	return s, nil
}

// stored reads what is kept of an item, accepted or not.
func (l *Ledger) stored(ctx context.Context, api, id string) (*stored, error) {
	if !legal(api, id) {
		return nil, ledger.Unknown(api, id)
	}
	o, err := l.bucket.Get(ctx, stateKey(api, id), "")
	switch {
	case missing(err):
		return nil, l.unknown(ctx, api, id)
	case err != nil:
		return nil, unavailable("reading item "+id+" of "+api, err)
	}
	s, err := read(o.Data)
	if err != nil {
		return nil, fmt.Errorf("item %s of %s cannot be read: %w", id, api, err)
	}
	s.etag = o.ETag
	return s, nil
}

// Get returns one item.
func (l *Ledger) Get(ctx context.Context, api, id string) (ledger.Item, error) {
	s, err := l.item(ctx, api, id)
	if err != nil {
		return ledger.Item{}, err
	}
	return s.Item, nil
}

// Apply changes an item by ledger.Next, from what it was read as, until nobody came first.
func (l *Ledger) Apply(ctx context.Context, api, id string, e ledger.Event, result []byte) (ledger.Item, error) {
	for {
		was, err := l.item(ctx, api, id)
		if err != nil {
			return ledger.Item{}, err
		}
		next, err := ledger.Next(was.Item, e)
		if err != nil {
			return was.Item, err
		}
		if next.Generation != was.Item.Generation {
			if err := l.again(ctx, was, next); err != nil {
				return was.Item, err
			}
		}
		n := was.next(next, e, result)
		err = l.put(ctx, n, was.etag)
		switch {
		case err == nil:
			if next.State.Ended() {
				l.settle(ctx, n)
			}
			l.tell(next)
			return next, nil
		case !errors.Is(err, errOvertaken):
			return was.Item, err
		}
		if err := breather(ctx); err != nil {
			return was.Item, err
		}
	}
}

// again prepares that an item which has ended is tried again: its message has to be kept apart
// from it, as there will be another one, and it has to be marked.
func (l *Ledger) again(ctx context.Context, was *stored, next ledger.Item) error {
	if was.Hook != nil {
		h, err := l.hook(ctx, next.API, was.Hook.ID)
		if err == nil && h.etag == "" {
			err = l.project(ctx, h.Hook)
		}
		if err != nil && fault.Code(err) != ledger.CodeHookUnknown {
			return err
		}
	}
	if _, err := l.bucket.Put(ctx, markOf(next).key(), nil, awsrest.If{}); err != nil {
		return unavailable("changing an item of "+next.API, err)
	}
	return nil
}

// Payload returns what is kept here of a payload.
func (l *Ledger) Payload(ctx context.Context, api, id string) ([]byte, error) {
	s, err := l.item(ctx, api, id)
	return content(api, id, err, func() (*ledger.Content, []byte) { return s.Item.Payload, s.payload })
}

// Result returns what is kept here of a result.
func (l *Ledger) Result(ctx context.Context, api, id string) ([]byte, error) {
	s, err := l.item(ctx, api, id)
	return content(api, id, err, func() (*ledger.Content, []byte) { return s.Item.Result, s.result })
}

func content(api, id string, err error, of func() (*ledger.Content, []byte)) ([]byte, error) {
	if err != nil && !ledger.IsUnknown(err) {
		return nil, err
	}
	if err == nil {
		if c, data := of(); c != nil && c.Blob == "" {
			return data, nil
		}
	}
	return nil, ledger.Unknown(api, id)
}
