// Package certificate keeps the certificate that an operator shows: one that is
// given as files, or one of an authority of the operator's own.
//
// It promises that a certificate which is replaced, or is about to end, is
// exchanged without a restart; that one that cannot be used leaves the one before
// in use and says so; and that keys are written with mode 0600, whole or not at all.
//
// It must not listen, and it trusts nobody: what clients trust is theirs to say.
package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

// lookEvery is how soon a replaced file is seen.
const lookEvery = 5 * time.Second

// Config says where the certificate comes from: from Cert and Key, or else from an
// authority of our own that is kept in Dir, or in a value that replicas share.
type Config struct {
	Cert, Key string // PEM files; both or neither
	Dir       string
	Values    Values           // when set, the authority is in it under the name Value, and not in Dir
	Value     string           // at most store.MaxKey characters
	Names     []string         // host names and addresses of a certificate of our own
	MoreNames func() []string  // nil, or further names, which may become known later
	Now       func() time.Time // nil: time.Now
	Log       *slog.Logger
}

// Source is the certificate in use. Its methods may be called at once.
type Source struct {
	cfg     Config
	current atomic.Pointer[shown]
	refused []byte // the files that could not be used, so that it is said once
}

// shown is one certificate with its files, to see when they change.
type shown struct {
	files       []byte
	authority   []byte // PEM; nil when it is somebody else's
	certificate *tls.Certificate
	fingerprint string
}

// Open loads the certificate, or makes the authority and the first one.
func Open(ctx context.Context, cfg Config) (*Source, error) {
	if (cfg.Cert == "") != (cfg.Key == "") {
		return nil, fault.New(fault.Usage, "server.half_configured", "a certificate and its key go together").
			WithHint("give both --tls-cert and --tls-key, or neither")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{cfg: cfg}
	next, err := s.next(ctx, nil)
	if err != nil {
		return nil, err
	}
	s.current.Store(next)
	return s, nil
}

// TLS is the configuration of a listener.
func (s *Source) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Of TLS 1.2 those that authenticate what they encrypt: every client of these
		// years has one, and CBC has been broken by its timing again and again.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.current.Load().certificate, nil
		},
	}
}

// Fingerprint is that of the certificate in use; see auth.Fingerprint.
func (s *Source) Fingerprint() string { return s.current.Load().fingerprint }

// NotAfter is when the certificate in use ends.
func (s *Source) NotAfter() time.Time { return s.current.Load().certificate.Leaf.NotAfter }

// Authority is the file of our own authority, which clients are given, or "" when
// the certificate is somebody else's or the authority is not in a file.
func (s *Source) Authority() string {
	if s.cfg.Cert != "" || s.cfg.Values != nil {
		return ""
	}
	return filepath.Join(s.cfg.Dir, fileAuthority)
}

// AuthorityPEM is our own authority without its key, which clients are given; nil
// when the certificate is somebody else's.
func (s *Source) AuthorityPEM() []byte { return s.current.Load().authority }

// Run exchanges the certificate when its files change or it is about to end, until
// ctx ends.
func (s *Source) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			s.look(ctx)
		}
	}
}

func (s *Source) look(ctx context.Context) {
	old := s.current.Load()
	next, err := s.next(ctx, old)
	switch {
	case err != nil:
		if text := []byte(err.Error()); !bytes.Equal(text, s.refused) {
			s.refused = text
			s.cfg.Log.Error("the certificate could not be exchanged; the one before stays in use", "error", err)
		}
	case next != old:
		s.refused = nil
		s.current.Store(next)
		s.cfg.Log.Info("the certificate was exchanged", "fingerprint", next.fingerprint)
	}
}

// next returns the certificate to show from now on: old when nothing has changed.
func (s *Source) next(ctx context.Context, old *shown) (*shown, error) {
	var cert, key, ca []byte
	var err error
	place := s.cfg.Cert
	if place != "" {
		if cert, err = readFile(s.cfg.Cert); err != nil {
			return nil, err
		}
		if key, err = readFile(s.cfg.Key); err != nil {
			return nil, err
		}
	} else if cert, key, ca, place, err = s.own(ctx, old); err != nil {
		return nil, err
	}
	files := bytes.Join([][]byte{cert, key}, []byte{0})
	if old != nil && bytes.Equal(files, old.files) {
		return old, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, unusable(place, err)
	}
	if err := inForce(pair.Leaf, s.cfg.Now()); err != nil {
		return nil, unusable(place, err)
	}
	return &shown{files: files, authority: ca, certificate: &pair, fingerprint: auth.Fingerprint(pair.Leaf.Raw)}, nil
}

// inForce returns why a certificate is not valid now.
func inForce(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return errors.New("it ended on " + c.NotAfter.Format(time.DateOnly))
	case now.Before(c.NotBefore):
		return errors.New("it begins on " + c.NotBefore.Format(time.DateOnly) + ": is the clock right, and was it when this was made?")
	}
	return nil
}

func unusable(file string, err error) error {
	return fault.New(fault.Invalid, "server.bad_certificate", "the certificate in %s cannot be used: %w", file, err).
		WithHint("give a certificate that is valid now, and the key that belongs to it, both as PEM")
}

// maxFileBytes bounds a certificate with its chain.
const maxFileBytes = 1 << 20

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFileBytes {
		err = errors.New("it is too large")
	}
	if err != nil {
		return nil, unusable(path, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, unusable(path, err)
	}
	return data, nil
}
