package kube

import (
	"log/slog"
	"testing"

	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/kubetest"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/storetest"
)

// config says where a test may keep state: in two namespaces of its own.
func config(t testing.TB, r *rest.Config) Config {
	t.Helper()
	return Config{REST: r, Namespace: kubetest.Namespace(t, r), SystemNamespace: kubetest.Namespace(t, r), Log: slog.New(slog.DiscardHandler)}
}

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	t.Cleanup(func() { _ = s.Close() }) // never fails
	return s
}

func newState(r *rest.Config) func(t *testing.T) storetest.Open {
	return func(t *testing.T) storetest.Open {
		cfg := config(t, r)
		return func(t *testing.T) store.Store {
			s, err := Open(t.Context(), cfg)
			if err != nil {
				t.Fatalf("Open() = %v", err)
			}
			return s
		}
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	r := kubetest.Config(t)
	kubetest.InstallCRDs(t, r)
	storetest.Run(t, newState(r))
	storetest.RunReplicas(t, newState(r))
}
