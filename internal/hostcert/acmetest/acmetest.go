// Package acmetest starts Pebble, an authority that speaks ACME and that others have written,
// beside a name server for which every name is this machine: for tests and showings.
//
// It must not be linked by a product.
package acmetest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Config says where the authority looks whether a name is ours, on this machine.
type Config struct {
	Root              string // of the repository, in which Pebble is pinned
	Dir               string // for its files
	HTTPPort, TLSPort int
	Life              time.Duration // of certificates; 0: 90 days
}

// Server is an authority that runs.
type Server struct {
	Directory string // URL
	CA        string // file of who vouches for the authority's own server
	Roots     string // file of who vouches for the certificates that it gives
	names     net.Listener
	program   *exec.Cmd
	said      bytes.Buffer
}

// ErrNotBuilt says that Pebble cannot be had on this machine.
var ErrNotBuilt = errors.New("pebble cannot be built here")

// Start starts one. Close ends it.
func Start(ctx context.Context, cfg Config) (s *Server, err error) {
	s = &Server{CA: filepath.Join(cfg.Dir, "acme-ca.pem"), Roots: filepath.Join(cfg.Dir, "acme-roots.pem")}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	program := filepath.Join(cfg.Dir, "pebble")
	build := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join(cfg.Root, "tools", "acme"), "-o", program, "github.com/letsencrypt/pebble/v2/cmd/pebble")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %w: %s", ErrNotBuilt, err, out)
	}
	key := filepath.Join(cfg.Dir, "acme-key.pem")
	if err := certify(s.CA, key); err != nil {
		return nil, err
	}
	if s.names, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	go answerNames(s.names)
	at, management, err := twoAddresses()
	if err != nil {
		return nil, err
	}
	life := cfg.Life
	if life == 0 {
		life = 90 * 24 * time.Hour
	}
	settings, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": at, "managementListenAddress": management, "certificate": s.CA, "privateKey": key,
		"httpPort": cfg.HTTPPort, "tlsPort": cfg.TLSPort,
		"profiles": map[string]any{"default": map[string]any{"description": "all", "validityPeriod": int(life.Seconds())}},
	}})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(cfg.Dir, "pebble.json")
	if err := os.WriteFile(file, settings, 0o600); err != nil {
		return nil, err
	}
	s.program = exec.Command(program, "-config", file, "-dnsserver", s.names.Addr().String(), "-strict") //nolint:noctx // Close ends it
	s.program.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	s.program.Stdout, s.program.Stderr = &s.said, &s.said
	if err := s.program.Start(); err != nil {
		return nil, err
	}
	s.Directory = "https://" + at + "/dir"
	return s, s.await(ctx, "https://"+management+"/roots/0")
}

// await waits until the authority answers, and keeps its roots.
func (s *Server) await(ctx context.Context, roots string) error {
	text, err := os.ReadFile(s.CA)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	for begun := time.Now(); ; {
		var text []byte
		for _, url := range []string{s.Directory, roots} {
			if text, err = get(ctx, client, url); err != nil {
				break
			}
		}
		if err == nil {
			return os.WriteFile(s.Roots, text, 0o600)
		}
		if time.Since(begun) > 2*time.Minute {
			return fmt.Errorf("the authority does not answer: %w", err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// Close ends it.
func (s *Server) Close() {
	if s.program != nil && s.program.Process != nil {
		_ = s.program.Process.Kill()
		_ = s.program.Wait()
	}
	if s.names != nil {
		_ = s.names.Close()
	}
}

// Said is what the authority has said of what it did. It is for after Close.
func (s *Server) Said() string { return s.said.String() }

// twoAddresses are free ones.
func twoAddresses() (a, b string, err error) {
	var at [2]string
	for i := range at {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer ln.Close()
		at[i] = ln.Addr().String()
	}
	return at[0], at[1], nil
}

// certify writes the certificate of the authority's own server, and its key.
func certify(cert, key string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, private.Public(), private)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}

// answerNames says that every name is this machine. Pebble asks by TCP.
func answerNames(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go answerName(conn)
	}
}

func answerName(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // who asks has gone
	var length [2]byte
	for {
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		asked := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, asked); err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(asked) != nil || len(m.Questions) != 1 {
			return
		}
		q := m.Questions[0]
		m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
		if q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type, TTL: 1}, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
			}}
		}
		out, err := m.Pack()
		if err != nil {
			return
		}
		_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)) //nolint:gosec // it is short
	}
}
