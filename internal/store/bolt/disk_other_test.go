//go:build !linux

package bolt

import (
	"testing"
)

func smallDisk(t *testing.T) (dir string, fill func() (empty func())) {
	t.Helper()
	t.Skip("mounting a small file system is only known for Linux here")
	return "", nil
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	if !ok() {
		t.Fatal("not at once")
	}
}
