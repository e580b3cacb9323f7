package bolt

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

const plainText = "hunter2-in-the-clear"

func setSecret(t *testing.T, s *Store, name, value string) {
	t.Helper()
	if _, err := s.SetSecret(t.Context(), name, []byte(value), time.Now()); err != nil {
		t.Fatalf("SetSecret(%s) = %v", name, err)
	}
}

func wantValue(t *testing.T, s *Store, name, want, code string) {
	t.Helper()
	got, err := s.SecretValue(context.Background(), name)
	if got != want || fault.Code(err) != code {
		t.Errorf("SecretValue(%s) = %q, %v (code %q), want %q and code %q", name, got, err, fault.Code(err), want, code)
	}
}

// Nothing below the folder has a value, and a copy of the state without the key gives none.
func TestSecretsAreEncryptedAtRest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	setSecret(t, s, "a", plainText)
	setSecret(t, s, "a", plainText+"2") // the pages of before stay in the file
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{stateFile, secretKeyFile} {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		if err != nil || bytes.Contains(data, []byte(plainText)) {
			t.Errorf("%s has the value in it, or %v", name, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v, want 0600", name, info.Mode(), err)
		}
	}
	wantValue(t, open(t, Config{Dir: dir}), "a", plainText+"2", "")
}

// Without its key nothing but the values is lost: they can be listed and deleted, and the
// rest of the state is as it was.
func TestSecretsWithoutTheirKey(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"lost":      os.Remove,
		"another":   func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte{7}, secretKeyBytes), 0o600) },
		"cut short": func(path string) error { return os.Truncate(path, 9) },
		"a link": func(path string) error {
			if err := os.Rename(path, path+".elsewhere"); err != nil {
				return err
			}
			return os.Symlink(path+".elsewhere", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, Config{Dir: dir})
			setSecret(t, s, "a", plainText)
			path := filepath.Join(dir, secretKeyFile)
			kept, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			const lost = "secrets.key_lost"
			wantValue(t, s, "a", "", lost)
			if _, err := s.SetSecret(t.Context(), "b", []byte("x"), time.Now()); fault.Code(err) != lost || !strings.Contains(err.Error(), path) {
				t.Errorf("SetSecret() = %v, want %s with the file's name", err, lost)
			}
			if all, err := s.Secrets(t.Context()); len(all) != 1 || err != nil {
				t.Errorf("Secrets() = %v, %v, want the one", all, err)
			}
			_ = os.Remove(path) // a link is in the way
			if err := os.WriteFile(path, kept, 0o600); err != nil {
				t.Fatal(err)
			}
			wantValue(t, s, "a", plainText, "") // put back
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := s.DeleteSecret(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			setSecret(t, s, "a", "new") // with a new key
			wantValue(t, s, "a", "new", "")
		})
	}
}

// Who can write the state, and has no key, cannot give one API the secret of another.
func TestSecretsAreBoundToTheirNames(t *testing.T) {
	t.Parallel()
	s := open(t, Config{Dir: t.TempDir()})
	setSecret(t, s, "mine", "a")
	setSecret(t, s, "yours", "b")
	if err := s.update(t.Context(), "swapping", 0, 0, func(t *txn) error {
		data, err := t.get(keySecret + "yours")
		if err != nil {
			return err
		}
		return t.put(keySecret+"mine", bytes.Clone(data))
	}); err != nil {
		t.Fatal(err)
	}
	wantValue(t, s, "mine", "", "secrets.damaged")
	wantValue(t, s, "yours", "b", "")
}

func TestSecretsAreBounded(t *testing.T) {
	t.Parallel()
	s := open(t, Config{Dir: t.TempDir()})
	setSecret(t, s, "last", "x")
	if err := s.update(t.Context(), "filling", 0, 0, func(t *txn) error {
		data, err := t.get(keySecret + "last")
		for i := 1; i < workload.MaxSecrets && err == nil; i++ {
			err = t.put(keySecret+"s"+number(uint64(i)), bytes.Clone(data))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetSecret(t.Context(), "more", []byte("x"), time.Now()); fault.Code(err) != workload.CodeTooManySecrets {
		t.Errorf("SetSecret() with %d others = %v, want %s", workload.MaxSecrets, err, workload.CodeTooManySecrets)
	}
	setSecret(t, s, "last", "y") // one that is there
}
