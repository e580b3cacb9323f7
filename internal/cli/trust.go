package cli

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

// tls returns what the operator of e has to show; nil trusts the system's roots.
// There is no value that trusts everything.
func (e environment) tls() (*tls.Config, error) {
	bad := func(key string, err error) error {
		return fault.New(fault.Invalid, "configreader.disallowed_value", "environment %s: %s: %w", e.Name, key, err).
			WithHint("set it again with `cortex env configure %s --operator-endpoint %s` and --ca FILE or --fingerprint", e.Name, e.OperatorEndpoint)
	}
	switch {
	case e.OperatorFingerprint != "":
		want, err := auth.ParseFingerprint(e.OperatorFingerprint)
		if err != nil {
			return nil, bad("operator_fingerprint", err)
		}
		return pinned(want), nil
	case e.OperatorCAData != "":
		data, err := base64.StdEncoding.DecodeString(e.OperatorCAData)
		if err != nil {
			return nil, bad("operator_ca_data", errors.New("it is not base64"))
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(data) {
			return nil, bad("operator_ca_data", errors.New("it holds no certificate"))
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

// readCA reads a file of certificate authorities for cli.yaml.
func readCA(path string) (string, error) {
	refuse := func(err error) error {
		return fault.New(fault.Usage, "cli.bad_ca_file", "%s is not a file of certificate authorities: %w", path, err).
			WithHint("the server writes one as tls/ca.pem into its state folder, and says where when it starts")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", refuse(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCAFile+1))
	switch {
	case err != nil:
		return "", refuse(err)
	case len(data) > maxCAFile:
		return "", refuse(fmt.Errorf("it has more than %d bytes", maxCAFile))
	}
	// Certificates only: a key that stands in the file too is nobody else's business.
	var certificates []byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "", refuse(err)
		}
		certificates = append(certificates, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes})...)
	}
	if certificates == nil {
		return "", refuse(errors.New("it holds no PEM certificate"))
	}
	return base64.StdEncoding.EncodeToString(certificates), nil
}

// trustFingerprint looks at what the operator shows. When the fingerprint is that
// of an authority in the chain, that authority is trusted, so that the operator may
// renew its certificate; otherwise exactly the certificate itself is.
func trustFingerprint(ctx context.Context, e *environment, want string) error {
	u, err := url.Parse(e.OperatorEndpoint)
	if err != nil {
		return err
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
		return fault.New(fault.Disconnected, "cli.failed_to_connect_operator", "looking at the certificate of %s: %w", e.OperatorEndpoint, err).
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
			e.OperatorCAData = base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
			return nil
		}
		e.OperatorFingerprint = want
		return nil
	}
	return fault.New(fault.Disconnected, httpapi.CodeUntrusted, "%s does not show the certificate %s; it shows %s", e.OperatorEndpoint, want, strings.Join(shown, ", ")).
		WithHint("nothing was changed; ask the administrator of the operator for its fingerprint")
}
