package guard_test

import (
	"testing"

	"cortex.dev/cortex/internal/auth/iam"
	"cortex.dev/cortex/internal/store/bolt"
)

// TestReplayAcrossServers has two operators share one store:
// a proof, sent to both at once, makes one session, which both know.
func TestReplayAcrossServers(t *testing.T) {
	t.Parallel()
	shared, err := bolt.Open(t.Context(), bolt.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shared.Close() })
	w := newWorld(t)
	replica := func() *iam.IAM {
		return w.replica(t, func(c *iam.Config) { c.Shared = shared })
	}
	one, two := replica(), replica()
	if one.ClusterID() != two.ClusterID() {
		t.Fatalf("the cluster ids are %s and %s, want the same", one.ClusterID(), two.ClusterID())
	}
	w.iam = one // for its id
	c := two.Challenge()
	w.seen.secret("a nonce", c.Nonce)
	body := marshal(t, w.prove(t, w.ids["alice"], w.binding(c.Nonce), w.clock.Now(), nil))
	tokens := make(chan string, 20)
	good, reasons := atOnce(t, 20, func(i int) error {
		v := []*iam.IAM{one, two}[i%2]
		s, err := v.Exchange(t.Context(), addr("192.0.2.1"), body)
		if err == nil {
			tokens <- s.Token
		}
		return err
	})
	if good != 1 || reasons[iam.ReasonReplay] != 19 || w.sts.Calls().Total != 1 {
		t.Fatalf("sessions = %d, others %v, calls to STS = %d, want 1, 19 replays and 1", good, reasons, w.sts.Calls().Total)
	}
	token := <-tokens
	w.seen.secret("a session", token)
	for name, v := range map[string]*iam.IAM{"one": one, "two": two} {
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Errorf("Verify at replica %s = %v, want the session", name, err)
		}
	}
}
