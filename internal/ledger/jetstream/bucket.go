package jetstream

import (
	"context"
	"encoding/base64"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// bucket is an object store beside the ledger, on as many servers.
type bucket struct {
	js    jetstream.JetStream
	name  string
	store *lazy[jetstream.ObjectStore]
}

func (l *Ledger) bucket(name, description string) bucket {
	return bucket{js: l.js, name: name, store: &lazy[jetstream.ObjectStore]{find: func(ctx context.Context) (jetstream.ObjectStore, error) {
		store, err := l.js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{
			Bucket: name, Description: description, Storage: jetstream.FileStorage,
			Replicas: max(l.cfg.Replicas, 1), MaxBytes: max(l.cfg.MaxBytes, -1),
		})
		if err != nil {
			return nil, unavailable("the "+description, err)
		}
		return store, nil
	}}}
}

func (b bucket) get(ctx context.Context) (jetstream.ObjectStore, error) { return b.store.get(ctx) }

// drop drops an object, and that there was one: a store keeps the names of all that it ever
// had otherwise. Nothing is no error.
func (b bucket) drop(ctx context.Context, object string) error {
	store, err := b.get(ctx)
	if err != nil {
		return err
	}
	if err := store.Delete(ctx, object); err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
		return unavailable("dropping "+object, err)
	}
	stream, err := b.js.Stream(ctx, "OBJ_"+b.name)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject("$O."+b.name+".M."+base64.URLEncoding.EncodeToString([]byte(object))))
	}
	if err != nil {
		return unavailable("dropping "+object, err)
	}
	return nil
}
