package solo

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/authtest"
	"cortex.dev/cortex/internal/auth/login"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/operatorserver"
	"cortex.dev/cortex/internal/tracing/tracingtest"
	"cortex.dev/cortex/internal/workload"
)

const patience = time.Minute

var alice = authtest.Identity{
	AccessKeyID: "AKIAALICEALICEEXAMPL", SecretAccessKey: "secret/of+alice/EXAMPLEKEY",
	ARN: "arn:aws:iam::111122223333:user/alice", UserID: "AIDAALICEALICEEXAMPLE", Account: "111122223333",
}

// served is a server in this process.
type served struct {
	hostconfig.ServerInfo
	t     *testing.T
	stop  context.CancelFunc
	ended chan error
}

// serverConfig is a configuration on free ports, with an STS that knows Alice.
func serverConfig(t *testing.T) ServerConfig {
	t.Helper()
	sts := httptest.NewServer(authtest.NewSTS(authtest.Config{Region: "us-west-2", Identities: []authtest.Identity{alice}}))
	t.Cleanup(sts.Close)
	return ServerConfig{
		Server: hostconfig.Server{
			Management: hostconfig.Management{Account: alice.Account, Region: "us-west-2", ClusterName: "team", STSEndpoint: sts.URL},
			StateDir:   t.TempDir(), Listen: "127.0.0.1:0", APIListen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0",
		},
		Log: slog.New(slog.DiscardHandler),
	}
}

func serveFor(t *testing.T, cfg ServerConfig) *served {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s := &served{t: t, stop: stop, ended: make(chan error, 1)}
	ready := make(chan hostconfig.ServerInfo, 1)
	cfg.Ready = func(info hostconfig.ServerInfo) { ready <- info }
	go func() { s.ended <- Serve(ctx, cfg) }()
	t.Cleanup(func() { s.end() })
	select {
	case s.ServerInfo = <-ready:
	case err := <-s.ended:
		close(s.ended)
		t.Fatalf("Serve() = %v before it was ready", err)
	case <-time.After(patience):
		t.Fatal("Serve() is not ready")
	}
	return s
}

// end stops the server and returns what Serve does.
func (s *served) end() error {
	s.stop()
	err, open := <-s.ended
	if open {
		close(s.ended)
	}
	return err
}

func (s *served) address() string { return strings.TrimPrefix(s.Endpoint, "https://") }

// client trusts one certificate and proves to be Alice when it is asked to.
func (s *served) client(fingerprint string) *httpapi.Client {
	s.t.Helper()
	client, err := httpapi.NewClient(httpapi.ClientConfig{Endpoint: s.Endpoint, TLS: only(fingerprint)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(client.Close)
	keys := map[string]string{"AWS_ACCESS_KEY_ID": alice.AccessKeyID, "AWS_SECRET_ACCESS_KEY": alice.SecretAccessKey}
	return client.WithSessions(login.New(login.Config{
		Operator: client, Endpoint: s.Endpoint, Getenv: func(name string) string { return keys[name] },
	}))
}

// only trusts one certificate.
func only(fingerprint string) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection compares the whole certificate instead
		VerifyConnection: func(state tls.ConnectionState) error {
			if got := auth.Fingerprint(state.PeerCertificates[0].Raw); got != fingerprint {
				return fmt.Errorf("the certificate is %s, want %s", got, fingerprint)
			}
			return nil
		},
	}
}

