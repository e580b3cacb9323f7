package install

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/fault"
)

// pair returns a certificate and its key, as PEM.
func pair(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func TestCheckValues(t *testing.T) {
	t.Parallel()
	cert, _ := pair(t)
	for _, tt := range []struct {
		name   string
		values map[string]any
		want   string // empty: fine
	}{
		{"nothing", nil, ""},
		{"a policy", map[string]any{"policy": "permit (principal, action, resource);"}, ""},
		{"no policy of Cedar's", map[string]any{"policy": "permit principal;"}, "policy"},
		{"a policy of nothing", map[string]any{"policy": "// nobody\n"}, "there is no policy"},
		{"an authority", map[string]any{"operator": map[string]any{"authorities": string(cert)}}, ""},
		{"no authority", map[string]any{"operator": map[string]any{"authorities": "of the proxy"}}, "operator.authorities: there is no certificate in PEM"},
	} {
		err := checkValues(tt.values)
		if (err == nil) != (tt.want == "") || err != nil && (fault.Code(err) != "install.values" || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: checkValues = %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestJudgeCertificate(t *testing.T) {
	t.Parallel()
	cert, key := pair(t)
	_, otherKey := pair(t)
	for _, tt := range []struct {
		name      string
		cert, key []byte
		want      string
	}{
		{"fine", cert, key, ""},
		{"no key", cert, nil, "secret web in namespace cortex: there is no tls.key"},
		{"no certificate", nil, key, "secret web in namespace cortex: there is no tls.crt"},
		{"of another", cert, otherKey, "secret web in namespace cortex: tls: private key does not match public key"},
		{"no PEM", []byte("cert"), key, "secret web in namespace cortex: tls: failed to find any PEM data"},
	} {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "cortex"}, Data: map[string][]byte{"tls.crt": tt.cert, "tls.key": tt.key}}
		if got := judgeCertificate(s); got != tt.want && (tt.want == "" || !strings.HasPrefix(got, tt.want)) {
			t.Errorf("%s: judgeCertificate = %q, want %q", tt.name, got, tt.want)
		}
	}
}
