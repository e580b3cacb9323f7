package guard_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/iam"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// exchange hands a proof to the verifier itself, from any address.
func (w *world) exchange(t *testing.T, from netip.Addr, body []byte) error {
	t.Helper()
	s, err := w.iam.Exchange(context.Background(), from, body)
	w.seen.secret("a session", s.Token)
	return err
}

func bounded(s *setup) { s.defaultLimits = true }

// invalid is a well-formed proof whose signature is worth nothing.
func (w *world) invalid(t *testing.T, key string) []byte {
	c := w.iam.Challenge()
	return marshal(t, auth.Proof{AccessKeyID: key, AMZDate: w.clock.Now().Format(auth.DateLayout), Signature: strings.Repeat("0", 64), Nonce: c.Nonce})
}

// TestFloodFromOneAddress sends 10,000 bad proofs from one address in a second:
// the limit of one address holds, and nobody else notices.
func TestFloodFromOneAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bounded)
	begin := w.clock.Now()
	reasons := map[string]int{}
	for i := range 10000 {
		if i%100 == 0 {
			w.clock.Add(10 * time.Millisecond)
		}
		// Each with a key that STS has not seen: nothing is remembered.
		reasons[iam.Reason(w.exchange(t, addr("192.0.2.1"), w.invalid(t, fmt.Sprintf("AKIA%016d", i))))]++
	}
	seconds := w.clock.Now().Sub(begin).Seconds()
	if most := 20 + int(5*seconds); w.sts.Calls().Total > most || reasons[iam.ReasonSTS] > most {
		t.Errorf("calls to STS = %d in %.0f s, want at most %d", w.sts.Calls().Total, seconds, most)
	}
	if got := reasons[iam.ReasonLimit]; got < 9900 {
		t.Errorf("%d of 10000 were over the limit, want nearly all: %v", got, reasons)
	}
	good, _ := w.evidence(t, attack{})
	if err := w.exchange(t, addr("192.0.2.2"), good); err != nil {
		t.Errorf("a good proof from another address = %v, want a session", iam.Reason(err))
	}
}

// TestFloodOfMalformed sends 10,000 that are no proofs over the network: they are
// limited as others are.
func TestFloodOfMalformed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bounded)
	for name, send := range map[string]func(*http.Request){"no JSON": nil, "another type": header("Content-Type", "text/plain")} {
		w.clock.Add(time.Minute)
		limited := 0
		for range 100 {
			resp, body := w.deliver(t, attack{send: send}, []byte("x"))
			w.seen.answer(name, resp, body, "")
			if resp.StatusCode == http.StatusTooManyRequests {
				limited++
			}
		}
		if limited != 80 {
			t.Errorf("%d of 100 with %s were over the limit, want 80", limited, name)
		}
	}
}

// TestFloodFromManyAddresses has each of 30,000 proofs come from another address:
// the limit of all calls holds, and what is kept stays small.
func TestFloodFromManyAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bounded)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	body := w.invalid(t, "AKIA0000000000000000")
	for i := range 30000 {
		var from [16]byte
		from[0], from[1] = 0x20, 0x01
		binary.BigEndian.PutUint32(from[4:], uint32(i))
		if i%100 == 0 {
			body = w.invalid(t, fmt.Sprintf("AKIA%016d", i))
		}
		_ = w.exchange(t, netip.AddrFrom16(from), body)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := w.sts.Calls().Total; got > 50 {
		t.Errorf("calls to STS = %d, want at most the burst of 50", got)
	}
	// Other tests run beside this one; 30,000 entries without a bound would not show
	// here, but bodies that are kept would. See TestMemoryIsBounded of iam.
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 256<<20 {
		t.Errorf("%d bytes are kept", grown)
	}
}

// TestOneNetworkIsOneAddress has a subscriber change addresses within one /64, and
// IPv4 come in both of its forms.
func TestOneNetworkIsOneAddress(t *testing.T) {
	t.Parallel()
	for name, form := range map[string]func(int) string{
		"a /64":                 func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) },
		"a /64, with zones":     func(i int) string { return fmt.Sprintf("fe80::1%%eth%d", i) },
		"one IPv4 in two forms": func(i int) string { return []string{"192.0.2.7", "::ffff:192.0.2.7"}[i%2] },
	} {
		w := newWorld(t, bounded)
		limited := 0
		for i := range 40 {
			if iam.Reason(w.exchange(t, addr(form(i)), []byte("{}"))) == iam.ReasonLimit {
				limited++
			}
		}
		if limited != 20 {
			t.Errorf("%d of 40 from %s were over the limit, want 20", limited, name)
		}
	}
}

