package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"cortex.dev/cortex/internal/fault"
)

// Files of the folder.
const (
	lockFile  = "lock"      // locked while a process uses the folder; holds its pid
	stateFile = "state.db"  // everything else
	oldFolder = "jetstream" // in which earlier versions kept the state
)

// The formats: of a file that has everything, and of one that goes on in a log, which is too
// new for versions that know of none.
const (
	formatVersion = 1
	formatLogged  = 2
)

// Stable codes that are compared.
const (
	codeDiskFull = "store.disk_full"
	codeCorrupt  = "store.corrupt"
)

// Room that must be left on the disk, for others and for the pages that a commit
// copies; what makes the state smaller may come nearer than what makes it grow.
const (
	reserveStart  = 4 << 20
	reserveShrink = 8 << 20
	reserveGrow   = 32 << 20
)

// folderLock is the right to use a state folder. The kernel takes it back when
// the process ends, however it ends.
type folderLock struct{ file *os.File }

// lockFolder creates the folder if need be and takes it for this process.
func lockFolder(dir string) (*folderLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, folderFault(dir, err)
	}
	if info, err := os.Stat(dir); err != nil {
		return nil, folderFault(dir, err)
	} else if !info.IsDir() {
		return nil, folderFault(dir, syscall.ENOTDIR)
	}
	path := filepath.Join(dir, lockFile)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, folderFault(path, err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := holderOf(file)
		_ = file.Close() // the reason for the refusal is already known
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fault.New(fault.Conflict, "store.state_in_use", "the state in %s is in use by %s", dir, holder).
				WithHint("one daemon at a time: stop that one first, or use another folder")
		}
		return nil, folderFault(path, err)
	}
	if err := writeHolder(file); err != nil {
		_ = file.Close() // closing releases the lock
		return nil, folderFault(path, err)
	}
	return &folderLock{file: file}, nil
}

func writeHolder(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func holderOf(file *os.File) string {
	buf := make([]byte, 32)
	n, _ := file.ReadAt(buf, 0) // short by nature; what is not a number is not shown
	if pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n]))); err == nil {
		return fmt.Sprintf("process %d", pid)
	}
	return "another process"
}

// release gives the folder free. The file stays: removing it would let two processes lock two files of the same name. Closing alone would not do: a program
// that this process starts at this very moment may still hold a copy of the file.
func (l *folderLock) release() {
	_ = syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN) // closing is the second chance
	_ = l.file.Close()
}

// refuseOld refuses a folder of a version that kept the state in another way, rather
// than begin with nothing beside it.
func refuseOld(dir string) error {
	old := filepath.Join(dir, oldFolder)
	if _, err := os.Stat(old); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return folderFault(old, err)
	}
	return fault.New(fault.Unavailable, "store.too_old", "the state in %s was written by an earlier version, in a format that this one cannot read", dir).
		WithHint("nothing was changed. Move the folder away (mv %s %s.old), start again and deploy your files again; history and events stay in the old folder, which the earlier version can still read", dir, dir)
}

func tooNew(format int) error {
	return fault.New(fault.Unavailable, "store.too_new", "the state was written by a newer version (format %d, this one knows %d)", format, formatLogged).
		WithHint("install the newer version again, or use another folder")
}

// folderFault says in words what is wrong with a file or folder.
func folderFault(path string, err error) error {
	switch {
	case isDiskFull(err):
		return diskFull(filepath.Dir(path))
	case errors.Is(err, syscall.ENOTDIR):
		return fault.New(fault.Unavailable, "store.not_a_folder", "the state folder %s is not a folder", path).
			WithHint("move that file away, or use another folder")
	case errors.Is(err, syscall.EROFS):
		return fault.New(fault.Unavailable, "store.not_writable", "the state in %s cannot be written: the file system is read-only", path).
			WithHint("mount it for writing, or use another folder")
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Unavailable, "store.not_writable", "the state in %s cannot be read and written by this user (uid %d)", path, os.Getuid()).
			WithHint("was it once started by another user, or with sudo? then: sudo chown -R %d %s", os.Getuid(), path)
	default:
		return fault.New(fault.Unavailable, "store.unreadable", "the state in %s cannot be used: %w", path, err).
			WithHint("check the disk, or use another folder")
	}
}

func corrupt(path, format string, args ...any) error {
	return fault.New(fault.Unavailable, codeCorrupt, "the state is damaged: %s: %s", path, fmt.Sprintf(format, args...)).
		WithHint("nothing was changed. Restore the state folder from a backup, or move it away and deploy your files again")
}

func diskFull(dir string) error {
	return fault.New(fault.Unavailable, codeDiskFull, "the disk that holds %s is full; what was there before is safe, this change was not made", dir).
		WithHint("free at least %d MB on that disk and try again", reserveGrow>>20)
}

// isDiskFull reports whether err means that there is no room.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || fault.Code(err) == codeDiskFull
}
