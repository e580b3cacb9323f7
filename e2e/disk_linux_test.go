package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// cmdTinyDisk mounts a small disk until the end of the script: tinydisk DIR BYTES.
// "tinydisk -fill DIR" takes what is left of it, "tinydisk -free DIR" gives it
// back, "tinydisk -ro DIR" and "tinydisk -rw DIR" change whether it can be written.
func cmdTinyDisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tinydisk [-fill|-free|-ro|-rw] DIR, or tinydisk DIR BYTES")
	}
	switch args[0] {
	case "-fill":
		ts.Check(fill(filepath.Join(ts.MkAbs(args[1]), "ballast")))
	case "-free":
		ts.Check(os.Remove(filepath.Join(ts.MkAbs(args[1]), "ballast")))
	case "-ro":
		ts.Check(unix.Mount("", ts.MkAbs(args[1]), "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	case "-rw":
		ts.Check(unix.Mount("", ts.MkAbs(args[1]), "", unix.MS_REMOUNT, ""))
	default:
		dir := ts.MkAbs(args[0])
		ts.Check(os.MkdirAll(dir, 0o700))
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1]+",mode=0700"); err != nil {
			ts.Fatalf("mounting a small disk: %v", err)
		}
		ts.Defer(func() {
			for range 50 { // a daemon of a failed script may still use it
				if unix.Unmount(dir, unix.MNT_DETACH) == nil {
					return
				}
			}
		})
	}
}

// fill writes until the disk is full.
func fill(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, size := range []int{1 << 16, 1} {
		block := make([]byte, size)
		for {
			_, err := f.Write(block)
			if errors.Is(err, unix.ENOSPC) {
				break
			}
			if err != nil {
				return fmt.Errorf("filling the disk: %w", err)
			}
		}
	}
	return nil
}
