package access

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"cortex.dev/cortex/internal/workload"
)

// How the keys of issuers are fetched. What was fetched last is good until something else
// was: an issuer that is away locks nobody out.
const (
	refreshEvery = 5 * time.Minute
	retryEvery   = 10 * time.Second // while nothing was ever fetched
	askEvery     = 30 * time.Second // because of a key that is not known
	fetchWithin  = 15 * time.Second
	maxKeySet    = 256 << 10 // bytes
	maxSetKeys   = 100
)

// Issuers has the public keys of those who issue tokens. Its methods may be called at once.
type Issuers struct {
	// Fetch gets a document; it goes only to where whoever runs the environment lets it.
	Fetch func(ctx context.Context, url string, most int) ([]byte, error)
	Log   *slog.Logger

	mu   sync.Mutex
	of   map[source]*issuer
	wake chan struct{} // something is to be fetched
}

// source is where an issuer's keys are.
type source struct{ issuer, keys string }

// issuer is one of them.
type issuer struct {
	used    bool // by a policy; guarded by Issuers.mu
	set     atomic.Pointer[keySet]
	wanted  atomic.Bool  // a key is not known
	fetched atomic.Int64 // Unix nanoseconds of the last attempt; 0: none
}

// keySet is what was fetched last.
type keySet struct {
	keys   []jose.JSONWebKey
	prints map[string]bool // thumbprints
}

// NewIssuers returns one that knows none.
func NewIssuers(fetch func(ctx context.Context, url string, most int) ([]byte, error), log *slog.Logger) *Issuers {
	return &Issuers{Fetch: fetch, Log: log, of: map[source]*issuer{}, wake: make(chan struct{}, 1)}
}

// Use says which issuers are asked from now on: those of all APIs.
func (s *Issuers) Use(all []*workload.JWT) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.of {
		i.used = false
	}
	for _, j := range all {
		of := source{j.Issuer, j.Keys}
		if s.of[of] == nil {
			s.of[of] = &issuer{}
			s.hurry()
		}
		s.of[of].used = true
	}
	for of, i := range s.of {
		if !i.used {
			delete(s.of, of)
		}
	}
}

func (s *Issuers) hurry() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Issuers) get(j *workload.JWT) *issuer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[source{j.Issuer, j.Keys}]
}

// keys returns those that may have signed a token, or why there are none.
func (s *Issuers) keys(j *workload.JWT, id, algorithm string) ([]jose.JSONWebKey, *Refusal) {
	var set *keySet
	i := s.get(j)
	if i != nil {
		set = i.set.Load()
	}
	if set == nil {
		return nil, &Refusal{Status: 503, Code: "issuer_unavailable", Type: typeNone, RetryAfter: time.Second, Message: "the keys of the issuer of tokens could not be fetched yet"}
	}
	var found []jose.JSONWebKey
	for _, k := range set.keys {
		if (id == "" || k.KeyID == id) && fits(&k, algorithm) {
			found = append(found, k)
		}
	}
	if len(found) == 0 || len(found) > maxTried {
		if !i.wanted.Swap(true) {
			s.hurry()
		}
		return nil, unauthorized("token_key_unknown", "this token was signed with a key that its issuer is not known to have")
	}
	return found, nil
}

// trusts reports whether an issuer still has a key.
func (s *Issuers) trusts(j *workload.JWT, print string) bool {
	i := s.get(j)
	if i == nil {
		return false
	}
	set := i.set.Load()
	return set != nil && set.prints[print]
}

// Run fetches keys until ctx ends: at first, every five minutes, and when a token names one
// that is not known, but then not more often than every thirty seconds.
func (s *Issuers) Run(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-s.wake:
		}
		s.mu.Lock()
		due := map[source]*issuer{}
		for of, i := range s.of {
			if i.due(time.Now()) {
				due[of] = i
			}
		}
		s.mu.Unlock()
		var all sync.WaitGroup
		for of, i := range due {
			all.Go(func() { s.refresh(ctx, of, i) })
		}
		all.Wait()
	}
}

// due reports whether the keys are to be fetched.
func (i *issuer) due(now time.Time) bool {
	last := i.fetched.Load()
	since := time.Duration(now.UnixNano() - last)
	switch {
	case last == 0:
		return true
	case i.set.Load() == nil:
		return since >= retryEvery
	case i.wanted.Load():
		return since >= askEvery
	}
	return since >= refreshEvery
}

func (s *Issuers) refresh(ctx context.Context, of source, i *issuer) {
	i.fetched.Store(time.Now().UnixNano())
	ctx, cancel := context.WithTimeout(ctx, fetchWithin)
	defer cancel()
	set, err := s.fetch(ctx, of)
	if err != nil {
		if ctx.Err() == nil {
			s.Log.Warn("fetching the keys of an issuer of tokens", "issuer", of.issuer, "error", err)
		}
		return
	}
	i.wanted.Store(false)
	i.set.Store(set)
}

func (s *Issuers) fetch(ctx context.Context, of source) (*keySet, error) {
	url := of.keys
	if url == "" {
		text, err := s.Fetch(ctx, strings.TrimSuffix(of.issuer, "/")+"/.well-known/openid-configuration", maxKeySet)
		if err != nil {
			return nil, err
		}
		var about struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := json.Unmarshal(text, &about); err != nil {
			return nil, fmt.Errorf("what the issuer says of itself cannot be read: %w", err)
		}
		if about.Issuer != of.issuer || about.Keys == "" {
			return nil, fmt.Errorf("what is said there is of the issuer %q", about.Issuer)
		}
		url = about.Keys
	}
	text, err := s.Fetch(ctx, url, maxKeySet)
	if err != nil {
		return nil, err
	}
	return parseKeySet(text)
}

// parseKeySet reads public keys. Those that cannot be read, and symmetric ones, are left out.
func parseKeySet(text []byte) (*keySet, error) {
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, fmt.Errorf("the keys cannot be read: %w", err)
	}
	if len(raw.Keys) > maxSetKeys {
		return nil, fmt.Errorf("there are %d keys, and at most %d are read", len(raw.Keys), maxSetKeys)
	}
	set := &keySet{prints: map[string]bool{}}
	for _, r := range raw.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(r) != nil || !k.Valid() || !k.IsPublic() {
			continue
		}
		set.keys = append(set.keys, k)
		set.prints[thumbprint(&k)] = true
	}
	if len(set.keys) == 0 {
		return nil, errors.New("there is no public key among them")
	}
	return set, nil
}

// thumbprint names a public key by its content.
func thumbprint(k *jose.JSONWebKey) string {
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}
