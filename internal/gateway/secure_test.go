package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// named is who knows names in tests.
type named struct{}

func (named) Challenge(host, path string) []byte {
	if host == "iris.example.com" && path == "/.well-known/acme-challenge/token" {
		return []byte("proof")
	}
	return nil
}

func (named) Redirect(host string) string {
	if strings.HasSuffix(host, ".example.com") {
		return "https://" + host + ":8443"
	}
	return ""
}

// secure is a rig that serves with TLS too.
type secure struct {
	*rig
	at    string
	trust *tls.Config
	ca    string // file of who vouches
}

func startSecure(t *testing.T, change func(*Config)) *secure {
	t.Helper()
	r := startRig(t, func(c *Config) {
		c.Names = named{}
		if change != nil {
			change(c)
		}
	})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"*.example.com"},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if leaf, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	s := &secure{rig: r, ca: filepath.Join(t.TempDir(), "ca.pem"), trust: &tls.Config{RootCAs: x509.NewCertPool()}}
	s.trust.RootCAs.AddCert(leaf)
	if err := os.WriteFile(s.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.at = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- r.g.ServeTLS(ctx, ln, &tls.Config{NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s
}

// transport leads every name to s.
func (s *secure) transport() *http.Transport {
	tr := &http.Transport{TLSClientConfig: s.trust.Clone(), ForceAttemptHTTP2: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.at)
	}}
	s.t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// What is said of a name has to be what the certificate was asked for; and what comes without
// TLS goes to where it belongs.
func TestNamesAndRequests(t *testing.T) {
	t.Parallel()
	s := startSecure(t, nil)
	p := pod{concurrency: 10}
	for _, name := range []string{"iris", "rose"} {
		s.serveAt(name, p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, name, " ", r.URL.Path, " ", r.Header.Get("X-Forwarded-Proto"))
		}))
	}
	s.deployAt("iris.example.com", realtime("iris", "/iris", p))
	const misdirected, over = "421 misdirected_request", "308 https_only → https://iris.example.com:8443"
	for _, tt := range []struct{ sni, head, want string }{ // an empty sni: without TLS
		{"iris.example.com", "GET /x HTTP/1.1\r\nHost: iris.example.com", "200 iris /x https"},
		{"iris.example.com", "GET /x HTTP/1.1\r\nHost: IRIS.example.com.:443", "200 iris /x https"},
		{"IRIS.example.com", "GET /x HTTP/1.1\r\nHost: iris.example.com", "200 iris /x https"},
		{"rose.example.com", "GET /rose/x HTTP/1.1\r\nHost: rose.example.com", "200 rose /x https"}, // a certificate, and no name of its own
		{"rose.example.com", "GET /x HTTP/1.1\r\nHost: rose.example.com", "404 endpoint_not_found"},
		{"rose.example.com", "GET /x HTTP/1.1\r\nHost: iris.example.com", misdirected},
		{"iris.example.com", "GET /x HTTP/1.1\r\nHost: rose.example.com", misdirected},
		{"iris.example.com", "GET /rose/x HTTP/1.1\r\nHost: localhost", misdirected},
		{"iris.example.com", "GET /x HTTP/1.1\r\nHost: iris.example.com.evil.example", misdirected},
		{"iris.example.com", "GET /x HTTP/1.1\r\nHost: 127.0.0.1", misdirected},
		{"iris.example.com", "GET http://rose.example.com/x HTTP/1.1\r\nHost: iris.example.com", misdirected}, // the target outranks the field
		{"iris.example.com", "GET /x HTTP/1.1\r\nHost: iris.example.com\r\nHost: rose.example.com", "400 malformed_host"},
		{"iris.example.com", "GET /x HTTP/1.1", "400 malformed_host"},
		{"iris.example.com", "GET /x HTTP/1.1\r\nHost: iris.example.com\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: rose.example.com", "200 iris /x https"},
		{"iris.example.com", "GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: iris.example.com", "200 iris /.well-known/acme-challenge/token https"},
		{"-", "GET /x HTTP/1.1\r\nHost: iris.example.com", "200 iris /x https"}, // who asked for no name is not held to one
		{"-", "GET /rose/x HTTP/1.1\r\nHost: 127.0.0.1", "200 rose /x https"},
		{"", "GET /x?a=b HTTP/1.1\r\nHost: iris.example.com", over + "/x?a=b"},
		{"", "POST /iris HTTP/1.1\r\nHost: IRIS.example.com:80\r\nContent-Length: 0", over + "/iris"},
		{"", "GET /x HTTP/1.1\r\nHost: iris.example.com\r\nX-Forwarded-Proto: https", over + "/x"}, // anybody could say so
		{"", "OPTIONS * HTTP/1.1\r\nHost: iris.example.com", "404 endpoint_not_found"},             // which is no path
		{"", "GET /iris/x HTTP/1.1\r\nHost: localhost", "200 iris /x http"},
		{"", "GET /iris/x HTTP/1.1\r\nHost: iris.example.com.evil.example", "200 iris /x http"},
		{"", "GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: iris.example.com:80", "200 proof"},
		{"", "GET /.well-known/acme-challenge/token?x HTTP/1.1\r\nHost: iris.example.com", "200 proof"},
		{"", "GET /.well-known/acme-challenge/other HTTP/1.1\r\nHost: iris.example.com", over + "/.well-known/acme-challenge/other"},
		{"", "GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: localhost", "404 endpoint_not_found"},
		{"", "GET /.well-known/acme-challenge/../x HTTP/1.1\r\nHost: localhost", "400 dot_segment"},
	} {
		at := s.at
		if tt.sni == "" {
			at = s.addr
		}
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if tt.sni != "" {
			cfg := &tls.Config{InsecureSkipVerify: true, ServerName: strings.TrimPrefix(tt.sni, "-")}
			conn = tls.Client(conn, cfg)
		}
		fmt.Fprint(conn, tt.head, "\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%q %q: %v", tt.sni, tt.head, err)
			conn.Close()
			continue
		}
		var body bytes.Buffer
		_, _ = body.ReadFrom(resp.Body)
		conn.Close()
		got := fmt.Sprint(resp.StatusCode, " ", body.String())
		if reason := resp.Header.Get("X-Cortex-Reason"); reason != "" {
			got = fmt.Sprint(resp.StatusCode, " ", reason)
			if l := resp.Header.Get("Location"); l != "" {
				got += " → " + l
			}
		}
		if got != tt.want {
			t.Errorf("%q %q: %s, want %s", tt.sni, tt.head, got, tt.want)
		}
	}
}

