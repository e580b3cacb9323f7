package bolt

import (
	"context"
	"encoding/json"

	"cortex.dev/cortex/internal/ledger"
)

// moveHook writes what a message has become, and the names by which it is found.
func (t *txn) moveHook(was, next ledger.Hook) error {
	data, err := encode(next)
	if err != nil {
		return err
	}
	name := itemKey("", next.API, next.ID)
	if !was.Forget.IsZero() {
		if err := t.remove(keyDrop + instant(was.Forget) + name); err != nil {
			return err
		}
	}
	if next.State == ledger.HookPending {
		err = t.put(keyPending+name, []byte{})
	} else if err = t.remove(keyPending + name); err == nil {
		err = t.put(keyDrop+instant(next.Forget)+name, []byte{})
	}
	if err != nil {
		return err
	}
	return t.put(keyHook+name, data)
}

// hook reads a message; a refusal says that there is none.
func (r *reader) hook(api, id string) (h ledger.Hook, _ error) {
	data, err := r.get(itemKey(keyHook, api, id))
	switch {
	case err != nil:
		return h, err
	case data == nil:
		return h, refusal{ledger.UnknownHook(api, id)}
	}
	return h, r.decodeHook(data, &h)
}

func (r *reader) decodeHook(data []byte, h *ledger.Hook) error {
	if err := json.Unmarshal(data, h); err != nil {
		return corrupt(r.path, "a webhook message cannot be read: %v", err)
	}
	return nil
}

// Hook returns one message.
func (i *Items) Hook(_ context.Context, api, id string) (h ledger.Hook, err error) {
	if err := legalHook(api, id); err != nil {
		return h, err
	}
	err = i.s.view(func(r *reader) (err error) {
		h, err = r.hook(api, id)
		return err
	})
	return h, plain(err)
}

// Hooks returns messages, those about the latest items first.
func (i *Items) Hooks(_ context.Context, q ledger.HookQuery) (list []ledger.Hook, _ error) {
	if q.Limit <= 0 || q.Limit > ledger.MaxList {
		q.Limit = ledger.MaxList
	}
	if !legalName().MatchString(q.API) {
		return nil, nil
	}
	wanted := map[ledger.HookState]bool{}
	for _, s := range q.States {
		wanted[s] = true
	}
	prefix := itemKey(keyHook, q.API, "")
	from := prefix + "\xff"
	if q.Before != "" {
		from = prefix + q.Before
	}
	err := i.s.view(func(r *reader) error {
		return r.scanBack(prefix, from, func(_, data []byte) (bool, error) {
			var h ledger.Hook
			if err := r.decodeHook(data, &h); err != nil {
				return false, err
			}
			if len(wanted) == 0 || wanted[h.State] {
				list = append(list, h)
			}
			return len(list) < q.Limit, nil
		})
	})
	return list, err
}

// OpenHooks calls fn with every message that is pending.
func (i *Items) OpenHooks(ctx context.Context, fn func(ledger.Hook) error) error {
	return eachNamed(ctx, i.s, keyPending, (*reader).hook, fn)
}

// ApplyHook changes a message.
func (i *Items) ApplyHook(ctx context.Context, api, id string, try ledger.Try) (next ledger.Hook, _ error) {
	if err := legalHook(api, id); err != nil {
		return next, err
	}
	err := i.s.update(ctx, "changing the webhook message "+id+" of "+api, 0, reserveShrink, func(t *txn) error {
		was, err := t.hook(api, id)
		if err != nil {
			return err
		}
		if next, err = ledger.NextHook(was, try); err != nil {
			return refusal{err}
		}
		return t.moveHook(was, next)
	})
	return next, err
}

func legalHook(api, id string) error {
	if !legalName().MatchString(api) || !ledger.LegalHookID(id) {
		return ledger.UnknownHook(api, id)
	}
	return nil
}
