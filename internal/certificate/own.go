package certificate

import (
	"context"
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
	"slices"
	"time"

	"cortex.dev/cortex/internal/fault"
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

// attempts bounds how often replicas that start at once try to be first.
const attempts = 10

// own returns a certificate of our own authority with its key, and the authority's.
// What is missing or does not fit is made. While old is young and has every name
// there is nothing to ask the authority for.
func (s *Source) own(ctx context.Context, old *shown) (cert, key, ca []byte, place string, err error) {
	for range attempts {
		var k keep
		if k, err = s.openKeep(ctx); err != nil {
			return nil, nil, nil, "", err
		}
		place = k.place()
		if old == nil || !s.young(old.certificate.Leaf) || !named(old.certificate.Leaf, s.names()) {
			if err = s.ensureOwn(k); err != nil {
				return nil, nil, nil, place, err
			}
		}
		if err = k.commit(ctx); errors.Is(err, errOvertaken) {
			continue
		}
		if err != nil {
			return nil, nil, nil, place, err
		}
		for name, data := range map[string]*[]byte{fileCertificate: &cert, fileKey: &key, fileAuthority: &ca} {
			if *data, err = k.read(name); err != nil {
				return nil, nil, nil, place, unusable(place, err)
			}
		}
		return cert, key, ca, place, nil
	}
	return nil, nil, nil, place, cannotKeep(err)
}

// ensureOwn makes the authority when there is none, and a certificate when there
// is none that fits: of this authority, for these names, with life left.
func (s *Source) ensureOwn(k keep) error {
	ca, caKey, err := s.authority(k)
	if err != nil {
		return err
	}
	names := s.names()
	if leaf := pairOf(k); leaf != nil && s.fits(leaf, ca, names) {
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
	leaf.DNSNames, leaf.IPAddresses = split(names)
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return fmt.Errorf("making a certificate: %w", err)
	}
	// A death in between leaves two that do not belong together: made anew.
	if err := writeKey(k, fileKey, key); err != nil {
		return cannotKeep(err)
	}
	chain := slices.Concat(encodePEM("CERTIFICATE", der), encodePEM("CERTIFICATE", ca.Raw))
	return cannotKeep(k.write(fileCertificate, chain))
}

// pairOf is the certificate that is kept, if it and its key belong together.
func pairOf(k keep) *x509.Certificate {
	cert, certErr := k.read(fileCertificate)
	key, keyErr := k.read(fileKey)
	if certErr != nil || keyErr != nil {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil
	}
	return pair.Leaf
}

// names are those that a certificate of ours has to have.
func (s *Source) names() []string {
	all := slices.Clone(s.cfg.Names)
	if s.cfg.MoreNames != nil {
		all = append(all, s.cfg.MoreNames()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// authority returns ours, made when there is none. One half of it is an error:
// making another would lock out every client that trusts the first.
func (s *Source) authority(k keep) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certData, certErr := k.read(fileAuthority)
	keyData, keyErr := k.read(fileAuthorityKey)
	if errors.Is(certErr, fs.ErrNotExist) && (keyErr == nil || errors.Is(keyErr, fs.ErrNotExist)) {
		return s.newAuthority(k)
	}
	broken := func(err error) error {
		return fault.New(fault.Unavailable, "server.bad_authority", "the certificate authority in %s cannot be used: %w", k.place(), err).
			WithHint("put the files back from a copy; or remove %s and %s for a new one, which every client then needs", fileAuthority, fileAuthorityKey)
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
		return nil, nil, broken(errors.New("the key is not PEM"))
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, broken(err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(ca.PublicKey) {
		return nil, nil, broken(errors.New("the key is not that of the certificate"))
	}
	if err := inForce(ca, s.cfg.Now()); err != nil {
		return nil, nil, broken(err)
	}
	return ca, key, nil
}

func (s *Source) newAuthority(k keep) (*x509.Certificate, *ecdsa.PrivateKey, error) {
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
	if err := writeKey(k, fileAuthorityKey, key); err != nil {
		return nil, nil, cannotKeep(err)
	}
	if err := k.write(fileAuthority, encodePEM("CERTIFICATE", der)); err != nil {
		return nil, nil, cannotKeep(err)
	}
	ca, err = x509.ParseCertificate(der)
	return ca, key, err
}

// fits reports whether a certificate of ours can go on being shown.
func (s *Source) fits(leaf, ca *x509.Certificate, wanted []string) bool {
	// One that ends with its authority cannot be renewed before.
	now := s.cfg.Now()
	asLong := !leaf.NotAfter.Before(ca.NotAfter) && now.Before(leaf.NotAfter) && !now.Before(leaf.NotBefore)
	return leaf.CheckSignatureFrom(ca) == nil && (s.young(leaf) || asLong) && named(leaf, wanted)
}

// named reports whether a certificate is for all of these names.
func named(leaf *x509.Certificate, wanted []string) bool {
	names, addresses := split(wanted)
	return containsAll(leaf.DNSNames, names) && containsAll(addressTexts(leaf.IPAddresses), addressTexts(addresses))
}

// young reports whether a certificate is valid and not in the last third of its life. One
// that was made while the clock was ahead is not valid yet.
func (s *Source) young(leaf *x509.Certificate) bool {
	return !s.cfg.Now().Before(leaf.NotBefore) && leaf.NotAfter.Sub(s.cfg.Now()) > leaf.NotAfter.Sub(leaf.NotBefore)/3
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
		return nil, errors.New("it is not a PEM certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func writeKey(k keep, name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return k.write(name, encodePEM("PRIVATE KEY", der))
}

func cannotKeep(err error) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.Unavailable, "server.cannot_keep_certificate", "keeping the certificate: %w", err).
		WithHint("make the state folder writable, or name a certificate with --tls-cert and --tls-key")
}
