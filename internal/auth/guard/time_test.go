package guard_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/iam"
	"cortex.dev/cortex/internal/store/bolt"
)

// TestWindow is how far a date may be from the operator's clock.
func TestWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(t, []attack{
		{name: "signed now", want: granted(aliceARN)},
		{name: "signed 299 s ago", age: 299 * time.Second, want: granted(aliceARN)},
		{name: "signed 300 s ago", age: 300 * time.Second, want: granted(aliceARN)},
		{name: "signed 301 s ago", age: 301 * time.Second, want: refused(iam.ReasonDate, 0)},
		{name: "signed in 59 s", age: -59 * time.Second, want: granted(aliceARN)},
		{name: "signed in 60 s", age: -60 * time.Second, want: granted(aliceARN)},
		{name: "signed in 61 s", age: -61 * time.Second, want: refused(iam.ReasonDate, 0)},
	})
}

// TestNonceLife is how long a challenge may take to be answered.
func TestNonceLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wait := func(d time.Duration) func(*testing.T, *world, *auth.Challenge) {
		return func(_ *testing.T, w *world, _ *auth.Challenge) { w.clock.Add(d) }
	}
	w.run(t, []attack{
		{name: "after 59 s", before: wait(59 * time.Second), want: granted(aliceARN)},
		{name: "after 60 s", before: wait(60 * time.Second), want: granted(aliceARN)},
		{name: "after 61 s", before: wait(61 * time.Second), want: refused(iam.ReasonNonce, 0)},
		{name: "a replica's clock is 5 s behind", before: wait(-5 * time.Second), want: granted(aliceARN)},
		{name: "a replica's clock is 6 s behind", before: wait(-6 * time.Second), want: refused(iam.ReasonNonce, 0)},
	})
	c := w.challenge(t)
	if want := w.clock.Now().Add(time.Minute); !c.ExpiresAt.Equal(want) {
		t.Errorf("expires_at = %s, want %s", c.ExpiresAt, want)
	}
}

// TestReplay sends a proof again, after it succeeded and after it was refused.
func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var first []byte
	keep := func(b []byte) []byte { first = b; return b }
	again := func([]byte) []byte { return first }
	w.run(t, []attack{
		{name: "a good one", body: keep, want: granted(aliceARN)},
		{name: "the same again", body: again, want: refused(iam.ReasonReplay, 0)},
		{name: "the same in other bytes", body: func([]byte) []byte { return append([]byte(" \n"), first...) }, want: refused(iam.ReasonReplay, 0)},
		{name: "by another identity", who: "pathed", body: func(b []byte) []byte {
			var was, is auth.Proof
			if json.Unmarshal(first, &was) != nil || json.Unmarshal(b, &is) != nil {
				return nil
			}
			is.Nonce = was.Nonce
			b, _ = json.Marshal(is)
			return b
		}, want: refused(iam.ReasonReplay, 0)},
		{name: "a bad one", body: func(b []byte) []byte { return keep(edit(`"signature":"`, `"signature":"0123456789abcdef`)(b)) }, want: malformed(iam.ReasonField)},
		{name: "one with the wrong signature", proof: func(p *auth.Proof) { p.Signature = flipHex(p.Signature) }, body: keep, want: refused(iam.ReasonSTS, 1)},
		{name: "the wrong one again", body: again, want: refused(iam.ReasonSTS, 0)},
	})
	// The right signature afterwards does not revive a nonce that was used up.
	var used string
	w.attack(t, attack{name: "a wrong signature", proof: func(p *auth.Proof) { used = p.Nonce; p.Signature = flipHex(p.Signature) }, want: refused(iam.ReasonSTS, 1)})
	late := w.prove(t, w.ids["alice"], w.binding(used), w.clock.Now(), nil)
	w.attack(t, attack{name: "the right one on its nonce", body: fixed(string(marshal(t, late))), want: refused(iam.ReasonReplay, 0)})
}

// TestReplayAtOnce sends one proof 50 times at the same moment, to two replicas.
func TestReplayAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body, _ := w.evidence(t, attack{})
	other := w.replica(t)
	granted, others := atOnce(t, 50, func(i int) error {
		v := w.iam
		if i%2 == 1 {
			v = other
		}
		_, err := v.Exchange(context.Background(), netip.MustParseAddr("192.0.2.1"), body)
		return err
	})
	if granted != 1 || others[iam.ReasonReplay] != 49 {
		t.Errorf("sessions = %d, replays = %v, want 1 and 49", granted, others)
	}
	if got := w.sts.Calls().Total; got != 1 {
		t.Errorf("calls to STS = %d, want 1", got)
	}
}

// atOnce calls fn so many times at once, and counts successes and reasons.
func atOnce(t *testing.T, times int, fn func(int) error) (good int, reasons map[string]int) {
	t.Helper()
	var wait sync.WaitGroup
	var mu sync.Mutex
	var granted atomic.Int64
	reasons = map[string]int{}
	begin := make(chan struct{})
	for i := range times {
		wait.Go(func() {
			<-begin
			err := fn(i)
			if err == nil {
				granted.Add(1)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			reasons[iam.Reason(err)]++
		})
	}
	close(begin)
	wait.Wait()
	return int(granted.Load()), reasons
}

// TestReplayElsewhere sends a used proof to a second replica, and to one that was
// started anew over the same folder.
func TestReplayElsewhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, func(s *setup) { s.dir = dir })
	body, _ := w.evidence(t, attack{})
	from := netip.MustParseAddr("192.0.2.1")
	session, err := w.iam.Exchange(t.Context(), from, body)
	if err != nil {
		t.Fatalf("Exchange = %v", err)
	}
	w.seen.secret("a session", session.Token)
	unused, _ := w.evidence(t, attack{})
	second := w.replica(t)
	if _, err := second.Exchange(t.Context(), from, body); iam.Reason(err) != iam.ReasonReplay {
		t.Errorf("Exchange of a used proof at another replica = %v, want %s", iam.Reason(err), iam.ReasonReplay)
	}
	if _, err := second.Verify(t.Context(), session.Token); err != nil {
		t.Errorf("Verify at another replica = %v, want the session", err)
	}

	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	reopened, err := bolt.Open(t.Context(), bolt.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reopened.Close() })
	restarted := w.replica(t, func(c *iam.Config) { c.Shared = reopened })
	if _, err := restarted.Exchange(t.Context(), from, body); iam.Reason(err) != iam.ReasonReplay {
		t.Errorf("Exchange of a used proof after a restart = %v, want %s", iam.Reason(err), iam.ReasonReplay)
	}
	if got := w.sts.Calls().Total; got != 1 {
		t.Errorf("calls to STS = %d, want 1", got)
	}
	// What was not used survives a restart, and so do sessions and the cluster's id.
	if _, err := restarted.Exchange(t.Context(), from, unused); err != nil {
		t.Errorf("Exchange of an unused proof after a restart = %v", iam.Reason(err))
	}
	if _, err := restarted.Verify(t.Context(), session.Token); err != nil || restarted.ClusterID() != w.iam.ClusterID() {
		t.Errorf("Verify after a restart = %v with cluster id %s, want the session of %s", err, restarted.ClusterID(), w.iam.ClusterID())
	}
}
