package iam

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/boundedcache"
)

// A session is a token of four parts: cx1.EPOCH.CLAIMS.MAC. There is no header
// that names an algorithm, so there is none to confuse: version cx1 is HMAC-SHA256
// with the session key of that epoch, over everything before the last dot.
const (
	tokenVersion  = "cx1"
	maxTokenBytes = 4096
)

var tokenEncoding = base64.RawURLEncoding.Strict()

// claims is what a token says, short: it travels with every request.
type claims struct {
	ID        string         `json:"i"`
	Audience  string         `json:"a"` // the cluster's id
	Expires   int64          `json:"e"` // Unix seconds
	Principal auth.Principal `json:"p"`
}

func (v *IAM) mint(k key, who auth.Principal) (auth.Session, error) {
	expires := v.cfg.Now().Add(v.cfg.SessionTTL).Truncate(time.Second)
	token, err := seal(tokenVersion, k.epoch, &k.forSessions, claims{ID: newID(), Audience: v.clusterID, Expires: expires.Unix(), Principal: who})
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

// seal makes a token of what it says.
func seal(version string, epoch uint32, secret *[32]byte, says any) (string, error) {
	data, err := json.Marshal(says)
	if err != nil {
		return "", err
	}
	signed := version + "." + strconv.FormatUint(uint64(epoch), 10) + "." + tokenEncoding.EncodeToString(data)
	return signed + "." + tokenEncoding.EncodeToString(macOf(secret, signed)), nil
}

// unseal reads into says what a token of a version says, and returns the key it was made
// with, of which secret is the part for that version; false: it is not sealed with any.
func (v *IAM) unseal(ctx context.Context, version, token string, secret func(*key) *[32]byte, says any) (k key, _ bool) {
	if len(token) > maxTokenBytes {
		return k, false
	}
	parts := strings.Split(token, ".")
	if len(parts) != 4 || parts[0] != version {
		return k, false
	}
	epoch, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil || strconv.FormatUint(epoch, 10) != parts[1] {
		return k, false
	}
	k, ok := v.keys.find(ctx, uint32(epoch)) // which asks the store once a second at most
	if !ok {
		return k, false
	}
	// As text: a decoder leaves out line breaks, and a session has one spelling.
	mac := tokenEncoding.EncodeToString(macOf(secret(&k), token[:strings.LastIndexByte(token, '.')]))
	if !hmac.Equal([]byte(parts[3]), []byte(mac)) {
		return k, false
	}
	// From here on the bytes are our own.
	data, err := tokenEncoding.DecodeString(parts[2])
	return k, err == nil && json.Unmarshal(data, says) == nil
}

func macOf(secret *[32]byte, signed string) []byte {
	h := hmac.New(sha256.New, secret[:])
	_, _ = h.Write([]byte(signed))
	return h.Sum(nil)
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
	k, ok := v.unseal(ctx, tokenVersion, token, func(k *key) *[32]byte { return &k.forSessions }, &c)
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
