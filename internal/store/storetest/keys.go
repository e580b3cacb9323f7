package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// keysOf is for stores that keep access keys.
func keysOf(t *testing.T, s store.Store) store.Keys {
	keys, ok := s.(store.Keys)
	if !ok {
		t.Skip("this store keeps no access keys")
	}
	return keys
}

// keyAt is a key that is as old as n says.
func keyAt(name, id string, n int) store.Key {
	return store.Key{
		Name: name, ID: id, Hash: sha256.Sum256([]byte(id)), APIs: []string{"iris", "other"}, Labels: map[string]string{"team": "ä"},
		CreatedBy: "arn:aws:iam::123456789012:user/alice", CreatedAt: time.Date(2026, 1, 2, 3, 4, n, 5, time.UTC), ExpiresAt: time.Date(2027, 1, 2, 3, 4, n, 0, time.UTC),
	}
}

func mustChangeKeys(t *testing.T, keys store.Keys, name string, now ...store.Key) (old []store.Key) {
	t.Helper()
	if err := keys.ChangeKeys(t.Context(), name, func(before []store.Key) ([]store.Key, error) {
		old = before
		return now, nil
	}); err != nil {
		t.Fatalf("ChangeKeys(%s) = %v", name, err)
	}
	return old
}

func wantKeys(t *testing.T, keys store.Keys, want ...store.Key) {
	t.Helper()
	got, err := keys.Keys(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("Keys() = %v (-want +got):\n%s", err, diff)
	}
}

func testKeys(t *testing.T, s store.Store) {
	keys := keysOf(t, s)
	wantKeys(t, keys)
	// Ids are in another order than ages are, and one name begins another.
	first, second, longer := keyAt("mobile", "zzzzzzzz", 1), keyAt("mobile", "aaaaaaaa", 2), keyAt("mobile-2", "bbbbbbbb", 0)
	all := store.Key{Name: "all", ID: "cccccccc", Hash: first.Hash, CreatedAt: first.CreatedAt} // with as little as there can be
	if old := mustChangeKeys(t, keys, "mobile", first); len(old) != 0 {
		t.Errorf("ChangeKeys() of a new name gets %v, want none", old)
	}
	mustChangeKeys(t, keys, "mobile-2", longer)
	mustChangeKeys(t, keys, "all", all)
	if diff := cmp.Diff([]store.Key{first}, mustChangeKeys(t, keys, "mobile", second, first)); diff != "" {
		t.Errorf("ChangeKeys() gets (-want +got):\n%s", diff)
	}
	wantKeys(t, keys, all, first, second, longer)
	changed := first
	changed.ExpiresAt = second.ExpiresAt
	if diff := cmp.Diff([]store.Key{first, second}, mustChangeKeys(t, keys, "mobile", changed)); diff != "" {
		t.Errorf("ChangeKeys() gets other than the oldest first (-want +got):\n%s", diff)
	}
	wantKeys(t, keys, all, changed, longer)
	mustChangeKeys(t, keys, "mobile")
	mustChangeKeys(t, keys, "mobile") // none before, none after
	wantKeys(t, keys, all, longer)
}

func testKeysRefused(t *testing.T, s store.Store) {
	keys := keysOf(t, s)
	kept := keyAt("mobile", "aaaaaaaa", 1)
	mustChangeKeys(t, keys, "mobile", kept)
	no := errors.New("no")
	if err := keys.ChangeKeys(t.Context(), "mobile", func([]store.Key) ([]store.Key, error) { return nil, no }); !errors.Is(err, no) {
		t.Errorf("ChangeKeys() = %v, want the error of fn", err)
	}
	for what, now := range map[string][]store.Key{
		"of another name": {keyAt("other", "bbbbbbbb", 1)},
		"without an id":   {keyAt("mobile", "", 1)},
		"twice":           {keyAt("mobile", "bbbbbbbb", 1), keyAt("mobile", "bbbbbbbb", 2)},
	} {
		err := keys.ChangeKeys(t.Context(), "mobile", func([]store.Key) ([]store.Key, error) { return now, nil })
		wantFault(t, "ChangeKeys() to a key "+what, err, fault.Invalid, store.CodeIllegalName)
	}
	for _, name := range []string{"", "Mobile", "a/b", "a\x00b"} {
		err := keys.ChangeKeys(t.Context(), name, func([]store.Key) ([]store.Key, error) { return nil, nil })
		wantFault(t, fmt.Sprintf("ChangeKeys(%q)", name), err, fault.Invalid, store.CodeIllegalName)
	}
	wantKeys(t, keys, kept)
}

// Each adds one to what there is.
func testKeysTogether(t *testing.T, s store.Store) {
	keys := keysOf(t, s)
	const writers, each = 8, 5
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				for _, name := range []string{"shared", fmt.Sprintf("own-%d", w)} {
					if err := keys.ChangeKeys(t.Context(), name, func(old []store.Key) ([]store.Key, error) {
						return append(old, keyAt(name, fmt.Sprintf("%04d%04d", w, n), n)), nil
					}); err != nil {
						t.Errorf("ChangeKeys(%s) = %v", name, err)
					}
				}
			}
		})
	}
	wg.Wait()
	got, err := keys.Keys(t.Context())
	if err != nil || len(got) != 2*writers*each {
		t.Errorf("Keys() = %d, %v, want %d", len(got), err, 2*writers*each)
	}
}

func testKeysWatched(t *testing.T, s store.Store) {
	keys := keysOf(t, s)
	mustChangeKeys(t, keys, "a", keyAt("a", "aaaaaaaa", 1))
	ctx, cancel := context.WithCancel(within(t))
	told, done := make(chan []store.Key), make(chan error, 1)
	go func() {
		done <- keys.WatchKeys(ctx, func(all []store.Key) {
			select {
			case told <- all:
			case <-ctx.Done():
			}
		})
	}()
	// One that a later change has overtaken may be left out, so that it is waited for.
	await := func(want ...string) {
		t.Helper()
		for {
			select {
			case all := <-told:
				got := []string{}
				for _, k := range all {
					got = append(got, k.ID)
				}
				if fmt.Sprint(got) == fmt.Sprint(want) {
					return
				}
			case <-ctx.Done():
				t.Fatalf("not told of %v", want)
			}
		}
	}
	await("aaaaaaaa")
	mustChangeKeys(t, keys, "b", keyAt("b", "bbbbbbbb", 1))
	await("aaaaaaaa", "bbbbbbbb")
	mustChangeKeys(t, keys, "a")
	await("bbbbbbbb")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("WatchKeys() = %v, want %v", err, context.Canceled)
	}
}

// testKeysReopen is for what is kept after the end of the process.
func testKeysReopen(t *testing.T, open Open) {
	s := open(t)
	if _, ok := s.(store.Keys); !ok {
		closeStore(t, s)
		t.Skip("this store keeps no access keys")
	}
	kept, gone := keyAt("kept", "aaaaaaaa", 1), keyAt("gone", "bbbbbbbb", 1)
	mustChangeKeys(t, keysOf(t, s), "kept", kept)
	mustChangeKeys(t, keysOf(t, s), "gone", gone)
	mustChangeKeys(t, keysOf(t, s), "gone")
	closeStore(t, s)
	s = open(t)
	wantKeys(t, keysOf(t, s), kept)
	closeStore(t, s)
}
