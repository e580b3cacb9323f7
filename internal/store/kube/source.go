package kube

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

var _ store.Source = (*Store)(nil)

// Pending calls fn for every specification that is not resolved yet.
func (s *Store) Pending(ctx context.Context, fn func(store.Declaration)) error {
	l, present, stop := s.view.listen()
	defer stop()
	told := make(map[key]string)
	tell := func(name string) {
		for _, kind := range workload.Kinds() {
			k := key{name: name, kind: kind}
			p, held := s.view.pending(k)
			switch {
			case held: // it is told when it is not any more
				continue
			case p == nil:
				// The same specification is news when it is pending once more.
				delete(told, k)
				continue
			case told[k] == p.version:
				continue
			}
			told[k] = p.version
			config, err := configOf(k, p.spec)
			if err != nil {
				s.log.Error("store: specification left out", "resource", crd.Source(kind, name), "error", err)
				continue
			}
			fn(store.Declaration{Name: name, Kind: kind, Config: config, Resource: crd.Source(kind, name), Version: p.version})
		}
	}
	for _, name := range present {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		tell(name)
	}
	return s.listen(ctx, l, tell)
}

// configOf writes a cortex.yaml with one API. JSON is YAML.
func configOf(k key, spec json.RawMessage) (string, error) {
	element := map[string]json.RawMessage{}
	if len(spec) > 0 {
		if err := decode(spec, &element); err != nil {
			return "", err
		}
	}
	for member, value := range map[string]string{"name": k.name, "kind": string(k.kind)} {
		text, err := json.Marshal(value)
		if err != nil {
			return "", err
		}
		element[member] = text
	}
	text, err := json.Marshal([]any{element})
	return string(text), err
}

// Resolve writes what became of d into the status of its resource, unless the
// specification is another one by now.
func (s *Store) Resolve(ctx context.Context, d store.Declaration, outcome error) error {
	doing := "writing the status of " + d.Resource
	return s.writeStatus(ctx, doing, func(ctx context.Context) (again bool, err error) {
		o, err := s.client.get(ctx, d.Kind, d.Name)
		if isMissing(err) {
			return false, nil
		}
		if err != nil {
			return false, s.failure(ctx, doing, err)
		}
		if writing(o) != d.Version {
			return false, nil
		}
		again, err = s.setStatus(ctx, o, func(now *status) { resolve(now, outcome, o.Generation) })
		return again, s.failure(ctx, doing, err)
	})
}

// Refusals returns every specification that was refused, as it was seen last.
func (s *Store) Refusals() []store.Refusal { return s.view.refused() }

// writeStatus has try write a status, once more whenever it reports that somebody else
// changed the resource since it was read.
func (s *Store) writeStatus(ctx context.Context, doing string, try func(context.Context) (again bool, err error)) error {
	ctx, done, err := s.beginWrite(ctx)
	if err != nil {
		return err
	}
	defer done()
	for range tries {
		if again, err := try(ctx); err != nil || !again {
			return err
		}
	}
	return busy(doing)
}

// resolve notes what became of the specification of a generation: nil accepted.
func resolve(s *status, outcome error, generation int64) {
	s.ObservedGeneration = generation
	s.Waiting = fault.Is(outcome, fault.Conflict) // for now: whoever asks later is told of it again
	meta.SetStatusCondition(&s.Conditions, accepted(outcome, "the specification passed every rule", generation))
}

// accepted is the condition that says what became of something: why not, or passed.
func accepted(outcome error, passed string, generation int64) metav1.Condition {
	c := metav1.Condition{
		Type: crd.Accepted, Status: metav1.ConditionTrue, Reason: "Accepted", Message: passed, ObservedGeneration: generation,
	}
	if f := fault.From(outcome); f != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, camelCase(f.Code), f.Message
		if f.Hint != "" {
			c.Message += " (" + f.Hint + ")"
		}
		c.Message = cut(c.Message)
	}
	return c
}

// Publish shows what a workload is doing in the status of its resource. It writes
// only what is new.
func (s *Store) Publish(ctx context.Context, name string, now workload.Status, endpoint string) error {
	doing := "writing the status of " + name
	return s.writeStatus(ctx, doing, func(ctx context.Context) (again bool, err error) {
		o, _, err := s.find(ctx, name)
		if fault.Is(err, fault.NotFound) {
			return false, nil
		}
		if err != nil {
			return false, s.failure(ctx, doing, err)
		}
		again, err = s.setStatus(ctx, o, func(s *status) {
			s.Phase, s.Reason = string(now.Phase), cut(now.Reason)
			s.Ready, s.Requested, s.UpToDate = now.Ready, now.Requested, now.UpToDate
			s.Endpoint = endpoint
		})
		return again, s.failure(ctx, doing, err)
	})
}

// setStatus writes a changed status, with the conditions that follow from it. It
// reports whether the resource is not the one that was read any more.
func (s *Store) setStatus(ctx context.Context, o *object, change func(*status)) (again bool, err error) {
	before, after := statusOf(o), statusOf(o)
	change(&after)
	outcome := workload.Outcome{}
	if d, err := before.record(o); err == nil && d != nil {
		outcome = d.Outcome
	}
	settle(&after, workload.Kind(o.Kind), outcome)
	if reflect.DeepEqual(before, after) {
		return false, nil
	}
	o, again, err = s.putStatus(ctx, o, after)
	if again || err != nil {
		return again, err
	}
	e, err := entryOf(o)
	if err != nil {
		return false, err
	}
	s.view.set(e)
	return false, nil
}

// putStatus writes the status of the resource o, and returns what it is then. again
// reports that it is not the one that was read any more.
func (s *Store) putStatus(ctx context.Context, o *object, status any) (now *object, again bool, err error) {
	if o.Status, err = json.Marshal(status); err != nil {
		return nil, false, err
	}
	now, err = s.client.updateStatus(ctx, o)
	if apierrors.IsConflict(err) || isMissing(err) {
		return nil, true, nil
	}
	return now, false, err
}

// camelCase turns a code, such as spec.duplicate_name, into the reason of a
// condition: SpecDuplicateName.
func camelCase(code string) string {
	var b strings.Builder
	for _, word := range strings.FieldsFunc(code, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	if b.Len() == 0 {
		return "Unknown"
	}
	return b.String()
}

// cut keeps a message within what a condition may hold.
func cut(message string) string {
	const most = 32 << 10
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most-len("…")], "") + "…"
}
