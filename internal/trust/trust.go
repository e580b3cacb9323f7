// Package trust says what an operator has to show over TLS before anything is sent to
// it: a certificate that an authority of its own vouches for, or exactly one
// certificate, or else one that the system's roots vouch for.
//
// It promises that no value of it trusts everything, and that looking at what an
// operator shows sends it nothing. It must not know where a choice is kept, nor who is
// calling: what the caller proves in turn is package auth/login's.
package trust

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
)

// maxCAFile bounds a file of certificate authorities.
const maxCAFile = 256 << 10

// Anchor is the root of trust in one operator, as it is kept in cli.yaml, where the
// Python client reads it too. The zero value is the system's roots. When both fields
// are set the fingerprint counts.
type Anchor struct {
	CAData      string `yaml:"operator_ca_data,omitempty"`     // base64 of a PEM bundle
	Fingerprint string `yaml:"operator_fingerprint,omitempty"` // of exactly this certificate
}

// TLS returns how to reach the operator; nil is what Go does by itself. An error names
// the key of the field that cannot be used.
func (a Anchor) TLS() (*tls.Config, error) {
	switch {
	case a.Fingerprint != "":
		want, err := auth.ParseFingerprint(a.Fingerprint)
		if err != nil {
			return nil, fmt.Errorf("operator_fingerprint: %w", err)
		}
		return pinned(want), nil
	case a.CAData != "":
		data, err := base64.StdEncoding.DecodeString(a.CAData)
		if err != nil {
			return nil, errors.New("operator_ca_data: it is not base64")
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(data) {
			return nil, errors.New("operator_ca_data: it holds no certificate")
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, nil
	default:
		return nil, nil
	}
}

// pinned accepts one certificate and no other. Its name and issuer do not matter
// then; it is compared before anything is sent.
func pinned(want string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection compares the whole certificate instead
		VerifyConnection: func(state tls.ConnectionState) error {
			if got := auth.Fingerprint(state.PeerCertificates[0].Raw); got != want {
				return &tls.CertificateVerificationError{
					UnverifiedCertificates: state.PeerCertificates,
					Err:                    errors.New("it is not the one that the environment is configured for, " + want),
				}
			}
			return nil
		},
	}
}

// ReadCA returns the anchor that is the certificate authorities in a PEM file.
func ReadCA(path string) (Anchor, error) {
	refuse := func(err error) (Anchor, error) {
		return Anchor{}, fault.New(fault.Usage, "cli.bad_ca_file", "%s is not a file of certificate authorities: %w", path, err).
			WithHint("the server writes one as tls/ca.pem into its state folder, and says where when it starts")
	}
	f, err := os.Open(path)
	if err != nil {
		return refuse(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCAFile+1))
	switch {
	case err != nil:
		return refuse(err)
	case len(data) > maxCAFile:
		return refuse(fmt.Errorf("it has more than %d bytes", maxCAFile))
	}
	// Certificates only: a key that stands in the file too is nobody else's business.
	var certificates []byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return refuse(err)
		}
		certificates = append(certificates, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes})...)
	}
	if certificates == nil {
		return refuse(errors.New("it holds no PEM certificate"))
	}
	return Anchor{CAData: base64.StdEncoding.EncodeToString(certificates)}, nil
}

// ByFingerprint looks at what the operator at an https endpoint shows. When the
// fingerprint is that of an authority in the chain, that authority is trusted, so that
// the operator may renew its certificate; otherwise exactly the certificate itself is.
func ByFingerprint(ctx context.Context, endpoint, want string) (Anchor, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return Anchor{}, err
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "443")
	}
	var chain []*x509.Certificate
	dialer := &tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: u.Hostname(),
		InsecureSkipVerify: true, //nolint:gosec // nothing is sent: the chain is looked at and compared
		VerifyConnection:   func(state tls.ConnectionState) error { chain = state.PeerCertificates; return nil },
	}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return Anchor{}, fault.New(fault.Disconnected, "cli.failed_to_connect_operator", "looking at the certificate of %s: %w", endpoint, err).
			WithHint("check the address, and that the operator is running")
	}
	conn.Close()
	var shown []string
	for i, c := range chain {
		got := auth.Fingerprint(c.Raw)
		if shown = append(shown, got); got != want {
			continue
		}
		if i > 0 && c.IsCA {
			data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
			return Anchor{CAData: base64.StdEncoding.EncodeToString(data)}, nil
		}
		return Anchor{Fingerprint: want}, nil
	}
	return Anchor{}, fault.New(fault.Disconnected, httpapi.CodeUntrusted, "%s does not show the certificate %s; it shows %s", endpoint, want, strings.Join(shown, ", ")).
		WithHint("nothing was changed; ask the administrator of the operator for its fingerprint")
}
