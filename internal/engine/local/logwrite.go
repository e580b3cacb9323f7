package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	logTime    = "2006-01-02T15:04:05.000000000Z"
	keptRecent = 20  // last lines kept in memory, as evidence
	recentText = 500 // bytes of each
	// troubleEvery is how often lost lines of one container are reported at most.
	troubleEvery = time.Minute
	// shownAfter is for how long output without a line feed waits for its end, before it
	// is shown as a line: what asks or counts on one line is to be seen.
	shownAfter = time.Second
)

// logWriter keeps the output of one container. It never blocks on a reader and
// never fails: what cannot be written is counted, reported once and dropped.
type logWriter struct {
	store   *logStore
	key     logKey
	dir     string
	trouble func(reason, message string)

	mu       sync.Mutex
	file     *os.File
	info     os.FileInfo // of file, when it was opened
	number   int         // of file
	size     int64
	run      int
	closed   bool
	streams  []*logStream
	last     []string // newest last
	dropped  int      // lines since the last one that was written
	why      error    // of the drop
	reported time.Time
	buf      []byte
}

// startRun begins the output of the next start of the container.
func (w *logWriter) startRun() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.run++
	w.last = nil
}

func (w *logWriter) currentRun() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.run
}

// recent returns the last lines of the present run, oldest first.
func (w *logWriter) recent() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.last)
}

// stream returns where the container writes one of its streams in this run.
func (w *logWriter) stream(name string) io.Writer {
	s := &logStream{w: w, name: name}
	s.wait = time.AfterFunc(shownAfter, s.show)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.streams = append(w.streams, s)
	return s
}

// flush writes lines that did not end with a line feed, at the end of a run.
func (w *logWriter) flush() {
	w.mu.Lock()
	now := time.Now().UTC().Format(logTime)
	w.buf = w.buf[:0]
	lines := 0
	for _, s := range w.streams {
		s.wait.Stop()
		if len(s.partial) > 0 {
			w.add(now, s.name, s.partial)
			s.partial, lines = nil, lines+1
		}
	}
	w.streams = nil
	w.finish(lines)
}

func (w *logWriter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.file != nil {
		_ = w.file.Close()
		w.file = nil
	}
}

// logStream splits what is written into lines.
type logStream struct {
	w       *logWriter
	name    string
	partial []byte      // of a line that has not ended
	begun   bool        // a part of that line is shown already
	wait    *time.Timer // until partial is shown
}

// show writes what has not ended for a while.
func (s *logStream) show() {
	w := s.w
	w.mu.Lock()
	w.buf = w.buf[:0]
	lines := 0
	if len(s.partial) > 0 {
		w.add(time.Now().UTC().Format(logTime), s.name, s.partial)
		s.partial, s.begun, lines = s.partial[:0], true, 1
	}
	w.finish(lines)
}

// Write implements io.Writer; it always takes everything.
func (s *logStream) Write(p []byte) (int, error) {
	w, n, lines := s.w, len(p), 0
	w.mu.Lock()
	now := time.Now().UTC().Format(logTime)
	w.buf = w.buf[:0]
	limit := w.store.limits.LineBytes
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		ended := i >= 0
		if !ended {
			i = len(p)
		}
		if room := limit - len(s.partial); i > room {
			s.partial = append(s.partial, p[:room]...)
			p = p[room:]
		} else {
			s.partial = append(s.partial, p[:i]...)
			p = p[i:]
			if !ended {
				break
			}
			p = p[1:]
		}
		if text := bytes.TrimSuffix(s.partial, []byte("\r")); len(text) > 0 || !s.begun {
			w.add(now, s.name, text)
			lines++
		}
		s.partial, s.begun = s.partial[:0], false
	}
	if len(s.partial) > 0 {
		s.wait.Reset(shownAfter)
	}
	w.finish(lines)
	return n, nil
}

