package bolt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/boundedcache"
	"cortex.dev/cortex/internal/ledger"
)

// Keys of a file of items. All begin with the API, then a zero byte, but for those that
// are in the order of a time.
const (
	keyItem    = "i/" // API, 0, id → item
	keyOpen    = "o/" // API, 0, id, of items without an end → nothing
	keyPayload = "p/" // API, 0, id → payload
	keyResult  = "r/" // API, 0, id → result
	keyForget  = "f/" // time, API, 0, id → nothing
	keyOnce    = "k/" // API, 0, idempotency key → once
	keyOver    = "u/" // time, API, 0, idempotency key → nothing
	keyGone    = "g/" // API, 0, id, of items that were forgotten lately → nothing
	keyGoneBy  = "b/" // time, API, 0, id → nothing: when that is forgotten too
	keyHook    = "h/" // API, 0, id of a message → hook
	keyPending = "n/" // API, 0, id of a message that is pending → nothing
	keyDrop    = "x/" // time, API, 0, id of a message → nothing
)

// once is what an idempotency key was used for.
type once struct {
	ID          string    `json:"id"`
	Fingerprint string    `json:"fingerprint"`
	Until       time.Time `json:"until"`
}

// Items is a ledger in a file of its own, which is kept as Store keeps the state: the
// same commits, checksums and look at every page. It is not the file of the state: what
// is accepted each second must not be what a deploy waits for, or what keeps a daemon
// from knowing its APIs when it is damaged.
type Items struct {
	s    *Store
	gone atomic.Int64 // records of keyGone; below 0: not counted yet
	most int          // of them
	// recent are items as they were read last, by the checksums of their records: who asks what
	// became of an item does so again and again, and to decode it is most of what that costs.
	recent *boundedcache.Map[uint64, ledger.Item]
}

// recentItems is how many of them are kept; each has some hundred bytes, seldom kilobytes.
const recentItems = 2048

var _ ledger.Ledger = (*Items)(nil)

// OpenItems takes a folder for this process, as Open does, with the same faults but one: a
// file that is damaged is put aside, and what can be read of it is taken over.
func OpenItems(ctx context.Context, cfg Config) (*Items, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.salvage = salvageItems(cfg.Log)
	if cfg.log == 0 {
		cfg.log = logSize
	}
	s, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	i := &Items{s: s, most: ledger.MaxGone, recent: boundedcache.New[uint64, ledger.Item](recentItems)}
	i.gone.Store(-1)
	return i, nil
}

// Close is Store.Close.
func (i *Items) Close() error { return i.s.Close() }

// Room refuses to have so many bytes more on the disk that holds the ledger: what is kept
// beside it must not take what it needs to write down how items end.
func (i *Items) Room(size int) error { return i.s.room(size, reserveGrow) }

func itemKey(prefix, api, id string) string { return prefix + api + "\x00" + id }

func instant(t time.Time) string { return number(uint64(max(t.UnixNano(), 0))) }

// Create writes a new item.
func (i *Items) Create(ctx context.Context, item ledger.Item, key ledger.Key, payload []byte) (kept ledger.Item, replayed bool, _ error) {
	if err := legalItem(item.API, item.ID); err != nil {
		return item, false, err
	}
	data, err := encode(item)
	if err != nil {
		return item, false, fmt.Errorf("accepting an item of %s: %w", item.API, err)
	}
	err = i.s.update(ctx, "accepting an item of "+item.API, len(data)+len(payload), reserveGrow, func(t *txn) error {
		kept, replayed = item, false
		if key.Text != "" {
			was, err := t.usedFor(item.API, key.Text)
			switch {
			case err != nil:
				return err
			case was != nil && item.Accepted.Before(was.Until):
				if was.Fingerprint != key.Fingerprint {
					return refusal{ledger.Mismatch(item.API)}
				}
				if kept, err = t.item(item.API, was.ID); err == nil {
					replayed = true
					return nil
				} else if !isRefusal(err) {
					return err
				} // the item is forgotten already, and so is the key
			}
			if err := t.keepOnce(item, key, was); err != nil {
				return err
			}
		}
		if err := t.put(itemKey(keyOpen, item.API, item.ID), []byte{}); err != nil {
			return err
		}
		if payload != nil {
			if err := t.put(itemKey(keyPayload, item.API, item.ID), payload); err != nil {
				return err
			}
		}
		return t.put(itemKey(keyItem, item.API, item.ID), data)
	})
	return kept, replayed, err
}

