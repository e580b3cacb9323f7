package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

// maxLine is the longest line that is read, its end included.
const maxLine = 64 << 10

// inFlight is how many entries are held back to be put in order of time: requests
// that are decided at once are written in any order.
const inFlight = 256

// Read calls fn with each kept entry that q selects, oldest first, and returns
// fn's error when it has one. What is written meanwhile may be left out. Lines
// that cannot be read are left out; Damaged counts them.
func (l *Log) Read(ctx context.Context, q auth.AuditQuery, fn func(auth.Entry) error) error {
	if l.allowed.out != nil {
		return fault.New(fault.Unsupported, "audit.not_kept", "the audit log goes to the standard output and is not kept here").
			WithHint("look in the journal of the operator, such as journalctl -u cortex or kubectl logs")
	}
	sel := selectionOf(q, l.cfg.Now())
	_, err := merge(ctx, []source{l.allowed.source(sel), l.refused.source(sel)}, fn)
	return err
}

// ReadFile does what Read does for a file that no process of ours need have open,
// and for the rotated files and the refusals beside it. It also returns how many lines
// it left out. Without any such file it returns fault.NotFound, code audit.no_file.
func ReadFile(ctx context.Context, path string, q auth.AuditQuery, fn func(auth.Entry) error) (damaged int, err error) {
	sel := selectionOf(q, time.Now())
	sources := []source{files(path, sel)}
	if denied := deniedPath(path); exists(denied) {
		sources = append(sources, files(denied, sel))
	}
	return merge(ctx, sources, fn)
}

// source calls fn with entries in order of time, and returns how many lines it left out.
type source func(ctx context.Context, fn func(auth.Entry) error) (damaged int, err error)

// files is what a file and its rotated ones have.
func files(path string, sel selection) source {
	return func(ctx context.Context, fn func(auth.Entry) error) (int, error) { return read(ctx, path, sel, fn) }
}

func (l *trail) source(sel selection) source {
	return func(ctx context.Context, fn func(auth.Entry) error) (int, error) {
		damaged, err := read(ctx, l.cfg.Path, sel, fn)
		if damaged > 0 {
			l.mu.Lock()
			l.damaged += damaged
			l.mu.Unlock()
			l.cfg.Log.Warn("lines of the audit log cannot be read and were left out", "path", l.cfg.Path, "lines", damaged)
		}
		return damaged, err
	}
}

var errEnough = errors.New("nobody reads on")

// merge calls fn with what all sources have, in order of time.
func merge(ctx context.Context, sources []source, fn func(auth.Entry) error) (damaged int, err error) {
	type head struct {
		auth.Entry
		next func() (auth.Entry, bool)
	}
	errs := make([]error, len(sources))
	var heads []head
	for i, from := range sources {
		next, stop := iter.Pull(func(yield func(auth.Entry) bool) {
			n, err := from(ctx, func(e auth.Entry) error {
				if !yield(e) {
					return errEnough
				}
				return nil
			})
			damaged += n
			if !errors.Is(err, errEnough) {
				errs[i] = err
			}
		})
		defer stop()
		if e, ok := next(); ok {
			heads = append(heads, head{e, next})
		}
	}
	for len(heads) > 0 && errors.Join(errs...) == nil {
		first := 0
		for i := range heads {
			if heads[i].Time.Before(heads[first].Time) {
				first = i
			}
		}
		if err := fn(heads[first].Entry); err != nil {
			return damaged, err
		}
		var ok bool
		if heads[first].Entry, ok = heads[first].next(); !ok {
			heads = slices.Delete(heads, first, first+1)
		}
	}
	return damaged, errors.Join(errs...)
}

func read(ctx context.Context, path string, sel selection, fn func(auth.Entry) error) (damaged int, err error) {
	files, err := openAll(path, openRegular)
	if err != nil {
		return 0, err
	}
	defer func() {
		for _, f := range files {
			_ = f.Close() // only read
		}
	}()
	order := &window{fn: fn}
	for _, f := range files {
		n, err := readLines(ctx, io.LimitReader(f, f.size), func(e auth.Entry) error {
			if !sel.has(e) {
				return nil
			}
			return order.add(e)
		})
		damaged += n
		if err != nil {
			return damaged, err
		}
	}
	return damaged, order.flush()
}

// kept is one file, as long as it was when all were open: a busy log must not keep
// its reader for ever.
type kept struct {
	*os.File
	info os.FileInfo
	size int64
}

