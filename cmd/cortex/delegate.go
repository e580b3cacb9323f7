package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"cortex.dev/cortex/internal/fault"
)

// delegate becomes the program cortex-install beside this one, with the same
// arguments; see its package comment.
func delegate(context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	program := filepath.Join(filepath.Dir(self), "cortex-install")
	err = syscall.Exec(program, append([]string{program}, os.Args[1:]...), os.Environ()) //nolint:gosec // the program beside this one, with the user's own words
	return fault.New(fault.Unsupported, "cli.no_cluster_program", "running %s: %w", program, err).
		WithHint("commands for Kubernetes clusters need that program beside this one; a release has both")
}
