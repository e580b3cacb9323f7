package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/wholefile"
)

// Files of an authority of our own.
const (
	fileAuthority    = "ca.pem"
	fileAuthorityKey = "ca-key.pem"
	fileCertificate  = "server.pem"
	fileKey          = "server-key.pem"
)

// How long they live. A server's certificate is renewed in the last third of its
// life; clients that trust the authority do not notice.
const (
	authorityLife   = 10 * 365 * 24 * time.Hour
	certificateLife = 397 * 24 * time.Hour
	clockSlack      = time.Hour // between this clock and that of clients
)

// ensureOwn makes the authority when there is none, and a certificate when there
// is none that fits: of this authority, for these names, with life left.
func (s *Source) ensureOwn() error {
	dir := s.cfg.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cannotKeep(err)
	}
	ca, caKey, err := s.authority()
	if err != nil {
		return err
	}
	certFile, keyFile := filepath.Join(dir, fileCertificate), filepath.Join(dir, fileKey)
	if pair, err := tls.LoadX509KeyPair(certFile, keyFile); err == nil && s.fits(pair.Leaf, ca) {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := s.cfg.Now()
	leaf := &x509.Certificate{
		Subject:      pkix.Name{CommonName: "Cortex operator"},
		SerialNumber: serial(), NotBefore: now.Add(-clockSlack), NotAfter: earlier(now.Add(certificateLife), ca.NotAfter),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	leaf.DNSNames, leaf.IPAddresses = split(s.cfg.Names)
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return fmt.Errorf("making a certificate: %w", err)
	}
	// A death in between leaves two that do not belong together: made anew.
	if err := writeKey(keyFile, key); err != nil {
		return cannotKeep(err)
	}
	chain := slices.Concat(encodePEM("CERTIFICATE", der), encodePEM("CERTIFICATE", ca.Raw))
	return cannotKeep(wholefile.Replace(certFile, chain))
}

// authority returns ours, made when there is none. One half of it is an error:
// making another would lock out every client that trusts the first.
func (s *Source) authority() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certFile, keyFile := filepath.Join(s.cfg.Dir, fileAuthority), filepath.Join(s.cfg.Dir, fileAuthorityKey)
	certData, certErr := os.ReadFile(certFile)
	keyData, keyErr := os.ReadFile(keyFile)
	if errors.Is(certErr, fs.ErrNotExist) && (keyErr == nil || errors.Is(keyErr, fs.ErrNotExist)) {
		return s.newAuthority(certFile, keyFile)
	}
	broken := func(err error) error {
		return fault.New(fault.Unavailable, "server.bad_authority", "the certificate authority in %s cannot be used: %w", s.cfg.Dir, err).
			WithHint("put the files back from a copy; or remove %s and %s for a new one, which every client then has to be given", fileAuthority, fileAuthorityKey)
	}
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, nil, broken(err)
	}
	ca, err := parsePEM(certData)
	if err != nil {
		return nil, nil, broken(err)
	}
	block, _ := pem.Decode(keyData)
	if block == nil {
		return nil, nil, broken(errors.New("the key is no PEM"))
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, broken(err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(ca.PublicKey) {
		return nil, nil, broken(errors.New("the key is not that of the certificate"))
	}
	if s.cfg.Now().After(ca.NotAfter) {
		return nil, nil, broken(errors.New("it ended on " + ca.NotAfter.Format(time.DateOnly)))
	}
	return ca, key, nil
}

func (s *Source) newAuthority(certFile, keyFile string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := s.cfg.Now()
	ca := &x509.Certificate{
		Subject:      pkix.Name{CommonName: "Cortex operator authority " + now.UTC().Format(time.DateTime)},
		SerialNumber: serial(), NotBefore: now.Add(-clockSlack), NotAfter: now.Add(authorityLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("making a certificate authority: %w", err)
	}
	// The key first: see authority. A key alone is made anew.
	if err := writeKey(keyFile, key); err != nil {
		return nil, nil, cannotKeep(err)
	}
	if err := wholefile.Replace(certFile, encodePEM("CERTIFICATE", der)); err != nil {
		return nil, nil, cannotKeep(err)
	}
	ca, err = x509.ParseCertificate(der)
	return ca, key, err
}

// fits reports whether a certificate of ours can go on being shown.
func (s *Source) fits(leaf, ca *x509.Certificate) bool {
	names, addresses := split(s.cfg.Names)
	// One that ends with its authority cannot be renewed before.
	asLong := !leaf.NotAfter.Before(ca.NotAfter) && s.cfg.Now().Before(leaf.NotAfter)
	return leaf.CheckSignatureFrom(ca) == nil && (s.young(leaf) || asLong) &&
		containsAll(leaf.DNSNames, names) && containsAll(addressTexts(leaf.IPAddresses), addressTexts(addresses))
}

// young reports whether a certificate is not in the last third of its life.
func (s *Source) young(leaf *x509.Certificate) bool {
	return leaf.NotAfter.Sub(s.cfg.Now()) > leaf.NotAfter.Sub(leaf.NotBefore)/3
}

func containsAll(have, want []string) bool {
	return !slices.ContainsFunc(want, func(name string) bool { return !slices.Contains(have, name) })
}

func addressTexts(ips []net.IP) []string {
	texts := make([]string, len(ips))
	for i, ip := range ips {
		texts[i] = ip.String()
	}
	return texts
}

// split tells names from addresses.
func split(all []string) (names []string, addresses []net.IP) {
	for _, name := range all {
		if ip := net.ParseIP(name); ip != nil {
			addresses = append(addresses, ip)
		} else {
			names = append(names, name)
		}
	}
	return names, addresses
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}

func parsePEM(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it is no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return wholefile.Replace(path, encodePEM("PRIVATE KEY", der))
}

func cannotKeep(err error) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.Unavailable, "server.cannot_keep_certificate", "keeping the certificate: %w", err).
		WithHint("make the state folder writable, or name a certificate with --tls-cert and --tls-key")
}
