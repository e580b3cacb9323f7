package login

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/awscreds"
)

// session is the content of a session file. The Python client reads and writes
// the same.
type session struct {
	Version     int             `json:"version"`
	Endpoint    string          `json:"endpoint"`
	ClusterID   string          `json:"cluster_id"`
	Token       awscreds.Secret `json:"token"`
	ExpiresAt   time.Time       `json:"expires_at"`
	Principal   auth.Principal  `json:"principal"`
	AccessKeyID string          `json:"access_key_id"`
}

const (
	sessionVersion  = 1
	maxSessionBytes = 64 << 10
	maxTokenBytes   = 16 << 10
	maxEntries      = 10_000 // of the folder, looked at when it is tidied
	staleTemporary  = time.Hour
)

// Names in the folder; whatever else is in it is left alone.
var (
	sessionName = auth.Pattern(`^([0-9a-f]{64})\.json$`)
	lockName    = auth.Pattern(`^([0-9a-f]{64})\.lock$`)
)

const temporaryPrefix = ".session-"

// tokenShape is what can stand in an Authorization header.
var tokenShape = auth.Pattern(`^[A-Za-z0-9._~+/=-]+$`)

func isToken(s string) bool { return len(s) <= maxTokenBytes && tokenShape().MatchString(s) }

func (l *Login) sessionFile(key string) string { return filepath.Join(l.dir, key+".json") }
func (l *Login) lockFile(key string) string    { return filepath.Join(l.dir, key+".lock") }

// parseSession reads the content of a session file.
func parseSession(data []byte) (session, error) {
	var s session
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&s); err != nil {
		return session{}, errors.New("it is damaged") // the decoder would quote it
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return session{}, errors.New("it has something behind its end")
	}
	switch {
	case s.Version != sessionVersion:
		return session{}, fmt.Errorf("it is of version %d", s.Version)
	case !isToken(s.Token.Text()):
		return session{}, errors.New("its token is malformed")
	case s.Endpoint == "" || s.ExpiresAt.IsZero():
		return session{}, errors.New("it is not complete")
	}
	return s, nil
}

// readSession reads a session file that nobody else can have written or read: a
// regular file, ours, without a bit for group and others.
func readSession(path string) (session, error) {
	f, info, err := openRegular(path)
	if err != nil {
		return session{}, err
	}
	defer f.Close()
	stat := unix.Stat_t{}
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return session{}, err
	}
	if int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
		return session{}, errors.New("it is not private")
	}
	return decodeSession(f)
}

// openRegular opens a file that is no link, no pipe and no device.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func decodeSession(r io.Reader) (session, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSessionBytes+1))
	switch {
	case err != nil:
		return session{}, err
	case len(data) > maxSessionBytes:
		return session{}, errors.New("it is too large")
	}
	return parseSession(data)
}

// save makes s the session of key: readers see the old file or the new one. The
// caller holds the lock of key.
func (l *Login) save(key string, s session) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing the session: %w", err)
	}
	f, err := os.CreateTemp(l.dir, temporaryPrefix) // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(data, '\n'))
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), l.sessionFile(key))
	}
	if err == nil {
		l.tidy()
	}
	return err
}

// tidy removes what is of no more use in the folder: expired sessions, locks
// without a session that nobody holds, and files that a killed process left
// half-written. What it cannot remove stays.
func (l *Login) tidy() {
	names := map[string]bool{}
	for _, e := range entriesOf(l.dir) {
		names[e.Name()] = true
		switch {
		case sessionName().MatchString(e.Name()):
			path := filepath.Join(l.dir, e.Name())
			if s, err := readSession(path); err == nil && !s.ExpiresAt.After(l.now()) && os.Remove(path) == nil {
				delete(names, e.Name())
			}
		case strings.HasPrefix(e.Name(), temporaryPrefix):
			if info, err := e.Info(); err == nil && l.now().Sub(info.ModTime()) > staleTemporary {
				_ = os.Remove(filepath.Join(l.dir, e.Name()))
			}
		}
	}
	for name := range names {
		if m := lockName().FindStringSubmatch(name); m != nil && !names[m[1]+".json"] {
			removeLock(filepath.Join(l.dir, name))
		}
	}
}

// entriesOf lists a folder, bounded. One that cannot be read has none.
func entriesOf(dir string) []fs.DirEntry {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	entries, _ := f.ReadDir(maxEntries)
	return entries
}

// Forget removes the sessions of an operator that are kept in dir, whichever
// credentials they were made with, and says how many. A folder that does not exist
// has none.
func Forget(dir, endpoint string) (int, error) {
	if _, err := os.Stat(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("looking for sessions: %w", err)
	}
	removed, failed := 0, error(nil)
	for _, e := range entriesOf(dir) {
		m := sessionName().FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		path := filepath.Join(dir, e.Name())
		f, _, err := openRegular(path)
		if err != nil {
			continue
		}
		s, err := decodeSession(f) // also one that is not private: it must go all the more
		f.Close()
		if err != nil || s.Endpoint != endpoint {
			continue
		}
		switch err := os.Remove(path); {
		case err == nil:
			removed++
			removeLock(filepath.Join(dir, m[1]+".lock"))
		case !errors.Is(err, fs.ErrNotExist):
			failed = fmt.Errorf("removing a session: %w", err)
		}
	}
	return removed, failed
}
