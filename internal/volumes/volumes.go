// Package volumes keeps the folders that containers on one machine mount: named ones,
// which outlive what uses them, and folders that the machine has anyway.
//
// It promises that a kept volume is deleted by Delete only, and not while a replica has
// it; and that a folder of the machine is given away only where the owner allows it, by
// its real path, and never what belongs to this program or to Docker. It must not know
// APIs, policies or how a folder gets into a container.
package volumes

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Config says what there is to give.
type Config struct {
	Dir string // where named volumes are kept; made when the first one is
	// Allowed are the folders of the machine that may be mounted, with what is in them, by
	// their real paths. Nil: every folder that this user can read, for callers who are this
	// user.
	Allowed []string
	// Private is never mounted, nor what is above or below it.
	Private []string
}

// Volumes keeps volumes. Its methods may be called at once.
type Volumes struct {
	cfg Config

	mu   sync.Mutex
	used map[string]int // by how many holders
}

// New returns volumes, and changes nothing yet.
func New(cfg Config) *Volumes { return &Volumes{cfg: cfg, used: map[string]int{}} }

// doomed begins the names of folders that are being deleted: no volume's does.
const doomed = ".deleted-"

// Use returns the folder of a named volume, making it first where there is none, and
// keeps it from being deleted until release is called.
func (v *Volumes) Use(name string) (path string, release func(), err error) {
	if !workload.IsVolumeName(name) {
		return "", nil, notThere(name)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	path = filepath.Join(v.cfg.Dir, name)
	if err := v.make(path); err != nil {
		return "", nil, err
	}
	v.used[name]++
	return path, sync.OnceFunc(func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.used[name]--; v.used[name] == 0 {
			delete(v.used, name)
		}
	}), nil
}

// make makes the folder of a volume, open to whatever user a container has, in one that
// only this user can enter.
func (v *Volumes) make(path string) error {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return nil
	}
	all, err := v.List()
	if err == nil && len(all) >= workload.MaxVolumes {
		return fault.New(fault.Conflict, workload.CodeTooManyVolumes, "there are %d volumes already, and no more are kept", len(all)).
			WithHint("delete those that nothing needs: cortex volume list shows who uses them")
	}
	if err == nil {
		err = os.MkdirAll(v.cfg.Dir, 0o700)
	}
	if err == nil {
		err = os.Mkdir(path, 0o700)
	}
	if err == nil {
		err = os.Chmod(path, 0o777) //nolint:gosec // within a folder of mode 0700
	}
	if err != nil {
		return fault.New(fault.Unavailable, workload.CodeVolumeFailed, "the folder of the volume cannot be made: %w", err).
			WithHint("let this user write to %s, and make room on its disk", v.cfg.Dir)
	}
	return nil
}

// List returns the names of the volumes there are, in order.
func (v *Volumes) List() ([]string, error) {
	entries, err := os.ReadDir(v.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Unavailable, workload.CodeVolumeFailed, "reading which volumes there are: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && workload.IsVolumeName(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Path is where a volume is.
func (v *Volumes) Path(name string) string { return filepath.Join(v.cfg.Dir, name) }

// Delete deletes a volume that nobody has. It is gone as a whole or not at all; what
// containers left as other users, which this user cannot remove, is named.
func (v *Volumes) Delete(name string) error {
	if !workload.IsVolumeName(name) {
		return notThere(name)
	}
	away, err := v.putAway(name)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(away); err != nil { // takes long, and nobody waits for it
		return fault.New(fault.Unavailable, workload.CodeVolumeFailed, "the volume %s is deleted, but files of it are left that only their owner can remove: %w", name, err).
			WithHint("remove the rest: sudo rm -r %s", away)
	}
	return nil
}

// putAway takes a volume out of those there are, and returns where it is then.
func (v *Volumes) putAway(name string) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.used[name] > 0 {
		return "", fault.New(fault.Conflict, workload.CodeVolumeInUse, "replicas have the volume %s", name).
			WithHint("wait until they have ended, and try again")
	}
	away := filepath.Join(v.cfg.Dir, doomed+name+"-"+rand.Text()[:8])
	err := os.Rename(v.Path(name), away)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", notThere(name)
	case err != nil:
		return "", fault.New(fault.Unavailable, workload.CodeVolumeFailed, "deleting the volume %s: %w", name, err)
	}
	return away, nil
}

func notThere(name string) error {
	return fault.New(fault.NotFound, workload.CodeVolumeNotFound, "there is no volume %s", name).
		WithHint("cortex volume list shows which there are")
}

// Folder returns the real path of a folder of the machine that may be mounted. A relative
// one is in base, where that is known.
func (v *Volumes) Folder(path, base string) (string, error) {
	asked := workload.HostPathIn(base, path)
	if !filepath.IsAbs(asked) || v.cfg.Allowed != nil && asked != path {
		return "", refused(path, "is not the whole path of a folder of the machine that runs the APIs", "write it from / on")
	}
	real, err := filepath.EvalSymlinks(asked)
	if v.cfg.Allowed != nil && (err != nil || !v.allowed(real)) {
		// Whether there is such a folder is nothing that callers elsewhere are told.
		return "", refused(path, "is not in a folder of which this server lets APIs mount", "ask whoever runs it to allow the folder (cortex server --host-paths)")
	}
	var dir *os.File
	if err == nil {
		dir, err = os.Open(real) // a volume is no way to what this user cannot read
	}
	if err != nil {
		hint := "correct the path, or make the folder"
		if errors.Is(err, fs.ErrPermission) {
			hint = "let this user read it"
		}
		return "", fault.New(fault.Invalid, workload.CodeNoHostFolder, "there is no folder %s that can be read: %w", asked, unwrapped(err)).WithHint("%s", hint)
	}
	defer dir.Close()
	info, err := dir.Stat()
	switch {
	case err != nil || !info.IsDir():
		return "", fault.New(fault.Invalid, workload.CodeNoHostFolder, "%s is not a folder", asked).WithHint("mount the folder that it is in")
	case v.cfg.Allowed != nil && real != path:
		// One folder has one name, which is what policies are asked about.
		return "", refused(path, "leads elsewhere, by a symbolic link", "write where it leads: "+real)
	}
	for _, private := range append(slices.Clone(v.cfg.Private), system...) {
		if p, err := filepath.EvalSymlinks(private); err == nil && (within(real, p) || within(p, real)) {
			return "", refused(path, "has, or is part of, what APIs must not get: "+private, "mount a folder that has only the files that are needed")
		}
	}
	return real, nil
}

// system is where the machine has its devices and sockets: reading is enough to use those.
var system = []string{"/dev", "/proc", "/sys", "/run"}

func refused(path, why, hint string) error {
	return fault.New(fault.Invalid, workload.CodeHostFolder, "%s %s", path, why).WithHint("%s", hint)
}

// unwrapped is an error without the operation and the path that it was about.
func unwrapped(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

func (v *Volumes) allowed(real string) bool {
	return slices.ContainsFunc(v.cfg.Allowed, func(folder string) bool {
		folder, err := filepath.EvalSymlinks(folder)
		return err == nil && within(real, folder)
	})
}

// within reports whether path is folder or in it; both are clean.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// Sweep finishes what was being deleted when the program ended.
func (v *Volumes) Sweep() error {
	entries, err := os.ReadDir(v.cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), doomed) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(v.cfg.Dir, e.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("removing volumes that were deleted: %w", err)
	}
	return nil
}
