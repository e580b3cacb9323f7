package bolt

import (
	"fmt"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// The bound is of all names together, and nobody is kept from having fewer.
func TestKeysAreBounded(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	keys := func(name string, n int) []store.Key {
		list := make([]store.Key, n)
		for i := range list {
			list[i] = store.Key{Name: name, ID: fmt.Sprintf("%s-%d", name, i), CreatedAt: time.Unix(int64(i), 0)}
		}
		return list
	}
	change := func(name string, n int) error {
		return s.ChangeKeys(t.Context(), name, func([]store.Key) ([]store.Key, error) { return keys(name, n), nil })
	}
	if err := change("many", workload.MaxKeys-1); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		n    int
		code string
	}{
		{"b", 2, workload.CodeTooManyKeys},
		{"b", 1, ""},
		{"b", 1, ""},
		{"c", 1, workload.CodeTooManyKeys},
		{"b", 0, ""},
		{"c", 1, ""},
	} {
		if err := change(tt.name, tt.n); fault.Code(err) != tt.code {
			t.Errorf("ChangeKeys(%s) to %d = %v, want code %q", tt.name, tt.n, err, tt.code)
		}
	}
}
