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
	id := make([]byte, 10)
	_, _ = rand.Read(id)
	data, err := json.Marshal(claims{
		ID: strings.ToLower(base32.StdEncoding.EncodeToString(id)), Audience: v.clusterID, Expires: expires.Unix(), Principal: who,
	})
	if err != nil {
		return auth.Session{}, err
	}
	signed := tokenVersion + "." + strconv.FormatUint(uint64(k.epoch), 10) + "." + tokenEncoding.EncodeToString(data)
	v.counts.minted.Add(1)
	return auth.Session{
		Token: signed + "." + tokenEncoding.EncodeToString(k.sessionMAC(signed)), ExpiresAt: expires.UTC(),
		ClusterID: v.clusterID, Principal: who,
	}, nil
}

func (k key) sessionMAC(signed string) []byte {
	h := hmac.New(sha256.New, k.forSessions[:])
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
	refuse := unproven(ReasonToken)
	if len(token) > maxTokenBytes {
		return auth.Caller{}, refuse
	}
	parts := strings.Split(token, ".")
	if len(parts) != 4 || parts[0] != tokenVersion {
		return auth.Caller{}, refuse
	}
	epoch, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil || strconv.FormatUint(epoch, 10) != parts[1] {
		return auth.Caller{}, refuse
	}
	k, ok := v.keys.find(ctx, uint32(epoch))
	if !ok {
		return auth.Caller{}, refuse
	}
	// As text: a decoder leaves out line breaks, and a session has one spelling.
	mac := tokenEncoding.EncodeToString(k.sessionMAC(token[:strings.LastIndexByte(token, '.')]))
	if !hmac.Equal([]byte(parts[3]), []byte(mac)) {
		return auth.Caller{}, refuse
	}
	// From here on the bytes are our own.
	data, err := tokenEncoding.DecodeString(parts[2])
	if err != nil {
		return auth.Caller{}, refuse
	}
	var c claims
	if err := json.Unmarshal(data, &c); err != nil || c.Audience != v.clusterID {
		return auth.Caller{}, refuse
	}
	return auth.Caller{Principal: c.Principal, SessionID: c.ID, ExpiresAt: time.Unix(c.Expires, 0).UTC(), Revoked: k.gone}, nil
}

// sessionCache remembers tokens that were verified with the keys in use; it is
// thrown away with them.
type sessionCache = boundedcache.Map[string, auth.Caller]

const maxCachedSessions = 8192

func newSessionCache() *sessionCache { return boundedcache.New[string, auth.Caller](maxCachedSessions) }
