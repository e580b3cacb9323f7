// Package audit keeps the record of every decision: one JSON line for each
// auth.Entry, in a file that is rotated, or on a standard output that somebody
// else keeps.
//
// It promises that an entry is handed to the operating system before Write
// returns, so that the death of this process loses none (the power going off may
// lose the last moments); that one entry is one line whatever its strings hold;
// that the lines kept are never more than configured and that what is left out
// is counted in a line of its own kind; and that a record which cannot be written
// fails nobody's request.
//
// It must not decide anything, and an entry has no place for a secret.
package audit

import (
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

// Stdout as a path stands for Config.Out.
const Stdout = "-"

// ActionLost is the action of a line that stands for entries which could not be
// written: Suppressed says how many. Read returns it whatever is asked for,
// because what is missing may be just that.
const ActionLost auth.Action = "audit:lost"

// ReasonWrite is the reason of such a line.
const ReasonWrite = "write_failed"

// Defaults of Config.
const (
	DefaultMaxBytes = 64 << 20
	DefaultKeep     = 10
)

// How many refusals are written, of all strangers together and of each principal:
// they can be caused without end, and must not wash the rest out of the files that are
// kept. maxRefused bounds of how many principals refusals are counted.
const (
	refusalsPerSecond      = 50
	refusalsBurst          = 100
	refusalsOfOnePerSecond = 5
	refusalsOfOneBurst     = 50
	maxRefused             = 1024
)

// lookEvery is how often the file is looked for, in case somebody moved it away;
// complainEvery how often a write that fails is logged.
const (
	lookEvery     = time.Second
	complainEvery = time.Minute
)

// Config says where the record is kept. Zero members take the default.
type Config struct {
	Path     string           // of the file; "-" for Out
	Out      io.Writer        // what "-" means; os.Stdout
	Copy     io.Writer        // gets every line of a file too; nil: nobody
	MaxBytes int64            // of one file; DefaultMaxBytes
	Keep     int              // how many rotated files (path.1 is the newest) of what was allowed, and of what was refused; DefaultKeep
	Now      func() time.Time // time.Now
	Log      *slog.Logger     // told when the record cannot be written; discarded
}

// Log is the record. Make one with Open; its methods may be called at once.
//
// What was refused has files of its own beside those of what was allowed, so that
// nobody who is refused all the time can push out what others have done.
type Log struct {
	cfg     Config
	allowed *trail
	refused *trail // the same when both go to one output

	mu       sync.Mutex
	refusals map[string]*refusals // by principal; strangers have none
}

// refusals are those of one principal, or of all strangers.
type refusals struct {
	limit *rate.Limiter
	left  int        // left out since the last that was written
	last  auth.Entry // of these
}

// deniedPath is where refusals are kept.
func deniedPath(path string) string { return path + ".denied" }

// Open opens the files for appending, or makes them (mode 0600) and their folder
// (0700). Its faults are audit.not_writable (Unavailable) and audit.not_a_file
// (Invalid).
func Open(cfg Config) (*Log, error) {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.Keep <= 0 {
		cfg.Keep = DefaultKeep
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{cfg: cfg, refusals: map[string]*refusals{}}
	var err error
	if l.allowed, err = openTrail(cfg); err != nil {
		return nil, err
	}
	l.refused = l.allowed
	if l.allowed.out == nil {
		cfg.Path = deniedPath(l.allowed.cfg.Path) // no link any more
		if l.refused, err = openTrail(cfg); err != nil {
			_ = l.allowed.close() // the reason is known already
			return nil, err
		}
	}
	return l, nil
}

// trails are the files, each once.
func (l *Log) trails() []*trail {
	if l.refused == l.allowed {
		return []*trail{l.allowed}
	}
	return []*trail{l.allowed, l.refused}
}

// Write adds an entry. It returns nothing: a request does not fail because its
// record cannot be written. Dropped and a line of ActionLost say what was lost.
func (l *Log) Write(e auth.Entry) {
	now := l.cfg.Now()
	if e.Decision != auth.Deny {
		l.allowed.write(&e, now)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.refusalsOf(e.Principal, now)
	if !r.limit.AllowN(now, 1) {
		r.left++
		r.last = e
		return
	}
	e.Suppressed += r.left
	if l.refused.write(&e, now) {
		r.left, r.last = 0, auth.Entry{}
	}
}

func (l *Log) refusalsOf(principal string, now time.Time) *refusals {
	if r := l.refusals[principal]; r != nil {
		return r
	}
	if len(l.refusals) >= maxRefused {
		for name, r := range l.refusals { // any of them
			l.tell(r, now)
			delete(l.refusals, name)
			break
		}
	}
	r := &refusals{limit: rate.NewLimiter(refusalsPerSecond, refusalsBurst)}
	if principal != "" {
		r.limit = rate.NewLimiter(refusalsOfOnePerSecond, refusalsOfOneBurst)
	}
	l.refusals[principal] = r
	return r
}

// tell writes how many refusals were left out.
func (l *Log) tell(r *refusals, now time.Time) {
	if r.left > 0 {
		r.last.Suppressed += r.left - 1
		l.refused.write(&r.last, now)
		r.left = 0
	}
}

// Dropped is how many entries could not be written since Open.
func (l *Log) Dropped() int { return l.sum((*trail).lostEntries) }

// Damaged is how many lines the calls of Read could not read and left out.
func (l *Log) Damaged() int { return l.sum((*trail).damagedLines) }

func (l *Log) sum(of func(*trail) int) (n int) {
	for _, t := range l.trails() {
		n += of(t)
	}
	return n
}

// Reopen opens the files again, for those who moved them away and do not want to wait
// the second until that is noticed.
func (l *Log) Reopen() error {
	var errs []error
	for _, t := range l.trails() {
		errs = append(errs, t.openAgain())
	}
	return errors.Join(errs...)
}

// Close writes what is still to be said of refusals that were left out, and gives
// the files free. What is written afterwards is lost, and counted.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Now()
	for _, name := range slices.Sorted(maps.Keys(l.refusals)) {
		l.tell(l.refusals[name], now)
	}
	var errs []error
	for _, t := range l.trails() {
		errs = append(errs, t.close())
	}
	return errors.Join(errs...)
}

// trail is one file with those that were rotated, or an output.
type trail struct {
	cfg Config

	mu      sync.Mutex
	file    *os.File // nil for Out, and when closed
	out     io.Writer
	size    int64     // of file
	torn    bool      // the last line has no end
	looked  time.Time // when the file was last looked for
	retry   time.Time // when a rotation that failed is tried again
	buf     []byte
	lost    int // entries that could not be written since the last that was
	dropped int // … since Open
	damaged int // lines that no Read could read
	warned  time.Time
}

// openTrail opens the file for appending, or makes it (mode 0600) and its folder (0700).
func openTrail(cfg Config) (*trail, error) {
	l := &trail{cfg: cfg}
	if cfg.Path == Stdout {
		l.out = cfg.Out
		if l.out == nil {
			l.out = os.Stdout
		}
		return l, nil
	}
	if cfg.Path == "" {
		return nil, fault.New(fault.Invalid, "audit.not_a_file", "the audit log has no path").
			WithHint("name a file, or - for the standard output")
	}
	path, err := resolve(cfg.Path)
	if err != nil {
		return nil, openFault(cfg.Path, err)
	}
	l.cfg.Path = path
	if err := l.reopen(); err != nil {
		return nil, openFault(path, err)
	}
	l.looked = cfg.Now()
	prune(path, cfg.Keep)
	return l, nil
}

// write adds an entry, and reports whether it is kept.
func (l *trail) write(e *auth.Entry, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.append(e, now)
}

// append writes an entry and, after a failure, first how many were lost.
func (l *trail) append(e *auth.Entry, now time.Time) bool {
	if e.Time.IsZero() || e.Time.Year() < 0 || e.Time.Year() > 9999 {
		e.Time = now
	}
	var err error
	if l.lost > 0 {
		gap := auth.Entry{Time: now, Action: ActionLost, Resource: "audit", Reason: ReasonWrite, Suppressed: l.lost}
		if err = l.put(&gap, now); err == nil {
			l.lost = 0
		}
	}
	if err == nil {
		err = l.put(e, now)
	}
	if err != nil {
		l.lost++
		l.dropped++
		l.complain(now, "the audit log cannot be written; entries are lost", err)
	}
	return err == nil
}

// put hands one line to the file in one write.
func (l *trail) put(e *auth.Entry, now time.Time) error {
	// The first byte ends what was left without an end.
	l.buf = appendEntry(append(l.buf[:0], '\n'), e)
	out := l.out
	if out == nil {
		if err := l.ready(len(l.buf), now); err != nil {
			return err
		}
		out = l.file
	}
	line := l.buf[1:]
	if l.torn {
		line = l.buf
	}
	if l.cfg.Copy != nil && l.out == nil {
		_, _ = l.cfg.Copy.Write(l.buf[1:]) // the file is the record
	}
	n, err := out.Write(line)
	l.size += int64(n)
	if n > 0 {
		l.torn = line[n-1] != '\n'
	}
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	return err
}

// complain logs, at most once a minute.
func (l *trail) complain(now time.Time, text string, err error) {
	if since := now.Sub(l.warned); !l.warned.IsZero() && since >= 0 && since < complainEvery {
		return
	}
	l.warned = now
	l.cfg.Log.Error(text, "path", l.cfg.Path, "lost", l.dropped, "error", err)
}

func (l *trail) lostEntries() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

func (l *trail) damagedLines() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.damaged
}

func (l *trail) openAgain() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out != nil {
		return nil
	}
	if l.file == nil {
		return errClosed()
	}
	if err := l.reopen(); err != nil {
		return openFault(l.cfg.Path, err)
	}
	return nil
}

func (l *trail) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

func errClosed() error {
	return fault.New(fault.Unavailable, "audit.closed", "the audit log is closed")
}

func openFault(path string, err error) error {
	if fault.From(err).Kind != fault.Unexpected {
		return err
	}
	return fault.New(fault.Unavailable, "audit.not_writable", "the audit log %s cannot be opened: %w", path, err).
		WithHint("let this user (uid %d) write there, or name another file", os.Getuid())
}
