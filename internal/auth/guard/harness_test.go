package guard_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/audit"
	"cortex.dev/cortex/internal/auth/authtest"
	"cortex.dev/cortex/internal/auth/guard"
	"cortex.dev/cortex/internal/auth/iam"
	"cortex.dev/cortex/internal/auth/policy"
	"cortex.dev/cortex/internal/certificate"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/telemetry"
)

// The cluster that is attacked.
const (
	ownAccount   = "123456789012"
	otherAccount = "210987654321"
	region       = "us-west-2"
	cluster      = "prod"
	nodeRole     = "arn:aws:iam::" + ownAccount + ":role/eks-nodes"
)

// start is the operator's clock when a test begins.
var start = time.Date(2026, time.February, 3, 4, 5, 6, 0, time.UTC)

// clock is that of the operator and of STS: it stands until somebody moves it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// setup is what worlds differ in.
type setup struct {
	cluster, region string
	limits          iam.Limits // zero: none that a test would meet
	defaultLimits   bool
	dir             string           // of the state; "" makes one
	now             func() time.Time // nil: the clock of the world
	sts             *iam.STS         // nil: that of the world, over plain http on loopback
	platformRoles   []string
	metrics         http.Handler
}

// world is one operator as it is wired for the network: TLS, guard, audit, policy,
// the store on the disk, and an STS that verifies signatures.
type world struct {
	clock *clock
	ids   map[string]authtest.Identity
	sts   *authtest.STS
	pin   *iam.STS // how sts is reached
	store *bolt.Store
	cfg   iam.Config
	iam   *iam.IAM
	guard *guard.Guard

	url, address string
	tls          *tls.Config
	client       *http.Client
	fingerprint  string
	auditFile    string
	auditRead    map[string]int // by file: how much of it a test has seen
	received     atomic.Int64   // bytes that the listener has read
	service      *service
	seen         *witness
}

