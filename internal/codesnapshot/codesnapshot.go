// Package codesnapshot keeps copies of the folders that processes run in, so that a
// version of an API runs the code with which it was deployed, whatever is saved, pulled
// or deleted in the folder since.
//
// It promises that a copy is whole and durable before its name is known, that the same
// content has the same name, and that what it holds is bounded: of a folder beyond
// Limits nothing is copied. What is not code is linked: see Store.Take. It must not know
// which versions there are; who does says what is needed.
package codesnapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/atomicfile"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// IgnoreFile names, in the syntax of .dockerignore, what of its folder is not code.
const IgnoreFile = ".cortexignore"

// Limits bound what is copied of one folder.
type Limits struct {
	Bytes int64 // in all
	Files int   // and folders
	File  int64 // of one file; one that is larger is cloned where the disk can do that, otherwise linked
}

// Bounds of what is copied, which the documentation states.
func Bounds() Limits { return Limits{Bytes: 256 << 20, Files: 10_000, File: 32 << 20} }

// Store holds the copies of one environment. Its methods may be called at once.
type Store struct {
	dir    string
	limits Limits
	log    *slog.Logger

	mu       sync.Mutex
	unneeded map[string]time.Time // since when nobody needs a copy
}

// Open returns the copies in dir, which is created when it is needed. The folder around
// dir is the state of the environment: that is never copied.
func Open(dir string, limits Limits, log *slog.Logger) *Store {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Store{dir: dir, limits: limits, log: log, unneeded: map[string]time.Time{}}
}

// Path is the folder of a copy. It may not be there any more.
func Path(dir, digest string) string { return filepath.Join(dir, digest) }

// Take copies folder, unless this content is kept already.
//
// Links, and modes and times of files are kept. What IgnoreFile names, virtual
// environments, node_modules and files beyond the limit become links to the original.
// Caches and the records of version control are left out. A folder beyond the limits, or
// of which nothing is to be copied, is left alone: the answer has no digest, and says why
// in InPlace.
func (s *Store) Take(folder string) (workload.Code, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return workload.Code{}, cannotKeep(folder, err)
	}
	fresh, err := os.MkdirTemp(s.dir, unfinished+"*")
	if err != nil {
		return workload.Code{}, cannotKeep(folder, err)
	}
	defer os.RemoveAll(fresh) // nothing is there once it has its name
	c, err := s.walk(folder, fresh, nil)
	var over *overError
	switch {
	case errors.As(err, &over):
		return workload.Code{InPlace: over.Error()}, nil
	case err != nil:
		return workload.Code{}, cannotKeep(folder, err)
	}
	if len(c.index) == 0 {
		return workload.Code{InPlace: "nothing in the folder is to be copied"}, nil
	}
	digest := c.index.digest()
	if err := s.finish(fresh, digest, c.index); err != nil {
		return workload.Code{}, cannotKeep(folder, err)
	}
	delete(s.unneeded, digest)
	return workload.Code{Digest: digest, Files: len(c.index), Bytes: c.bytes}, nil
}

// unfinished begins the names of copies that are being made.
const unfinished = ".new-"

// finish gives a copy its name. The record of it comes first: a copy with a name has one.
func (s *Store) finish(fresh, digest string, x index) error {
	record, err := json.Marshal(x)
	if err != nil {
		return err
	}
	if err := atomicfile.Replace(s.record(digest), record); err != nil {
		return err
	}
	if s.has(digest) {
		return nil // with the times of now in its record, so that comparing is quick
	}
	if err := flush(fresh); err != nil {
		return err
	}
	return os.Rename(fresh, Path(s.dir, digest))
}

func (s *Store) record(digest string) string { return Path(s.dir, digest) + ".json" }

// Has reports whether a copy is kept.
func (s *Store) Has(digest string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.has(digest)
}

func (s *Store) has(digest string) bool {
	info, err := os.Stat(Path(s.dir, digest))
	return err == nil && info.IsDir()
}

// Changed reports whether folder has other content than the copy of it. Files with the
// size and the time that they had are taken for unchanged; the others are read. False
// also when that cannot be known: the folder or the record of the copy is gone.
func (s *Store) Changed(folder, digest string) bool {
	text, err := os.ReadFile(s.record(digest))
	if err != nil {
		return false
	}
	var then index
	if json.Unmarshal(text, &then) != nil {
		return false
	}
	if _, err := os.Stat(folder); err != nil {
		return false
	}
	now, err := s.compare(folder, then)
	var over *overError
	if errors.As(err, &over) {
		return true
	}
	return err == nil && now.digest() != digest
}

// Collect removes copies that are not needed, and what a copy that was cut short has
// left. One that was needed less than grace ago stays: replicas may be ending in it.
func (s *Store) Collect(needed map[string]bool, grace time.Duration, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return // there is none yet
	}
	unneeded := map[string]time.Time{}
	for _, e := range entries {
		digest := strings.TrimSuffix(e.Name(), ".json")
		if needed[digest] {
			continue
		}
		since, known := s.unneeded[digest]
		if !known {
			since = now
		}
		if now.Sub(since) < grace {
			unneeded[digest] = since
		} else if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
			s.log.Warn("a copy of code that nobody needs stays", "folder", e.Name(), "error", err)
		}
	}
	s.unneeded = unneeded
}

// index is what a folder held, in the order of a walk.
type index []entry

// entry is one file or folder. Two with the same path, mode and content are the same.
type entry struct {
	Path    string      `json:"path"`
	Mode    fs.FileMode `json:"mode"`              // kind and permissions
	Content string      `json:"content,omitempty"` // digest of a file; what a link leads to
	Size    int64       `json:"size,omitempty"`
	Time    time.Time   `json:"time,omitzero"` // of the last change of a file
}

func (x index) digest() string {
	h := sha256.New()
	for _, e := range x {
		fmt.Fprintf(h, "%q %o %q\n", e.Path, e.Mode, e.Content)
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

func cannotKeep(folder string, err error) error {
	return fault.New(fault.Unexpected, "resources.code_not_copied", "the code in %s could not be copied: %v", folder, err).
		WithHint("make room or mend the permissions, and deploy again; what is deployed is as it was")
}
