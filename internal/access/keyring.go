package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"sync/atomic"
	"time"
)

// Key is one that callers may show.
type Key struct {
	ID      ID
	Name    string // the caller
	Hash    [sha256.Size]byte
	APIs    []string  // that it is good for; empty: all
	Expires time.Time // zero: never
}

// Keyring has all keys that there are. Its methods may be called at once.
type Keyring struct{ keys atomic.Pointer[map[ID]*Key] }

// Set replaces all keys: one that is not among them is good for nothing from now on.
func (r *Keyring) Set(all []Key) {
	keys := make(map[ID]*Key, len(all))
	for i := range all {
		keys[all[i].ID] = &all[i]
	}
	r.keys.Store(&keys)
}

// verify returns the key that a text is, or why there is none.
func (r *Keyring) verify(text []byte, api string, now time.Time) (*Key, *Refusal) {
	id, secret, ok := parse(text)
	if !ok {
		return nil, unauthorized("key_malformed", "this is no key: one has the form cxk_…, 53 characters, and was copied whole")
	}
	var k *Key
	if keys := r.keys.Load(); keys != nil {
		k = (*keys)[id]
	}
	// The hash is made whether or not the id is known: how long this takes tells nothing.
	hash := sha256.Sum256(secret)
	switch {
	case k == nil || subtle.ConstantTimeCompare(hash[:], k.Hash[:]) != 1:
		return nil, unauthorized("key_unknown", "there is no such key; it may have been revoked")
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return nil, unauthorized("key_expired", "this key has expired")
	case len(k.APIs) > 0 && !slices.Contains(k.APIs, api):
		return nil, notAllowed("this key is not good for this API")
	}
	return k, nil
}
