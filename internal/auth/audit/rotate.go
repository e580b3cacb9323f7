package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
)

// maxNumber bounds the numbers of rotated files that are looked at.
const maxNumber = 9999

// resolve makes a path that means the same from everywhere and is no link, so
// that renaming moves the file and not what points to it.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	return real, err
}

// ready makes sure that the file is ours and has room for size more bytes, the
// first of which is needed only when the last line has no end.
func (l *trail) ready(size int, now time.Time) error {
	if l.file == nil {
		return errClosed()
	}
	if since := now.Sub(l.looked); since < 0 || since >= lookEvery {
		l.looked = now
		if moved, err := l.moved(); err != nil || moved {
			if err == nil {
				err = l.reopen()
			}
			if err != nil {
				// The old file is still open: better there than nowhere.
				l.complain(now, "the audit log is not where it was and cannot be opened again", err)
			}
		}
	}
	if !l.torn {
		size--
	}
	if l.size == 0 || l.size+int64(size) <= l.cfg.MaxBytes {
		return nil
	}
	if wait := l.retry.Sub(now); wait <= 0 || wait > lookEvery {
		err := l.rotate()
		if err == nil {
			l.retry = time.Time{}
			return nil
		}
		l.retry = now.Add(lookEvery)
		l.complain(now, "the audit log cannot be rotated", err)
	}
	if l.size+int64(size) > 2*l.cfg.MaxBytes {
		return errors.New("it is full and cannot be rotated")
	}
	return nil
}

// moved reports whether the path no longer names the file that is open. When it
// does, the size is taken from there: somebody may have emptied the file.
func (l *trail) moved() (bool, error) {
	named, err := os.Stat(l.cfg.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	open, err := l.file.Stat()
	if err != nil {
		return false, err
	}
	l.size = open.Size()
	return !os.SameFile(named, open), nil
}

// reopen opens the path and lets go of what was open before.
func (l *trail) reopen() error {
	file, size, torn, err := openFile(l.cfg.Path)
	if err != nil {
		return err
	}
	if l.file != nil {
		_ = l.file.Close() // every line was handed over already
	}
	l.file, l.size, l.torn = file, size, torn
	return nil
}

// openFile opens a file for appending, and says how long it is and whether its
// last line was cut when an earlier process died.
func openFile(path string) (file *os.File, size int64, torn bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, 0, false, err
	}
	// Before it is opened: opening a pipe waits for who reads it.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, 0, false, fault.New(fault.Invalid, "audit.not_a_file", "the audit log %s is not a file", path).
			WithHint("name a file, or - for the standard output")
	}
	file, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, false, err
	}
	info, err := file.Stat()
	if err == nil && info.Size() > 0 {
		last := make([]byte, 1)
		if _, err = file.ReadAt(last, info.Size()-1); err == nil {
			torn = last[0] != '\n'
		}
	}
	if err != nil {
		_ = file.Close() // the reason is known already
		return nil, 0, false, err
	}
	return file, info.Size(), torn, nil
}

// rotate makes the file path.1 and begins a new one. Every step is one rename of
// a whole file to a higher number, and the oldest goes only when there is no free
// number: wherever it is interrupted, no line is lost or doubled, and the next
// rotation fills the gap.
func (l *trail) rotate() error {
	moved, err := l.moved()
	if err != nil {
		return err
	}
	if !moved {
		free := 1
		for free < l.cfg.Keep && exists(numbered(l.cfg.Path, free)) {
			free++
		}
		for n := free; n > 1; n-- {
			if err := os.Rename(numbered(l.cfg.Path, n-1), numbered(l.cfg.Path, n)); err != nil {
				return err
			}
		}
		if err := os.Rename(l.cfg.Path, numbered(l.cfg.Path, 1)); err != nil {
			return err
		}
	}
	return l.reopen()
}

// prune removes rotated files past the number that is kept, which a greater Keep
// of an earlier life has left.
func prune(path string, keep int) {
	for _, n := range numbers(path) {
		if n > keep {
			_ = os.Remove(numbered(path, n)) // the next start tries again
		}
	}
}

// numbers returns the numbers of the rotated files of path.
func numbers(path string) (found []int) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil // whoever opens the files will say why
	}
	for _, entry := range entries {
		text, ok := strings.CutPrefix(entry.Name(), filepath.Base(path)+".")
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(text); err == nil && n > 0 && n <= maxNumber && strconv.Itoa(n) == text {
			found = append(found, n)
		}
	}
	return found
}

func numbered(path string, n int) string { return path + "." + strconv.Itoa(n) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
