package dataplane

import (
	"context"
	"strings"
	"testing"

	"cortex.dev/cortex/bench/row"
)

func TestParseWrk(t *testing.T) {
	t.Parallel()
	const good = "Running 2s test\n  Latency Distribution\n     50%  676.00us\n     99%    1.2ms\n  162826 requests in 2.10s, 30.90MB read\n"
	got, err := parseWrk(good)
	if err != nil || got.requests != 162826 || got.seconds != 2.1 || got.p50 != 676 || got.p99 != 1200 {
		t.Errorf("parseWrk = %+v, %v", got, err)
	}
	for _, bad := range []string{"", "unable to connect", good + "  Non-2xx or 3xx responses: 4\n", good + "  Socket errors: connect 0, read 3\n",
		strings.Replace(good, "162826", "0", 1)} {
		if _, err := parseWrk(bad); err == nil {
			t.Errorf("parseWrk(%.30q) succeeded", bad)
		}
	}
}

func TestRatiosAreOfNeighbours(t *testing.T) {
	t.Parallel()
	as := []run{{requests: 1, used: 10}, {requests: 1, used: 20}, {requests: 1, used: 300}}
	zs := []run{{requests: 1, used: 5}, {requests: 1, used: 10}, {requests: 1, used: 10}}
	if got := ratioOf(as, zs, run.cpu); got != 2 {
		t.Errorf("ratioOf = %v, want 2", got)
	}
	if got := middle(as, run.cpu); got != 20 {
		t.Errorf("middle = %v, want 20", got)
	}
	for bound, met := range map[float64]bool{2: true, 1.9: false} {
		got := row.Row{What: "a", Target: "b"}
		atMost(&got, bound, as, zs, run.cpu, "HAProxy")
		if want := (row.Row{What: "a", Ours: "20.0 µs", Theirs: "10.0 µs HAProxy", Ratio: "2.00 ×", Target: "b", Met: met}); got != want {
			t.Errorf("atMost(%v) = %+v, want %+v", bound, got, want)
		}
	}
}

func TestProxiesStartAndAnswer(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and starts programs")
	}
	t.Parallel()
	b, err := newBed(context.Background(), Options{Quick: true})
	defer b.close()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"gateway", "httputil"} {
		p, err := b.start(context.Background(), kind, 3) // returns only when it answers
		if err != nil {
			t.Fatal(err)
		}
		p.stop()
	}
	if b.haproxy != "" {
		p, err := b.startHAProxy(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		p.stop()
	}
}

// Two in a row take the way that gateway and sidecar take: the first strips the
// endpoint, the second asks the server.
func TestTwoHAProxiesAnswer(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts programs")
	}
	t.Parallel()
	b, err := emptyBed(Options{Quick: true})
	defer b.close()
	if err != nil {
		t.Fatal(err)
	}
	if b.haproxy == "" {
		t.Skip(noHAProxy)
	}
	backend, err := b.startBackend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.path = "/two/predict"
	here := Hop{Address: "127.0.0.1:1"} // of no network of its own
	p, err := b.startTwoHAProxies(t.Context(), Hops{Gateway: here, Sidecar: here, Server: Hop{Address: backend.addr}, Endpoint: "/two"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	if len(p.more) != 1 || p.more[0] == p.cmd.Process.Pid {
		t.Errorf("the second proxy is process %v, want one beside %d", p.more, p.cmd.Process.Pid)
	}
	if err := ask(p.addr, "/other"); err == nil {
		t.Error("two HAProxies answered what is under no endpoint")
	}
}
