//go:build !linux

package main

import "syscall"

// residentOf is the most memory that a process had, or one that it has waited for.
func residentOf(u *syscall.Rusage) int64 { return u.Maxrss }