// usedFor returns what an idempotency key was used for; nil: nothing.
func (t *txn) usedFor(api, key string) (*once, error) {
	data, err := t.get(itemKey(keyOnce, api, key))
	if err != nil || data == nil {
		return nil, err
	}
	var was once
	if err := json.Unmarshal(data, &was); err != nil {
		return nil, corrupt(t.path, "an idempotency key of %s cannot be read: %v", api, err)
	}
	return &was, nil
}

func (t *txn) keepOnce(item ledger.Item, key ledger.Key, was *once) error {
	if was != nil {
		if err := t.remove(keyOver + instant(was.Until) + itemKey("", item.API, key.Text)); err != nil {
			return err
		}
	}
	data, err := json.Marshal(once{ID: item.ID, Fingerprint: key.Fingerprint, Until: key.Until})
	if err != nil {
		return err
	}
	if err := t.put(keyOver+instant(key.Until)+itemKey("", item.API, key.Text), []byte{}); err != nil {
		return err
	}
	return t.put(itemKey(keyOnce, item.API, key.Text), data)
}

// item reads an item; a refusal says that there is none.
func (r *reader) item(api, id string) (item ledger.Item, _ error) {
	data, err := r.get(itemKey(keyItem, api, id))
	switch {
	case err != nil:
		return item, err
	case data == nil && r.b.Get([]byte(itemKey(keyGone, api, id))) != nil:
		return item, refusal{ledger.Gone(api, id)}
	case data == nil:
		return item, refusal{ledger.Unknown(api, id)}
	}
	return item, r.decodeItem(data, &item)
}

func (r *reader) decodeItem(data []byte, item *ledger.Item) error {
	if err := json.Unmarshal(data, item); err != nil {
		return corrupt(r.path, "an item cannot be read: %v", err)
	}
	return nil
}

// Get returns one item. Nobody changes what it points to: others have it too.
func (i *Items) Get(_ context.Context, api, id string) (item ledger.Item, err error) {
	if err := legalItem(api, id); err != nil {
		return item, err
	}
	err = i.s.view(func(r *reader) (err error) {
		key := []byte(itemKey(keyItem, api, id))
		data, sum, whole := unseal(key, r.b.Get(key))
		if !whole { // it is not there, or damaged
			item, err = r.item(api, id)
			return err
		}
		if kept, ok := i.recent.Get(sum); ok && kept.API == api && kept.ID == id {
			item = kept
			return nil
		}
		if err = r.decodeItem(data, &item); err == nil {
			i.recent.Put(sum, item)
		}
		return err
	})
	return item, plain(err)
}

// Apply changes an item by the table.
func (i *Items) Apply(ctx context.Context, api, id string, e ledger.Event, result []byte) (next ledger.Item, _ error) {
	if err := legalItem(api, id); err != nil {
		return next, err
	}
	err := i.s.update(ctx, "changing item "+id+" of "+api, len(result), reserveShrink, func(t *txn) error {
		was, err := t.item(api, id)
		if err != nil {
			return err
		}
		if next, err = ledger.Next(was, e); err != nil {
			return refusal{err}
		}
		return t.move(was, next, result)
	})
	return next, err
}

// move writes what an item has become, and keeps everything that is about it right.
func (t *txn) move(was, next ledger.Item, result []byte) error {
	api, id := next.API, next.ID
	data, err := encode(next)
	if err != nil {
		return err
	}
	if !was.Forget.Equal(next.Forget) {
		if !was.Forget.IsZero() {
			if err := t.remove(keyForget + instant(was.Forget) + itemKey("", api, id)); err != nil {
				return err
			}
		}
		if !next.Forget.IsZero() {
			if err := t.put(keyForget+instant(next.Forget)+itemKey("", api, id), []byte{}); err != nil {
				return err
			}
		}
	}
	switch ended := next.State.Ended(); {
	case ended == was.State.Ended():
	case ended:
		err = t.remove(itemKey(keyOpen, api, id))
	default:
		err = t.put(itemKey(keyOpen, api, id), []byte{})
	}
	if err == nil && next.Payload == nil {
		err = t.remove(itemKey(keyPayload, api, id))
	}
	if err == nil && next.Result == nil {
		err = t.remove(itemKey(keyResult, api, id))
	}
	if err == nil && result != nil && next.Result != nil && next.Result.Blob == "" {
		err = t.put(itemKey(keyResult, api, id), result)
	}
	if err != nil {
		return err
	}
	if h := ledger.HookOf(was, next, result); h != nil {
		if err := t.moveHook(ledger.Hook{}, *h); err != nil {
			return err
		}
	}
	return t.put(itemKey(keyItem, api, id), data)
}

