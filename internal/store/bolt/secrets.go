package bolt

import (
	"context"
	"encoding/json"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

var (
	_ store.Secrets      = (*Store)(nil)
	_ store.SecretValues = (*Store)(nil)
)

// secretRecord is a secret on the disk.
type secretRecord struct {
	SetAt  time.Time `json:"set_at"`
	Key    string    `json:"key"`    // which key it was encrypted with
	Sealed []byte    `json:"sealed"` // the value, encrypted and bound to the name
}

// SetSecret encrypts a value and writes it.
func (s *Store) SetSecret(ctx context.Context, name string, value []byte, at time.Time) (created bool, _ error) {
	key, err := s.secretKey(ctx)
	if err != nil {
		return false, err
	}
	data, err := json.Marshal(secretRecord{SetAt: at.UTC(), Key: key.id(), Sealed: key.seal(name, value)})
	if err != nil {
		return false, err
	}
	err = s.update(ctx, "writing the secret "+name, len(data), reserveGrow, func(t *txn) error {
		old, err := t.get(keySecret + name)
		if err != nil {
			return err
		}
		if created = old == nil; created && len(t.keys(keySecret)) >= workload.MaxSecrets {
			return refusal{fault.New(fault.Conflict, workload.CodeTooManySecrets, "there are %d secrets, the most that there may be", workload.MaxSecrets).
				WithHint("delete those that nobody uses: cortex secret list shows them")}
		}
		return t.put(keySecret+name, data)
	})
	return created, err
}

// Secrets returns what is known of every secret.
func (s *Store) Secrets(context.Context) (all []store.Secret, _ error) {
	err := s.view(func(r *reader) error {
		return r.scan(keySecret, keySecret, func(key, data []byte) (bool, error) {
			var record secretRecord
			if err := json.Unmarshal(data, &record); err != nil {
				return false, corrupt(s.path, "the secret %q cannot be read: %v", key, err)
			}
			all = append(all, store.Secret{Name: string(key[len(keySecret):]), SetAt: record.SetAt})
			return true, nil
		})
	})
	return all, err
}

// SecretValue decrypts a value.
func (s *Store) SecretValue(_ context.Context, name string) (string, error) {
	record, err := s.secretRecord(name)
	if err != nil {
		return "", err
	}
	key, err := readSecretKey(s.secretKeyPath())
	if err != nil {
		return "", err
	}
	if key == nil || record.Key != key.id() {
		return "", otherKey(s.secretKeyPath())
	}
	value, ok := key.open(name, record.Sealed)
	if !ok {
		return "", fault.New(fault.Unavailable, "secrets.damaged", "the secret %s is damaged: it is not what was encrypted under that name", name).
			WithHint("set it again: cortex secret set %s", name)
	}
	return value, nil
}

func (s *Store) secretRecord(name string) (record secretRecord, _ error) {
	err := s.view(func(r *reader) error {
		data, err := r.get(keySecret + name)
		switch {
		case err != nil:
			return err
		case data == nil:
			return store.NoSecret(name)
		}
		if err := json.Unmarshal(data, &record); err != nil {
			return corrupt(s.path, "the secret %s cannot be read: %v", name, err)
		}
		return nil
	})
	return record, err
}

// DeleteSecret forgets a secret, also one that cannot be decrypted any more.
func (s *Store) DeleteSecret(ctx context.Context, name string) error {
	return s.update(ctx, "deleting the secret "+name, 0, reserveShrink, func(t *txn) error {
		old, err := t.get(keySecret + name)
		if err != nil {
			return err
		}
		if old == nil {
			return refusal{store.NoSecret(name)}
		}
		return t.remove(keySecret + name)
	})
}