// add formats one line into w.buf. The caller holds w.mu.
func (w *logWriter) add(now, stream string, text []byte) {
	w.buf = fmt.Appendf(w.buf, "%s %d %s ", now, w.run, stream)
	w.buf = append(w.buf, text...)
	w.buf = append(w.buf, '\n')
	if len(w.last) == keptRecent {
		w.last = append(w.last[:0], w.last[1:]...)
	}
	w.last = append(w.last, strings.ToValidUTF8(string(text[:min(len(text), recentText)]), "\uFFFD"))
}

// finish writes w.buf, which holds so many lines, and gives up w.mu.
func (w *logWriter) finish(lines int) {
	var reason, message string
	if lines > 0 && !w.closed {
		reason, message = w.put(lines)
	}
	w.mu.Unlock()
	if reason != "" && w.trouble != nil {
		w.trouble(reason, message)
	}
	if lines > 0 {
		w.store.written(w.key.workload)
	}
}

// put writes w.buf and returns the event to report, if any. The caller holds w.mu.
func (w *logWriter) put(lines int) (reason, message string) {
	if w.dropped > 0 {
		note := fmt.Sprintf("%s %d stderr [cortex] %d lines before this one could not be kept: %v\n", time.Now().UTC().Format(logTime), w.run, w.dropped, w.why)
		w.buf = append([]byte(note), w.buf...)
	}
	err := w.write()
	if err == nil {
		if w.dropped > 0 {
			reason, message = logsKept, fmt.Sprintf("log lines of container %s of replica %s are kept again", w.key.container, w.key.replica)
		}
		w.dropped, w.reported = 0, time.Time{}
		return reason, message
	}
	w.dropped += lines
	w.why = cause(err)
	if time.Since(w.reported) < troubleEvery {
		return "", ""
	}
	w.reported = time.Now()
	reason = "LogsUnwritable"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		reason = "DiskFull"
	}
	return reason, fmt.Sprintf("log lines of container %s of replica %s are lost: %v; the container itself goes on", w.key.container, w.key.replica, err)
}

// logsKept is the reason of the event that ends one of lost lines.
const logsKept = "LogsKept"

// lost says why lines are being lost; empty: they are not.
func (w *logWriter) lost() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dropped == 0 {
		return ""
	}
	return fmt.Sprintf("log lines are lost: %v", w.why)
}

func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (w *logWriter) write() error {
	if err := w.makeRoom(int64(len(w.buf))); err != nil {
		return err
	}
	n, err := w.file.Write(w.buf)
	if err == nil {
		w.size += int64(n)
		return nil
	}
	// Half a line would spoil the file; what cannot be taken back ends it.
	if n > 0 && w.file.Truncate(w.size) != nil {
		_ = w.file.Close()
		w.file = nil
	}
	return err
}

// look sees what was done to the file by hand: one that was truncated has room again,
// and into one that was removed or moved away nothing more is written, because nobody
// would read it there.
func (w *logWriter) look() {
	if w.file == nil {
		return
	}
	now, err := os.Stat(w.file.Name())
	if err != nil || !os.SameFile(now, w.info) {
		_ = w.file.Close()
		w.file = nil
		return
	}
	w.size = now.Size()
}

// makeRoom opens the file that takes the next n bytes.
func (w *logWriter) makeRoom(n int64) error {
	w.look()
	if w.file != nil && (w.size == 0 || w.size+n <= w.store.limits.FileBytes) {
		return nil
	}
	next := w.number + 1
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return err
	}
	if w.number == 0 {
		if there := numbers(w.dir, w.key.container); len(there) > 0 {
			next = there[len(there)-1] + 1
		}
	}
	f, err := os.OpenFile(filepath.Join(w.dir, logName(w.key.container, next)), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if w.file != nil {
		_ = w.file.Close()
	}
	if w.info, err = f.Stat(); err != nil {
		_ = f.Close()
		return err
	}
	w.file, w.number, w.size = f, next, 0
	all := numbers(w.dir, w.key.container)
	for _, old := range all[:max(0, len(all)-w.store.limits.Files)] {
		_ = os.Remove(filepath.Join(w.dir, logName(w.key.container, old)))
	}
	return nil
}
