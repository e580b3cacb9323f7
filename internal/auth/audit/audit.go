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
	"io"
	"log/slog"
	"os"
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

// How many refusals before proof are written: anybody can cause them, and they
// must not wash the rest out of the files that are kept.
const (
	refusalsPerSecond = 50
	refusalsBurst     = 100
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
	Keep     int              // how many rotated files (path.1 is the newest); DefaultKeep
	Now      func() time.Time // time.Now
	Log      *slog.Logger     // told when the record cannot be written; discarded
}

// Log is the record. Make one with Open; its methods may be called at once.
type Log struct {
	cfg      Config
	refusals *rate.Limiter

	mu       sync.Mutex
	file     *os.File // nil for Out, and when closed
	out      io.Writer
	size     int64     // of file
	torn     bool      // the last line has no end
	looked   time.Time // when the file was last looked for
	retry    time.Time // when a rotation that failed is tried again
	buf      []byte
	left     int        // refusals left out since the last that was written
	leftLast auth.Entry // the last of them
	lost     int        // entries that could not be written since the last that was
	dropped  int        // … since Open
	damaged  int        // lines that no Read could read
	warned   time.Time
}

// Open opens the file for appending, or makes it (mode 0600) and its folder
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
	l := &Log{cfg: cfg, refusals: rate.NewLimiter(refusalsPerSecond, refusalsBurst)}
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

// Write adds an entry. It returns nothing: a request does not fail because its
// record cannot be written. Dropped and a line of ActionLost say what was lost.
func (l *Log) Write(e auth.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Now()
	unproven := e.Principal == "" && e.Decision == auth.Deny
	if unproven {
		if !l.refusals.AllowN(now, 1) {
			l.left++
			l.leftLast = e
			return
		}
		e.Suppressed += l.left
	}
	if l.append(&e, now) && unproven {
		l.left, l.leftLast = 0, auth.Entry{}
	}
}

// append writes an entry and, after a failure, first how many were lost.
func (l *Log) append(e *auth.Entry, now time.Time) bool {
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
func (l *Log) put(e *auth.Entry, now time.Time) error {
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
func (l *Log) complain(now time.Time, text string, err error) {
	if since := now.Sub(l.warned); !l.warned.IsZero() && since >= 0 && since < complainEvery {
		return
	}
	l.warned = now
	l.cfg.Log.Error(text, "path", l.cfg.Path, "lost", l.dropped, "error", err)
}

// Dropped is how many entries could not be written since Open.
func (l *Log) Dropped() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// Damaged is how many lines the calls of Read could not read and left out.
func (l *Log) Damaged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.damaged
}

// Reopen opens the path again, for those who moved the file away and do not want
// to wait the second until that is noticed.
func (l *Log) Reopen() error {
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

// Close writes what is still to be said of refusals that were left out, and gives
// the file free. What is written afterwards is lost, and counted.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left > 0 {
		last := l.leftLast
		last.Suppressed += l.left - 1
		l.append(&last, l.cfg.Now())
		l.left, l.leftLast = 0, auth.Entry{}
	}
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
