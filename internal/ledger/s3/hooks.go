package s3

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/awsrest"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
)

// storedHook is a message as it is kept. A round begins when somebody wants it delivered, and
// has a mark of its own (outbox/API/ID.GENERATION.ROUND) until it is delivered or given up.
type storedHook struct {
	By    string      `json:"by"`
	Round int         `json:"round,omitempty"`
	Hook  ledger.Hook `json:"hook"`
	etag  string
}

func legalHook(api, id string) bool { return legalName().MatchString(api) && ledger.LegalHookID(id) }

func hookKey(api, id string) string { return "hooks/" + api + "/" + id }

const outboxOf = "outbox/"

func outboxKey(api, id string, round int) string {
	return outboxOf + api + "/" + id + "." + strconv.Itoa(round)
}

// pendingMark is what the key of a mark in the outbox says.
type pendingMark struct {
	api, id  string
	round    int
	modified time.Time
}

func readOutbox(o awsrest.Listed) (m pendingMark, ok bool) {
	api, name, _ := strings.Cut(strings.TrimPrefix(o.Key, outboxOf), "/")
	at := strings.LastIndexByte(name, '.')
	if at < 0 {
		return m, false
	}
	round, err := strconv.Atoi(name[at+1:])
	m = pendingMark{api, name[:at], round, o.Modified}
	return m, err == nil && legalHook(m.api, m.id)
}

// project makes the message about an end an object of its own, unless it is one.
func (l *Ledger) project(ctx context.Context, h ledger.Hook) error {
	if _, err := l.bucket.Put(ctx, outboxKey(h.API, h.ID, 0), nil, awsrest.If{}); err != nil {
		return unavailable("writing a webhook message of "+h.API, err)
	}
	err := l.putHook(ctx, &storedHook{Hook: h}, awsrest.If{Absent: true})
	if errors.Is(err, errOvertaken) {
		return nil
	}
	return err
}

func (l *Ledger) putHook(ctx context.Context, s *storedHook, cond awsrest.If) error {
	s.By = token()
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing the webhook message %s: %w", s.Hook.ID, err)
	}
	err = l.swap(ctx, hookKey(s.Hook.API, s.Hook.ID), data, cond, func(now []byte) bool {
		var is storedHook
		return json.Unmarshal(now, &is) == nil && is.By == s.By
	})
	if err == nil || errors.Is(err, errOvertaken) {
		return err
	}
	return unavailable("changing a webhook message of "+s.Hook.API, err)
}

// hook reads a message. One whose etag is empty is in its item only.
func (l *Ledger) hook(ctx context.Context, api, id string) (*storedHook, error) {
	if !legalHook(api, id) {
		return nil, ledger.UnknownHook(api, id)
	}
	o, err := l.bucket.Get(ctx, hookKey(api, id), "")
	if missing(err) {
		return l.inItem(ctx, api, id)
	}
	if err != nil {
		return nil, unavailable("reading a webhook message of "+api, err)
	}
	s := &storedHook{etag: o.ETag}
	if err := json.Unmarshal(o.Data, s); err != nil {
		return nil, fmt.Errorf("the webhook message %s of %s cannot be read: %w", id, api, err)
	}
	return s, nil
}

// inItem looks for a message in its item, whose end is not written up.
func (l *Ledger) inItem(ctx context.Context, api, id string) (*storedHook, error) {
	of, _, _ := strings.Cut(id, ".")
	s, err := l.stored(ctx, api, of)
	if ledger.IsUnknown(err) || err == nil && (s.Hook == nil || s.Hook.ID != id) {
		return nil, ledger.UnknownHook(api, id)
	}
	if err != nil {
		return nil, err
	}
	if _, err := l.bucket.Size(ctx, markOf(s.Item).key()); missing(err) { // it was over
		return nil, ledger.UnknownHook(api, id)
	} else if err != nil {
		return nil, unavailable("reading a webhook message of "+api, err)
	}
	return &storedHook{Hook: *s.Hook}, nil
}

// Hook returns one message.
func (l *Ledger) Hook(ctx context.Context, api, id string) (ledger.Hook, error) {
	s, err := l.hook(ctx, api, id)
	if err != nil {
		return ledger.Hook{}, err
	}
	return s.Hook, nil
}

