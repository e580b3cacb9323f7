package ledgerd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/fault"
)

const (
	patience = time.Minute
	username = "cortex"
	password = "p@ss/w:rd"
)

// free are addresses that nobody listens on. They are below those that the system takes
// for connections, which could be in their place when they are used.
func free(t *testing.T, n int) (addresses []string) {
	t.Helper()
	for len(addresses) < n {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))) //nolint:gosec // any will do
		if err != nil {
			continue
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

// running is a server of a test.
type running struct {
	t     *testing.T
	cfg   Config
	log   *safeBuffer
	end   context.CancelFunc
	ended chan error
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// alone is the configuration of one server.
func alone(t *testing.T) Config {
	t.Helper()
	at := free(t, 2)
	return Config{
		Pod: "cortex-ledger-0", Namespace: "cortex", Servers: 1, Secret: "cortex-ledger", Data: t.TempDir(), MaxBytes: 64 << 20,
		Listen: at[0], HealthListen: at[1], Version: "test", Username: username, Password: password,
	}
}

// several are those of three.
func several(t *testing.T) []Config {
	t.Helper()
	routes := free(t, 3)
	var all []Config
	for i := range routes {
		c := alone(t)
		c.Pod, c.Servers, c.RoutesListen, c.Peers = fmt.Sprintf("cortex-ledger-%d", i), len(routes), routes[i], routes
		all = append(all, c)
	}
	return all
}

func start(t *testing.T, cfg Config) *running {
	t.Helper()
	r := &running{t: t, log: &safeBuffer{}, ended: make(chan error, 1)}
	cfg.Log = slog.New(slog.NewTextHandler(r.log, nil))
	r.cfg = cfg
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	r.end = end
	go func() { r.ended <- Run(ctx, cfg) }()
	t.Cleanup(func() { r.stop() })
	return r
}

// url is where clients come; a server that names no host is at all addresses.
func (r *running) url() string {
	if strings.HasPrefix(r.cfg.Listen, ":") {
		return "nats://127.0.0.1" + r.cfg.Listen
	}
	return "nats://" + r.cfg.Listen
}

// stop is SIGTERM, and the end.
func (r *running) stop() {
	r.t.Helper()
	r.end()
	select {
	case err := <-r.ended:
		r.ended <- nil // for the next time
		if err != nil {
			r.t.Errorf("Run() = %v, want nil after its context", err)
		}
	case <-time.After(patience):
		r.t.Errorf("Run() of %s has not returned in %s", r.cfg.Pod, patience)
	}
}

func (r *running) get(path string) (int, string) {
	r.t.Helper()
	resp, err := http.Get("http://" + r.cfg.HealthListen + path) //nolint:noctx // of this test
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

func (r *running) awaitReady() {
	r.t.Helper()
	eventually(r.t, r.cfg.Pod+" is ready", func() bool { code, _ := r.get("/readyz"); return code == http.StatusOK })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("waited in vain until " + what)
		case <-tick.C:
		}
	}
}

// connect is a client of servers.
func connect(t *testing.T, servers ...*running) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	var urls []string
	for _, r := range servers {
		urls = append(urls, r.url())
	}
	conn, err := nats.Connect(strings.Join(urls, ","), nats.UserInfo(username, password), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

// stream makes one with copies, once the server that leads has heard of all.
func stream(t *testing.T, js jetstream.JetStream, copies int) {
	t.Helper()
	eventually(t, "the servers keep a stream", func() bool {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "items", Subjects: []string{"items.>"}, Replicas: copies})
		return err == nil
	})
}

// write has n messages confirmed. While another server takes over it is tried again, with
// an id, so that each is kept once.
func write(t *testing.T, js jetstream.JetStream, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		eventually(t, fmt.Sprintf("message %d is confirmed", i), func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := js.Publish(ctx, fmt.Sprintf("items.%d", i), []byte("x"), jetstream.WithMsgID(fmt.Sprint(i)))
			return err == nil
		})
	}
}

// kept is how many messages there are.
func kept(t *testing.T, js jetstream.JetStream) int {
	t.Helper()
	found := -1
	eventually(t, "the stream tells what it has", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		s, err := js.Stream(ctx, "items")
		if err != nil {
			return false
		}
		found = int(s.CachedInfo().State.Msgs) //nolint:gosec // few
		return true
	})
	return found
}

// Three servers keep what they have confirmed while one of them is away, which gets what it
// has missed, and has lost, before it is ready again. With two away nothing is agreed on,
// and it is said.
func TestThreeServers(t *testing.T) {
	t.Parallel()
	all := make([]*running, 0, 3)
	for _, cfg := range several(t) {
		all = append(all, start(t, cfg))
	}
	for _, r := range all {
		r.awaitReady()
	}
	_, js := connect(t, all...)
	stream(t, js, 3)
	write(t, js, 0, 20)
	written := 20
	for _, lost := range []bool{false, true} {
		all[2].stop()
		write(t, js, written, 20)
		cfg := all[2].cfg
		if lost {
			cfg.Data = t.TempDir()
		}
		all[2] = start(t, cfg)
		all[2].awaitReady()
		// What is ready again is one of the two that are left: it has everything.
		all[0].stop()
		write(t, js, written+20, 10)
		if written += 30; kept(t, js) != written {
			t.Errorf("with a volume that was lost (%v) the stream has %d messages, want %d", lost, kept(t, js), written)
		}
		all[0] = start(t, all[0].cfg)
		all[0].awaitReady()
	}
	all[0].stop()
	all[1].stop()
	eventually(t, "the last one says that it is not ready", func() bool {
		code, text := all[2].get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(text, "too few servers")
	})
	if code, _ := all[2].get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz = %d, want 200: a restart would help nobody", code)
	}
	for _, r := range all {
		if strings.Contains(r.log.String(), password) || strings.Contains(r.log.String(), "p%40ss") {
			t.Errorf("the log of %s has the password:\n%s", r.cfg.Pod, r.log)
		}
	}
}

