package access

import (
	"crypto/subtle"
	"slices"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/boundedcache"
	"cortex.dev/cortex/internal/sealed"
)

// Session is a session for calls of somebody who proved an identity.
type Session struct {
	Identity string // an ARN
	Label    string
	APIs     []string // that it is for
	Expires  time.Time
}

// SessionVersion begins the tokens of sessions for calls, before a dot.
const SessionVersion = "cxs1"

const sessionPrefix = SessionVersion + "."

// SessionKeys is what sessions for calls are verified with, by whoever does not make them.
// Whoever has it could: it is for programs that let callers in anyway.
type SessionKeys struct {
	ClusterID string       `json:"cluster_id"` // whose sessions they are
	Keys      []SessionKey `json:"keys"`
}

// SessionKey is the key of an epoch.
type SessionKey struct {
	Epoch  uint32 `json:"epoch"`
	Secret []byte `json:"secret"` // a sealed.Secret
}

// same reports whether k and other verify the same sessions.
func (k SessionKeys) same(other SessionKeys) bool {
	return k.ClusterID == other.ClusterID && slices.EqualFunc(k.Keys, other.Keys, func(a, b SessionKey) bool {
		return a.Epoch == b.Epoch && subtle.ConstantTimeCompare(a.Secret, b.Secret) == 1
	})
}

// Sessions verifies sessions for calls with keys that it is told. The zero value knows none.
// Its methods may be called at once.
type Sessions struct{ state atomic.Pointer[sessionState] }

// sessionState is what was verified with some keys.
type sessionState struct {
	keys     SessionKeys
	secrets  map[uint32]*sealed.Secret
	verified *boundedcache.Map[string, Session]
}

// maxSessions bounds the sessions that are remembered.
const maxSessions = 8192

// Use replaces the keys: a session of any other is none from now on.
func (s *Sessions) Use(keys SessionKeys) {
	if now := s.state.Load(); now != nil && now.keys.same(keys) {
		return
	}
	next := &sessionState{keys: keys, secrets: map[uint32]*sealed.Secret{}, verified: boundedcache.New[string, Session](maxSessions)}
	for _, k := range keys.Keys {
		if secret := (sealed.Secret{}); len(k.Secret) == len(secret) {
			copy(secret[:], k.Secret)
			next.secrets[k.Epoch] = &secret
		}
	}
	s.state.Store(next)
}

// Verify returns the session that a token is, whether or not it has expired; false: it is
// none.
func (s *Sessions) Verify(token []byte) (Session, bool) {
	state := s.state.Load()
	if state == nil {
		return Session{}, false
	}
	if known, ok := state.verified.Get(string(token)); ok {
		return known, true
	}
	var says struct { // as auth/iam makes them
		Audience  string `json:"a"`
		Expires   int64  `json:"e"`
		Principal struct {
			ARN     string `json:"arn"`
			Session string `json:"session_name"`
		} `json:"p"`
		APIs []string `json:"n"`
	}
	text := string(token)
	ok := sealed.Read(SessionVersion, text, func(epoch uint32) (*sealed.Secret, bool) {
		secret, ok := state.secrets[epoch]
		return secret, ok
	}, &says)
	if !ok || says.Audience != state.keys.ClusterID || says.Principal.ARN == "" {
		return Session{}, false
	}
	is := Session{Identity: says.Principal.ARN, Label: says.Principal.Session, APIs: says.APIs, Expires: time.Unix(says.Expires, 0).UTC()}
	state.verified.Put(text, is)
	return is, true
}