// List returns items, the newest first.
func (i *Items) List(_ context.Context, q ledger.Query) (list []ledger.Item, _ error) {
	if q.Limit <= 0 || q.Limit > ledger.MaxList {
		q.Limit = ledger.MaxList
	}
	if err := legalItem(q.API, ""); err != nil {
		return nil, nil //nolint:nilerr // what has no legal name has no items
	}
	wanted := map[ledger.State]bool{}
	for _, s := range q.States {
		wanted[s] = true
	}
	prefix := itemKey(keyItem, q.API, "")
	from := prefix + "\xff"
	if q.Before != "" {
		from = prefix + q.Before
	}
	err := i.s.view(func(r *reader) error {
		return r.scanBack(prefix, from, func(_, data []byte) (bool, error) {
			var item ledger.Item
			if err := r.decodeItem(data, &item); err != nil {
				return false, err
			}
			if item.Accepted.Before(q.Since) {
				return false, nil
			}
			if (len(wanted) == 0 || wanted[item.State]) && item.Has(q.Labels) {
				list = append(list, item)
			}
			return len(list) < q.Limit, nil
		})
	})
	return list, err
}

// openAtOnce bounds how many items are read at one moment: a long reading keeps pages
// that were replaced meanwhile from being used again.
const openAtOnce = 1000

// Open calls fn with every item that has no end.
func (i *Items) Open(ctx context.Context, fn func(ledger.Item) error) error {
	return eachNamed(ctx, i.s, keyOpen, (*reader).item, fn)
}

