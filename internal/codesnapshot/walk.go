package codesnapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// treatment is what becomes of a file or folder.
type treatment int

const (
	kept    treatment = iota // it is copied
	linked                   // the copy has a link to it
	leftOut                  // the copy does not have it
)

// named is the treatment of names, wherever they are.
var named = map[string]treatment{
	".git": leftOut, ".hg": leftOut, ".svn": leftOut, ".DS_Store": leftOut,
	// Python makes its cache again. A shared one would go back and forth between versions.
	"__pycache__": leftOut, ".pytest_cache": leftOut, ".mypy_cache": leftOut, ".ruff_cache": leftOut, ".ipynb_checkpoints": leftOut,
	"node_modules": linked,
}

// environments are files by which a folder is known for one of installed packages.
var environments = []string{"pyvenv.cfg", "conda-meta"}

// maxIgnoreFile bounds an IgnoreFile.
const maxIgnoreFile = 64 << 10

// overError says which limit a folder is beyond.
type overError struct{ what string }

func (e *overError) Error() string { return e.what }

// copying is a walk through a folder that copies what it meets; into nothing when to is
// empty, and then files that are as they were in then are not read.
type copying struct {
	s        *Store
	from, to string
	state    string                         // the folder that the copies share with the rest of the state
	ignore   *patternmatcher.PatternMatcher // nil: nothing more
	then     map[string]entry

	index index
	seen  int // entries, also those that are not copied
	bytes int64
}

// compare returns what folder holds now.
func (s *Store) compare(folder string, then index) (index, error) {
	known := make(map[string]entry, len(then))
	for _, e := range then {
		known[e.Path] = e
	}
	c, err := s.walk(folder, "", known)
	if err != nil {
		return nil, err
	}
	return c.index, nil
}

func (s *Store) walk(folder, to string, then map[string]entry) (*copying, error) {
	from, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return nil, err
	}
	c := &copying{s: s, from: from, to: to, then: then}
	if c.state, err = filepath.EvalSymlinks(filepath.Dir(s.dir)); err != nil {
		return nil, err
	}
	if c.ignore, err = ignored(from); err != nil {
		return nil, err
	}
	return c, c.folder(".")
}

// ignored reads the IgnoreFile of a folder.
func ignored(folder string) (*patternmatcher.PatternMatcher, error) {
	f, err := os.Open(filepath.Join(folder, IgnoreFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxIgnoreFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxIgnoreFile {
		return nil, fmt.Errorf("%s has more than %d KiB", IgnoreFile, maxIgnoreFile>>10)
	}
	lines, err := ignorefile.ReadAll(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", IgnoreFile, err)
	}
	m, err := patternmatcher.New(lines)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", IgnoreFile, err)
	}
	return m, nil
}

// folder copies the entries of a folder, which is there already.
func (c *copying) folder(rel string) error {
	entries, err := os.ReadDir(filepath.Join(c.from, rel))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := c.entry(filepath.Join(rel, e.Name()), e); err != nil {
			return err
		}
	}
	return nil
}

func (c *copying) entry(rel string, d fs.DirEntry) error {
	if c.seen++; c.seen > c.s.limits.Files {
		return &overError{fmt.Sprintf("the folder has more than %d files", c.s.limits.Files)}
	}
	how, err := c.treatment(rel, d)
	if err != nil || how == leftOut {
		return err
	}
	if how == linked {
		return c.link(filepath.Join(c.from, rel), rel)
	}
	info, err := d.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted just now
	}
	if err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return c.subfolder(rel, info)
	case mode.IsRegular():
		return c.file(rel, info)
	case mode&fs.ModeSymlink != 0:
		return c.symlink(rel, info)
	default:
		return nil // sockets, pipes and devices are no code
	}
}

