package trust

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
)

// operator is a server whose certificate is its own authority.
func operator(t *testing.T) (server *httptest.Server, fingerprint string, certificate []byte) {
	t.Helper()
	server = httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	raw := server.Certificate().Raw
	return server, auth.Fingerprint(raw), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}

func TestAnchor(t *testing.T) {
	t.Parallel()
	server, fingerprint, certificate := operator(t)
	for name, tt := range map[string]struct {
		anchor Anchor
		wrong  string // with the anchor itself
		trusts bool
	}{
		"the system's roots":                 {Anchor{}, "", false},
		"its certificate":                    {Anchor{Fingerprint: fingerprint}, "", true},
		"another certificate":                {Anchor{Fingerprint: "sha256:" + strings.Repeat("ab", 32)}, "", false},
		"its authority":                      {Anchor{CAData: base64.StdEncoding.EncodeToString(certificate)}, "", true},
		"a fingerprint beside its authority": {Anchor{base64.StdEncoding.EncodeToString(certificate), "sha256:" + strings.Repeat("ab", 32)}, "", false},
		"no fingerprint":                     {Anchor{Fingerprint: "x"}, "operator_fingerprint: ", false},
		"no base64":                          {Anchor{CAData: "%"}, "operator_ca_data: it is not base64", false},
		"no certificate":                     {Anchor{CAData: "eA=="}, "operator_ca_data: it holds no certificate", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, err := tt.anchor.TLS()
			if tt.wrong != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.wrong) {
					t.Errorf("TLS() = %v, want %q", err, tt.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if cfg == nil {
				cfg = &tls.Config{MinVersion: tls.VersionTLS12}
			}
			conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
			if err == nil {
				conn.Close()
			}
			if (err == nil) != tt.trusts {
				t.Errorf("dialling the operator = %v, want trust to be %t", err, tt.trusts)
			}
		})
	}
}

func TestByFingerprint(t *testing.T) {
	t.Parallel()
	server, fingerprint, _ := operator(t)
	if got, err := ByFingerprint(t.Context(), server.URL, fingerprint); err != nil || got != (Anchor{Fingerprint: fingerprint}) {
		t.Errorf("ByFingerprint(its certificate) = %v, %v, want that certificate alone", got, err)
	}
	other := "sha256:" + strings.Repeat("ab", 32)
	got, err := ByFingerprint(t.Context(), server.URL, other)
	if got != (Anchor{}) || fault.Code(err) != httpapi.CodeUntrusted || !strings.Contains(err.Error(), fingerprint) {
		t.Errorf("ByFingerprint(another) = %v, %v, want nothing and what the operator shows", got, err)
	}
}

// A file may hold a key too, which must not get into cli.yaml.
func TestReadCATakesCertificatesOnly(t *testing.T) {
	t.Parallel()
	_, _, certificate := operator(t)
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("private")})
	for name, tt := range map[string]struct {
		text []byte
		want []byte
	}{
		"certificate":         {certificate, certificate},
		"key and certificate": {append(bytes.Clone(key), certificate...), certificate},
		"key":                 {key, nil},
		"too large":           {append(bytes.Clone(certificate), bytes.Repeat([]byte("\n"), maxCAFile)...), nil},
		"no certificate":      {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), nil},
		"empty":               {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ca.pem")
			if err := os.WriteFile(path, tt.text, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := ReadCA(path)
			if want := base64.StdEncoding.EncodeToString(tt.want); got != (Anchor{CAData: want}) {
				t.Errorf("ReadCA = %q, want %q", got, want)
			}
			if wantCode := map[bool]string{true: "cli.bad_ca_file"}[tt.want == nil]; fault.Code(err) != wantCode {
				t.Errorf("ReadCA = %v, want code %q", err, wantCode)
			}
		})
	}
}
