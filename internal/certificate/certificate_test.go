package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// open opens an authority of our own for these names, on a settable day.
func open(t *testing.T, dir string, now *time.Time, names ...string) *Source {
	t.Helper()
	s, err := Open(t.Context(), Config{Dir: dir, Names: names, Now: func() time.Time { return *now }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// handshake connects with what clients are given, and returns the chain they see.
func handshake(t *testing.T, s *Source, name string) ([]*x509.Certificate, error) {
	t.Helper()
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(s.Authority())
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("the authority cannot be read: %v", err)
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	go func() { _ = tls.Server(far, s.TLS()).Handshake() }()
	client := tls.Client(near, &tls.Config{RootCAs: roots, ServerName: name, Time: s.cfg.Now})
	err = client.Handshake()
	return client.ConnectionState().PeerCertificates, err
}

func TestOwnAuthority(t *testing.T) {
	t.Parallel()
	now := time.Now()
	dir := filepath.Join(t.TempDir(), "tls")
	s := open(t, dir, &now, "localhost", "127.0.0.1")
	for _, name := range []string{"localhost", "127.0.0.1"} {
		chain, err := handshake(t, s, name)
		if err != nil {
			t.Fatalf("handshake with %s = %v", name, err)
		}
		// The authority comes along, so that clients can pin it by its fingerprint.
		if len(chain) != 2 || !chain[1].IsCA {
			t.Errorf("the chain has %d certificates, want the server's and the authority's", len(chain))
		}
	}
	if _, err := handshake(t, s, "elsewhere.example.com"); err == nil {
		t.Error("a name that the certificate is not for was accepted")
	}
	for _, name := range []string{fileAuthority, fileAuthorityKey, fileCertificate, fileKey} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v, want 0600", name, info.Mode().Perm(), err)
		}
	}
	if again := open(t, dir, &now, "localhost"); again.Fingerprint() != s.Fingerprint() {
		t.Error("opening it again made another certificate")
	}
}

func TestOwnCertificateIsMadeAnew(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	for _, tt := range []struct {
		name   string
		later  time.Duration
		names  []string
		change func(t *testing.T, dir string)
		anew   bool
	}{
		{name: "nothing changed", names: []string{"localhost"}},
		{name: "with most of its life left", later: 200 * 24 * time.Hour, names: []string{"localhost"}},
		{name: "in the last third of its life", later: 300 * 24 * time.Hour, names: []string{"localhost"}, anew: true},
		{name: "another name", names: []string{"localhost", "cortex.internal"}, anew: true},
		{name: "a key that is not its", names: []string{"localhost"}, anew: true, change: func(t *testing.T, dir string) {
			other := open(t, t.TempDir(), &begun, "localhost")
			key, err := os.ReadFile(filepath.Join(other.cfg.Dir, fileKey))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, fileKey), key, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, now := t.TempDir(), begun
			first := open(t, dir, &now, "localhost")
			if tt.change != nil {
				tt.change(t, dir)
			}
			now = begun.Add(tt.later)
			second := open(t, dir, &now, tt.names...)
			if anew := first.Fingerprint() != second.Fingerprint(); anew != tt.anew {
				t.Errorf("another certificate: %v, want %v", anew, tt.anew)
			}
			// Whatever happened, clients of the first authority still trust it.
			if _, err := handshake(t, second, "localhost"); err != nil {
				t.Errorf("handshake = %v", err)
			}
		})
	}
}

func TestAuthorityThatIsDamagedIsNotReplaced(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, damage := range map[string]func(dir string) error{
		"its key is gone": func(dir string) error { return os.Remove(filepath.Join(dir, fileAuthorityKey)) },
		"its key is rubbish": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, fileAuthorityKey), []byte("rubbish"), 0o600)
		},
		"it is rubbish": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, fileAuthority), []byte("rubbish"), 0o600)
		},
		"it is over": func(string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			open(t, dir, &now, "localhost")
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			later := now
			if name == "it is over" {
				later = now.Add(authorityLife + time.Hour)
			}
			_, err := Open(t.Context(), Config{Dir: dir, Now: func() time.Time { return later }})
			if fault.Code(err) != "server.bad_authority" {
				t.Errorf("Open() = %v, want server.bad_authority", err)
			}
		})
	}
}

