package workload

import (
	"fmt"
	"time"
)

// Bounds of access keys.
const (
	MaxKeys       = 20_000 // in one environment
	MaxKeyNames   = 63     // characters of a name
	MaxKeyAPIs    = 100    // that one key is good for
	MaxKeyLabels  = 16
	MaxKeyGrace   = 30 * 24 * time.Hour       // that the one before goes on being good for
	MaxKeyExpires = 10 * 366 * 24 * time.Hour // from now
)

// Codes of what is wrong with a key.
const (
	CodeKeyNotFound = "keys.not_found"
	CodeKeyExists   = "keys.already_exists"
	CodeKeyName     = "keys.invalid_name"
	CodeKeyAPIs     = "keys.invalid_apis"
	CodeKeyLabels   = "keys.invalid_labels"
	CodeKeyTime     = "keys.invalid_time"
	CodeTooManyKeys = "keys.too_many"
	CodeNoKeys      = "keys.not_kept"
)

// Key is what is known of an access key: everything but its secret, which is shown once.
//
// Its name is the caller: keys of one name count as one, so that a key can be replaced by
// the next without its limits beginning anew.
type Key struct {
	Name      string            `json:"name"`
	ID        string            `json:"id"`   // the eight characters after cxk_: what logs may have
	APIs      []string          `json:"apis"` // that it is good for, by name; empty: all
	Labels    map[string]string `json:"labels,omitempty"`
	CreatedBy string            `json:"created_by,omitempty"` // the principal, where there are such
	CreatedAt time.Time         `json:"created_at"`
	ExpiresAt time.Time         `json:"expires_at,omitzero"` // zero: never
	// State is what the key is good for now: active, expired.
	State string `json:"state"`
}

// The states of a key. One that was revoked is gone.
const (
	KeyActive  = "active"
	KeyExpired = "expired"
)

// KeyRequest asks for a new key.
type KeyRequest struct {
	Name      string            `json:"name"`
	APIs      []string          `json:"apis,omitempty"` // by name
	AllAPIs   bool              `json:"all_apis,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	ExpiresIn Duration          `json:"expires_in,omitzero"` // 0: never
}

// KeyRotation asks for a key in place of another one of the same name.
type KeyRotation struct {
	Grace     Duration `json:"grace,omitzero"` // for which the one before is good for yet; 0: not at all
	ExpiresIn Duration `json:"expires_in,omitzero"`
}

// KeyMade is a new key with its text, which nobody is told again.
type KeyMade struct {
	Key
	Text string `json:"key"`
}

// IsKeyName reports whether a key could have a name.
func IsKeyName(text string) bool { return len(text) <= MaxKeyNames && secretName().MatchString(text) }

// KeyName says what a name is to look like.
func KeyName() string {
	return fmt.Sprintf("%s, at most %d characters", WordsOf(NamePattern), MaxKeyNames)
}