// eachNamed calls fn with everything that there is a name of below prefix, which get reads.
func eachNamed[T any](ctx context.Context, s *Store, prefix string, get func(r *reader, api, id string) (T, error), fn func(T) error) error {
	for from := prefix; ; {
		var all []T
		if err := s.view(func(r *reader) error {
			return r.scan(prefix, from, func(key, _ []byte) (bool, error) {
				api, id, ok := bytes.Cut(key[len(prefix):], []byte{0})
				if !ok {
					return false, corrupt(r.path, "the record %q is no name", key)
				}
				one, err := get(r, string(api), string(id))
				if err != nil {
					return false, corrupt(r.path, "of what is named %q nothing else is there", key)
				}
				all = append(all, one)
				from = string(key) + "\x00"
				return len(all) < openAtOnce, nil
			})
		}); err != nil {
			return err
		}
		for _, one := range all {
			if err := fn(one); err != nil {
				return err
			}
		}
		if len(all) < openAtOnce {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// Payload returns the payload of an item that is kept here.
func (i *Items) Payload(_ context.Context, api, id string) ([]byte, error) {
	return i.content(keyPayload, api, id)
}

// Result returns the result of an item that is kept here.
func (i *Items) Result(_ context.Context, api, id string) ([]byte, error) {
	return i.content(keyResult, api, id)
}

func (i *Items) content(prefix, api, id string) (data []byte, _ error) {
	if err := legalItem(api, id); err != nil {
		return nil, err
	}
	err := i.s.view(func(r *reader) error {
		kept, err := r.get(itemKey(prefix, api, id))
		if err == nil && kept == nil {
			err = ledger.Unknown(api, id)
		}
		data = append([]byte{}, kept...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Forget drops what is over.
func (i *Items) Forget(ctx context.Context, now time.Time, most int) (gone []ledger.Item, _ error) {
	err := i.dropping(ctx, now, &gone, func(t *txn) error {
		if err := t.due(keyOver, now, most, func(api, key string) []string {
			return []string{itemKey(keyOnce, api, key)}
		}); err != nil {
			return err
		}
		if err := t.due(keyDrop, now, most, func(api, id string) []string {
			return []string{itemKey(keyHook, api, id)}
		}); err != nil {
			return err
		}
		return t.due(keyForget, now, most, func(api, id string) []string {
			if item, err := t.item(api, id); err == nil {
				gone = append(gone, item)
			}
			return contentsOf(api, id)
		})
	})
	return gone, err
}

func contentsOf(api, id string) []string {
	return []string{itemKey(keyItem, api, id), itemKey(keyPayload, api, id), itemKey(keyResult, api, id)}
}

// Purge drops items that have ended before a time.
func (i *Items) Purge(ctx context.Context, api string, before time.Time, most int) (gone []ledger.Item, _ error) {
	if legalItem(api, "") != nil {
		return nil, nil // what has no legal name has no items
	}
	err := i.dropping(ctx, time.Now(), &gone, func(t *txn) error {
		if err := t.scan(keyForget, keyForget, func(key, _ []byte) (bool, error) {
			of, id, _ := bytes.Cut(key[min(len(keyForget)+8, len(key)):], []byte{0})
			if string(of) != api {
				return true, nil
			}
			item, err := t.item(api, string(id))
			switch {
			case isRefusal(err):
			case err != nil:
				return false, err
			case item.Ended.Before(before):
				gone = append(gone, item)
			}
			return len(gone) < most, nil
		}); err != nil {
			return err
		}
		for _, item := range gone {
			if err := t.removeAll(append(contentsOf(api, item.ID), keyForget+instant(item.Forget)+itemKey("", api, item.ID))); err != nil {
				return err
			}
		}
		return nil
	})
	return gone, err
}

// dropping runs drop, which drops items and says which, and remembers them as gone.
func (i *Items) dropping(ctx context.Context, now time.Time, gone *[]ledger.Item, drop func(*txn) error) error {
	count := 0
	err := i.s.update(ctx, "forgetting items", 0, reserveShrink, func(t *txn) error {
		*gone = nil
		if err := drop(t); err != nil {
			return err
		}
		if count = int(i.gone.Load()); count < 0 {
			count = len(t.keys(keyGone))
		}
		if err := t.due(keyGoneBy, now, 2*len(*gone)+ledger.MaxList, func(api, id string) []string {
			count--
			return []string{itemKey(keyGone, api, id)}
		}); err != nil {
			return err
		}
		over := instant(now.Add(ledger.GoneKept))
		for _, item := range *gone {
			count++
			name := itemKey("", item.API, item.ID)
			if err := t.put(keyGone+name, []byte{}); err != nil {
				return err
			}
			if err := t.put(keyGoneBy+over+name, []byte{}); err != nil {
				return err
			}
		}
		if most := count - i.most; most > 0 { // the oldest are not told from any others any more
			return t.due(keyGoneBy, now.Add(2*ledger.GoneKept), most, func(api, id string) []string {
				count--
				return []string{itemKey(keyGone, api, id)}
			})
		}
		return nil
	})
	if err == nil {
		i.gone.Store(int64(count))
	}
	return err
}

// due removes, of what is below prefix in the order of a time, what is over, with what
// goes with it.
func (t *txn) due(prefix string, now time.Time, most int, with func(api, name string) []string) error {
	var over []string
	if err := t.scan(prefix, prefix, func(key, _ []byte) (bool, error) {
		rest := key[len(prefix):]
		if len(rest) < 8 || !isOver(rest, now) {
			return false, nil
		}
		over = append(over, string(key))
		return len(over) < most, nil
	}); err != nil {
		return err
	}
	for _, key := range over {
		api, name, _ := bytes.Cut([]byte(key[len(prefix)+8:]), []byte{0})
		if err := t.removeAll(append(with(string(api), string(name)), key)); err != nil {
			return err
		}
	}
	return nil
}

// legalItem refuses what could not be told from the rest of a key.
func legalItem(api, id string) error {
	if !legalName().MatchString(api) || id != "" && !ledger.LegalID(id) {
		return ledger.Unknown(api, id)
	}
	return nil
}

func isRefusal(err error) bool {
	_, is := err.(refusal) //nolint:errorlint // it is made here and not wrapped
	return is
}

// plain takes what a refusal says out of it.
func plain(err error) error {
	if r, is := err.(refusal); is { //nolint:errorlint // as above
		return r.error
	}
	return err
}
