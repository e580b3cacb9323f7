package nats

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

// Files of the folder that are ours; everything else is below jetstream/.
const (
	lockFile   = "lock"   // locked while a process uses the folder; holds its pid
	formatFile = "format" // written once the streams exist; holds formatVersion
	sharedFile = "shared" // written once those of what replicas share exist
	streamsDir = "jetstream/$G/streams"
)

const formatVersion = 1

// Room that must be left on the disk. The server stops working altogether when a
// write of its own hits the end of the disk, so it is never let near it; what
// makes the state smaller may come nearer than what makes it grow.
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

// release gives the folder free; without one there is nothing to do. The file stays: removing it would let two
// processes lock two files of the same name. Closing alone would not do: a program
// that this process starts at this very moment may still hold a copy of the file.
func (l *folderLock) release() {
	if l == nil {
		return
	}
	_ = syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN) // closing is the second chance
	_ = l.file.Close()
}

// mark notes in a file that a part of the state was set up, so that its absence is
// noticed later.
func (s *Store) mark(file string) error {
	if s.cfg.external() {
		return nil
	}
	path := filepath.Join(s.cfg.Dir, file)
	if err := writeDurably(path, []byte(strconv.Itoa(formatVersion)+"\n")); err != nil {
		return folderFault(path, err)
	}
	return nil
}

// clearHalfMade removes the descriptions of streams that were being made when an
// earlier life ended, because the server does not finish them. Nothing was ever
// written to such a stream; one that holds something is left, and refused.
func (s *Store) clearHalfMade(known found) error {
	if s.cfg.external() {
		return nil
	}
	var unsure []string
	if !known.workloads {
		unsure = append(unsure, streamWorkloads, streamHistory, streamEvents)
	}
	if !known.shared {
		unsure = append(unsure, streamShared)
	}
	if !known.claims {
		unsure = append(unsure, streamClaims)
	}
	for _, stream := range unsure {
		path := filepath.Join(s.cfg.Dir, filepath.FromSlash(streamsDir), stream)
		err := inspectDescription(path, stream)
		if _, gone := os.Stat(path); err == nil || errors.Is(gone, fs.ErrNotExist) {
			continue
		}
		blocks, _ := os.ReadDir(filepath.Join(path, "msgs")) // none yet is likely
		for _, block := range blocks {
			if info, unseen := block.Info(); filepath.Ext(block.Name()) == ".blk" && (unseen != nil || info.Size() > 0) {
				return err
			}
		}
		if err := os.RemoveAll(path); err != nil {
			return folderFault(path, err)
		}
	}
	return nil
}

func writeDurably(path string, data []byte) error {
	part := path + ".part"
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// readFormat says whether the folder was set up before, and refuses a future one.
func readFormat(dir string) (known bool, _ error) {
	path := filepath.Join(dir, formatFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, folderFault(path, err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(data)))
	switch {
	case err != nil:
		return false, corrupt(path, "it should hold a number")
	case version > formatVersion:
		return false, fault.New(fault.Unavailable, "store.too_new", "the state in %s was written by a newer version (format %d, this one knows %d)", dir, version, formatVersion).
			WithHint("install the newer version again, or use another folder")
	}
	return true, nil
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
	return fault.New(fault.Unavailable, "store.disk_full", "the disk that holds %s is full; what was there before is safe, this change was not made", dir).
		WithHint("free at least %d MB on that disk and try again", reserveGrow>>20)
}

// isDiskFull reports whether err means that there is no room. The server hands its
// errors on as text.
func isDiskFull(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		strings.Contains(text, "no space left") || strings.Contains(text, "insufficient resources") ||
		strings.Contains(text, "insufficient storage")
}

// room fails with store.disk_full unless size and the reserve fit on the disk. The
// disk of a server that others run is theirs.
func (s *Store) room(size int, reserve uint64) error {
	if s.cfg.external() {
		return nil
	}
	free, err := s.cfg.free(s.cfg.Dir)
	if err != nil {
		return folderFault(s.cfg.Dir, err)
	}
	if free < reserve+uint64(size) {
		return diskFull(s.cfg.Dir)
	}
	return nil
}
