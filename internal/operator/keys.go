package operator

import (
	"context"
	"maps"
	"slices"
	"time"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/suggest"
	"cortex.dev/cortex/internal/workload"
)

const (
	// keepExpired is how long a key that has expired is listed.
	keepExpired = 30 * 24 * time.Hour
	// keptBeside is how many keys of a name there are beside the newest: its holders are
	// replaced one after the other, and whoever has neither of two keys was forgotten.
	keptBeside = 1
)

// PermitKeys is asked before something is done to keys, for every API that they are good
// for, at once; none: they are good for all, or there are none. Nil permits everything.
type PermitKeys func(ctx context.Context, apis []workload.Subject) error

// Keys returns what is known of every access key.
func (o *Operator) Keys(ctx context.Context) ([]workload.Key, error) {
	if o.keys == nil {
		return nil, nil
	}
	kept, err := o.keys.Keys(ctx)
	if err != nil {
		return nil, err
	}
	now := o.now()
	all := make([]workload.Key, 0, len(kept))
	for _, k := range kept {
		if !forgotten(&k, now) {
			all = append(all, shownKey(&k, now))
		}
	}
	return all, nil
}

// CreateKey makes the first key of a name.
func (o *Operator) CreateKey(ctx context.Context, req workload.KeyRequest) (made workload.KeyMade, _ error) {
	apis, err := keyRequest(&req)
	if err != nil {
		return made, err
	}
	if err := o.permitKeys(ctx, o.createKeys, apis); err != nil {
		return made, err
	}
	if o.keys == nil {
		return made, keysNotKept()
	}
	if err := o.knownAPIs(ctx, apis); err != nil {
		return made, err
	}
	all, err := o.forgetKeys(ctx)
	if err != nil {
		return made, err
	}
	now := o.now().UTC()
	next, text := mintKey(all)
	next.Name, next.APIs, next.Labels = req.Name, apis, maps.Clone(req.Labels)
	next.CreatedBy, next.CreatedAt, next.ExpiresAt = o.caller(ctx), now, expiry(now, req.ExpiresIn)
	err = o.keys.ChangeKeys(ctx, req.Name, func(old []store.Key) ([]store.Key, error) {
		if len(old) > 0 {
			return nil, fault.New(fault.Conflict, workload.CodeKeyExists, "there is a key %s", req.Name).
				WithHint("replace it by a new one: cortex keys rotate %s", req.Name)
		}
		return []store.Key{next}, nil
	})
	if err != nil {
		return made, err
	}
	return workload.KeyMade{Key: shownKey(&next, now), Text: text}, nil
}

// RotateKey makes a key in place of the newest of a name, which is good for a while yet.
// Those before that one are good for nothing from then on.
func (o *Operator) RotateKey(ctx context.Context, name string, r workload.KeyRotation) (made workload.KeyMade, _ error) {
	if err := keyRotation(&r); err != nil {
		return made, err
	}
	by := o.caller(ctx)
	err := o.changeKeys(ctx, name, o.createKeys, func(old, all []store.Key) []store.Key {
		now := o.now().UTC()
		last := old[len(old)-1]
		next, text := mintKey(all)
		next.Name, next.APIs, next.Labels = name, last.APIs, last.Labels
		begin := now
		if !begin.After(last.CreatedAt) { // a clock that was put back: the newest is the last
			begin = last.CreatedAt.Add(time.Microsecond)
		}
		next.CreatedBy, next.CreatedAt, next.ExpiresAt = by, begin, expiry(begin, r.ExpiresIn)
		if r.ExpiresIn == 0 && !last.ExpiresAt.IsZero() {
			next.ExpiresAt = begin.Add(last.ExpiresAt.Sub(last.CreatedAt))
		}
		made = workload.KeyMade{Key: shownKey(&next, now), Text: text}
		return append(leave(old, now, time.Duration(r.Grace)), next)
	})
	if err != nil {
		return workload.KeyMade{}, err
	}
	return made, nil
}

// leave returns what there is to be of keys that are replaced, the oldest first.
func leave(old []store.Key, now time.Time, grace time.Duration) []store.Key {
	if grace == 0 {
		return nil
	}
	left := slices.Clone(old[max(0, len(old)-keptBeside):])
	for i := range left {
		if end := now.Add(grace); left[i].ExpiresAt.IsZero() || end.Before(left[i].ExpiresAt) {
			left[i].ExpiresAt = end
		}
	}
	return left
}

