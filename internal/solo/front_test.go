package solo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/hostcert/acmetest"
	"cortex.dev/cortex/internal/workload"
)

// The whole of it: a deploy is what has an authority give a certificate, by both listeners.
func TestServeWithTLS(t *testing.T) {
	t.Parallel()
	ports := [2]int{}
	for i := range ports {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = ln.Addr().(*net.TCPAddr).Port
		ln.Close() // the authority has to know them before anybody listens
	}
	authority, err := acmetest.Start(t.Context(), acmetest.Config{Root: "../..", Dir: t.TempDir(), TLSPort: ports[0], HTTPPort: ports[1]})
	if errors.Is(err, acmetest.ErrNotBuilt) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(authority.Close)
	cfg := serverConfig(t)
	cfg.APIListen = fmt.Sprint("127.0.0.1:", ports[1])
	cfg.TLSListen, cfg.ACMEDirectory, cfg.ACMECA, cfg.RedirectPort = fmt.Sprint("127.0.0.1:", ports[0]), authority.Directory, authority.CA, ports[0]
	cfg.APIHosts = []string{"*.example.test"}
	s := serveFor(t, cfg)
	if want := fmt.Sprint("https://127.0.0.1:", ports[0]); s.APITLS != want {
		t.Errorf("the server says %q of TLS, want %q", s.APITLS, want)
	}
	client := s.client(s.Fingerprint)
	deploy := func(host string) error {
		_, err := client.Deploy(t.Context(), workload.DeployRequest{Directory: t.TempDir(), FileName: "cortex.yaml", Config: "- name: iris\n  kind: RealtimeAPI\n" +
			"  networking: {host: " + host + "}\n  pod: {containers: [{name: api, command: [sleep, '600']}]}\n  autoscaling: {min_replicas: 0, init_replicas: 0}\n"})
		return err
	}
	if err := deploy("iris.example.com"); err == nil || !strings.Contains(err.Error(), "no API of this server may have this name") {
		t.Errorf("Deploy() with a name that is not allowed = %v", err)
	}
	if err := deploy("iris.example.test"); err != nil {
		t.Fatal(err)
	}
	api, err := client.Get(t.Context(), "iris")
	if want := fmt.Sprint("https://iris.example.test:", ports[0]); err != nil || api.HostEndpoint != want {
		t.Errorf("Get() says host endpoint %q (%v), want %q", api.HostEndpoint, err, want)
	}
	text, err := os.ReadFile(authority.Roots)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DialContext: func(ctx context.Context, network, at string) (net.Conn, error) {
		_, port, _ := net.SplitHostPort(at)
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	caller := &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		resp, err := caller.Get(api.HostEndpoint + "/a/../b") // refused before a replica is wanted
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusBadRequest || resp.ProtoMajor != 2 {
				t.Errorf("with a certificate: %s %s, want 400 by HTTP/2", resp.Proto, resp.Status)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no certificate: %v", err)
		}
	}
	resp, err := caller.Get(fmt.Sprint("http://iris.example.test:", ports[1], "/x"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if want := api.HostEndpoint + "/x"; resp.StatusCode != http.StatusPermanentRedirect || resp.Header.Get("Location") != want {
		t.Errorf("without TLS: %s to %q, want 308 to %s", resp.Status, resp.Header.Get("Location"), want)
	}
	if err := s.end(); err != nil {
		t.Error(err)
	}
	if kept, _ := filepath.Glob(filepath.Join(cfg.StateDir, "certificates", "*", "iris.example.test.pem")); len(kept) != 1 {
		t.Errorf("%d certificates are kept, want one", len(kept))
	}
}

// What cannot be served with ends the start, in words.
func TestServeWithCertificatesThatAreNone(t *testing.T) {
	t.Parallel()
	cfg := serverConfig(t)
	cfg.TLSListen, cfg.Certs, cfg.Keys = "127.0.0.1:0", []string{"none.pem"}, []string{"none-key.pem"}
	err := Serve(t.Context(), cfg)
	if f := fault.From(err); err == nil || f.Code != "server.bad_certificate" {
		t.Errorf("Serve() = %v, want server.bad_certificate", err)
	}
}
