package iam

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/store"
)

// TestMemoryIsBounded has a hundred thousand of everything that callers without a
// session can make us remember come along.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return testStart }
	const many = 100_000
	a := newAddressLimiter(Limits{AddressPerSecond: 5, AddressBurst: 20}, now)
	m := newMemory(maxRemembered, rememberFor, now)
	c := newSessionCache()
	for i := range many {
		var from [16]byte
		var key [32]byte
		from[0] = 0x20
		binary.BigEndian.PutUint32(from[1:], uint32(i))
		binary.BigEndian.PutUint32(key[:], uint32(i))
		a.allow(netip.AddrFrom16(from))
		m.add(key)
		c.Put(string(key[:]), auth.Caller{})
		if most := a.buckets.Len(); most > maxAddresses {
			t.Fatalf("%d addresses are kept, want at most %d", most, maxAddresses)
		}
		if most := m.keys.Len(); most > maxRemembered {
			t.Fatalf("%d refusals are kept, want at most %d", most, maxRemembered)
		}
		if most := c.Len(); most > maxCachedSessions {
			t.Fatalf("%d sessions are kept, want at most %d", most, maxCachedSessions)
		}
	}
}

// TestRefusedTokensAreNotKept has tokens be refused: none of them is remembered.
func TestRefusedTokensAreNotKept(t *testing.T) {
	t.Parallel()
	v := newTestIAM(t, openStore(t), func() time.Time { return testStart }, &counting{})
	for range 1000 {
		_, _ = v.Verify(t.Context(), "cx1.1.e30."+v.Challenge().Nonce)
	}
	if n := v.sessions.Load().Len(); n != 0 {
		t.Errorf("%d refused tokens are kept, want none", n)
	}
}

// watched is a store of which tests see what it is asked, and when.
type watched struct {
	store.Shared
	calls  atomic.Int64
	asked  func()       // while it looks for the keys
	claims atomic.Int64 // life of the last claim
}

func (w *watched) Value(ctx context.Context, name string) ([]byte, store.Version, error) {
	if name == valueKeys {
		w.calls.Add(1)
		w.asked()
	}
	return w.Shared.Value(ctx, name)
}

func (w *watched) Claim(ctx context.Context, key string, ttl time.Duration) error {
	w.claims.Store(int64(ttl))
	return w.Shared.Claim(ctx, key, ttl)
}

// overtaken is a store into which somebody else writes first.
type overtaken struct {
	store.Shared
	first func()
}

func (l *overtaken) SetValue(ctx context.Context, name string, data []byte, at store.Version) (store.Version, error) {
	if first := l.first; first != nil && name == valueKeys {
		l.first = nil
		first()
	}
	return l.Shared.SetValue(ctx, name, data, at)
}

// TestTwoOperatorsBeginAtOnce has both find a cluster without keys: they end with the
// same ones.
func TestTwoOperatorsBeginAtOnce(t *testing.T) {
	t.Parallel()
	shared, now := openStore(t), func() time.Time { return testStart }
	var other *IAM
	one := newTestIAM(t, &overtaken{Shared: shared, first: func() { other = newTestIAM(t, shared, now, &counting{}) }}, now, &counting{})
	for _, v := range []*IAM{one, other} {
		if !other.keys.fresh(t.Context(), v.Challenge().Nonce, other.clusterID, testStart) || v.clusterID != other.clusterID {
			t.Error("a nonce of one is not good for the other")
		}
	}
}

// TestUnknownKeysAskTheStoreOnce sends many tokens of a key that does not exist
// while the store takes ten seconds to look: they do not queue up at it.
func TestUnknownKeysAskTheStoreOnce(t *testing.T) {
	t.Parallel()
	var late atomic.Int64
	now := func() time.Time { return testStart.Add(time.Duration(late.Load())) }
	shared := &watched{Shared: openStore(t), asked: func() { late.Add(int64(10 * time.Second)) }}
	v := newTestIAM(t, shared, now, &counting{})
	late.Add(int64(time.Minute))
	before := shared.calls.Load()
	var wait sync.WaitGroup
	for range 500 {
		wait.Go(func() { _, _ = v.Verify(context.Background(), "cx1.4294967295.e30.AAAA") })
	}
	wait.Wait()
	if got := shared.calls.Load() - before; got != 1 {
		t.Errorf("the store was asked %d times, want once", got)
	}
}

// TestClaimsOutliveProofs has a used nonce be remembered for as long as what was
// signed with it could be taken, whatever the operator's clock does meanwhile.
func TestClaimsOutliveProofs(t *testing.T) {
	t.Parallel()
	shared := &watched{Shared: openStore(t), asked: func() {}}
	v := newTestIAM(t, shared, func() time.Time { return testStart }, &counting{})
	p := auth.Proof{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", AMZDate: testStart.Format(auth.DateLayout), Signature: signatureOf(0), Nonce: v.Challenge().Nonce}
	if _, err := v.Exchange(t.Context(), netip.MustParseAddr("192.0.2.1"), marshal(t, p)); err != nil {
		t.Fatalf("Exchange = %s", Reason(err))
	}
	life := time.Duration(shared.claims.Load())
	if least := auth.MaxProofAge + auth.MaxProofSkew; life < least || life > store.MaxClaim {
		t.Errorf("a nonce is claimed for %s, want %s to %s", life, least, store.MaxClaim)
	}
	// At the limit of calls to STS, claims stay far below how many there may be.
	if most := life.Seconds()*20 + 50; most > store.MaxClaims/4 {
		t.Errorf("%.0f claims at once, of %d", most, store.MaxClaims)
	}
}
