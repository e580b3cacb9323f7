package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// aCertificate is one of example.com and what is below it, and who trusts it.
func aCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"example.com", "*.example.com"},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if leaf, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// secured is relayTo for clients of TLS.
func secured(t *testing.T, addr string, limits Limits, change func(*single, *Config)) (s *single, at string, trust *tls.Config, stop func() error) {
	t.Helper()
	cert, pool := aCertificate(t)
	s, at, stop = relayTo(t, addr, limits, func(s *single, c *Config) {
		c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1", acme}, DynamicRecordSizingDisabled: true}
		if change != nil {
			change(s, c)
		}
	})
	return s, at, &tls.Config{RootCAs: pool, ServerName: "iris.example.com"}, stop
}

func dialTLS(t *testing.T, addr string, trust *tls.Config) *client {
	t.Helper()
	c := dial(t, addr)
	secure := tls.Client(c.Conn, trust)
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	return &client{t, secure, bufio.NewReader(secure)}
}

// Everything that is said without TLS is said with it.
func TestExchangesOverTLS(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Proto", r.Header.Get("X-Forwarded-Proto"))
		if r.URL.Path == "/stream" {
			for i := range 3 {
				fmt.Fprintf(w, "event %d\n", i)
				w.(http.Flusher).Flush()
			}
			return
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		if r.ContentLength > 0 {
			w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
		}
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(backend.Close)
	var name atomic.Value
	s, at, trust, _ := secured(t, backend.Listener.Addr().String(), Limits{}, func(s *single, _ *Config) {
		s.admit = func(x *Exchange) { name.Store(fmt.Sprint(x.ServerName(), " ", x.Secure())) }
	})
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		tr := &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: version == "HTTP/2.0"}
		if version == "HTTP/1.1" {
			tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", at)
		}
		t.Cleanup(tr.CloseIdleConnections)
		for _, size := range []int{0, 1, 5000, 20_000, 300_000, 5 << 20} {
			sent := make([]byte, size)
			_, _ = rand.Read(sent)
			for _, body := range []io.Reader{bytes.NewReader(sent), io.MultiReader(bytes.NewReader(sent))} { // with a length and without
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://IRIS.example.com/x", body)
				req.Header.Set("X-Forwarded-Proto", "http") // nobody asked
				resp, err := (&http.Client{Transport: tr}).Do(req)
				if err != nil {
					t.Fatalf("%s, %d bytes: %v", version, size, err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !bytes.Equal(got, sent) || resp.Proto != version || resp.Header.Get("Proto") != "https" || name.Load() != "iris.example.com true" {
					t.Errorf("%s, %d bytes: %s with %d bytes (%v), proto %q, name %v", version, size, resp.Proto, len(got), err, resp.Header.Get("Proto"), name.Load())
				}
			}
		}
		resp, err := (&http.Client{Transport: tr}).Get("https://iris.example.com/stream")
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(resp.Body); string(got) != "event 0\nevent 1\nevent 2\n" {
			t.Errorf("%s: the stream is %q", version, got)
		}
		resp.Body.Close()
	}
	s.returned(t)
}

// See TestWhoReadsNothingHasNoPlace: what TLS has encrypted waits where it holds nobody up.
func TestWhoReadsNothingOverTLSHasNoPlace(t *testing.T) {
	t.Parallel()
	answer := bytes.Repeat([]byte("x"), 40_000)
	for _, length := range []string{"sized", "chunked"} {
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if length == "sized" {
				w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
			}
			_, _ = w.Write(answer)
		}))
		t.Cleanup(backend.Close)
		var served atomic.Pointer[conn]
		s, addr, trust, _ := secured(t, backend.Listener.Addr().String(), Limits{}, func(s *single, _ *Config) {
			s.admit = func(x *Exchange) { served.Store(x.conn) }
		})
		c := dialTLS(t, addr, trust)
		const n = 500
		go func() { _, _ = io.WriteString(c.Conn, strings.Repeat(get, n)) }()
		until(t, func() bool {
			rc := served.Load()
			if rc == nil {
				return false
			}
			since := rc.writing.Load()
			return since != 0 && rc.srv.clock.now()-since > 200 && s.open() == 0
		}, "the place to be given back while the answer waits")
		for range n {
			if resp, body := c.answer("GET"); resp.StatusCode != 200 || body != string(answer) {
				t.Fatalf("then came %s with %d bytes, want the whole answer", resp.Status, len(body))
			}
		}
	}
}

