package guard_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"cortex.dev/cortex/internal/auth/iam"
	"cortex.dev/cortex/internal/store/nats"
)

// TestReplayAcrossServers has two operators share one NATS server that others run:
// a proof, sent to both at once, makes one session, which both know.
func TestReplayAcrossServers(t *testing.T) {
	t.Parallel()
	shared, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), MaxPayload: 8 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	shared.Start()
	t.Cleanup(func() { shared.Shutdown(); shared.WaitForShutdown() })
	if !shared.ReadyForConnections(time.Minute) {
		t.Fatal("the server did not start within a minute")
	}
	w := newWorld(t)
	replica := func() *iam.IAM {
		s, err := nats.Open(t.Context(), nats.Config{URL: shared.ClientURL()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return w.replica(t, func(c *iam.Config) { c.Shared = s })
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
