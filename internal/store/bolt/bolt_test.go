package bolt

import (
	"testing"

	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Open {
		dir := t.TempDir()
		return func(t *testing.T) store.Store { return open(t, Config{Dir: dir}) }
	})
}

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open(%s) = %v", cfg.Dir, err)
	}
	t.Cleanup(func() { _ = s.Close() }) // harmless when it was closed before
	return s
}