// Hooks returns messages of an API, those about the latest items first.
func (l *Ledger) Hooks(ctx context.Context, q ledger.HookQuery) (list []ledger.Hook, _ error) {
	if q.Limit <= 0 || q.Limit > ledger.MaxList {
		q.Limit = ledger.MaxList
	}
	if !legalName().MatchString(q.API) {
		return nil, nil
	}
	var ids []string
	of := hookKey(q.API, "")
	if _, err := l.bucket.List(ctx, of, "", func(o awsrest.Listed) bool {
		if id := strings.TrimPrefix(o.Key, of); q.Before == "" || id < q.Before {
			ids = append(ids, id)
		}
		return true
	}); err != nil {
		return nil, unavailable("listing webhook messages of "+q.API, err)
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(b, a) })
	err := inOrder(ids, func(id string) (*storedHook, error) { return l.hookOrNone(ctx, q.API, id) }, func(_ string, s *storedHook) (bool, error) {
		if s != nil && (len(q.States) == 0 || slices.Contains(q.States, s.Hook.State)) {
			list = append(list, s.Hook)
		}
		return len(list) < q.Limit, nil
	})
	return list, err
}

// hookOrNone is hook; nil: there is none, or it is over by now.
func (l *Ledger) hookOrNone(ctx context.Context, api, id string) (*storedHook, error) {
	s, err := l.hook(ctx, api, id)
	if fault.Code(err) == ledger.CodeHookUnknown {
		return nil, nil
	}
	return s, err
}

// OpenHooks calls fn with every message that is pending.
func (l *Ledger) OpenHooks(ctx context.Context, fn func(ledger.Hook) error) error {
	var marks []pendingMark
	clock, err := l.bucket.List(ctx, outboxOf, "", func(o awsrest.Listed) bool {
		if m, ok := readOutbox(o); ok {
			marks = append(marks, m)
		}
		return true
	})
	if err != nil {
		return unavailable("looking for webhook messages", err)
	}
	slices.SortFunc(marks, func(a, b pendingMark) int {
		return cmp.Or(cmp.Compare(a.api, b.api), cmp.Compare(a.id, b.id), cmp.Compare(a.round, b.round))
	})
	return inOrder(marks, func(m pendingMark) (*storedHook, error) { return l.hookOrNone(ctx, m.api, m.id) }, func(m pendingMark, s *storedHook) (bool, error) {
		switch key := outboxKey(m.api, m.id, m.round); {
		case s == nil || s.Round < m.round: // of a write that did not come to its end, or is about to
			if clock.Sub(m.modified) > l.orphanAfter {
				_ = l.bucket.Delete(ctx, key, "") // else the next time
			}
		case s.Round > m.round:
			_ = l.bucket.Delete(ctx, key, "") // else the next time
		case s.Hook.State != ledger.HookPending:
			l.settleHook(ctx, s)
		default:
			return true, fn(s.Hook)
		}
		return true, nil
	})
}

// settleHook has it written up when a message is over that is not pending.
func (l *Ledger) settleHook(ctx context.Context, s *storedHook) {
	l.later(ctx, line{API: s.Hook.API, ID: s.Hook.ID, Hook: true, Forget: s.Hook.Forget, mark: outboxKey(s.Hook.API, s.Hook.ID, s.Round)})
}

// ApplyHook changes a message by ledger.NextHook, until nobody came first.
func (l *Ledger) ApplyHook(ctx context.Context, api, id string, t ledger.Try) (ledger.Hook, error) {
	for {
		was, err := l.hook(ctx, api, id)
		if err != nil {
			return ledger.Hook{}, err
		}
		next, err := ledger.NextHook(was.Hook, t)
		if err != nil {
			return was.Hook, err
		}
		if was.etag == "" {
			if err := l.project(ctx, was.Hook); err != nil {
				return was.Hook, err
			}
			continue
		}
		n := &storedHook{Round: was.Round, Hook: next}
		if t.Again {
			n.Round++
			if _, err := l.bucket.Put(ctx, outboxKey(api, id, n.Round), nil, awsrest.If{}); err != nil {
				return was.Hook, unavailable("changing a webhook message of "+api, err)
			}
		}
		err = l.putHook(ctx, n, awsrest.If{ETag: was.etag})
		switch {
		case err == nil:
			if next.State != ledger.HookPending {
				l.settleHook(ctx, n)
			}
			return next, nil
		case !errors.Is(err, errOvertaken):
			return was.Hook, err
		}
		if err := breather(ctx); err != nil {
			return was.Hook, err
		}
	}
}

// forgetHook drops a message whose time has come.
func (l *Ledger) forgetHook(ctx context.Context, api, id string, now time.Time) error {
	s, err := l.hookOrNone(ctx, api, id)
	if err != nil || s == nil || s.etag == "" || s.Hook.State == ledger.HookPending || s.Hook.Forget.After(now) {
		return err
	}
	if err := l.bucket.Delete(ctx, hookKey(api, id), s.etag); err != nil && !refused(err) {
		return unavailable("dropping a webhook message of "+api, err)
	}
	return nil
}