func TestHalfACertificate(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.Context(), Config{Cert: "cert.pem"}); fault.Code(err) != "server.half_configured" {
		t.Errorf("Open(without a key) = %v", err)
	}
	if _, err := Open(t.Context(), Config{Cert: "/no/such", Key: "/no/such"}); fault.Code(err) != "server.bad_certificate" {
		t.Errorf("Open(no such file) = %v", err)
	}
}

// A certificate that somebody else keeps is exchanged while it is in use; one that
// cannot be used changes nothing and is complained about once.
func TestFilesAreFollowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		give := func() {
			own := open(t, t.TempDir(), &now, "localhost")
			for from, to := range map[string]string{fileCertificate: cert, fileKey: key} {
				data, err := os.ReadFile(filepath.Join(own.cfg.Dir, from))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(to, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		give()
		var log bytes.Buffer
		s, err := Open(t.Context(), Config{Cert: cert, Key: key, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if s.Authority() != "" {
			t.Error("a certificate of somebody else has an authority of ours")
		}
		go func() { _ = s.Run(t.Context()) }()
		first := s.Fingerprint()
		if err := os.WriteFile(cert, []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * lookEvery)
		synctest.Wait()
		if s.Fingerprint() != first {
			t.Error("a certificate that cannot be read was put into use")
		}
		if n := strings.Count(log.String(), "could not be exchanged"); n != 1 {
			t.Errorf("it was complained about %d times, want once:\n%s", n, log.String())
		}
		give()
		time.Sleep(2 * lookEvery)
		synctest.Wait()
		if s.Fingerprint() == first {
			t.Error("the new certificate is not in use")
		}
	})
}

// shared is what replicas share, in memory; conflicts makes so many writes come late.
type shared struct {
	mu        sync.Mutex
	data      []byte
	version   store.Version
	conflicts int
}

func (v *shared) Value(context.Context, string) ([]byte, store.Version, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.data, v.version, nil
}

func (v *shared) SetValue(_ context.Context, _ string, data []byte, at store.Version) (store.Version, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.conflicts > 0 || at != v.version {
		v.conflicts--
		return 0, fault.New(fault.Conflict, store.CodeVersionConflict, "it has changed")
	}
	v.data, v.version = data, v.version+1
	return v.version, nil
}

// Replicas that start at once show the same certificate of the same authority.
func TestReplicasShareTheAuthority(t *testing.T) {
	t.Parallel()
	values := &shared{conflicts: 1}
	const replicas = 5
	found := make([]*Source, replicas)
	var all sync.WaitGroup
	for i := range found {
		all.Go(func() {
			s, err := Open(t.Context(), Config{Values: values, Value: "tls-operator", Names: []string{"cortex-operator.cortex.svc"}})
			if err != nil {
				t.Error(err)
				return
			}
			found[i] = s
		})
	}
	all.Wait()
	for _, s := range found {
		if s == nil {
			t.Fatal("a replica did not start")
		}
		if s.Fingerprint() != found[0].Fingerprint() || !bytes.Equal(s.AuthorityPEM(), found[0].AuthorityPEM()) {
			t.Errorf("a replica shows %s, another %s, want one", s.Fingerprint(), found[0].Fingerprint())
		}
		if s.Authority() != "" {
			t.Errorf("Authority() = %q, want no file", s.Authority())
		}
	}
	ca, err := parsePEM(found[0].AuthorityPEM())
	if err != nil || !ca.IsCA || bytes.Contains(found[0].AuthorityPEM(), []byte("KEY")) {
		t.Errorf("AuthorityPEM() = %v, want an authority without its key", err)
	}
}

// A name that becomes known later gets a new certificate of the same authority.
func TestNameThatBecomesKnown(t *testing.T) {
	t.Parallel()
	var more []string
	s, err := Open(t.Context(), Config{
		Values: &shared{}, Value: "tls-operator", Names: []string{"localhost"}, MoreNames: func() []string { return more },
	})
	if err != nil {
		t.Fatal(err)
	}
	first, ca := s.Fingerprint(), s.AuthorityPEM()
	s.look(t.Context())
	if s.Fingerprint() != first {
		t.Error("another certificate though nothing has changed")
	}
	more = []string{"cortex.example.com", "192.0.2.7"}
	s.look(t.Context())
	leaf := s.current.Load().certificate.Leaf
	if err := leaf.VerifyHostname("cortex.example.com"); err != nil {
		t.Errorf("VerifyHostname() = %v", err)
	}
	if err := leaf.VerifyHostname("192.0.2.7"); err != nil {
		t.Errorf("VerifyHostname() = %v", err)
	}
	if !bytes.Equal(s.AuthorityPEM(), ca) {
		t.Error("the authority has changed too: every client would have to be given it again")
	}
}

// A value that nobody can read is not replaced: clients trust what was in it.
func TestSharedAuthorityThatIsDamaged(t *testing.T) {
	t.Parallel()
	values := &shared{data: []byte("rubbish"), version: 3}
	_, err := Open(t.Context(), Config{Values: values, Value: "tls-operator"})
	if fault.Code(err) != "server.bad_authority" || values.version != 3 {
		t.Errorf("Open() = %v at version %d, want server.bad_authority and nothing written", err, values.version)
	}
}

// A certificate that was made while the clock was ahead is renewed when it is right again.
func TestACertificateFromTheFuture(t *testing.T) {
	t.Parallel()
	now := time.Now()
	dir := filepath.Join(t.TempDir(), "tls")
	open(t, dir, &now, "localhost")
	now = now.Add(300 * 24 * time.Hour) // the authority is of the right time, the next certificate is not
	ahead := open(t, dir, &now, "localhost")
	wrong := ahead.Fingerprint()
	now = now.Add(-300 * 24 * time.Hour)
	s := open(t, dir, &now, "localhost")
	if s.Fingerprint() == wrong {
		t.Error("a certificate that is not valid yet is still shown")
	}
	if _, err := handshake(t, s, "localhost"); err != nil {
		t.Errorf("handshake = %v", err)
	}
	// The same, in a server that runs while its clock is set.
	s.look(t.Context())
	before := s.Fingerprint()
	now = now.Add(300 * 24 * time.Hour)
	s.look(t.Context())
	now = now.Add(-300 * 24 * time.Hour)
	s.look(t.Context())
	if _, err := handshake(t, s, "localhost"); err != nil {
		t.Errorf("handshake after the clock was ahead for a while = %v (before: %s, now: %s)", err, before, s.Fingerprint())
	}
}

// An authority from the future is nobody's to exchange in silence: clients were given it.
func TestAnAuthorityFromTheFuture(t *testing.T) {
	t.Parallel()
	now := time.Now().Add(400 * 24 * time.Hour)
	dir := filepath.Join(t.TempDir(), "tls")
	open(t, dir, &now, "localhost")
	now = time.Now()
	_, err := Open(t.Context(), Config{Dir: dir, Names: []string{"localhost"}, Now: func() time.Time { return now }})
	if fault.Code(err) != "server.bad_authority" || !strings.Contains(err.Error(), "is the clock right") {
		t.Errorf("Open() = %v, want an error that asks about the clock", err)
	}
}

// Of TLS 1.2 only the suites are left that authenticate what they encrypt.
func TestOldCiphersAreRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := open(t, t.TempDir(), &now)
	for _, suites := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, suite := range suites {
			if !slices.Contains(suite.SupportedVersions, tls.VersionTLS12) {
				continue
			}
			near, far := net.Pipe()
			go func() {
				_ = tls.Server(far, s.TLS()).Handshake()
				_ = far.Close()
			}()
			err := tls.Client(near, &tls.Config{
				InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}, //nolint:gosec // what is asked is whether the server agrees
			}).Handshake()
			_ = near.Close()
			// Our own certificate has an elliptic key, so RSA suites say nothing here.
			good := strings.Contains(suite.Name, "GCM") || strings.Contains(suite.Name, "POLY1305")
			if agreed := err == nil; agreed != good && (agreed || strings.Contains(suite.Name, "ECDHE_ECDSA")) {
				t.Errorf("a client that has %s only: Handshake() = %v", suite.Name, err)
			}
		}
	}
}
