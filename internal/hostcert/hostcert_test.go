package hostcert

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/hostcert/acmetest"
	"cortex.dev/cortex/internal/telemetry"
)

// written writes a certificate of these names, from and until, and its key.
func written(t *testing.T, dir, file string, from, until time.Time, names ...string) Pair {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	return writtenOf(t, dir, file, key, key, from, until, names...)
}

func writtenOf(t *testing.T, dir, file string, of, key *ecdsa.PrivateKey, from, until time.Time, names ...string) Pair {
	t.Helper()
	leaf := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: from, NotAfter: until, DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, of.Public(), of)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := keyPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	p := Pair{filepath.Join(dir, file+".pem"), filepath.Join(dir, file+"-key.pem")}
	write(t, p.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, p.Key, secret)
	return p
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// shownTo returns the names of the certificate that a client gets who asks for a name; or why
// it gets none.
func shownTo(k *Keeper, name string) string {
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	go func() { _ = tls.Server(server, k.TLS()).Handshake() }()
	c := tls.Client(client, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // what is shown is looked at
	if err := c.Handshake(); err != nil {
		var alert tls.AlertError
		if errors.As(err, &alert) {
			return alert.Error()
		}
		return err.Error()
	}
	return strings.Join(c.ConnectionState().PeerCertificates[0].DNSNames, " ")
}

const nobody = "remote error: tls: unrecognized name"

func TestFilesByName(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now()
	from, until := now.Add(-time.Hour), now.Add(90*24*time.Hour)
	k, err := Open(Config{RedirectPort: 8443, Files: []Pair{
		written(t, dir, "iris", from, until, "iris.example.com"),
		written(t, dir, "all", from, until, "*.example.com", "Example.com", "rose.example.com"),
		written(t, dir, "again", from, until, "rose.example.com", "IRIS.example.com"),
		written(t, dir, "old", now.Add(-time.Hour), now.Add(-time.Minute), "old.example.net"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	const all, iris = "*.example.com Example.com rose.example.com", "iris.example.com"
	for _, tt := range []struct{ name, want, redirect string }{
		{"iris.example.com", iris, "https://iris.example.com:8443"},
		{"IRIS.EXAMPLE.COM", iris, ""}, // the gateway asks in lower case
		{"rose.example.com", all, "https://rose.example.com:8443"},
		{"other.example.com", all, "https://other.example.com:8443"},
		{"example.com", all, "https://example.com:8443"},
		{"a.b.example.com", nobody, ""},
		{"example.net", nobody, ""},
		{"xexample.com", nobody, ""},
		{"old.example.net", "old.example.net", ""}, // it is shown, and nobody is sent there
		{"*.example.com", all, "https://*.example.com:8443"},
		{"", iris, ""}, // the first one
		{"127.0.0.1", iris, ""},
	} {
		if got := shownTo(k, tt.name); got != tt.want {
			t.Errorf("a client of %q gets %s, want %s", tt.name, got, tt.want)
		}
		if got := k.Redirect(tt.name); got != tt.redirect && tt.name != "*.example.com" {
			t.Errorf("Redirect(%q) = %q, want %q", tt.name, got, tt.redirect)
		}
	}
	if URL("a.b", 443) != "https://a.b" {
		t.Errorf("URL(a.b, 443) = %s", URL("a.b", 443))
	}
}

// The metrics that docs/watching.md has, and an alert may ask.
func TestMetrics(t *testing.T) {
	t.Parallel()
	until := time.Now().Add(90 * 24 * time.Hour).Truncate(time.Second)
	r := telemetry.New("test", "")
	if _, err := Open(Config{Telemetry: r, Files: []Pair{written(t, t.TempDir(), "iris", time.Now().Add(-time.Hour), until, "iris.example.com")}}); err != nil {
		t.Fatal(err)
	}
	page := httptest.NewRecorder()
	r.Handler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	found := regexp.MustCompile(`cortex_host_certificate_expiry_timestamp_seconds\{host="iris.example.com",source="file"\} (\S+)`).FindStringSubmatch(page.Body.String())
	if found == nil {
		t.Fatalf("the page has no certificate:\n%s", page.Body)
	}
	if at, err := strconv.ParseFloat(found[1], 64); err != nil || int64(at) != until.Unix() {
		t.Errorf("it ends at %s, want %d", found[1], until.Unix())
	}
	if strings.Contains(page.Body.String(), "cortex_acme_orders_total{") {
		t.Errorf("orders are counted where there is no authority:\n%s", page.Body)
	}
}

func TestFilesThatAreNone(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now()
	a, b := must(newKey()), must(newKey())
	good := writtenOf(t, dir, "good", a, a, now, now.Add(time.Hour), "a.b")
	empty, large := filepath.Join(dir, "empty"), filepath.Join(dir, "large")
	write(t, empty, nil)
	write(t, large, make([]byte, maxFileBytes+1))
	for name, tt := range map[string]struct {
		pair Pair
		want string
	}{
		"the key of another one": {writtenOf(t, dir, "other", a, b, now, now.Add(time.Hour), "a.b"), "does not match"},
		"no name":                {writtenOf(t, dir, "nameless", a, a, now, now.Add(time.Hour)), "no host name"},
		"no file":                {Pair{filepath.Join(dir, "none"), good.Key}, "no such file"},
		"no key":                 {Pair{good.Cert, filepath.Join(dir, "none")}, "no such file"},
		"changed places":         {Pair{good.Key, good.Cert}, "cannot be used"},
		"nothing in it":          {Pair{empty, good.Key}, "cannot be used"},
		"large":                  {Pair{large, good.Key}, "too large"},
		"a folder":               {Pair{dir, good.Key}, "cannot be used"},
	} {
		_, err := Open(Config{Files: []Pair{tt.pair}})
		if f := fault.From(err); err == nil || f.Code != "server.bad_certificate" || f.Hint == "" || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// lines is a log that can be searched while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func TestFilesThatChange(t *testing.T) {
	t.Parallel()
	var log lines
	dir, now := t.TempDir(), time.Now()
	pair := written(t, dir, "a", now.Add(-time.Hour), now.Add(90*24*time.Hour), "a.b")
	k, err := Open(Config{Files: []Pair{pair}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	step := func(what, want string, changed bool) {
		t.Helper()
		if got := k.reload(); got != changed {
			t.Errorf("%s: reload() = %t, want %t", what, got, changed)
		}
		k.show()
		if got := shownTo(k, "a.b"); got != want {
			t.Errorf("%s: a client gets %s, want %s", what, got, want)
		}
	}
	step("nothing", "a.b", false)
	write(t, pair.Key, []byte("half"))
	step("in the middle of an exchange", "a.b", false)
	step("still", "a.b", false)
	if n := log.count("could not be exchanged"); n != 1 {
		t.Errorf("it was said %d times, want once", n)
	}
	written(t, dir, "a", now.Add(-time.Hour), now.Add(90*24*time.Hour), "a.b", "c.d")
	step("another one", "a.b c.d", true)
}

// Whoever runs this hears in time that a certificate ends, once a day.
func TestEndingIsSaid(t *testing.T) {
	t.Parallel()
	var log lines
	clock := time.Now()
	dir := t.TempDir()
	k, err := Open(Config{
		Now: func() time.Time { return clock }, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Files: []Pair{
			written(t, dir, "a", clock.Add(-time.Hour), clock.Add(60*24*time.Hour), "a.b"),
			written(t, dir, "short", clock.Add(-time.Hour), clock.Add(6*24*time.Hour), "s.b"),
			written(t, dir, "early", clock.Add(2*time.Hour), clock.Add(90*24*time.Hour), "e.b"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	for i, tt := range []struct {
		after            time.Duration
		a, short, begins int
	}{{0, 0, 0, 1}, {time.Hour, 0, 0, 1}, {5 * day, 0, 1, 1}, {5*day + time.Hour, 0, 1, 1}, {47 * day, 1, 2, 1}, {47*day + time.Hour, 1, 2, 1}, {49 * day, 2, 3, 1}} {
		start := clock
		clock = clock.Add(tt.after)
		k.warn()
		got := [3]int{log.count("host=a.b"), log.count("host=s.b"), log.count("host=e.b")}
		if got != [3]int{tt.a, tt.short, tt.begins} {
			t.Errorf("%d, after %s: said %v times, want %v", i, tt.after, got, tt)
		}
		clock = start
	}
}

// The more often an authority refuses, the more seldom it is asked.
func TestAskingAgain(t *testing.T) {
	t.Parallel()
	clock := time.Now()
	i := &issuer{now: func() time.Time { return clock }, log: slog.New(slog.DiscardHandler)}
	n := &wanted{due: clock}
	tried := 0
	for end := clock.Add(time.Hour); clock.Before(end); clock = n.due {
		i.took("a.b", n, ways[n.failures%2], nil, errors.New("no"))
		tried++
	}
	if tried > 5 { // authorities bound failures of a name by the hour; Let's Encrypt at 5
		t.Errorf("asked %d times in the first hour, want 5 at most", tried)
	}
	for range 20 {
		before := clock
		i.took("a.b", n, ways[0], nil, errors.New("no"))
		if clock = n.due; clock.Sub(before) > 4*time.Hour {
			t.Fatalf("asked again after %s, want that a mistake that was mended is seen the same day", clock.Sub(before))
		}
	}
}

// front is what stands in front of a keeper: a listener of TLS, and one of HTTP.
type front struct {
	k     *Keeper
	hosts atomic.Pointer[[]string]
	https string
	log   *lines
	stop  func()
}

func (f *front) deploy(hosts ...string) { f.hosts.Store(&hosts) }

func (f *front) get(roots *x509.CertPool, name string) (*x509.Certificate, error) {
	c, err := tls.Dial("tcp", f.https, &tls.Config{ServerName: name, RootCAs: roots})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0], nil
}

func (f *front) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			f.stop()
			t.Fatalf("waited in vain for %s; the log is\n%s", what, f.log.buf.String())
		}
	}
}

func open(t *testing.T, dir string, s *acmetest.Server, secure, plain net.Listener, now func() time.Time) *front {
	t.Helper()
	f := &front{log: &lines{}, https: secure.Addr().String()}
	k, err := Open(Config{
		Dir: dir, Authority: Authority{Directory: s.Directory, Email: "who@example.com", CA: s.CA}, Now: now,
		Log: slog.New(slog.NewTextHandler(f.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.k = k
	f.deploy()
	server := &httptest.Server{Listener: secure, TLS: k.TLS(), Config: &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}}
	server.Listener = tls.NewListener(secure, k.TLS())
	server.Start()
	challenges := &httptest.Server{Listener: plain, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Host)
		if host == "" {
			host = r.Host
		}
		if proof := k.Challenge(host, r.URL.Path); proof != nil {
			_, _ = w.Write(proof)
			return
		}
		http.NotFound(w, r)
	})}}
	challenges.Start()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- k.Run(ctx, func() []string { return *f.hosts.Load() }) }()
	var once sync.Once
	f.stop = func() {
		once.Do(func() {
			cancel()
			<-ran
			server.Close()
			challenges.Close()
		})
	}
	t.Cleanup(f.stop)
	return f
}

func listen(t *testing.T) (net.Listener, int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln, ln.Addr().(*net.TCPAddr).Port
}

func relisten(t *testing.T, port int) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// An authority that others have written gives certificates for what is deployed, by both ways
// of proof; they are kept, renewed and let go.
func TestAuthority(t *testing.T) {
	t.Parallel()
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			secure, tlsPort := listen(t)
			plain, httpPort := listen(t)
			looks := acmetest.Config{Root: "../..", Dir: t.TempDir(), HTTPPort: httpPort, TLSPort: tlsPort}
			if way == "http-01" {
				looks.TLSPort = 1 // where nobody is
			}
			s, err := acmetest.Start(t.Context(), looks)
			if errors.Is(err, acmetest.ErrNotBuilt) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(must(os.ReadFile(s.Roots)))

			var ahead atomic.Int64
			now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			dir := t.TempDir()
			f := open(t, dir, s, secure, plain, now)
			if _, err := f.get(roots, "iris.example.test"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
				t.Errorf("a name that is not deployed: %v, want %s", err, nobody)
			}
			f.deploy("iris.example.test", "rose.example.test")
			var first *x509.Certificate
			for _, name := range []string{"iris.example.test", "rose.example.test"} {
				f.await(t, "a certificate of "+name, func() bool { first, err = f.get(roots, name); return err == nil })
			}
			if _, err := f.get(roots, "stranger.example.test"); err == nil || f.k.acme.ok.Load() != 2 {
				t.Errorf("a stranger's name: %v, and %d certificates were made; want nobody to ask for it", err, f.k.acme.ok.Load())
			}
			files, _ := filepath.Glob(filepath.Join(dir, "*", "*.pem"))
			for _, file := range files {
				if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s has mode %v (%v), want 0600", file, info.Mode(), err)
				}
			}
			if len(files) != 3 {
				t.Errorf("%d files are kept, want an account and two certificates: %v", len(files), files)
			}

			// Who starts again asks for nothing that it has.
			f.stop()
			f = open(t, dir, s, relisten(t, tlsPort), relisten(t, httpPort), now)
			f.deploy("rose.example.test")
			f.await(t, "the certificate that was kept", func() bool {
				again, err := f.get(roots, "rose.example.test")
				return err == nil && again.SerialNumber.Cmp(first.SerialNumber) == 0
			})
			if n := f.k.acme.ok.Load(); n != 0 {
				t.Errorf("%d certificates were made after a restart, want none", n)
			}

			ahead.Store(int64(61 * 24 * time.Hour)) // two thirds of 90 days
			f.await(t, "the renewed one", func() bool {
				again, err := f.get(roots, "rose.example.test")
				return err == nil && again.SerialNumber.Cmp(first.SerialNumber) != 0
			})
			f.deploy()
			f.await(t, "what is not deployed any more to have none", func() bool {
				_, err := f.get(roots, "rose.example.test")
				return err != nil
			})
		})
	}
}