// treatment says what is to become of an entry.
func (c *copying) treatment(rel string, d fs.DirEntry) (treatment, error) {
	path := filepath.Join(c.from, rel)
	if how := named[d.Name()]; how != kept {
		return how, nil
	}
	if name := d.Name(); strings.HasSuffix(name, ".swp") || strings.HasSuffix(name, "~") {
		return leftOut, nil // of an editor
	}
	if d.IsDir() {
		if path == c.state {
			return leftOut, nil // the copies themselves are in it
		}
		for _, name := range environments {
			if _, err := os.Lstat(filepath.Join(path, name)); err == nil {
				return linked, nil
			}
		}
	}
	if c.ignore != nil {
		match, err := c.ignore.MatchesOrParentMatches(rel)
		if err != nil {
			return kept, fmt.Errorf("%s: %w", IgnoreFile, err)
		}
		if match {
			return linked, nil
		}
	}
	return kept, nil
}

// link leaves a link to what is not code. It is no part of the content.
func (c *copying) link(original, rel string) error {
	if c.to == "" {
		return nil
	}
	return os.Symlink(original, filepath.Join(c.to, rel))
}

func (c *copying) subfolder(rel string, info fs.FileInfo) error {
	c.index = append(c.index, entry{Path: rel, Mode: info.Mode()})
	if c.to != "" {
		if err := os.Mkdir(filepath.Join(c.to, rel), info.Mode().Perm()|0o700); err != nil {
			return err
		}
	}
	return c.folder(rel)
}

// symlink copies a link; one that leads out of the folder by a relative way is made
// absolute, as the copy is elsewhere.
func (c *copying) symlink(rel string, info fs.FileInfo) error {
	target, err := os.Readlink(filepath.Join(c.from, rel))
	if err != nil {
		return err
	}
	c.index = append(c.index, entry{Path: rel, Mode: info.Mode(), Content: target})
	if c.to == "" {
		return nil
	}
	if !filepath.IsAbs(target) && !filepath.IsLocal(filepath.Join(filepath.Dir(rel), target)) {
		target = filepath.Join(c.from, filepath.Dir(rel), target)
	}
	return os.Symlink(target, filepath.Join(c.to, rel))
}

func (c *copying) file(rel string, info fs.FileInfo) error {
	e := entry{Path: rel, Mode: info.Mode(), Size: info.Size(), Time: info.ModTime()}
	if info.Size() > c.s.limits.File {
		return c.large(e, info)
	}
	if c.bytes += info.Size(); c.bytes > c.s.limits.Bytes {
		return &overError{fmt.Sprintf("the folder has more than %d MB", c.s.limits.Bytes>>20)}
	}
	if was, ok := c.then[rel]; ok && was.Size == e.Size && was.Time.Equal(e.Time) {
		e.Content = was.Content
		c.index = append(c.index, e)
		return nil
	}
	f, err := os.Open(filepath.Join(c.from, rel))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // deleted just now
	case errors.Is(err, fs.ErrPermission): // then nobody who runs here can read it either
		c.index = append(c.index, e)
		return c.link(filepath.Join(c.from, rel), rel)
	case err != nil:
		return err
	}
	defer f.Close()
	// One that grows while it is read is read as far as it was.
	sum := sha256.New()
	if err := c.write(rel, info, io.TeeReader(io.LimitReader(f, info.Size()), sum)); err != nil {
		return err
	}
	e.Content = hex.EncodeToString(sum.Sum(nil))
	c.index = append(c.index, e)
	return nil
}

// large is a file that is too large to copy or to read: its size and time stand for its
// content.
func (c *copying) large(e entry, info fs.FileInfo) error {
	e.Content = fmt.Sprintf("%d bytes of %d", e.Size, e.Time.UnixNano())
	c.index = append(c.index, e)
	if c.to == "" {
		return nil
	}
	original, to := filepath.Join(c.from, e.Path), filepath.Join(c.to, e.Path)
	if err := clone(original, to, info.Mode().Perm()); err != nil {
		return c.link(original, e.Path)
	}
	return os.Chtimes(to, e.Time, e.Time)
}

// write writes a file of the copy; without one it reads only.
func (c *copying) write(rel string, info fs.FileInfo, from io.Reader) error {
	if c.to == "" {
		_, err := io.Copy(io.Discard, from)
		return err
	}
	to := filepath.Join(c.to, rel)
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm()|0o200)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// Python compares the time of a file with that in its cache.
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}
