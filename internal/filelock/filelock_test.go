package filelock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestLockIsHeldByOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(t.Context(), path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Lock(ended, path, os.O_RDWR); !errors.Is(err, context.Canceled) {
		t.Errorf("Lock of a held file = %v, want to wait until the context ends", err)
	}
	unlock()
	if again, err := Lock(ended, path, os.O_RDWR); err != nil {
		t.Errorf("Lock of a free file = %v, want it at once", err)
	} else {
		again()
	}
	if _, err := Lock(t.Context(), path+"/none", os.O_RDWR); err == nil {
		t.Error("Lock of a file that cannot be opened = nil, want an error")
	}
}