// Every protocol that APIs speak, with TLS, by clients that others have written.
func TestProtocolsOverTLS(t *testing.T) {
	t.Parallel()
	s := startSecure(t, nil)
	p := pod{concurrency: 10}
	s.serveAt("web", p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Upgrade") != "":
			c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
			if err != nil {
				return
			}
			defer c.CloseNow()
			for {
				kind, msg, err := c.Read(r.Context())
				if err != nil || c.Write(r.Context(), kind, bytes.ToUpper(msg)) != nil {
					return
				}
			}
		case r.URL.Path == "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 3 {
				fmt.Fprintf(w, "data: %d\n\n", i)
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done() // it says more only when the client has gone
		default:
			fmt.Fprint(w, r.Method, " ", r.URL.Path, " ", r.Header.Get("X-Forwarded-Proto"))
		}
	}))
	s.deployAt("web.example.com", realtime("web", "/web", p))

	t.Run("curl", func(t *testing.T) {
		curl, err := exec.LookPath("curl")
		if err != nil {
			t.Skip("there is no curl")
		}
		_, port, _ := net.SplitHostPort(s.at)
		for _, version := range []string{"--http1.1", "--http2", "--tlsv1.3", "--tls-max=1.2"} {
			version, most, _ := strings.Cut(version, "=")
			args := []string{"-sS", "--cacert", s.ca, "--resolve", "web.example.com:" + port + ":127.0.0.1", version}
			if most != "" {
				args = append(args, most)
			}
			out, err := exec.CommandContext(t.Context(), curl, append(args, "https://web.example.com:"+port+"/a/b")...).CombinedOutput()
			if err != nil || string(out) != "GET /a/b https" {
				t.Errorf("curl %s says %q (%v)", version, out, err)
			}
		}
	})
	t.Run("WebSocket", func(t *testing.T) {
		tr := s.transport()
		tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{} // by HTTP/1.1
		tr.ForceAttemptHTTP2 = false
		c, _, err := websocket.Dial(t.Context(), "wss://web.example.com/chat", &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		for _, word := range []string{"hello", strings.Repeat("x", 30_000)} {
			if err := c.Write(t.Context(), websocket.MessageText, []byte(word)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.Read(t.Context()); err != nil || string(got) != strings.ToUpper(word) {
				t.Errorf("echo %.20q, %v", got, err)
			}
		}
		c.Close(websocket.StatusNormalClosure, "")
		s.until(func() bool { return s.work("web").pool.Load().Running == 0 }, "the place to be given back")
	})
	t.Run("events", func(t *testing.T) {
		for _, version := range []int{1, 2} {
			tr := s.transport()
			if version == 1 {
				tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
			}
			resp, err := (&http.Client{Transport: tr}).Get("https://web.example.com/events")
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(resp.Body)
			for i := range 3 {
				line, err := lines.ReadString('\n')
				if _, _ = lines.ReadString('\n'); line != fmt.Sprintf("data: %d\n", i) || resp.ProtoMajor != version {
					t.Errorf("%s: event %q (%v)", resp.Proto, line, err)
				}
			}
			resp.Body.Close()
		}
	})
	t.Run("gRPC", func(t *testing.T) {
		s.deployAt("model.example.com", realtime("model", "/model", p))
		s.run("model", ready("model-a", grpcServer(t), p))
		c, err := grpc.NewClient("passthrough:///"+s.at, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: s.trust.RootCAs, ServerName: "model.example.com"})),
			grpc.WithAuthority("model.example.com"), grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		in, out := []byte("hello"), []byte(nil)
		if err := c.Invoke(t.Context(), "/any.Service/Say", &in, &out); err != nil || string(out) != "HELLO" {
			t.Errorf("the call answers %q (%v)", out, err)
		}
	})
}

// A connection that serves another name too is left for one of its own, as browsers do.
func TestMisdirectedRequestsOfHTTP2(t *testing.T) {
	t.Parallel()
	s := startSecure(t, nil)
	s.serveAt("web", pod{concurrency: 10}, echoes("web"))
	tr := s.transport()
	for host, want := range map[string]int{"iris.example.com": 404, "rose.example.com": 421} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://iris.example.com/x", http.NoBody)
		req.Host = host
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want || resp.ProtoMajor != 2 {
			t.Errorf("%s on a connection of iris.example.com: %s %s, want %d by HTTP/2", host, resp.Proto, resp.Status, want)
		}
	}
}