// RevokeKey forgets all keys of a name.
func (o *Operator) RevokeKey(ctx context.Context, name string) (message workload.Message, _ error) {
	err := o.changeKeys(ctx, name, o.revokeKeys, func([]store.Key, []store.Key) []store.Key { return nil })
	if err == nil {
		message.Message = "revoked the key " + name
	}
	return message, err
}

// changeKeys changes the keys of a name to what edit makes of them and of all that there
// are. It asks first, and again when there are others by then.
func (o *Operator) changeKeys(ctx context.Context, name string, ask PermitKeys, edit func(old, all []store.Key) []store.Key) error {
	if o.keys == nil || !workload.IsKeyName(name) {
		return store.NoKey(name)
	}
	for range attempts {
		all, err := o.keys.Keys(ctx)
		if err != nil {
			return err
		}
		seen := slices.DeleteFunc(slices.Clone(all), func(k store.Key) bool { return k.Name != name })
		if err := o.permitKeys(ctx, ask, apisOf(seen)); err != nil {
			if fault.Is(err, fault.Forbidden) { // what it is good for is told to those who may know
				f := *fault.From(err)
				f.Message = "the caller may not change the key " + name + ", or there is none"
				return &f
			}
			return err
		}
		overtaken := false
		err = o.keys.ChangeKeys(ctx, name, func(old []store.Key) ([]store.Key, error) {
			if overtaken = !slices.EqualFunc(old, seen, sameKey); overtaken || len(old) == 0 {
				return nil, store.NoKey(name)
			}
			return edit(old, all), nil
		})
		if err == nil || !overtaken {
			return err
		}
	}
	return fault.New(fault.Conflict, store.CodeVersionConflict, "the key %s is being changed by others", name).WithHint("try again")
}

func sameKey(a, b store.Key) bool { return a.ID == b.ID && a.ExpiresAt.Equal(b.ExpiresAt) }

// apisOf are the APIs that some of the keys are good for; none where one is good for all.
func apisOf(keys []store.Key) (apis []string) {
	for _, k := range keys {
		if len(k.APIs) == 0 {
			return nil
		}
		apis = append(apis, k.APIs...)
	}
	slices.Sort(apis)
	return slices.Compact(apis)
}

// permitKeys asks for APIs, with what each of them is.
func (o *Operator) permitKeys(ctx context.Context, ask PermitKeys, apis []string) error {
	if ask == nil {
		return nil
	}
	all := make([]workload.Subject, len(apis))
	for i, name := range apis {
		all[i] = workload.Subject{Name: name, Kind: o.Kind(ctx, name)}
	}
	return ask(ctx, all)
}

// knownAPIs says which of the names are of nothing that is deployed.
func (o *Operator) knownAPIs(ctx context.Context, apis []string) error {
	if len(apis) == 0 {
		return nil
	}
	deployed, err := o.store.List(ctx)
	if err != nil {
		return err
	}
	names := make([]string, len(deployed))
	for i, w := range deployed {
		names[i] = w.Name()
	}
	for _, api := range apis {
		if slices.Contains(names, api) {
			continue
		}
		f := fault.New(fault.Invalid, workload.CodeKeyAPIs, "%s is not deployed", api)
		if hint := suggest.Hint(api, names); hint != "" {
			return f.WithHint("%s", hint)
		}
		return f.WithHint("deploy it first; cortex get shows what is deployed")
	}
	return nil
}

