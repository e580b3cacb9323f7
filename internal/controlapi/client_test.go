package controlapi

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/fault"
)

const patience = 30 * time.Second

// pair is a client and its operator.
type pair struct {
	*scene
	operator *httptest.Server
	client   *Client
	dir      string
	log      *logged
}

// logged is a log that can be read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{scene: newScene(t), dir: t.TempDir(), log: &logged{}}
	p.operator = httptest.NewTLSServer(p.server)
	t.Cleanup(p.operator.Close)
	p.trust(p.operator)
	p.write("token", "good\n")
	var err error
	p.client, err = NewClient(ClientConfig{
		Operator: p.operator.URL, TokenFile: p.file("token"), CAFile: p.file("ca.crt"), Gateway: "gateway-a",
		Samples: func() []autoscaler.Sample { return []autoscaler.Sample{{Name: "iris", InFlight: 2}} },
		Log:     slog.New(slog.NewTextHandler(p.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.client.every = 5 * time.Millisecond
	t.Cleanup(p.client.close)
	return p
}

func (p *pair) file(name string) string { return filepath.Join(p.dir, name) }

func (p *pair) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(p.file(name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) trust(s *httptest.Server) {
	p.t.Helper()
	p.write("ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func TestWakeReachesTheOperator(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	if err := p.client.Wake(t.Context(), "iris"); err != nil {
		t.Fatalf("Wake() = %v", err)
	}
	if diff := cmp.Diff([]string{"iris"}, p.woken.names); diff != "" {
		t.Errorf("woken (-want +got):\n%s", diff)
	}
	p.woken.err = fault.New(fault.NotFound, "resources.api_not_deployed", "iris is not deployed")
	if err := p.client.Wake(t.Context(), "iris"); err == nil || !strings.Contains(err.Error(), "iris is not deployed") {
		t.Errorf("Wake() = %v, want what the operator says", err)
	}
}

// What the operator answers to a report is heard, the first time at once.
func TestReportsAreAnswered(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	want := access.SessionKeys{ClusterID: "ours", Keys: []access.SessionKey{{Epoch: 3, Secret: []byte("secret")}}}
	p.server.cfg.Tell = func(string, []access.Use, bool) Told { return Told{Sessions: &want} }
	heard := make(chan Told, 1)
	p.client.every = time.Hour
	p.client.cfg.Told = func(told Told) { heard <- told }
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = p.client.Run(ctx) }()
	select {
	case got := <-heard:
		if diff := cmp.Diff(&want, got.Sessions); diff != "" {
			t.Errorf("what is heard (-want +got):\n%s", diff)
		}
	case <-time.After(patience):
		t.Fatal("nothing is heard")
	}
}

// The kubelet replaces a token, and the operator's authority may change: both are
// seen without a restart.
func TestFilesThatAreReplaced(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	calls := func() error {
		return p.client.call(t.Context(), pathWake, wakeRequest{Name: "iris"}, nil, patience)
	}
	p.write("token", "expired")
	var refused *refusedError
	if err := calls(); !errors.As(err, &refused) || refused.status != http.StatusUnauthorized {
		t.Errorf("with an expired token = %v, want 401", err)
	}
	p.write("token", "loose")
	if err := calls(); err != nil {
		t.Errorf("with the next token = %v", err)
	}
	p.write("ca.crt", "rubbish")
	if err := calls(); err == nil {
		t.Error("with a rubbish authority it went through")
	}
	p.trust(p.operator)
	if err := calls(); err != nil {
		t.Errorf("with the authority put back = %v", err)
	}
}

// Nothing is sent to whoever is not the operator, and a token follows no redirect.
func TestTheTokenGoesToTheOperatorOnly(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	asked := make(chan string, 10)
	thief := func(w http.ResponseWriter, r *http.Request) { asked <- r.Header.Get("Authorization") }
	plain := httptest.NewServer(http.HandlerFunc(thief))
	defer plain.Close()
	redirecting := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusTemporaryRedirect))
	defer redirecting.Close()
	p.trust(redirecting)
	p.client.base = redirecting.URL
	if err := p.client.call(t.Context(), pathWake, wakeRequest{Name: "iris"}, nil, patience); err == nil {
		t.Error("a redirect was followed")
	}
	other := httptest.NewUnstartedServer(http.HandlerFunc(thief))
	other.StartTLS()
	defer other.Close()
	// The certificate of the test server is for example.com and 127.0.0.1.
	p.client.base = strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	if err := p.client.call(t.Context(), pathWake, wakeRequest{Name: "iris"}, nil, patience); err == nil {
		t.Error("a certificate for another name was accepted")
	}
	select {
	case token := <-asked:
		t.Errorf("somebody else was shown %q", token)
	default:
	}
}

// An outage is said once, and its end.
func TestOutageIsSaidOnce(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	if err := os.Remove(p.file("ca.crt")); err != nil { // as before the operator's first start
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.client.Run(ctx) }()
	eventually(t, "five calls failed", func() bool { return p.client.failed.Load() >= 5 })
	if err := p.client.Wake(t.Context(), "iris"); err != nil {
		t.Errorf("Wake() while the operator is away = %v, want nil: it is asked again", err)
	}
	if n := p.log.count("cannot be reached"); n != 1 {
		t.Errorf("the outage was said %d times, want once", n)
	}
	p.trust(p.operator)
	eventually(t, "its end is said", func() bool { return p.log.count("is reached again") == 1 })
	eventually(t, "the load is known", func() bool { return p.loads.Gateways() == 1 })
	p.clock.pass(silence)
	if diff := cmp.Diff([]autoscaler.Sample{{Name: "iris", InFlight: 2}}, p.loads.Samples()); diff != "" {
		t.Errorf("Samples() (-want +got):\n%s", diff)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run() = %v, want %v", err, context.Canceled)
	}
}

func TestClientRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	for _, operator := range []string{"", "cortex-operator:8444", "http://cortex-operator:8444", "https://", "https://a:1/path", "https://a@b:1", "https://a:1/?x=y"} {
		if _, err := NewClient(ClientConfig{Operator: operator, TokenFile: "t", CAFile: "c", Gateway: "g", Samples: func() []autoscaler.Sample { return nil }}); err == nil {
			t.Errorf("NewClient(%q) = nil, want an error", operator)
		}
	}
}

func TestReportsSayWhichReplicasAreBusy(t *testing.T) {
	t.Parallel()
	many := map[string]int{}
	for i := range maxBusy {
		many[fmt.Sprintf("r%d", i)] = 1
	}
	running := map[string]map[string]int{"iris": {"one": 2, "two": 0}, "many": many}
	c := &Client{cfg: ClientConfig{
		Gateway: "gateway-a",
		Samples: func() []autoscaler.Sample {
			return []autoscaler.Sample{{Name: "iris", InFlight: 2}, {Name: "many", InFlight: maxBusy}, {Name: "none"}}
		},
		InFlight: func(name string) map[string]int { return running[name] },
	}}
	got := c.report()
	want := loadReport{Gateway: "gateway-a", Samples: []loadSample{
		{Name: "iris", InFlight: 2, Busy: map[string]int{"one": 2}},
		{Name: "many", InFlight: maxBusy}, // with those of iris they would be too many
		{Name: "none"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report() (-want +got):\n%s", diff)
	}
	if err := got.check(); err != nil {
		t.Errorf("the operator refuses the report: %v", err)
	}
}
