//go:build !linux

package cli

// runInTerminal is called by scripts for Linux only.
func runInTerminal() {}