// A server is reached by whoever proves to be somebody; when it is told to stop,
// streams end, nobody listens any more, and the next one is the same cluster.
func TestServe(t *testing.T) {
	t.Parallel()
	cfg := serverConfig(t)
	first := serveFor(t, cfg)
	client := first.client(first.Fingerprint)
	if apis, err := client.List(t.Context()); err != nil || len(apis) != 0 {
		t.Fatalf("List() = %v, %v, want no APIs", apis, err)
	}
	who, err := client.WhoAmI(t.Context())
	if err != nil || who.Principal.ARN != alice.ARN || who.ClusterID != first.ClusterID {
		t.Errorf("WhoAmI() = %s of %s, %v, want %s of %s", who.Principal, who.ClusterID, err, alice.ARN, first.ClusterID)
	}
	if info, err := client.Info(t.Context()); err != nil || info.Environment != "team" || info.StateDir != "" || info.PID != 0 {
		t.Errorf("Info() = %+v, %v, want the environment team and nothing of the machine", info, err)
	}

	following := make(chan error, 1)
	go func() {
		following <- client.Events(t.Context(), workload.EventQuery{Follow: true}, func(workload.Event) error { return nil })
	}()
	if err := first.end(); err != nil {
		t.Errorf("Serve() = %v, want nil after it was told to stop", err)
	}
	// Whether it had begun to tell, the operator says so itself.
	if err := <-following; err != nil && !fault.Is(err, fault.Disconnected) && fault.From(err).Code != "operator.stopping" {
		t.Errorf("Events() = %v, want an end", err)
	}
	for _, url := range []string{first.Endpoint, first.APIEndpoint, first.Metrics} {
		_, address, _ := strings.Cut(strings.TrimSuffix(url, "/metrics"), "://")
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			t.Errorf("somebody listens at %s after the end", url)
		}
	}
	second := serveFor(t, cfg)
	if second.ClusterID != first.ClusterID || second.Fingerprint != first.Fingerprint {
		t.Errorf("started again it is %s with %s, want %s with %s", second.ClusterID, second.Fingerprint, first.ClusterID, first.Fingerprint)
	}
}

// TestServeSendsTraces: also those of the last moment, and of what no API answers.
// What a server has in memory is in no file that the system writes when it dies; what it runs
// may ask for such a file.
func TestServeLeavesNoCoreDump(t *testing.T) {
	var bound syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &bound); err != nil {
		t.Fatal(err)
	}
	if bound.Max == 0 {
		t.Skip("this machine allows no core dumps")
	}
	bound.Cur = bound.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &bound); err != nil {
		t.Fatal(err)
	}
	serveFor(t, serverConfig(t))
	most := bound.Max
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &bound); err != nil || bound.Cur != 0 || bound.Max != most {
		t.Errorf("core dumps are bound by %+v, %v; want none, and room to ask for them", bound, err)
	}
}

func TestServeSendsTraces(t *testing.T) {
	t.Parallel()
	collector := tracingtest.New(t)
	cfg := serverConfig(t)
	cfg.Traces.Endpoint, cfg.Traces.Ratio = collector.URL, 1
	s := serveFor(t, cfg)
	resp, err := http.Get(s.APIEndpoint + "/nobody")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := s.end(); err != nil {
		t.Errorf("Serve() = %v, want nil", err)
	}
	spans := collector.Spans()
	if len(spans) != 1 || spans[0].Service != "cortex-gateway" || spans[0].Resource["cortex.cluster.name"] != "team" || spans[0].Attributes["cortex.reason"] != "endpoint_not_found" {
		t.Errorf("the collector has %+v, want the span of the gateway of team", spans)
	}
}

func TestServeRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := serverConfig(t)
	for _, tt := range []struct {
		name   string
		change func(*ServerConfig)
		code   string
	}{
		{"the address of the management API is taken", func(c *ServerConfig) { c.Listen = taken.Addr().String() }, "server.cannot_listen"},
		{"the address of the APIs is taken", func(c *ServerConfig) { c.APIListen = taken.Addr().String() }, "server.cannot_listen"},
		{"the address of the metrics is taken", func(c *ServerConfig) { c.MetricsListen = taken.Addr().String() }, "server.cannot_listen"},
		{"a certificate without its key", func(c *ServerConfig) { c.TLSCert = "cert.pem" }, "server.half_configured"},
		{"a certificate that does not exist", func(c *ServerConfig) { c.TLSCert, c.TLSKey = "none.pem", "none.pem" }, "server.bad_certificate"},
		{"a policy that does not exist", func(c *ServerConfig) { c.PolicyFile = "none.cedar" }, "policy.unreadable"},
		{"a user as a platform role", func(c *ServerConfig) { c.PlatformRoles = []string{alice.ARN} }, "server.bad_role"},
		{"no region", func(c *ServerConfig) { c.Region = "" }, "auth.invalid_region"},
		{"an audit that cannot be written", func(c *ServerConfig) { c.AuditFile = c.StateDir }, "audit.not_a_file"},
	} {
		t.Run(tt.name, func(t *testing.T) { // one after the other: they share a folder
			bad := cfg
			tt.change(&bad)
			if err := Serve(t.Context(), bad); fault.Code(err) != tt.code || fault.From(err).Hint == "" {
				t.Errorf("Serve() = %v (%s), want %s and a hint", err, fault.Code(err), tt.code)
			}
		})
	}
	serveFor(t, cfg) // nothing holds the folder
}

