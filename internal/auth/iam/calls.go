package iam

import (
	"context"
	"time"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/boundedcache"
	"cortex.dev/cortex/internal/sealed"
)

// callClaims is what a session for calls says, a token like that of a session: cxs1.… Its key
// is another one, so that it manages nothing, and what manages calls nothing.
type callClaims struct {
	claims

	APIs []string `json:"n"` // at least one
}

// callCache remembers tokens that were verified with the keys in use.
type callCache = boundedcache.Map[string, auth.CallSession]

func newCallCache() *callCache { return boundedcache.New[string, auth.CallSession](maxCachedSessions) }

// MintCall makes a session with which who may call some APIs, for ttl.
func (v *IAM) MintCall(who auth.Principal, apis []string, ttl time.Duration) (auth.CallSession, error) {
	k := v.keys.current()
	expires := v.cfg.Now().Add(ttl).Truncate(time.Second)
	token, err := sealed.Make(access.SessionVersion, k.epoch, &k.forCalls, callClaims{
		claims{ID: newID(), Audience: v.clusterID, Expires: expires.Unix(), Principal: who}, apis,
	})
	if err != nil {
		return auth.CallSession{}, err
	}
	return auth.CallSession{Token: token, ExpiresAt: expires.UTC(), Principal: who, APIs: apis}, nil
}

// VerifyCall returns the session that a token is, whether or not it has expired; false: it
// is none of this cluster's, or was ended with all others.
func (v *IAM) VerifyCall(token []byte) (auth.CallSession, bool) {
	cache := v.calls.Load()
	if s, ok := cache.Get(string(token)); ok {
		return s, true
	}
	s, ok := v.verifyCall(string(token))
	if ok {
		cache.Put(s.Token, s)
	}
	return s, ok
}

func (v *IAM) verifyCall(token string) (none auth.CallSession, _ bool) {
	var c callClaims
	if _, ok := v.unseal(context.Background(), access.SessionVersion, token, func(k *key) *sealed.Secret { return &k.forCalls }, &c); !ok || c.Audience != v.clusterID {
		return none, false
	}
	return auth.CallSession{Token: token, ExpiresAt: time.Unix(c.Expires, 0).UTC(), Principal: c.Principal, APIs: c.APIs}, true
}

// CallKeys is what others verify sessions for calls with: nothing else can be made of it.
func (v *IAM) CallKeys() access.SessionKeys {
	keys := access.SessionKeys{ClusterID: v.clusterID}
	for _, k := range v.keys.ring.Load().keys {
		keys.Keys = append(keys.Keys, access.SessionKey{Epoch: k.epoch, Secret: k.forCalls[:]})
	}
	return keys
}