// openAll opens a file and its rotated ones, oldest first. It goes from the
// newest to the oldest, as rotation does, so that a rotation meanwhile can show
// it one file twice, which it notices, and hide none. After two of them it may meet
// a file that is newer than one it has open: that one is met again behind it, where
// it belongs, and is no longer written when its size is taken.
func openAll(path string, open func(name string) (kept, error)) (files []kept, err error) {
	defer func() {
		if err != nil {
			for _, f := range files {
				_ = f.Close() // only read
			}
			files = nil
		}
	}()
	unreadable := func(name string, err error) error {
		return fault.New(fault.Unavailable, "audit.not_readable", "the audit log %s cannot be read: %w", name, err).
			WithHint("it is readable only for the user of the operator")
	}
	highest := func() int { return slices.Max(append(numbers(path), 0)) }
	last := highest()
	for n := 0; n <= last; n++ {
		name := path
		if n > 0 {
			name = numbered(path, n)
		}
		f, err := open(name)
		if err != nil {
			return files, unreadable(name, err)
		}
		if f.File != nil {
			if at := slices.IndexFunc(files, func(k kept) bool { return os.SameFile(k.info, f.info) }); at >= 0 {
				_ = f.Close() // only read
				f = files[at]
				files = slices.Delete(files, at, at+1)
			}
			files = append(files, f)
		}
		if n == last {
			last = highest()
		}
	}
	if len(files) == 0 {
		return nil, fault.New(fault.NotFound, "audit.no_file", "there is no audit log %s", path).
			WithHint("is it the path that the operator was started with?")
	}
	for i, f := range files {
		info, err := f.Stat()
		if err != nil {
			return files, unreadable(f.Name(), err)
		}
		files[i].size = info.Size()
	}
	slices.Reverse(files)
	return files, nil
}

// openRegular opens a file to read it; without an error and without a file, there
// is none of that name, or it is no file.
func openRegular(name string) (kept, error) {
	// Before it is opened: opening a pipe waits for who writes it.
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return kept{}, nil
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return kept{}, nil
	}
	if err != nil {
		return kept{}, err
	}
	if info, err = f.Stat(); err != nil {
		_ = f.Close() // only read
		return kept{}, err
	}
	return kept{File: f, info: info}, nil
}

// readLines calls fn with every entry, and counts the lines that are none. A last
// line without an end that is none either is being written, and not counted.
func readLines(ctx context.Context, from io.Reader, fn func(auth.Entry) error) (damaged int, err error) {
	in := bufio.NewReaderSize(from, maxLine)
	for {
		if ctx.Err() != nil {
			return damaged, context.Cause(ctx)
		}
		line, err := in.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = in.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return damaged, fault.New(fault.Unavailable, "audit.not_readable", "the audit log cannot be read: %w", err)
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if e, ok := decode(line); ok && !long {
			if err := fn(e); err != nil {
				return damaged, err
			}
		} else if long || err == nil && len(line) > 0 {
			damaged++
		}
		if err != nil {
			return damaged, nil
		}
	}
}

// decode reads one line.
func decode(line []byte) (e auth.Entry, ok bool) {
	if len(line) == 0 || line[0] != '{' {
		return e, false
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return e, false
	}
	return e, !e.Time.IsZero() && e.Action != ""
}

// selection is an AuditQuery made ready.
type selection struct {
	since     time.Time
	principal string // canonical, or the end of one
	whole     bool   // principal is a whole ARN
	denied    bool
}

func selectionOf(q auth.AuditQuery, now time.Time) selection {
	sel := selection{denied: q.Denied, principal: strings.TrimPrefix(q.Principal, "/")}
	if q.Since > 0 {
		sel.since = now.Add(-q.Since)
	}
	if p, err := auth.ParseARN(q.Principal); err == nil {
		sel.principal, sel.whole = p.ARN, true
	}
	return sel
}

func (s selection) has(e auth.Entry) bool {
	switch {
	case e.Time.Before(s.since):
		return false
	case e.Action == ActionLost:
		return true
	case s.denied && e.Decision != auth.Deny:
		return false
	case s.principal == "":
		return true
	case s.whole:
		return e.Principal == s.principal
	}
	before, ok := strings.CutSuffix(e.Principal, s.principal)
	return ok && (before == "" || strings.HasSuffix(before, "/") || strings.HasSuffix(before, ":"))
}

// window puts entries in order of time that are at most inFlight apart.
type window struct {
	fn   func(auth.Entry) error
	held []auth.Entry // in order
}

func (w *window) add(e auth.Entry) error {
	at := len(w.held)
	for at > 0 && w.held[at-1].Time.After(e.Time) {
		at--
	}
	w.held = slices.Insert(w.held, at, e)
	if len(w.held) <= inFlight {
		return nil
	}
	first := w.held[0]
	w.held = w.held[1:]
	return w.fn(first)
}

func (w *window) flush() error {
	for _, e := range w.held {
		if err := w.fn(e); err != nil {
			return err
		}
	}
	return nil
}
