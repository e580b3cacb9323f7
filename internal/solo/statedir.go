package solo

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"cortex.dev/cortex/internal/fault"
)

// secretFolders are those of the state folder in which keys and records are.
var secretFolders = []string{"tls", "store", "audit"}

// makeStateDir makes the state folder, and makes sure that it is this user's alone:
// whoever can write it could replace keys and code. Modes that let others in are
// tightened, and told of; a folder of somebody else is refused, and so is a link in the
// place of a folder with keys.
func makeStateDir(dir string, log *slog.Logger) error {
	refuse := func(err error) error {
		return fault.New(fault.Unavailable, "local.state_dir", "using the state folder: %w", err).
			WithHint("choose a folder that is yours and that you can write, with --state-dir or CORTEX_CLI_CONFIG_DIR")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return refuse(err)
	}
	real, err := filepath.EvalSymlinks(dir) // one may keep it on another disk
	if err != nil {
		return refuse(err)
	}
	if err := keepPrivate(real, log); err != nil {
		return refuse(err)
	}
	for _, name := range secretFolders {
		secret := filepath.Join(real, name)
		entries, err := os.ReadDir(secret)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for _, path := range append([]string{secret}, within(secret, entries)...) {
			if err = errors.Join(err, keepPrivate(path, log)); err != nil {
				return refuse(err)
			}
		}
	}
	return nil
}

func within(dir string, entries []os.DirEntry) []string {
	paths := make([]string, len(entries))
	for i, e := range entries {
		paths[i] = filepath.Join(dir, e.Name())
	}
	return paths
}

// keepPrivate takes from others what they may do with a file or folder of ours.
func keepPrivate(path string, log *slog.Logger) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return errors.New(path + " is neither a folder nor a file")
	}
	if err := ours(path, info); err != nil {
		return err
	}
	mode := info.Mode().Perm()
	if mode&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(path, mode&^0o077); err != nil {
		return err
	}
	log.Warn("others could use what is this user's alone; now they cannot", "path", path, "mode was", mode.String())
	return nil
}

// ours refuses what belongs to another user, unless we are root.
func ours(path string, info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Getuid() && os.Getuid() != 0 {
		return errors.New(path + " belongs to another user")
	}
	return nil
}
