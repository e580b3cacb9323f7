package store

import (
	"context"
	"time"
)

// Limits of what replicas share.
const (
	MaxClaim  = 10 * time.Minute // how long a claim may last
	MaxClaims = 200_000          // at once
	MaxKey    = 128              // characters of a key or a name: A-Z a-z 0-9 _ -
	MaxValue  = 64 << 10         // bytes
)

// Shared is what replicas of one operator agree on besides workloads: claims, of
// which there is one for each key, and small values. It is durable as a Store is.
// All methods may be called at once. A key or name that is none is fault.Invalid,
// code store.illegal_name.
type Shared interface {
	// Claim takes key for ttl, which is rounded up to seconds: the first caller
	// gets nil, every other one until then fault.Conflict, code
	// store.already_claimed. A claim survives the death of the process that made it.
	// A ttl that is not above 0 or above MaxClaim is fault.Invalid. When there are
	// MaxClaims, none is forgotten for a new one: that is fault.Unavailable, code
	// store.claims_full. After any other error it is unknown whether the key is taken.
	Claim(ctx context.Context, key string, ttl time.Duration) error
	// Value returns a small named value and its version, or nil and 0 when it was
	// never set. It is never older than what a SetValue that has returned wrote.
	Value(ctx context.Context, name string) ([]byte, Version, error)
	// SetValue writes it if it is still at version (0: never set) and returns the new
	// version, which is greater; otherwise fault.Conflict, code store.version_conflict.
	SetValue(ctx context.Context, name string, data []byte, at Version) (Version, error)
}
