package local

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/workload"
)

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
		info, err := s.file.Stat()
		truncated := err == nil && info.Size() < s.offset // by hand
		if truncated {
			s.offset = 0
		}
		_, _ = s.file.Seek(s.offset, io.SeekStart) // half a line is read again when it is whole
		s.buf.Reset(s.file)
		if truncated {
			continue
		}
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
	if err != nil || run < 1 || parts[2] != "stdout" && parts[2] != "stderr" {
		return line, 0, false
	}
	line.Time, line.Stream, line.Text = t.UTC(), parts[2], strings.ToValidUTF8(parts[3], "\uFFFD")
	return line, run, true
}