// TestManyEqualGoodOnes sends one good proof 1,000 times at once.
func TestManyEqualGoodOnes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body, _ := w.evidence(t, attack{})
	good, reasons := atOnce(t, 1000, func(i int) error {
		return w.exchange(t, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), body)
	})
	if good != 1 || reasons[iam.ReasonReplay] != 999 {
		t.Errorf("sessions = %d, others %v, want 1 and 999 replays", good, reasons)
	}
	if got := w.sts.Calls().Total; got != 1 {
		t.Errorf("calls to STS = %d, want 1", got)
	}
}

// TestGlobalLimit has proofs of many addresses come at once: STS is asked so often
// and no more, whoever was refused may send the same proof again, and a second
// later there are more.
func TestGlobalLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bounded)
	from := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	bodies := make([][]byte, 80)
	for i := range bodies {
		c := w.iam.Challenge()
		w.seen.secret("a nonce", c.Nonce)
		bodies[i] = marshal(t, w.prove(t, w.ids["alice"], w.binding(c.Nonce), w.clock.Now(), nil))
	}
	var waiting []int
	for i, body := range bodies {
		if iam.Reason(w.exchange(t, from(i), body)) == iam.ReasonLimit {
			waiting = append(waiting, i)
		}
	}
	if len(waiting) != 30 || w.sts.Calls().Total != 50 {
		t.Fatalf("%d wait after %d calls to STS, want 30 after 50", len(waiting), w.sts.Calls().Total)
	}
	w.clock.Add(time.Second)
	done := 0
	for _, i := range waiting {
		if w.exchange(t, from(i), bodies[i]) == nil {
			done++
		}
	}
	if done != 20 {
		t.Errorf("%d of those that waited got in a second later, want 20", done)
	}
}

// TestRetriesAreCalls has STS answer with errors, upon which it is asked once more: the
// limit is of calls, so that an outage is not made worse.
func TestRetriesAreCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bounded)
	w.sts.SetDown(true)
	for i := range 80 {
		c := w.iam.Challenge()
		w.seen.secret("a nonce", c.Nonce)
		body := marshal(t, w.prove(t, w.ids["alice"], w.binding(c.Nonce), w.clock.Now(), nil))
		_ = w.exchange(t, netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), body)
	}
	if n := w.sts.Calls().Total; n != 50 {
		t.Errorf("80 proofs while STS is down made %d calls, want the limit of 50", n)
	}
}

// TestReplaysLeaveRoom sends a used proof again and again: it asks STS nothing, so
// it takes none of the calls away from others.
func TestReplaysLeaveRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bounded)
	used, _ := w.evidence(t, attack{})
	if err := w.exchange(t, addr("192.0.2.1"), used); err != nil {
		t.Fatalf("Exchange = %v", iam.Reason(err))
	}
	for i := range 200 {
		_ = w.exchange(t, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), used)
	}
	good, _ := w.evidence(t, attack{})
	if err := w.exchange(t, addr("192.0.2.2"), good); err != nil {
		t.Errorf("a good proof after 200 replays = %v, want a session", iam.Reason(err))
	}
}

// TestRefusalsAreRemembered asks STS once about what it does not know, and lets
// nobody lock somebody else out.
func TestRefusalsAreRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	unknown := func(p *auth.Proof) { p.AccessKeyID = "AKIANOBODYHASTHISKEY" }
	wrong := func(p *auth.Proof) { p.Signature = flipHex(p.Signature) }
	no, remembered := refused(iam.ReasonSTS, 1), refused(iam.ReasonSTS, 0)
	w.run(t, []attack{
		{name: "an unknown key", proof: unknown, want: no},
		{name: "again, with a fresh nonce", proof: unknown, want: remembered},
		{name: "27 s later", proof: unknown, before: func(_ *testing.T, w *world, _ *auth.Challenge) { w.clock.Add(25 * time.Second) }, want: remembered},
		{name: "31 s later", proof: unknown, before: func(_ *testing.T, w *world, _ *auth.Challenge) { w.clock.Add(6 * time.Second) }, want: no},

		{name: "a wrong signature with the key of alice", proof: wrong, want: no},
		{name: "another wrong one", proof: func(p *auth.Proof) { p.Signature = strings.Repeat("0", 64) }, want: no},
		{name: "alice herself", want: granted(aliceARN)},

		{name: "the key of a session with another token", who: "role", proof: func(p *auth.Proof) { p.SecurityToken = strings.Repeat("A", 100) }, want: no},
		{name: "the session itself", who: "role", want: granted(adminARN)},
	})
	// A key that was made a moment ago is known half a minute later at most.
	born := w.ids["alice"]
	born.AccessKeyID = "AKIANOBODYHASTHISKEY"
	w.sts.SetIdentity(born)
	w.clock.Add(31 * time.Second)
	w.attack(t, attack{name: "the key exists now", proof: func(p *auth.Proof) {
		*p = w.prove(t, born, w.binding(p.Nonce), w.clock.Now(), nil)
	}, want: granted(aliceARN)})
}
