package iam

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"strings"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/boundedcache"
	"cortex.dev/cortex/internal/sealed"
)

// A session is a sealed token: cx1.EPOCH.CLAIMS.MAC.
const tokenVersion = "cx1"

// claims is what a token says, short: it travels with every request.
type claims struct {
	ID        string         `json:"i"`
	Audience  string         `json:"a"` // the cluster's id
	Expires   int64          `json:"e"` // Unix seconds
	Principal auth.Principal `json:"p"`
}

func (v *IAM) mint(k key, who auth.Principal) (auth.Session, error) {
	expires := v.cfg.Now().Add(v.cfg.SessionTTL).Truncate(time.Second)
	token, err := sealed.Make(tokenVersion, k.epoch, &k.forSessions, claims{ID: newID(), Audience: v.clusterID, Expires: expires.Unix(), Principal: who})
	if err != nil {
		return auth.Session{}, err
	}
	v.counts.minted.Add(1)
	return auth.Session{Token: token, ExpiresAt: expires.UTC(), ClusterID: v.clusterID, Principal: who}, nil
}

func newID() string {
	id := make([]byte, 10)
	_, _ = rand.Read(id)
	return strings.ToLower(base32.StdEncoding.EncodeToString(id))
}

// unseal reads into says what a token of a version says, and returns the key it was made
// with, of which secret is the part for that version; false: it is not sealed with any.
func (v *IAM) unseal(ctx context.Context, version, token string, secret func(*key) *sealed.Secret, says any) (k key, ok bool) {
	ok = sealed.Read(version, token, func(epoch uint32) (*sealed.Secret, bool) {
		k, ok = v.keys.find(ctx, epoch) // which asks the store once a second at most
		return secret(&k), ok
	}, says)
	return k, ok
}

// Verify returns the caller whose session a token is. It needs no network and,
// but for a key that another replica has just made, no state.
func (v *IAM) Verify(ctx context.Context, token string) (auth.Caller, error) {
	cache := v.sessions.Load()
	caller, ok := cache.Get(token)
	if ok {
		v.counts.cached.Add(1)
	} else {
		var err error
		if caller, err = v.verify(ctx, token); err != nil {
			v.counts.rejected(err)
			return auth.Caller{}, err
		}
		cache.Put(strings.Clone(token), caller) // not the buffer of a whole request
	}
	if !v.cfg.Now().Before(caller.ExpiresAt) {
		err := unproven(ReasonToken)
		v.counts.rejected(err)
		return auth.Caller{}, err
	}
	return caller, nil
}

func (v *IAM) verify(ctx context.Context, token string) (auth.Caller, error) {
	var c claims
	k, ok := v.unseal(ctx, tokenVersion, token, func(k *key) *sealed.Secret { return &k.forSessions }, &c)
	if !ok || c.Audience != v.clusterID {
		return auth.Caller{}, unproven(ReasonToken)
	}
	return auth.Caller{Principal: c.Principal, SessionID: c.ID, ExpiresAt: time.Unix(c.Expires, 0).UTC(), Revoked: k.gone}, nil
}

// sessionCache remembers tokens that were verified with the keys in use; it is
// thrown away with them.
type sessionCache = boundedcache.Map[string, auth.Caller]

const maxCachedSessions = 8192

func newSessionCache() *sessionCache { return boundedcache.New[string, auth.Caller](maxCachedSessions) }
