package jetstream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
)

// hookMessage is a webhook message as it is kept, in the batch of the end that it is about.
// The two parts of its id are two parts of its subject.
func (l *Ledger) hookMessage(h ledger.Hook, seq uint64) (*nats.Msg, error) {
	data, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("writing the webhook message %s: %w", h.ID, err)
	}
	m := message(l.subject(subjectHook, h.API, h.ID), data, seq)
	m.Header.Set(headerState, string(h.State))
	if !h.Forget.IsZero() {
		m.Header.Set(headerForget, h.Forget.UTC().Format(time.RFC3339Nano))
	}
	return m, nil
}

// hook reads a message, and at which sequence it is.
func (l *Ledger) hook(ctx context.Context, api, id string) (h ledger.Hook, seq uint64, _ error) {
	if !legal(api, ledger.NewID(time.Now())) || !ledger.LegalHookID(id) {
		return h, 0, ledger.UnknownHook(api, id)
	}
	m, err := l.last(ctx, l.subject(subjectHook, api, id))
	if err != nil {
		return h, 0, err
	}
	if m == nil {
		return h, 0, ledger.UnknownHook(api, id)
	}
	if err := json.Unmarshal(m.Data, &h); err != nil {
		return h, 0, fmt.Errorf("the webhook message %s of %s cannot be read: %w", id, api, err)
	}
	return h, m.Sequence, nil
}

// Hook returns one message.
func (l *Ledger) Hook(ctx context.Context, api, id string) (ledger.Hook, error) {
	h, _, err := l.hook(ctx, api, id)
	return h, err
}

// scanHooks calls fn with the id of every message that matches.
func (l *Ledger) scanHooks(ctx context.Context, api string, fn func(api, id string, h nats.Header)) error {
	return l.scan(ctx, []string{l.subject(subjectHook, api, "*.*")}, func(subject string, h nats.Header) error {
		parts := strings.Split(strings.TrimPrefix(subject, l.cfg.Name+"."), ".")
		if len(parts) == 4 {
			fn(parts[1], parts[2]+"."+parts[3], h)
		}
		return nil
	})
}

// Hooks returns messages of an API, those about the latest items first.
func (l *Ledger) Hooks(ctx context.Context, q ledger.HookQuery) (list []ledger.Hook, _ error) {
	if q.Limit <= 0 || q.Limit > ledger.MaxList {
		q.Limit = ledger.MaxList
	}
	if !legal(q.API, ledger.NewID(time.Now())) {
		return nil, nil
	}
	var ids []string
	if err := l.scanHooks(ctx, q.API, func(_, id string, h nats.Header) {
		if (q.Before == "" || id < q.Before) && (len(q.States) == 0 || slices.Contains(q.States, ledger.HookState(h.Get(headerState)))) {
			ids = append(ids, id)
		}
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(b, a) })
	for _, id := range ids[:min(len(ids), q.Limit)] {
		h, err := l.Hook(ctx, q.API, id)
		if fault.Code(err) == ledger.CodeHookUnknown {
			continue // it is over by now
		}
		if err != nil {
			return nil, err
		}
		list = append(list, h)
	}
	return list, nil
}

// OpenHooks calls fn with every message that is pending.
func (l *Ledger) OpenHooks(ctx context.Context, fn func(ledger.Hook) error) error {
	var open []named
	if err := l.scanHooks(ctx, "*", func(api, id string, h nats.Header) {
		if ledger.HookState(h.Get(headerState)) == ledger.HookPending {
			open = append(open, named{api, id})
		}
	}); err != nil {
		return err
	}
	slices.SortFunc(open, func(a, b named) int { return cmp.Or(cmp.Compare(a.api, b.api), cmp.Compare(a.id, b.id)) })
	for _, n := range open {
		h, err := l.Hook(ctx, n.api, n.id)
		if fault.Code(err) == ledger.CodeHookUnknown || err == nil && h.State != ledger.HookPending {
			continue
		}
		if err == nil {
			err = fn(h)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ApplyHook changes a message by ledger.NextHook, until nobody came first.
func (l *Ledger) ApplyHook(ctx context.Context, api, id string, t ledger.Try) (ledger.Hook, error) {
	for {
		was, seq, err := l.hook(ctx, api, id)
		if err != nil {
			return was, err
		}
		next, err := ledger.NextHook(was, t)
		if err != nil {
			return was, err
		}
		m, err := l.hookMessage(next, seq)
		if err != nil {
			return was, err
		}
		err = l.commit(ctx, m)
		if errors.Is(err, errOvertaken) {
			if ctx.Err() != nil {
				return was, context.Cause(ctx)
			}
			continue
		}
		if err != nil {
			if got, _, read := l.hook(ctx, api, id); read == nil && got.Version == next.Version && got.Tried.Equal(next.Tried) {
				return next, nil // it was kept all the same
			}
			return was, unavailable("changing a webhook message of "+api, err)
		}
		return next, nil
	}
}

// forgetHooks drops messages whose time has come.
func (l *Ledger) forgetHooks(ctx context.Context, now time.Time, most int) error {
	var over []named
	if err := l.scanHooks(ctx, "*", func(api, id string, h nats.Header) {
		at, err := time.Parse(time.RFC3339Nano, h.Get(headerForget))
		if err == nil && !at.After(now) && len(over) < most {
			over = append(over, named{api, id})
		}
	}); err != nil {
		return err
	}
	for _, n := range over {
		if h, err := l.Hook(ctx, n.api, n.id); err != nil || h.State == ledger.HookPending {
			continue // it is to be sent again
		}
		if err := l.purge(ctx, l.subject(subjectHook, n.api, n.id)); err != nil {
			return err
		}
	}
	return nil
}
