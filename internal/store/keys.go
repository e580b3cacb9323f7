package store

import (
	"context"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Key is an access key as it is kept. Its secret is not: it has 190 random bits, so that its
// SHA-256 tells nothing of it, and nobody can make a key of what is read here.
type Key struct {
	Name      string
	ID        string
	Hash      [32]byte // SHA-256 of the secret
	APIs      []string // by name; empty: all
	Labels    map[string]string
	CreatedBy string
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
}

// Keys keeps access keys, by their ids. It is durable as a Store is; all methods may be
// called at once.
type Keys interface {
	// ChangeKeys reads all keys of a name, the oldest first, has fn say which there are to
	// be instead, and writes those, all or none. The error of fn is returned, and nothing is
	// written then; fn may be called again. Past workload.MaxKeys it is fault.Conflict, code keys.too_many.
	ChangeKeys(ctx context.Context, name string, fn func(old []Key) (now []Key, err error)) error
	// Keys returns all of them, by name and, of one name, the oldest first.
	Keys(ctx context.Context) ([]Key, error)
	// WatchKeys calls fn with all keys, and with all of them again after each change. It
	// returns ctx's error when ctx ends.
	WatchKeys(ctx context.Context, fn func([]Key)) error
}

// NoKey is the error for a key that is not there.
func NoKey(name string) error {
	return fault.New(fault.NotFound, workload.CodeKeyNotFound, "there is no key %s", name).
		WithHint("cortex keys list shows which there are, and cortex keys create %s makes it", name)
}
