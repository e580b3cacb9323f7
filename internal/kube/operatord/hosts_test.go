package operatord

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// mounted is a folder with a certificate of a name, as the kubelet mounts a Secret, and who
// trusts it.
func mounted(t *testing.T, dir, host string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{"tls.crt": cert, "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return pool
}

// A host name is the API's at gateways too, with the certificate that is mounted there, and the
// next one once that is; names have to be allowed.
func TestHostNamesAtAGateway(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.hosts, p.tls = []string{"*.example.test"}, t.TempDir()
	trusted := mounted(t, p.tls, "iris.example.test")
	client := p.alice(p.leader("operator-a"))
	_, err := client.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: guardedBy(`{"host": "iris.example.com"}`)})
	if f := fault.From(err); err == nil || len(f.Problems) != 1 || f.Problems[0].Path != "networking.host" {
		t.Errorf("Deploy() of a name that is not allowed = %v", err)
	}
	mustDeploy(t, client, guardedBy(`{"host": "iris.example.test", "auth": {"accept": ["keys"], "forward": ["subject"]}}`))
	api, err := client.Get(t.Context(), "iris")
	if err != nil || api.HostEndpoint != "https://iris.example.test" {
		t.Errorf("Get() says %q, %v", api.HostEndpoint, err)
	}
	made, err := client.CreateKey(t.Context(), workload.KeyRequest{Name: "mobile", APIs: []string{"iris"}})
	if err != nil {
		t.Fatal(err)
	}
	g := p.gateway("127.0.0.1:1") // no operator is needed
	// get calls a path by TLS, and returns the status, what the container saw of the caller and
	// of the path; 0: the certificate is not trusted, or the name unknown.
	get := func(host string, roots *x509.CertPool, http2 bool) (int, []string) {
		dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, g.tls)
		}
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: dial, ForceAttemptHTTP2: http2}
		defer tr.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/v1/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Authorization": {"Bearer " + made.Text}, "X-Cortex-Caller": {"root"}}
		resp, err := (&http.Client{Transport: tr, Timeout: patience}).Do(r)
		if err != nil {
			return 0, nil
		}
		resp.Body.Close()
		if http2 != (resp.ProtoMajor == 2) {
			t.Errorf("the answer is by %s", resp.Proto)
		}
		return resp.StatusCode, resp.Header.Values("Saw-X-Cortex-Caller")
	}
	for _, http2 := range []bool{false, true} {
		eventually(t, "the API answers by its name", func() bool {
			got, caller := get("iris.example.test", trusted, http2)
			return got == http.StatusOK && slices.Equal(caller, []string{"mobile"})
		})
	}
	if got, _ := get("rose.example.test", trusted, false); got != 0 {
		t.Errorf("a name without a certificate gets %d, want no handshake", got)
	}
	renewed := mounted(t, p.tls, "iris.example.test")
	eventually(t, "the renewed certificate is shown", func() bool { got, _ := get("iris.example.test", renewed, true); return got == http.StatusOK })
}
