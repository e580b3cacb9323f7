package local

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// maxTail bounds LogQuery.Tail, because the lines of a tail are held in memory.
const maxTail = 100_000

// Logs implements engine.Engine.
func (e *Engine) Logs(ctx context.Context, q workload.LogQuery, fn func(workload.LogLine) error) error {
	_, known := e.hub.get(q.Name)
	if !known && (strings.ContainsAny(q.Name, `/\`) || !filepath.IsLocal(q.Name) || !isDir(filepath.Join(e.logs.root, q.Name))) {
		return fault.New(fault.NotFound, "resources.api_not_deployed", "%s is not deployed", q.Name)
	}
	return e.logs.read(ctx, q, fn)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// reader reads the logs of one workload, merged.
type reader struct {
	store   *logStore
	query   workload.LogQuery
	replica string // resolved; empty for all
	since   time.Time
	sources map[logKey]*logSource
}

func (s *logStore) read(ctx context.Context, q workload.LogQuery, fn func(workload.LogLine) error) error {
	wake, done := s.follow(q.Name) // first, so that nothing falls between history and follow
	defer done()
	r := &reader{store: s, query: q, sources: map[logKey]*logSource{}}
	defer r.close()
	if q.Since > 0 {
		r.since = time.Now().Add(-q.Since)
	}
	if err := r.resolve(); err != nil {
		return err
	}
	r.discover(true)
	if err := r.history(ctx, fn); err != nil || !q.Follow {
		return ended(ctx, err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		}
		r.discover(false)
		if err := r.merge(ctx, fn); err != nil {
			return ended(ctx, err)
		}
	}
}

// ended maps the end of the caller's patience to success.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// resolve finds the replica that a prefix names.
func (r *reader) resolve() error {
	if r.query.Replica == "" {
		return nil
	}
	var found []string
	for _, name := range r.store.replicas(r.query.Name) {
		if name == r.query.Replica {
			found = []string{name}
			break
		}
		if strings.HasPrefix(name, r.query.Replica) {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		return fault.New(fault.NotFound, "logs.replica_not_found", "%s has no replica %q", r.query.Name, r.query.Replica).
			WithHint("cortex describe %s lists the replicas", r.query.Name)
	case 1:
		r.replica = found[0]
		return nil
	}
	return fault.New(fault.Invalid, "logs.replica_ambiguous", "%q names %d replicas of %s: %s", r.query.Replica, len(found), r.query.Name, strings.Join(found, ", ")).
		WithHint("give more of its letters")
}

// replicas lists those of which there is or will be something to read.
func (s *logStore) replicas(workload string) []string {
	var names []string
	s.mu.Lock()
	for k := range s.live {
		if k.workload == workload {
			names = append(names, k.replica)
		}
	}
	s.mu.Unlock()
	entries, _ := os.ReadDir(filepath.Join(s.root, workload)) // none is no error
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// discover adds sources that are not read yet. At the beginning those of replicas
// that are gone count too.
func (r *reader) discover(beginning bool) {
	runs := map[logKey]int{}
	r.store.mu.Lock()
	for k, w := range r.store.live {
		if k.workload == r.query.Name {
			runs[k] = w.currentRun()
		}
	}
	r.store.mu.Unlock()
	add := func(k logKey) {
		if r.sources[k] != nil || r.replica != "" && k.replica != r.replica {
			return
		}
		src := &logSource{key: k, dir: filepath.Join(r.store.root, k.workload, k.replica)}
		if r.query.Previous {
			if src.onlyRun = runs[k] - 1; src.onlyRun < 1 {
				return
			}
		}
		r.sources[k] = src
	}
	for k := range runs {
		add(k)
	}
	if !beginning {
		return
	}
	for _, replica := range r.store.replicas(r.query.Name) {
		files, _ := os.ReadDir(filepath.Join(r.store.root, r.query.Name, replica)) // none is no error
		for _, f := range files {
			if c, _, ok := parseLogName(f.Name()); ok {
				add(logKey{r.query.Name, replica, c})
			}
		}
	}
}

// history calls fn for what there is already.
func (r *reader) history(ctx context.Context, fn func(workload.LogLine) error) error {
	n := min(r.query.Tail, maxTail)
	if n <= 0 {
		return r.merge(ctx, fn)
	}
	if !r.query.Previous {
		for _, s := range r.sources {
			s.seekTail(n)
		}
	}
	var ring []workload.LogLine
	start := 0
	err := r.merge(ctx, func(l workload.LogLine) error {
		if len(ring) < n {
			ring = append(ring, l)
		} else {
			ring[start] = l
			start = (start + 1) % n
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range ring {
		if err := fn(ring[(start+i)%len(ring)]); err != nil {
			return err
		}
	}
	return nil
}

// merge calls fn for every line that is there and was not read yet, in order of time.
func (r *reader) merge(ctx context.Context, fn func(workload.LogLine) error) error {
	var live []*logSource
	for _, s := range r.sources {
		if s.fill(r.since) {
			live = append(live, s)
		}
	}
	for len(live) > 0 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		first := 0
		for i, s := range live {
			if s.before(live[first]) {
				first = i
			}
		}
		s := live[first]
		line := s.line
		s.full = false
		if err := fn(line); err != nil {
			return err
		}
		if !s.fill(r.since) {
			live = slices.Delete(live, first, first+1)
		}
	}
	return nil
}

func (r *reader) close() {
	for _, s := range r.sources {
		s.close()
	}
}

// logSource reads the files of one container, one line ahead.
type logSource struct {
	key     logKey
	dir     string
	onlyRun int // 0 for all
	number  int // of file; 0 before the first
	file    *os.File
	offset  int64 // of the next line in file
	buf     *bufio.Reader
	sealed  bool // file has a successor
	line    workload.LogLine
	full    bool // line is set
}

func (s *logSource) before(o *logSource) bool {
	if !s.line.Time.Equal(o.line.Time) {
		return s.line.Time.Before(o.line.Time)
	}
	return s.key.replica+"/"+s.key.container < o.key.replica+"/"+o.key.container
}

func (s *logSource) close() {
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
}

// fill reads ahead to the next line that is wanted and reports whether there is one.
func (s *logSource) fill(since time.Time) bool {
	for !s.full {
		text, ok := s.next(since)
		if !ok {
			return false
		}
		line, run, ok := parseLogLine(text)
		if !ok || line.Time.Before(since) || s.onlyRun != 0 && run != s.onlyRun {
			continue
		}
		line.Replica, line.Container = s.key.replica, s.key.container
		s.line, s.full = line, true
	}
	return true
}

// next returns the next whole line.
func (s *logSource) next(since time.Time) (string, bool) {
	for {
		if s.file == nil && !s.open(since) {
			return "", false
		}
		text, err := s.buf.ReadString('\n')
		if err == nil {
			s.offset += int64(len(text))
			return strings.TrimSuffix(text, "\n"), true
		}
		if !errors.Is(err, io.EOF) || s.sealed {
			s.close()
			continue
		}
		_, _ = s.file.Seek(s.offset, io.SeekStart) // half a line is read again when it is whole
		s.buf.Reset(s.file)
		if !s.successor() {
			return "", false
		}
		s.sealed = true // it does not grow any more, but it may have grown since
	}
}

func (s *logSource) successor() bool {
	all := numbers(s.dir, s.key.container)
	return len(all) > 0 && all[len(all)-1] > s.number
}

// open opens the file after the present one.
func (s *logSource) open(since time.Time) bool {
	for _, n := range numbers(s.dir, s.key.container) {
		if n <= s.number {
			continue
		}
		f, err := os.Open(filepath.Join(s.dir, logName(s.key.container, n)))
		if err != nil {
			continue // it was rotated away
		}
		s.number = n
		if info, err := f.Stat(); err == nil && info.ModTime().Before(since) && s.successor() {
			_ = f.Close()
			continue
		}
		s.file, s.offset, s.sealed = f, 0, false
		s.buf = bufio.NewReaderSize(f, 64<<10)
		return true
	}
	return false
}

// seekTail moves to the last n lines of the source, or to its beginning when
// there are fewer. It is called before anything was read.
func (s *logSource) seekTail(n int) {
	all := numbers(s.dir, s.key.container)
	for i := len(all) - 1; i >= 0; i-- {
		f, err := os.Open(filepath.Join(s.dir, logName(s.key.container, all[i])))
		if err != nil {
			continue
		}
		offset, lines := tailOffset(f, n)
		if lines < n && i > 0 {
			n -= lines
			_ = f.Close()
			continue
		}
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			_ = f.Close()
			return
		}
		s.number, s.file, s.offset = all[i], f, offset
		s.buf = bufio.NewReaderSize(f, 64<<10)
		return
	}
}

// tailOffset returns where the last n lines of f begin, and how many lines there
// are from there on.
func tailOffset(f *os.File, n int) (offset int64, lines int) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0
	}
	block := make([]byte, 64<<10)
	for end > 0 {
		size := min(int64(len(block)), end)
		end -= size
		if _, err := f.ReadAt(block[:size], end); err != nil {
			return 0, lines
		}
		for i := size - 1; i >= 0; i-- {
			if block[i] != '\n' {
				continue
			}
			if lines == n {
				return end + i + 1, lines
			}
			lines++
		}
	}
	return 0, lines
}

// parseLogLine reads one line of a file.
func parseLogLine(text string) (line workload.LogLine, run int, ok bool) {
	parts := strings.SplitN(text, " ", 4)
	if len(parts) != 4 {
		return line, 0, false
	}
	t, err := time.Parse(logTime, parts[0])
	if err != nil {
		return line, 0, false
	}
	run, err = strconv.Atoi(parts[1])
	if err != nil {
		return line, 0, false
	}
	line.Time, line.Stream, line.Text = t.UTC(), parts[2], strings.ToValidUTF8(parts[3], "\uFFFD")
	return line, run, true
}
