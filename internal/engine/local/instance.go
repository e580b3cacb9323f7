package local

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// Instance returns the random name of a state folder, giving it one first. By it
// runtimes recognise, across lives, what was started on behalf of that folder.
func Instance(stateDir string) (string, error) {
	path := filepath.Join(stateDir, "instance")
	raw, err := os.ReadFile(path)
	if name := strings.TrimSpace(string(raw)); err == nil && len(name) == instanceLength {
		return name, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return "", err
	}
	b := make([]byte, instanceLength/2)
	_, _ = rand.Read(b) // never fails
	name := hex.EncodeToString(b)
	fresh := path + "." + name
	if err := os.WriteFile(fresh, []byte(name+"\n"), 0o600); err != nil {
		return "", err
	}
	return name, os.Rename(fresh, path)
}

const instanceLength = 16