// forgetKeys forgets keys that nobody is told of any more, and returns all that there were.
func (o *Operator) forgetKeys(ctx context.Context) ([]store.Key, error) {
	all, err := o.keys.Keys(ctx)
	if err != nil {
		return nil, err
	}
	now := o.now()
	old := func(k store.Key) bool { return forgotten(&k, now) }
	stale := map[string]bool{}
	for _, k := range all {
		if old(k) {
			stale[k.Name] = true
		}
	}
	for name := range stale {
		if err := o.keys.ChangeKeys(ctx, name, func(keys []store.Key) ([]store.Key, error) {
			return slices.DeleteFunc(keys, old), nil
		}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// mintKey makes a key with an id that none of all has.
func mintKey(all []store.Key) (k store.Key, text string) {
	for {
		text, k.ID, k.Hash = access.Mint()
		if !slices.ContainsFunc(all, func(other store.Key) bool { return other.ID == k.ID }) {
			return k, text
		}
	}
}

func expiry(now time.Time, in workload.Duration) time.Time {
	if in == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(in))
}

func expired(k *store.Key, now time.Time) bool {
	return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt)
}

func forgotten(k *store.Key, now time.Time) bool {
	return !k.ExpiresAt.IsZero() && now.After(k.ExpiresAt.Add(keepExpired))
}

func shownKey(k *store.Key, now time.Time) workload.Key {
	shown := workload.Key{
		Name: k.Name, ID: k.ID, APIs: append([]string{}, k.APIs...), Labels: k.Labels, CreatedBy: k.CreatedBy,
		CreatedAt: k.CreatedAt.UTC().Truncate(time.Second), State: workload.KeyActive,
	}
	if !k.ExpiresAt.IsZero() {
		shown.ExpiresAt = k.ExpiresAt.UTC().Truncate(time.Second)
	}
	if expired(k, now) {
		shown.State = workload.KeyExpired
	}
	return shown
}

func keysNotKept() error {
	return fault.New(fault.Unsupported, workload.CodeNoKeys, "this environment keeps no access keys")
}

// keyRequest says what is wrong with a request by itself, and which APIs it is about.
func keyRequest(req *workload.KeyRequest) (apis []string, _ error) {
	if !workload.IsKeyName(req.Name) {
		return nil, fault.New(fault.Invalid, workload.CodeKeyName, "%q cannot be the name of a key", clipped(req.Name)).
			WithHint("names have %s", workload.KeyName())
	}
	switch {
	case req.AllAPIs && len(req.APIs) > 0:
		return nil, fault.New(fault.Invalid, workload.CodeKeyAPIs, "a key is good for all APIs or for some").
			WithHint("leave out one of apis and all_apis")
	case !req.AllAPIs && len(req.APIs) == 0:
		return nil, fault.New(fault.Invalid, workload.CodeKeyAPIs, "it is not said which APIs the key is good for").
			WithHint("name them in apis, or set all_apis")
	case len(req.APIs) > workload.MaxKeyAPIs:
		return nil, fault.New(fault.Invalid, workload.CodeKeyAPIs, "a key is good for at most %d APIs, and not for %d", workload.MaxKeyAPIs, len(req.APIs)).
			WithHint("make several keys, or one for all APIs")
	case len(req.Labels) > workload.MaxKeyLabels:
		return nil, fault.New(fault.Invalid, workload.CodeKeyLabels, "a key has at most %d labels, and not %d", workload.MaxKeyLabels, len(req.Labels))
	}
	for _, api := range req.APIs {
		if !workload.IsName(api) {
			return nil, fault.New(fault.Invalid, workload.CodeKeyAPIs, "%q cannot be the name of an API", clipped(api))
		}
	}
	for _, label := range slices.Sorted(maps.Keys(req.Labels)) {
		if !workload.LegalItemLabel(label, req.Labels[label]) {
			return nil, fault.New(fault.Invalid, workload.CodeKeyLabels, "%q cannot be a label of a key", clipped(label+"="+req.Labels[label])).
				WithHint("a label is %s", workload.ItemLabelRule)
		}
	}
	apis = slices.Sorted(slices.Values(req.APIs))
	return slices.Compact(apis), keyTime("expires_in", req.ExpiresIn, workload.MaxKeyExpires)
}

func keyRotation(r *workload.KeyRotation) error {
	if err := keyTime("expires_in", r.ExpiresIn, workload.MaxKeyExpires); err != nil {
		return err
	}
	return keyTime("grace", r.Grace, workload.MaxKeyGrace)
}

// keyTime says what is wrong with a time from now; 0 is none.
func keyTime(what string, d workload.Duration, most time.Duration) error {
	if t := time.Duration(d); t != 0 && (t < time.Second || t > most) {
		return fault.New(fault.Invalid, workload.CodeKeyTime, "%s cannot be %s", what, d).
			WithHint("it is from 1s to %dh", int64(most/time.Hour))
	}
	return nil
}

// clipped bounds what an error repeats of a request.
func clipped(text string) string {
	const most = 100
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
