package s3

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/awsrest"
	"cortex.dev/cortex/internal/ledger"
)

// line says when an item that has ended, or a message that has, is over.
type line struct {
	API        string    `json:"api"`
	ID         string    `json:"id"`
	Generation int       `json:"generation,omitempty"` // of an item
	Hook       bool      `json:"hook,omitempty"`
	Forget     time.Time `json:"forget"`

	mark string       // the key that says that something is to be done about it
	left *ledger.Hook // the item's message, if it is no object of its own yet
}

// ended are lines that are not written yet. What they are about is found again by its marks.
type ended struct {
	mu    sync.Mutex
	lines []line
}

// Bounds of what is written up together, and of what waits for it: what is over is found by
// its mark.
const (
	flushAt  = 500
	maxEnded = 50_000
)

// settle does what an end makes to be done: its message at once, the rest with others.
func (l *Ledger) settle(ctx context.Context, s *stored) {
	m := markOf(s.Item)
	n := line{API: m.api, ID: m.id, Generation: m.generation, Forget: s.Item.Forget, mark: m.key()}
	if h := s.Hook; h != nil && h.ID == ledger.HookID(s.Item) && l.project(ctx, *h) != nil {
		n.left = h
	}
	l.later(ctx, n)
}

// later has a line written with others.
func (l *Ledger) later(ctx context.Context, n line) {
	l.ended.mu.Lock()
	many := len(l.ended.lines)
	if many < maxEnded {
		l.ended.lines = append(l.ended.lines, n)
	}
	l.ended.mu.Unlock()
	if many+1 == flushAt {
		go func() { _ = l.flush(context.WithoutCancel(ctx)) }() // what it leaves the next one takes
	}
}

// flush writes up what has ended: when it is over, and then that it is open no more.
func (l *Ledger) flush(ctx context.Context) error {
	l.ended.mu.Lock()
	lines := l.ended.lines
	l.ended.lines = nil
	l.ended.mu.Unlock()
	if len(lines) == 0 {
		return nil
	}
	err := l.writeUp(ctx, lines)
	if err != nil { // all of it again: twice is no harm
		l.ended.mu.Lock()
		l.ended.lines = append(l.ended.lines, lines[:min(len(lines), max(0, maxEnded-len(l.ended.lines)))]...)
		l.ended.mu.Unlock()
	}
	return err
}

func (l *Ledger) writeUp(ctx context.Context, lines []line) error {
	for _, n := range lines {
		if n.left == nil {
			continue
		}
		if err := l.project(ctx, *n.left); err != nil {
			return err
		}
	}
	hours := map[int64][]line{}
	for _, n := range lines {
		hours[hourOf(n.Forget)] = append(hours[hourOf(n.Forget)], n)
	}
	for hour, some := range hours {
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		for _, n := range some {
			if err := e.Encode(n); err != nil {
				return err
			}
		}
		if _, err := l.bucket.Put(ctx, overKey(hour), text.Bytes(), awsrest.If{}); err != nil {
			return unavailable("writing up what has ended", err)
		}
	}
	return parallel(len(lines), func(n int) error {
		if err := l.bucket.Delete(ctx, lines[n].mark, ""); err != nil {
			return unavailable("writing up what has ended", err)
		}
		return nil
	})
}

const overOf = "over/"

func hourOf(t time.Time) int64 { return max(t.Unix()/3600, 0) }

// overKey is a new object for lines of an hour. Hours are in their order.
func overKey(hour int64) string { return fmt.Sprintf("%s%010d/%s", overOf, hour, token()) }

// Forget drops items, messages and keys whose time has come.
func (l *Ledger) Forget(ctx context.Context, now time.Time, most int) (gone []ledger.Item, _ error) {
	l.forgetting.Lock()
	defer l.forgetting.Unlock()
	if err := l.flush(ctx); err != nil {
		return nil, err
	}
	if err := l.prune(ctx, now, most); err != nil {
		return nil, err
	}
	var objects []string
	if _, err := l.bucket.List(ctx, overOf, "", func(o awsrest.Listed) bool {
		hour, _, _ := strings.Cut(strings.TrimPrefix(o.Key, overOf), "/")
		n, err := strconv.ParseInt(hour, 10, 64)
		if err == nil && n > hourOf(now) {
			return false
		}
		objects = append(objects, o.Key)
		return true
	}); err != nil {
		return nil, unavailable("looking for what is over", err)
	}
	for _, key := range objects {
		some, err := l.forgetLines(ctx, key, now, most-len(gone))
		gone = append(gone, some...)
		if err != nil || len(gone) >= most {
			return gone, err
		}
	}
	maps.DeleteFunc(l.handled, func(key string, _ map[int]bool) bool { return !slices.Contains(objects, key) })
	return gone, nil
}