func newWorld(t *testing.T, changes ...func(*setup)) *world {
	t.Helper()
	s := setup{cluster: cluster, region: region, platformRoles: []string{nodeRole}}
	for _, change := range changes {
		change(&s)
	}
	if s.dir == "" {
		s.dir = t.TempDir()
	}
	if s.limits == (iam.Limits{}) && !s.defaultLimits {
		s.limits = iam.Limits{AddressPerSecond: 1e6, AddressBurst: 1e6, STSPerSecond: 1e6, STSBurst: 1e6}
	}
	w := &world{clock: &clock{now: start}, ids: identities(), service: newService(), seen: newWitness(t)}
	if s.now == nil {
		s.now = w.clock.Now
	}
	log := slog.New(slog.NewTextHandler(w.seen, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.askSTS(t, &s)
	w.openStore(t, s.dir, log)

	source, err := certificate.Open(t.Context(), certificate.Config{Dir: t.TempDir(), Names: []string{"127.0.0.1"}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	w.fingerprint = source.Fingerprint()
	w.cfg = iam.Config{
		Account: ownAccount, Partition: "aws", Region: s.region, ClusterName: s.cluster, STS: w.pin, Shared: w.store,
		Fingerprint: source.Fingerprint, Limits: s.limits, Telemetry: telemetry.New("test", ""), Log: log, Now: s.now,
	}
	w.iam = w.replica(t)
	rules, err := policy.New(policy.Config{
		Account: ownAccount, Partition: "aws", Environment: s.cluster, PlatformRoles: s.platformRoles, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.auditFile, w.auditRead = filepath.Join(t.TempDir(), "audit.log"), map[string]int{}
	lines, err := audit.Open(audit.Config{Path: w.auditFile, Now: s.now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		lines.Close()
		w.seen.file("the audit", w.auditFile)
		w.seen.file("the audit of refusals", w.auditFile+".denied")
	})
	w.guard = guard.New(guard.Config{IAM: w.iam, Policy: rules, Audit: lines, Environment: s.cluster, Now: s.now})
	w.listen(t, source, httpapi.NewHandler(w.service, httpapi.Options{Guard: w.guard, Log: log, Metrics: s.metrics}), log)
	return w
}

func (w *world) askSTS(t *testing.T, s *setup) {
	all := make([]authtest.Identity, 0, len(w.ids))
	for name, id := range w.ids {
		all = append(all, id)
		w.seen.secret("the secret of "+name, id.SecretAccessKey)
		w.seen.secret("the token of "+name, id.SessionToken)
		w.seen.secret("the key id of "+name, id.AccessKeyID)
	}
	w.sts = authtest.NewSTS(authtest.Config{Region: s.region, Identities: all, Now: s.now})
	server := httptest.NewUnstartedServer(w.sts)
	server.Config.ErrorLog = newQuietLog() // it misbehaves on purpose
	server.Start()
	t.Cleanup(server.Close)
	if w.pin = s.sts; w.pin != nil {
		return
	}
	var err error
	if w.pin, err = iam.NewSTS(t.Context(), iam.STSConfig{Region: s.region, Endpoint: server.URL}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) openStore(t *testing.T, dir string, log *slog.Logger) {
	var err error
	if w.store, err = bolt.Open(t.Context(), bolt.Config{Dir: dir, Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
}

// replica makes another verifier over the same state.
func (w *world) replica(t *testing.T, changes ...func(*iam.Config)) *iam.IAM {
	t.Helper()
	cfg := w.cfg
	cfg.Telemetry = telemetry.New("test", "")
	for _, change := range changes {
		change(&cfg)
	}
	v, err := iam.New(context.WithoutCancel(t.Context()), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (w *world) listen(t *testing.T, source *certificate.Source, h http.Handler, log *slog.Logger) {
	plain, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelInfo),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(tls.NewListener(counted{plain, &w.received}, source.TLS()))
	}()
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(source.Authority())
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("reading the authority: %v", err)
	}
	w.address = plain.Addr().String()
	w.url = "https://" + w.address
	w.tls = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
	transport := &http.Transport{TLSClientConfig: w.tls, DisableCompression: true, MaxIdleConnsPerHost: 64}
	w.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
		<-ended
	})
}

// counted counts what is read of its connections.
type counted struct {
	net.Listener
	bytes *atomic.Int64
}

func (l counted) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countedConn{conn, l.bytes}, err
}

type countedConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

// binding is what a good client signs.
func (w *world) binding(nonce string) auth.Binding {
	return auth.Binding{
		Host: w.pin.Host(), Region: w.cfg.Region, ClusterID: w.iam.ClusterID(), TLSFingerprint: w.fingerprint, Nonce: nonce,
	}
}

// prove signs with the SDK's signer; change may alter the request before.
func (w *world) prove(t *testing.T, who authtest.Identity, b auth.Binding, at time.Time, change func(*http.Request)) auth.Proof {
	t.Helper()
	date := at.UTC().Format(auth.DateLayout)
	req, err := auth.CallerIdentity(t.Context(), "https://"+b.Host+"/", b, date, who.SessionToken)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	creds := aws.Credentials{AccessKeyID: who.AccessKeyID, SecretAccessKey: who.SecretAccessKey, SessionToken: who.SessionToken}
	if err := v4.NewSigner().SignHTTP(t.Context(), creds, req, auth.ProofPayloadHash(), auth.ProofService, b.Region, at.UTC()); err != nil {
		t.Fatal(err)
	}
	_, signature, _ := strings.Cut(req.Header.Get("Authorization"), "Signature=")
	w.seen.secret("a signature", signature)
	return auth.Proof{AccessKeyID: who.AccessKeyID, AMZDate: date, SecurityToken: who.SessionToken, Signature: signature, Nonce: b.Nonce}
}

// presign signs a URL instead of a header, and returns its signature.
func presign(t *testing.T, who authtest.Identity, b auth.Binding, at time.Time, change func(*http.Request)) string {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, "https://"+b.Host+"/?"+auth.ProofBody+"&X-Amz-Expires=60", nil)
	change(req)
	creds := aws.Credentials{AccessKeyID: who.AccessKeyID, SecretAccessKey: who.SecretAccessKey, SessionToken: who.SessionToken}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), creds, req, empty, auth.ProofService, b.Region, at.UTC())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("X-Amz-Signature")
}

// newLines returns the lines of the audit that the test has not seen yet.
func (w *world) newLines(t *testing.T) [][]byte {
	t.Helper()
	var lines [][]byte
	for _, file := range []string{w.auditFile, w.auditFile + ".denied"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if fresh := bytes.TrimSuffix(data[w.auditRead[file]:], []byte("\n")); len(fresh) > 0 {
			lines = append(lines, bytes.Split(fresh, []byte("\n"))...)
		}
		w.auditRead[file] = len(data)
	}
	return lines
}
