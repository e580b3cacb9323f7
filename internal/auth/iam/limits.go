package iam

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
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
	clock     func() time.Time
	mu        sync.Mutex
	now, old  map[netip.Prefix]*rate.Limiter
}

func newAddressLimiter(l Limits, now func() time.Time) *addressLimiter {
	return &addressLimiter{
		perSecond: rate.Limit(l.AddressPerSecond), burst: l.AddressBurst, clock: now, now: map[netip.Prefix]*rate.Limiter{},
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
	a.mu.Lock()
	defer a.mu.Unlock()
	bucket := a.now[block]
	if bucket == nil {
		if bucket = a.old[block]; bucket == nil {
			bucket = rate.NewLimiter(a.perSecond, a.burst)
		}
		if len(a.now) >= maxAddresses/2 {
			a.now, a.old = map[netip.Prefix]*rate.Limiter{}, a.now
		}
		a.now[block] = bucket
	}
	return bucket.AllowN(a.clock(), 1)
}

// memory holds keys for a while, at most so many.
type memory struct {
	most     int
	life     time.Duration
	clock    func() time.Time
	mu       sync.Mutex
	now, old map[[32]byte]time.Time
}

func newMemory(most int, life time.Duration, now func() time.Time) *memory {
	return &memory{most: most, life: life, clock: now, now: map[[32]byte]time.Time{}}
}

func (m *memory) add(key [32]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.now) >= m.most/2 {
		m.now, m.old = map[[32]byte]time.Time{}, m.now
	}
	m.now[key] = m.clock()
}

func (m *memory) has(key [32]byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.now[key]
	if !ok {
		at, ok = m.old[key]
	}
	age := m.clock().Sub(at)
	return ok && age >= 0 && age < m.life
}
