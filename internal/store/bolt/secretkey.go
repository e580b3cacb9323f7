package bolt

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"cortex.dev/cortex/internal/atomicfile"
	"cortex.dev/cortex/internal/fault"
)

// secretKeyFile holds the key of all secrets, apart from the state: a copy of the state
// alone gives nobody a value. Whoever has both has the values.
const secretKeyFile = "secrets.key"

const secretKeyBytes = 32 // AES-256

// secretKey encrypts and authenticates values, each with its name: one that was moved to
// another name is not opened.
type secretKey struct {
	raw  []byte
	aead cipher.AEAD
}

func newSecretKey(raw []byte) (*secretKey, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &secretKey{raw, aead}, err
}

// id tells keys apart, and says nothing of them.
func (k *secretKey) id() string {
	sum := sha256.Sum256(append([]byte("cortex secrets: which key\x00"), k.raw...))
	return hex.EncodeToString(sum[:8])
}

func bindingOf(name string) []byte { return []byte("cortex secret\x00" + name) }

func (k *secretKey) seal(name string, value []byte) []byte {
	return k.aead.Seal(nil, nil, value, bindingOf(name)) //nolint:gosec // it makes a random nonce itself
}

func (k *secretKey) open(name string, sealed []byte) (string, bool) {
	value, err := k.aead.Open(nil, nil, sealed, bindingOf(name))
	return string(value), err == nil
}

func (s *Store) secretKeyPath() string { return filepath.Join(s.cfg.Dir, secretKeyFile) }

// secretKey returns the key to encrypt with. It is made where no secret needs another:
// there are never secrets of two keys, of which a copy of one would open only some.
func (s *Store) secretKey(ctx context.Context) (*secretKey, error) {
	s.making.Lock()
	defer s.making.Unlock()
	path := s.secretKeyPath()
	key, err := readSecretKey(path)
	if err != nil {
		return nil, err
	}
	all, err := s.Secrets(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) > 0 {
		record, err := s.secretRecord(all[0].Name)
		if err != nil {
			return nil, err
		}
		if key == nil || record.Key != key.id() {
			return nil, otherKey(path)
		}
	}
	if key != nil {
		return key, nil
	}
	raw := make([]byte, secretKeyBytes)
	_, _ = rand.Read(raw) // never fails: it ends the program where there is no randomness
	if err := atomicfile.Replace(path, raw); err != nil {
		return nil, folderFault(path, err)
	}
	return newSecretKey(raw)
}

// readSecretKey returns the key in a file, nil where there is none.
func readSecretKey(path string) (*secretKey, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, folderFault(path, err)
	case !info.Mode().IsRegular() || info.Size() != secretKeyBytes:
		return nil, otherKey(path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, folderFault(path, err)
	}
	return newSecretKey(raw)
}

func otherKey(path string) error {
	return fault.New(fault.Unavailable, "secrets.key_lost", "the secrets cannot be decrypted: %s is missing, or is not the key that they were encrypted with", path).
		WithHint("put that file back; without it the values are lost: delete every secret with cortex secret delete NAME --force, and set them again")
}
