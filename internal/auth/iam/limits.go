package iam

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"cortex.dev/cortex/internal/boundedcache"
)

// Bounds of what unauthenticated callers can make us remember.
const (
	maxAddresses  = 16384
	maxRemembered = 16384
	rememberFor   = 30 * time.Second
)

// addressLimiter has a bucket for each address that tried lately. When there are
// too many, those that were quiet longest go first; the limit of all calls to STS
// holds for whoever changes addresses.
type addressLimiter struct {
	perSecond rate.Limit
	burst     int
	now       func() time.Time
	buckets   *boundedcache.Map[netip.Prefix, *rate.Limiter]
}

func newAddressLimiter(l Limits, now func() time.Time) *addressLimiter {
	return &addressLimiter{
		perSecond: rate.Limit(l.AddressPerSecond), burst: l.AddressBurst, now: now,
		buckets: boundedcache.New[netip.Prefix, *rate.Limiter](maxAddresses),
	}
}

func (a *addressLimiter) allow(from netip.Addr) bool {
	from = from.Unmap()
	bits := 32
	if from.Is6() {
		bits = 64 // what one subscriber gets; fewer would be one person's many addresses
	}
	block, err := from.Prefix(bits)
	if err != nil {
		block = netip.Prefix{} // no address at all: they share one bucket
	}
	bucket := a.buckets.GetOrPut(block, func() *rate.Limiter { return rate.NewLimiter(a.perSecond, a.burst) })
	return bucket.AllowN(a.now(), 1)
}

// memory holds keys for a while, at most so many.
type memory struct {
	life time.Duration
	now  func() time.Time
	keys *boundedcache.Map[[32]byte, time.Time]
}

func newMemory(most int, life time.Duration, now func() time.Time) *memory {
	return &memory{life: life, now: now, keys: boundedcache.New[[32]byte, time.Time](most)}
}

func (m *memory) add(key [32]byte) { m.keys.Put(key, m.now()) }

func (m *memory) has(key [32]byte) bool {
	at, ok := m.keys.Get(key)
	age := m.now().Sub(at)
	return ok && age >= 0 && age < m.life
}