// forgetLines drops items that an object of lines names, and the object when none is left.
func (l *Ledger) forgetLines(ctx context.Context, key string, now time.Time, most int) ([]ledger.Item, error) {
	o, err := l.bucket.Get(ctx, key, "")
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable("reading what is over", err)
	}
	done := l.handled[key]
	if done == nil {
		done = map[int]bool{}
		l.handled[key] = done
	}
	var due []int
	lines := readLines(o.Data)
	left := 0
	for n, of := range lines {
		switch {
		case done[n]:
		case of.Forget.After(now) || len(due) >= most:
			left++
		default:
			due = append(due, n)
		}
	}
	gone, err := l.forgetDue(ctx, lines, due, now)
	if err != nil {
		return gone, err
	}
	for _, n := range due {
		done[n] = true
	}
	if left == 0 {
		delete(l.handled, key)
		if err := l.bucket.Delete(ctx, key, ""); err != nil {
			return gone, unavailable("dropping what is over", err)
		}
	}
	return gone, nil
}

// forgetDue drops what lines that are due are about, if its time has come still.
func (l *Ledger) forgetDue(ctx context.Context, lines []line, due []int, now time.Time) ([]ledger.Item, error) {
	found := make([]*stored, len(due))
	err := parallel(len(due), func(i int) error {
		of := lines[due[i]]
		if of.Hook {
			return l.forgetHook(ctx, of.API, of.ID, now)
		}
		s, err := l.stored(ctx, of.API, of.ID)
		if err == nil && s.Item.State.Ended() && s.Item.Generation == of.Generation && !s.Item.Forget.After(now) {
			found[i] = s
		} else if err != nil && !ledger.IsUnknown(err) {
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l.drop(ctx, slices.DeleteFunc(found, func(s *stored) bool { return s == nil }), now)
}

// readLines reads an object of lines; what cannot be read is left out.
func readLines(data []byte) (lines []line) {
	for text := range bytes.Lines(data) {
		var n line
		if json.Unmarshal(text, &n) == nil && (legal(n.API, n.ID) || n.Hook && legalHook(n.API, n.ID)) {
			lines = append(lines, n)
		}
	}
	return lines
}

// drop removes items that are still what was read. That they were there stays known.
func (l *Ledger) drop(ctx context.Context, items []*stored, now time.Time) (gone []ledger.Item, _ error) {
	apis := map[string][]string{}
	for _, s := range items {
		apis[s.Item.API] = append(apis[s.Item.API], s.Item.ID)
	}
	for api, ids := range apis {
		if err := l.note(ctx, api, ids, now); err != nil {
			return nil, err
		}
	}
	dropped := make([]bool, len(items))
	err := parallel(len(items), func(n int) error {
		s := items[n]
		err := l.bucket.Delete(ctx, stateKey(s.Item.API, s.Item.ID), s.etag)
		switch {
		case err == nil:
			dropped[n] = true
		case refused(err): // somebody wants it after all
		default:
			return unavailable("dropping an item of "+s.Item.API, err)
		}
		return nil
	})
	for n, s := range items {
		if dropped[n] {
			gone = append(gone, s.Item)
		}
	}
	return gone, err
}

// goneList is which items of an API were forgotten lately, and until when that is known.
type goneList struct {
	By  string           `json:"by"`
	IDs map[string]int64 `json:"ids"` // Unix seconds
	tag string
}

func goneKey(api string) string { return "gone/" + api }

// forgotten reads the list of an API, if it is not what was read last.
func (l *Ledger) forgotten(ctx context.Context, api string) (goneList, error) {
	was, _ := l.gone.Get(api)
	o, err := l.bucket.Get(ctx, goneKey(api), was.tag)
	switch {
	case errors.Is(err, awsrest.ErrSame):
		return was, nil
	case missing(err):
		return goneList{}, nil
	case err != nil:
		return was, unavailable("reading which items of "+api+" were forgotten", err)
	}
	var list goneList
	if err := json.Unmarshal(o.Data, &list); err != nil {
		return was, fmt.Errorf("which items of %s were forgotten cannot be read: %w", api, err)
	}
	list.tag = o.ETag
	l.gone.Put(api, list)
	return list, nil
}

// unknown is the error for an item that is not there.
func (l *Ledger) unknown(ctx context.Context, api, id string) error {
	list, err := l.forgotten(ctx, api)
	if err != nil {
		return err
	}
	if _, was := list.IDs[id]; was {
		return ledger.Gone(api, id)
	}
	return ledger.Unknown(api, id)
}

// note adds items to those that were forgotten, and drops what has been for long enough.
func (l *Ledger) note(ctx context.Context, api string, ids []string, now time.Time) error {
	until := now.Add(ledger.GoneKept).Unix()
	for {
		was, err := l.forgotten(ctx, api)
		if err != nil {
			return err
		}
		next := goneList{By: token(), IDs: maps.Clone(was.IDs)}
		maps.DeleteFunc(next.IDs, func(_ string, until int64) bool { return until <= now.Unix() })
		if len(ids) == 0 && len(next.IDs) == len(was.IDs) {
			return nil
		}
		if next.IDs == nil {
			next.IDs = map[string]int64{}
		}
		for _, id := range ids {
			next.IDs[id] = until
		}
		if more := len(next.IDs) - ledger.MaxGone; more > 0 {
			oldest := slices.SortedFunc(maps.Keys(next.IDs), func(a, b string) int { return int(next.IDs[a] - next.IDs[b]) })
			for _, id := range oldest[:more] {
				delete(next.IDs, id)
			}
		}
		data, err := json.Marshal(next)
		if err != nil {
			return err
		}
		err = l.swap(ctx, goneKey(api), data, awsrest.If{Absent: was.tag == "", ETag: was.tag}, func(now []byte) bool {
			var is goneList
			return json.Unmarshal(now, &is) == nil && is.By == next.By
		})
		if err == nil {
			return nil
		}
		if !errors.Is(err, errOvertaken) {
			return unavailable("forgetting items of "+api, err)
		}
		if err := breather(ctx); err != nil {
			return err
		}
	}
}

// pruneEvery is how often keys and what was forgotten are looked through.
const pruneEvery = time.Hour

// prune drops keys that are over, and that items were there which were forgotten long ago.
func (l *Ledger) prune(ctx context.Context, now time.Time, most int) error {
	if d := now.Sub(l.pruned); d >= 0 && d < pruneEvery {
		return nil
	}
	if err := l.forgetKeys(ctx, now, most); err != nil {
		return err
	}
	var apis []string
	if _, err := l.bucket.List(ctx, "gone/", "", func(o awsrest.Listed) bool {
		apis = append(apis, strings.TrimPrefix(o.Key, "gone/"))
		return true
	}); err != nil {
		return unavailable("looking for what was forgotten", err)
	}
	for _, api := range apis {
		if err := l.note(ctx, api, nil, now); err != nil {
			return err
		}
	}
	l.pruned = now
	return nil
}

// keysLast is for how long keys are not looked at: no caller's is over before.
const keysLast = 24 * time.Hour

// forgetKeys drops keys that are over. What they accepted stays so.
func (l *Ledger) forgetKeys(ctx context.Context, now time.Time, most int) error {
	var all []awsrest.Listed
	clock, err := l.bucket.List(ctx, "keys/", "", func(o awsrest.Listed) bool {
		all = append(all, o)
		return true
	})
	if err != nil {
		return unavailable("looking for keys that are over", err)
	}
	var keys []string
	for _, o := range all {
		if clock.Sub(o.Modified) >= l.keysLast {
			keys = append(keys, o.Key)
		}
	}
	var mu sync.Mutex
	return parallel(len(keys), func(n int) error {
		parts := strings.Split(keys[n], "/")
		if len(parts) != 3 {
			return nil
		}
		used, etag, err := l.once(ctx, parts[1], parts[2])
		if err != nil || used == nil || used.Until.After(now) {
			return err
		}
		mu.Lock()
		most--
		enough := most < 0
		mu.Unlock()
		if enough {
			return nil
		}
		if err := l.confirm(ctx, parts[1], used.ID, parts[2]); err != nil {
			return err
		}
		if err := l.bucket.Delete(ctx, keys[n], etag); err != nil && !refused(err) {
			return unavailable("dropping a key that is over", err)
		}
		return nil
	})
}
