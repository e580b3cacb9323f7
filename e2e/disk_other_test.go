//go:build !linux

package e2e

import "github.com/rogpeppe/go-internal/testscript"

// cmdTinyDisk needs mounts that only Linux has; scripts that use it are for Linux.
func cmdTinyDisk(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("a small disk can be mounted on Linux only")
}
