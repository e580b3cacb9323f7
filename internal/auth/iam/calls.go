package iam

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/boundedcache"
)

// A session for calls is a token like that of a session: cxs1.EPOCH.CLAIMS.MAC. Its key is
// another one, so that it manages nothing, and what manages calls nothing.
const callVersion = auth.CallPrefix + "1"

// callClaims is what such a token says.
type callClaims struct {
	ID        string         `json:"i"`
	Audience  string         `json:"a"`
	Expires   int64          `json:"e"`
	Principal auth.Principal `json:"p"`
	APIs      []string       `json:"n"` // at least one
}

// callCache remembers tokens that were verified with the keys in use.
type callCache = boundedcache.Map[string, auth.CallSession]

func newCallCache() *callCache { return boundedcache.New[string, auth.CallSession](maxCachedSessions) }

// MintCall makes a session with which who may call some APIs, for ttl.
func (v *IAM) MintCall(who auth.Principal, apis []string, ttl time.Duration) (auth.CallSession, error) {
	k := v.keys.current()
	expires := v.cfg.Now().Add(ttl).Truncate(time.Second)
	id := make([]byte, 10)
	_, _ = rand.Read(id)
	data, err := json.Marshal(callClaims{
		ID: strings.ToLower(base32.StdEncoding.EncodeToString(id)), Audience: v.clusterID, Expires: expires.Unix(), Principal: who, APIs: apis,
	})
	if err != nil {
		return auth.CallSession{}, err
	}
	signed := callVersion + "." + strconv.FormatUint(uint64(k.epoch), 10) + "." + tokenEncoding.EncodeToString(data)
	return auth.CallSession{
		Token: signed + "." + tokenEncoding.EncodeToString(k.callMAC(signed)), ExpiresAt: expires.UTC(), Principal: who, APIs: apis,
	}, nil
}

func (k key) callMAC(signed string) []byte {
	h := hmac.New(sha256.New, k.forCalls[:])
	_, _ = h.Write([]byte(signed))
	return h.Sum(nil)
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
	if len(token) > maxTokenBytes {
		return none, false
	}
	parts := strings.Split(token, ".")
	if len(parts) != 4 || parts[0] != callVersion {
		return none, false
	}
	epoch, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil || strconv.FormatUint(epoch, 10) != parts[1] {
		return none, false
	}
	k, ok := v.keys.find(context.Background(), uint32(epoch)) // which asks the store once a second at most
	if !ok {
		return none, false
	}
	mac := tokenEncoding.EncodeToString(k.callMAC(token[:strings.LastIndexByte(token, '.')]))
	if !hmac.Equal([]byte(parts[3]), []byte(mac)) {
		return none, false
	}
	data, err := tokenEncoding.DecodeString(parts[2])
	if err != nil {
		return none, false
	}
	var c callClaims
	if json.Unmarshal(data, &c) != nil || c.Audience != v.clusterID {
		return none, false
	}
	return auth.CallSession{Token: token, ExpiresAt: time.Unix(c.Expires, 0).UTC(), Principal: c.Principal, APIs: c.APIs}, true
}
