package jetstream

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Schedules keeps what is remembered of schedules beside the items that they begin. It is a
// store.Schedules.
type Schedules struct {
	kv lazy[jetstream.KeyValue]
}

// Schedules are those whose items are in the ledger.
func (l *Ledger) Schedules() *Schedules {
	s := &Schedules{}
	s.kv.find = func(ctx context.Context) (jetstream.KeyValue, error) {
		kv, err := l.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: l.cfg.Name + "-schedules", Description: "what is remembered of schedules of Cortex",
			Storage: jetstream.FileStorage, Replicas: max(l.cfg.Replicas, 1), History: 1,
		})
		if err != nil {
			return nil, unavailable("what is remembered of schedules", err)
		}
		return kv, nil
	}
	return s
}

// ScheduleStates calls fn with everything that is kept.
func (s *Schedules) ScheduleStates(ctx context.Context, fn func(api, schedule string, data []byte)) error {
	kv, err := s.kv.get(ctx)
	if err != nil {
		return err
	}
	keys, err := kv.Keys(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		return unavailable("reading what is remembered of schedules", err)
	}
	for _, key := range keys {
		entry, err := kv.Get(ctx, key)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound): // forgotten meanwhile
			continue
		case err != nil:
			return unavailable("reading what is remembered of schedules", err)
		}
		api, schedule, _ := strings.Cut(key, ".")
		fn(api, schedule, entry.Value())
	}
	return nil
}

// SetScheduleState keeps data of a schedule; nil forgets. Neither name has a dot.
func (s *Schedules) SetScheduleState(ctx context.Context, api, schedule string, data []byte) error {
	kv, err := s.kv.get(ctx)
	if err != nil {
		return err
	}
	if data == nil {
		err = kv.Purge(ctx, api+"."+schedule)
	} else {
		_, err = kv.Put(ctx, api+"."+schedule, data)
	}
	if err != nil {
		return unavailable("remembering "+schedule+" of "+api, err)
	}
	return nil
}