// What WriteNow did not write is what the next write begins with, however little is taken.
func TestWritesOverTLSThatDoNotWait(t *testing.T) {
	t.Parallel()
	cert, pool := aCertificate(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	sent := make([]byte, 8<<20)
	_, _ = rand.Read(sent)
	gate := make(chan struct{})
	wrote := make(chan error, 1)
	left := make(chan int, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			wrote <- err
			return
		}
		s := newSecured(nc, &tls.Config{Certificates: []tls.Certificate{cert}})
		defer s.Close()
		p, idle := sent, 0
		for len(p) > 0 && err == nil && idle < 100 {
			n := 0
			if n, err = s.WriteNow(p[:min(len(p), 30_000)]); n == 0 {
				idle++
			}
			p = p[n:]
		}
		left <- len(p)
		<-gate
		for len(p) > 0 && err == nil { // by turns
			n := 0
			if n, err = s.WriteNow(p[:min(len(p), 70_000)]); err == nil {
				p = p[n:]
				n, err = s.Write(p[:min(len(p), 10_000)])
				p = p[n:]
			}
		}
		wrote <- err
	}()
	c := dialTLS(t, ln.Addr().String(), &tls.Config{RootCAs: pool, ServerName: "example.com"})
	if n := <-left; n == 0 || n == len(sent) {
		t.Fatalf("%d of %d bytes are left where nobody reads; want some, and not to wait", n, len(sent))
	}
	close(gate)
	got, err := io.ReadAll(c.r)
	if err != nil || !bytes.Equal(got, sent) { // with the alert that nothing follows
		t.Errorf("read %d bytes (%v), want the %d that were written", len(got), err, len(sent))
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

// Handshakes that come to nothing take nothing from those who mean it.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "yes") }))
	t.Cleanup(backend.Close)
	var failed atomic.Int64
	_, addr, trust, stop := secured(t, backend.Listener.Addr().String(), Limits{Handshakes: 8, HeaderTimeout: 2 * time.Second}, func(_ *single, c *Config) {
		c.Shook = func(err error) {
			if err != nil {
				failed.Add(1)
			}
		}
	})
	answers := func(what string) {
		t.Helper()
		c := dialTLS(t, addr, trust)
		c.send(get)
		if resp, body := c.answer("GET"); resp.StatusCode != 200 || body != "yes" {
			t.Errorf("%s: %s %q", what, resp.Status, body)
		}
		c.Close()
	}
	for name, bytes := range map[string]string{
		"nothing": "", "HTTP without TLS": get, "half a record": "\x16\x03\x01\x02\x00\x01", "a record that is too long": "\x16\x03\x01\xff\xff" + strings.Repeat("x", 100),
		"an alert": "\x15\x03\x01\x00\x02\x02\x28", "SSL 2": "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
	} {
		before := failed.Load()
		c := dial(t, addr)
		c.send(bytes)
		if name == "half a record" {
			c.Close() // in the middle
		}
		until(t, func() bool { return failed.Load() > before }, "the end of "+name)
		answers("after " + name)
	}
	for name, cfg := range map[string]*tls.Config{
		"TLS 1.1":        {ServerName: "example.com", InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"a protocol":     {ServerName: "example.com", InsecureSkipVerify: true, NextProtos: []string{"smtp"}},
		"does not trust": {ServerName: "example.com"},
		"another name":   {ServerName: "example.net", RootCAs: trust.RootCAs},
	} {
		if err := tls.Client(dial(t, addr).Conn, cfg).Handshake(); err == nil {
			t.Errorf("%s: the handshake succeeded", name)
		}
		answers("after " + name)
	}
	proof := trust.Clone()
	proof.NextProtos = []string{acme}
	dialTLS(t, addr, proof).wantClosed()

	// More of them than there may be: the oldest ones end, and whoever is quick gets in.
	before := failed.Load()
	var slow []*client
	for range 50 {
		slow = append(slow, dial(t, addr))
	}
	answers("among slow ones")
	until(t, func() bool { return failed.Load() >= before+40 }, "the oldest handshakes to end")
	for _, c := range slow {
		c.Close()
	}
	dial(t, addr) // whose handshake does not keep the server from ending
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// An upgraded connection passes bytes both ways, and each side's end.
func TestTunnelOverTLS(t *testing.T) {
	t.Parallel()
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
		_, _ = io.Copy(c, r)
	})
	s, addr, trust, _ := secured(t, at, Limits{}, nil)
	c := dialTLS(t, addr, trust)
	c.send("GET / HTTP/1.1\r\nHost: iris.example.com\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if resp := c.response("GET"); resp.StatusCode != 101 {
		t.Fatalf("the answer is %s, want 101", resp.Status)
	}
	sent := strings.Repeat("0123456789", 100_000)
	go func() {
		_, _ = io.WriteString(c.Conn, sent)
		_ = c.Conn.(*tls.Conn).CloseWrite()
	}()
	if got, err := io.ReadAll(c.r); err != nil || string(got) != "hello"+sent {
		t.Errorf("read %d bytes (%v), want %d", len(got), err, len(sent)+5)
	}
	s.returned(t)
}

// A client that reads nothing holds nobody up when it is ended.
func TestEndOfAClientOfTLSThatReadsNothing(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 64<<20))
	}))
	t.Cleanup(backend.Close)
	for _, protocol := range []string{"", "h2"} {
		s, addr, trust, _ := secured(t, backend.Listener.Addr().String(), Limits{BodyTimeout: 300 * time.Millisecond, AheadBodies: 1 << 20}, nil)
		trust.NextProtos = []string{"h2"}
		if protocol == "" {
			trust.NextProtos = nil
			dialTLS(t, addr, trust).send(get)
		} else {
			tr := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
			t.Cleanup(tr.CloseIdleConnections)
			resp, err := (&http.Client{Transport: tr}).Get("https://" + addr)
			if err != nil || resp.ProtoMajor != 2 {
				t.Fatal(err)
			}
			defer resp.Body.Close()
		}
		until(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.given == 1 }, "the request")
		if got := s.returned(t); len(got) != 1 {
			t.Errorf("%q: the places were given back with %v", protocol, got)
		}
	}
}
