package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// testSecrets is for stores that keep secrets.
func testSecrets(t *testing.T, s store.Store) {
	secrets, ok := s.(store.Secrets)
	if !ok {
		t.Skip("this store keeps no secrets")
	}
	ctx := within(t)
	first, later := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)
	set := func(name, value string, at time.Time, want bool) {
		t.Helper()
		created, err := secrets.SetSecret(ctx, name, []byte(value), at)
		if err != nil || created != want {
			t.Fatalf("SetSecret(%s) = %t, %v, want %t", name, created, err, want)
		}
	}
	list := func(want ...store.Secret) {
		t.Helper()
		got, err := secrets.Secrets(ctx)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("Secrets() = %v (-want +got):\n%s", err, diff)
		}
	}
	list()
	set("hf-token", "one", first, true)
	set("a", "x", first, true)
	set("hf-token", "two\n", later, false)
	list(store.Secret{Name: "a", SetAt: first}, store.Secret{Name: "hf-token", SetAt: later})
	if err := secrets.DeleteSecret(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	wantFault(t, "DeleteSecret(again)", secrets.DeleteSecret(ctx, "a"), fault.NotFound, workload.CodeSecretNotFound)
	list(store.Secret{Name: "hf-token", SetAt: later})
	if values, ok := s.(store.SecretValues); ok {
		if got, err := values.SecretValue(ctx, "hf-token"); got != "two\n" || err != nil {
			t.Errorf("SecretValue() = %q, %v, want the last one", got, err)
		}
		_, err := values.SecretValue(ctx, "a")
		wantFault(t, "SecretValue(deleted)", err, fault.NotFound, workload.CodeSecretNotFound)
	}
}