// A certificate that was replaced is shown to new connections, in challenges and
// proofs as well, while those that are open go on.
func TestReplacedCertificate(t *testing.T) {
	t.Parallel()
	cfg := serverConfig(t)
	dir := t.TempDir()
	cfg.TLSCert, cfg.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	old := writeCertificate(t, cfg)
	s := serveFor(t, cfg)
	if s.Fingerprint != old || s.Authority != "" {
		t.Fatalf("the certificate is %s of the authority %q, want %s and none", s.Fingerprint, s.Authority, old)
	}
	open := s.client(old)
	if _, err := open.List(t.Context()); err != nil {
		t.Fatalf("List() = %v", err)
	}
	next := writeCertificate(t, cfg)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		conn, err := tls.Dial("tcp", s.address(), only(next))
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("new connections do not show the new certificate: %v", err)
		}
	}
	if _, err := open.List(t.Context()); err != nil {
		t.Errorf("List() over a connection from before = %v", err)
	}
	if _, err := s.client(next).WhoAmI(t.Context()); err != nil {
		t.Errorf("WhoAmI() with a proof for the new certificate = %v", err)
	}
}

// writeCertificate makes the files of cfg anew and returns the fingerprint. For a
// moment the two do not belong together, as when somebody copies them.
func writeCertificate(t *testing.T, cfg ServerConfig) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{cfg.TLSCert: {Type: "CERTIFICATE", Bytes: der}, cfg.TLSKey: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return auth.Fingerprint(der)
}

// Who holds connections without ever proving anything takes nobody's place but of
// their own address.
func TestStrangersAreBounded(t *testing.T) {
	t.Parallel()
	s := serveFor(t, serverConfig(t))
	held := make([]net.Conn, operatorserver.MaxConnectionsPerAddress)
	for i := range held {
		held[i] = dialFrom(t, "127.0.0.1", s.address())
	}
	last := held[len(held)-1]
	tooMany := dialFrom(t, "127.0.0.1", s.address())
	if n, err := tooMany.Read(make([]byte, 1)); err == nil || !isOpen(t, last) {
		t.Errorf("one connection too many = %d bytes, %v; want it to be closed before those that came first", n, err)
	}
	if !speaks(t, "127.0.0.2", s) {
		t.Error("somebody else is not served")
	}
	held[0].Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !speaks(t, "127.0.0.1", s) {
		<-tick.C
	}
	if !isOpen(t, last) {
		t.Error("the place of one closed connection was given to the next only when all were")
	}
}

// isOpen reports whether the other side has not closed a connection that says nothing.
func isOpen(t *testing.T, conn net.Conn) bool {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err := conn.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// Who is slow with the handshake, or with a request, is not waited for.
func TestSlowStrangersAreCutOff(t *testing.T) {
	t.Parallel()
	s := serveFor(t, serverConfig(t))
	silent := dialFrom(t, "127.0.0.1", s.address())
	slow := tls.Client(dialFrom(t, "127.0.0.1", s.address()), only(s.Fingerprint))
	if _, err := io.WriteString(slow, "GET /v1/auth/challenge HTTP/1.1\r\nHost: team\r\n"); err != nil {
		t.Fatal(err)
	}
	for name, conn := range map[string]net.Conn{"a handshake that does not begin": silent, "a request whose head has no end": slow} {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s is waited for", name)
		}
	}
}

// dialFrom connects from an address of this machine.
func dialFrom(t *testing.T, from, to string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	conn, err := dialer.DialContext(t.Context(), "tcp", to)
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Skipf("this machine has no address %s", from)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// speaks reports whether a handshake from an address succeeds.
func speaks(t *testing.T, from string, s *served) bool {
	t.Helper()
	conn := tls.Client(dialFrom(t, from, s.address()), only(s.Fingerprint))
	defer conn.Close()
	return conn.HandshakeContext(t.Context()) == nil
}
