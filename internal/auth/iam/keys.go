package iam

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// Names of what replicas share.
const (
	valueKeys = "session-keys"
	valueUID  = "cluster-uid"
)

// lookEvery is how soon a replica sees by itself that another has changed the
// keys, when no token or nonce of a new key tells it at once.
const lookEvery = 5 * time.Second

// key is one secret and what is derived from it. Nonces, sessions and sessions
// for calls have keys of their own, so that none can be passed off as another.
type key struct {
	epoch       uint32
	forNonces   [32]byte
	forSessions [32]byte
	forCalls    [32]byte
	gone        chan struct{} // closed when it is dropped
}

// sharedKeys is the value that replicas share: the newest key first, at most two.
type sharedKeys struct {
	Keys []sharedKey `json:"keys"`
}

type sharedKey struct {
	Epoch   uint32    `json:"epoch"`
	Secret  []byte    `json:"secret"`
	Created time.Time `json:"created"`
}

// ring is one immutable state of the keys.
type ring struct {
	version store.Version
	keys    []key
}

// keyring follows the shared keys. Two are alive: what the older one signed stays
// good until the next rotation, which is longer than any session lives, so a
// rotation logs nobody out.
type keyring struct {
	shared  store.Shared
	every   time.Duration
	now     func() time.Time
	log     *slog.Logger
	changed func()

	ring   atomic.Pointer[ring]
	mu     sync.Mutex // one read or write of the shared keys at a time
	looked time.Time  // when an epoch that is unknown was last looked for
}

func (r *keyring) current() key { return r.ring.Load().keys[0] }

// find returns the key of an epoch. One that is not known may be new: the shared
// keys are read again, at most once a second whatever callers send.
func (r *keyring) find(ctx context.Context, epoch uint32) (key, bool) {
	if k, ok := r.ring.Load().find(epoch); ok {
		return k, true
	}
	if epoch < r.ring.Load().keys[0].epoch {
		return key{}, false // older than what is kept
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.ring.Load().find(epoch); ok {
		return k, true
	}
	since := r.now().Sub(r.looked)
	if since >= 0 && since < time.Second {
		return key{}, false
	}
	r.looked = r.now()
	if _, _, err := r.read(ctx); err != nil {
		r.log.Warn("the keys of sessions could not be read", "error", err)
	}
	r.looked = r.now() // however long that took: whoever waited meanwhile does not ask again
	return r.ring.Load().find(epoch)
}

func (r *ring) find(epoch uint32) (key, bool) {
	if r == nil {
		return key{}, false
	}
	for _, k := range r.keys {
		if k.epoch == epoch {
			return k, true
		}
	}
	return key{}, false
}

// fresh reports whether a nonce is one of this cluster and still good.
func (r *keyring) fresh(ctx context.Context, nonce, clusterID string, now time.Time) bool {
	epoch, b, ok := readNonce(nonce)
	if !ok {
		return false
	}
	k, ok := r.find(ctx, epoch)
	return ok && nonceFits(b, k, clusterID, now)
}

// load reads the shared keys, or makes the first.
func (r *keyring) load(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		_, version, err := r.read(ctx)
		if err != nil || version != 0 {
			return err
		}
		if err := r.write(ctx, sharedKeys{Keys: []sharedKey{r.fresher(0)}}, 0); !fault.Is(err, fault.Conflict) {
			return err
		}
	}
}

// read follows what is shared and returns it; version 0 says that there is
// nothing yet. The caller holds mu.
func (r *keyring) read(ctx context.Context) (sharedKeys, store.Version, error) {
	var s sharedKeys
	data, version, err := r.shared.Value(ctx, valueKeys)
	if err != nil || version == 0 {
		return s, 0, err
	}
	if err := json.Unmarshal(data, &s); err != nil || len(s.Keys) == 0 {
		return s, 0, fault.New(fault.Unavailable, "auth.keys_unreadable", "the keys of sessions in the state cannot be read").
			WithHint("were they written by a newer version?")
	}
	if now := r.ring.Load(); now != nil && now.version == version {
		return s, version, nil
	}
	return s, version, r.follow(s, version)
}

// follow makes s the keys in use.
func (r *keyring) follow(s sharedKeys, version store.Version) error {
	next, old := &ring{version: version}, r.ring.Load()
	for _, k := range s.Keys {
		derived, err := derive(k)
		if err != nil {
			return err
		}
		if before, ok := old.find(k.Epoch); ok && before.forSessions == derived.forSessions {
			derived.gone = before.gone
		}
		next.keys = append(next.keys, derived)
	}
	r.ring.Store(next)
	r.changed()
	if old != nil {
		for _, k := range old.keys {
			if now, ok := next.find(k.epoch); !ok || now.gone != k.gone {
				close(k.gone)
			}
		}
	}
	return nil
}

func derive(s sharedKey) (key, error) {
	k := key{epoch: s.Epoch, gone: make(chan struct{})}
	for label, to := range map[string]*[32]byte{"cortex nonces": &k.forNonces, "cortex sessions": &k.forSessions, "cortex calls": &k.forCalls} {
		secret, err := hkdf.Key(sha256.New, s.Secret, nil, label, len(to))
		if err != nil {
			return key{}, fmt.Errorf("deriving a key: %w", err)
		}
		copy(to[:], secret)
	}
	return k, nil
}

// fresher makes a key that comes after an epoch.
func (r *keyring) fresher(after uint32) sharedKey {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	return sharedKey{Epoch: after + 1, Secret: secret, Created: r.now().UTC()}
}

func (r *keyring) write(ctx context.Context, s sharedKeys, at store.Version) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	version, err := r.shared.SetValue(ctx, valueKeys, data, at)
	if err != nil {
		return err
	}
	return r.follow(s, version)
}

// rotate adds a key and drops the oldest but one, when it is time.
func (r *keyring) rotate(ctx context.Context) error {
	return r.update(ctx, func(old []sharedKey) []sharedKey {
		if r.now().Sub(old[0].Created) < r.every {
			return nil
		}
		return []sharedKey{r.fresher(old[0].Epoch), old[0]}
	})
}

// replace drops every key for a new one.
func (r *keyring) replace(ctx context.Context) error {
	return r.update(ctx, func(old []sharedKey) []sharedKey { return []sharedKey{r.fresher(old[0].Epoch)} })
}

// update follows the shared keys and changes them, unless change returns none.
// When another replica is faster, it decides again on top of what that did.
func (r *keyring) update(ctx context.Context, change func([]sharedKey) []sharedKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		s, version, err := r.read(ctx)
		if err != nil {
			return err
		}
		next := change(s.Keys)
		if next == nil {
			return nil
		}
		if err := r.write(ctx, sharedKeys{Keys: next}, version); !fault.Is(err, fault.Conflict) {
			return err
		}
	}
}

func (r *keyring) run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := r.rotate(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("the keys of sessions could not be looked at; those that are known stay in use", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// clusterUID returns what makes this cluster another one than any of the same
// name: made at its first start, then kept.
func clusterUID(ctx context.Context, shared store.Shared) (string, error) {
	for {
		data, version, err := shared.Value(ctx, valueUID)
		if err != nil {
			return "", err
		}
		if version != 0 {
			return string(data), nil
		}
		b := make([]byte, 10)
		_, _ = rand.Read(b)
		uid := strings.ToLower(base32.StdEncoding.EncodeToString(b))
		if _, err := shared.SetValue(ctx, valueUID, []byte(uid), 0); err == nil {
			return uid, nil
		} else if !fault.Is(err, fault.Conflict) {
			return "", err
		}
	}
}
