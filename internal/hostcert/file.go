package hostcert

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"os"

	"cortex.dev/cortex/internal/fault"
)

// file is a certificate that is given as files.
type file struct {
	pair Pair
	data []byte // of both
	cert *tls.Certificate
	said string // what was wrong with the files when that was said last
}

// maxFileBytes bounds a certificate with its chain.
const maxFileBytes = 1 << 20

// read takes the files as they are now, and reports whether they are others than before.
func (f *file) read() (changed bool, err error) {
	cert, err := readBounded(f.pair.Cert)
	if err != nil {
		return false, unusable(f.pair.Cert, err)
	}
	key, err := readBounded(f.pair.Key)
	if err != nil {
		return false, unusable(f.pair.Key, err)
	}
	data := bytes.Join([][]byte{cert, key}, []byte{0})
	if bytes.Equal(data, f.data) {
		return false, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, unusable(f.pair.Cert+" with "+f.pair.Key, err)
	}
	if len(pair.Leaf.DNSNames) == 0 {
		return false, unusable(f.pair.Cert, errors.New("it has no host name (subject alternative name)"))
	}
	f.data, f.cert = data, &pair
	return true, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = errors.New("it is too large")
	}
	return data, err
}

func unusable(what string, err error) error {
	return fault.New(fault.Invalid, "server.bad_certificate", "the certificate in %s cannot be used: %w", what, err).
		WithHint("give a certificate with its chain and the key that belongs to it, both as PEM")
}
