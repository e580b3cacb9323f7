package kube

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// readAll reads text as a log of the API server, going on where s was.
func readAll(t *testing.T, s *source, text string) []workload.LogLine {
	t.Helper()
	s.begin(io.NopCloser(strings.NewReader(text)))
	defer s.close()
	var lines []workload.LogLine
	for {
		ok, err := s.fill()
		if err != nil {
			t.Fatalf("fill() = %v", err)
		}
		if !ok {
			return lines
		}
		lines = append(lines, s.take())
	}
}

func lineTexts(lines []workload.LogLine) []string {
	var all []string
	for _, l := range lines {
		all = append(all, l.Text)
	}
	return all
}

func TestLogLinesAreReadOnce(t *testing.T) {
	t.Parallel()
	const (
		one   = "2026-11-24T12:00:00.100000000Z one\n"
		twins = "2026-11-24T12:00:00.200000000Z two\n2026-11-24T12:00:00.200000000Z two again\n"
		three = "2026-11-24T12:00:00.200000000Z and a third\n2026-11-24T12:00:01Z \n"
	)
	s := &source{replica: "a", container: "main"}
	if got, want := lineTexts(readAll(t, s, one+twins)), []string{"one", "two", "two again"}; !slices.Equal(got, want) {
		t.Errorf("the first reading gives %q, want %q", got, want)
	}
	// The API server begins again at the whole second.
	got := readAll(t, s, one+twins+three)
	if want := []string{"and a third", ""}; !slices.Equal(lineTexts(got), want) {
		t.Errorf("the second reading gives %q, want what is new, %q", lineTexts(got), want)
	}
	if l := got[1]; l.Replica != "a" || l.Container != "main" || l.Stream != "stdout" || !l.Time.Equal(noon.Add(time.Second)) {
		t.Errorf("the last line is %+v, want it to say where and when it is from", l)
	}
	if got := readAll(t, s, one+twins+three); len(got) != 0 {
		t.Errorf("the third reading gives %q, want nothing", lineTexts(got))
	}
}

func TestLogLinesAreBounded(t *testing.T) {
	t.Parallel()
	s := &source{}
	long := strings.Repeat("x", 3*maxLine)
	got := readAll(t, s, "2026-11-24T12:00:00.1Z "+long+"\n2026-11-24T12:00:00.2Z bad \xff byte\r\n2026-11-24T12:00:00.3Z no end")
	texts := lineTexts(got)
	if n := len(texts); n < 5 || strings.Join(texts[:n-2], "") != long || texts[n-2] != "bad \uFFFD byte" || texts[n-1] != "no end" {
		t.Errorf("%d lines, want the long one in parts, a valid text, and the last without its end", len(texts))
	}
	for _, l := range got {
		if len(l.Text) > maxLine+64 {
			t.Errorf("a line of %d bytes, want at most about %d", len(l.Text), maxLine)
		}
	}
}

func TestLogLinesSince(t *testing.T) {
	t.Parallel()
	s := &source{after: noon}
	got := lineTexts(readAll(t, s, "2026-11-24T11:59:59.9Z before\n2026-11-24T12:00:00Z at\n2026-11-24T12:00:00.1Z after\n"))
	if want := []string{"at", "after"}; !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
}

func FuzzLogLine(f *testing.F) {
	f.Add("2026-11-24T12:00:00.1Z text")
	f.Add("2026-11-24T12:00:00.1Z")
	f.Add("no time")
	f.Add("0001-01-01T00:00:00Z year one")
	f.Fuzz(func(t *testing.T, text string) {
		s := &source{after: noon}
		s.offer(text)
		if s.full && (s.line.Time.Before(noon) || !strings.HasSuffix(text, s.line.Text)) {
			t.Errorf("offer(%q) gives %+v", text, s.line)
		}
	})
}
