package controlapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"cortex.dev/cortex/internal/boundedcache"
)

// Caller is whom a token belongs to.
type Caller struct {
	Username string // such as system:serviceaccount:cortex:cortex-gateway
	Pod      string // that the token was issued to; "" when it is bound to none
}

// Reviewer asks the cluster whose token this is, for Audience.
type Reviewer interface {
	// Review returns the owner of a token, or the zero Caller when it is nobody's:
	// malformed, expired, revoked, or meant for another audience. An error says that
	// it could not be found out.
	Review(ctx context.Context, token string) (Caller, error)
}

// Bounds of what is remembered, and of what callers without a good token can have
// asked of the cluster.
const (
	rememberFor   = 10 * time.Second // also how long a token lives on after it was revoked
	maxRemembered = 1024
	maxAddresses  = 1024

	reviewsPerSecond  = 20 // of all
	reviewsBurst      = 50
	addressPerSecond  = 2 // of one address
	addressBurst      = 10
	reviewTakesAtMost = 5 * time.Second
)

// Why a caller is refused. None says more to the caller than its status does.
var (
	errNobody  = errors.New("the token is nobody's")
	errOther   = errors.New("the token is not that of a gateway")
	errTooMany = errors.New("too many tokens to review")
)

// callers knows gateways by their tokens.
type callers struct {
	reviewer Reviewer
	gateway  string // the one username that is let in
	now      func() time.Time
	known    *boundedcache.Map[[sha256.Size]byte, seen]
	all      *rate.Limiter
	each     *boundedcache.Map[netip.Addr, *rate.Limiter]
}

type seen struct {
	caller Caller
	at     time.Time
}

func newCallers(r Reviewer, gateway string, now func() time.Time) *callers {
	return &callers{
		reviewer: r, gateway: gateway, now: now,
		known: boundedcache.New[[sha256.Size]byte, seen](maxRemembered),
		all:   rate.NewLimiter(reviewsPerSecond, reviewsBurst),
		each:  boundedcache.New[netip.Addr, *rate.Limiter](maxAddresses),
	}
}

// identify returns the gateway whose token this is. The cluster is asked at most
// once in rememberFor for each token, and answers are kept under the token's hash:
// a dump of this process's memory holds none for longer than its request.
func (c *callers) identify(ctx context.Context, from netip.Addr, token string) (Caller, error) {
	if token == "" || len(token) > maxToken {
		return Caller{}, errNobody
	}
	key := sha256.Sum256([]byte(token))
	now := c.now()
	found, ok := c.known.Get(key)
	if age := now.Sub(found.at); !ok || age < 0 || age >= rememberFor {
		caller, err := c.review(ctx, from, token, now)
		if err != nil {
			return Caller{}, err
		}
		found = seen{caller: caller, at: now}
		c.known.Put(key, found)
	}
	switch found.caller.Username {
	case "":
		return Caller{}, errNobody
	case c.gateway:
		return found.caller, nil
	default:
		return Caller{}, errOther
	}
}

func (c *callers) review(ctx context.Context, from netip.Addr, token string, now time.Time) (Caller, error) {
	each := c.each.GetOrPut(from, func() *rate.Limiter { return rate.NewLimiter(addressPerSecond, addressBurst) })
	if !each.AllowN(now, 1) || !c.all.AllowN(now, 1) {
		return Caller{}, errTooMany
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTakesAtMost)
	defer cancel()
	return c.reviewer.Review(ctx, token)
}