// One server keeps what it has confirmed past its end, and serves nobody without the
// credentials.
func TestOneServer(t *testing.T) {
	t.Parallel()
	r := start(t, alone(t))
	r.awaitReady()
	for name, option := range map[string]nats.Option{
		"wrong password": nats.UserInfo(username, "another"), "wrong user": nats.UserInfo("another", password), "nothing": nats.Timeout(time.Second),
	} {
		if conn, err := nats.Connect(r.url(), option); err == nil || !strings.Contains(err.Error(), "Authorization") {
			t.Errorf("%s: Connect() = %v, want a refusal", name, err)
			conn.Close()
		}
	}
	conn, js := connect(t, r)
	stream(t, js, 1)
	write(t, js, 0, 10)
	_, page := r.get("/metrics")
	for _, want := range []string{`cortex_build_info{goversion=`, `program="cortex-ledger",version="test"} 1`, "\ncortex_ledger_connections 1\n", "\ncortex_ledger_max_bytes 6.7108864e+07\n", "\ncortex_ledger_bytes "} {
		if !strings.Contains("\n"+page, want) {
			t.Errorf("/metrics lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "\ncortex_ledger_bytes 0\n") {
		t.Error("the metrics say that nothing is kept")
	}
	conn.Close()
	r.stop()
	if again := start(t, r.cfg); true {
		again.awaitReady()
		_, js := connect(t, again)
		if got := kept(t, js); got != 10 {
			t.Errorf("after a restart the stream has %d messages, want 10", got)
		}
	}
}

// A server waits for its credentials without failing, and then serves with them.
func TestCredentialsFromTheSecret(t *testing.T) {
	t.Parallel()
	var there, asked atomic.Bool
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(true)
		w.Header().Set("Content-Type", "application/json")
		if !there.Load() || r.URL.Path != "/api/v1/namespaces/cortex/secrets/cortex-ledger" {
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound})
			return
		}
		_ = json.NewEncoder(w).Encode(&corev1.Secret{TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}, Data: map[string][]byte{"username": []byte(username), "password": []byte(password)}})
	}))
	t.Cleanup(api.Close)
	cfg := alone(t)
	cfg.Username, cfg.Password, cfg.REST = "", "", &rest.Config{Host: api.URL, QPS: -1}
	_, port, _ := net.SplitHostPort(cfg.Listen)
	cfg.Listen = ":" + port // as in a pod
	r := start(t, cfg)
	eventually(t, "it asks for the secret", asked.Load)
	if code, text := r.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "credentials") {
		t.Errorf("/readyz without a secret = %d %s, want 503 and the credentials", code, text)
	}
	if code, _ := r.get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz without a secret = %d, want 200", code)
	}
	there.Store(true)
	r.awaitReady()
	connect(t, r)
	// One that waits ends at once.
	there.Store(false)
	cfg = alone(t)
	cfg.Username, cfg.REST = "", r.cfg.REST
	start(t, cfg).stop()
}

// What the server cannot do is the fault that the program ends with.
func TestItCannotStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	for name, tt := range map[string]struct {
		change func(*Config)
		code   string
	}{
		"an address that is taken": {func(c *Config) { c.Listen = taken.Addr().String() }, "ledger.cannot_start"},
		"a folder that is a file": {func(c *Config) {
			c.Data = filepath.Join(c.Data, "file")
			if err := os.WriteFile(c.Data, nil, 0o600); err != nil {
				t.Error(err)
			}
		}, "ledger.data"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := alone(t)
			cfg.Log = slog.New(slog.DiscardHandler)
			tt.change(&cfg)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := Run(ctx, cfg); fault.Code(err) != tt.code {
				t.Errorf("Run() = %v, want %s", err, tt.code)
			}
		})
	}
}

// Several servers would remove what one has kept; so they do not begin.
func TestClaim(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		was  string // content of the file; "": none
		now  int
		code string
	}{
		{"empty", "", 3, ""},
		{"the same", "1\n", 1, ""},
		{"more of several", "3\n", 5, ""},
		{"one that becomes several", "1\n", 3, "ledger.other_servers"},
		{"several that become one", "3\n", 1, "ledger.other_servers"},
		{"damaged", "many", 3, "ledger.data"},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, claimFile)
		if tt.was != "" {
			if err := os.WriteFile(file, []byte(tt.was), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := claim(dir, tt.now); fault.Code(err) != tt.code || (err == nil) != (tt.code == "") {
			t.Errorf("%s: claim() = %v, want code %q", tt.name, err, tt.code)
		}
		want := fmt.Sprintf("%d\n", tt.now)
		if tt.code != "" {
			want = tt.was
		}
		if got, err := os.ReadFile(file); string(got) != want || err != nil {
			t.Errorf("%s: the folder says %q, %v, want %q", tt.name, got, err, want)
		}
	}
}
