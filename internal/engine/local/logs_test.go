package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func readLogs(t *testing.T, s *logStore, q workload.LogQuery) []workload.LogLine {
	t.Helper()
	q.Name = "iris"
	var lines []workload.LogLine
	if err := s.read(t.Context(), q, time.Time{}, func(l workload.LogLine) error {
		lines = append(lines, l)
		return nil
	}); err != nil {
		t.Fatalf("read(%+v) = %v", q, err)
	}
	return lines
}

func lineTexts(lines []workload.LogLine) []string {
	var all []string
	for _, l := range lines {
		all = append(all, l.Text)
	}
	return all
}

// newWriter is a writer in its first run.
func newWriter(t *testing.T, s *logStore, replica, container string) *logWriter {
	t.Helper()
	w := s.writer("iris", replica, container, func(reason, message string) { t.Logf("%s: %s", reason, message) })
	w.startRun()
	t.Cleanup(w.close)
	return w
}

func TestLogsSplitStreamsIntoLines(t *testing.T) {
	t.Parallel()
	s := newLogStore(t.TempDir(), LogLimits{LineBytes: 10})
	w := newWriter(t, s, "a", "main")
	out, errs := w.stream("stdout"), w.stream("stderr")
	for _, p := range []string{"one\ntwo\r\nth", "ree\n\n", "0123456789abc\n", "0123456789\n", "bad \xff byte\n", "no end"} {
		if n, err := io.WriteString(out, p); n != len(p) || err != nil {
			t.Errorf("Write(%q) = %d, %v, want all of it", p, n, err)
		}
	}
	_, _ = io.WriteString(errs, "from stderr\n")
	if got := lineTexts(readLogs(t, s, workload.LogQuery{})); slices.Contains(got, "no end") {
		t.Errorf("lines %q, want the last one not before it ends", got)
	}
	w.flush()
	got := readLogs(t, s, workload.LogQuery{})
	want := []string{"one", "two", "three", "", "0123456789", "abc", "0123456789", "bad \uFFFD byte", "from stder", "r", "no end"}
	if !slices.Equal(lineTexts(got), want) {
		t.Errorf("lines\n%q, want\n%q", lineTexts(got), want)
	}
	if got[8].Stream != "stderr" || got[0].Stream != "stdout" || got[0].Replica != "a" || got[0].Container != "main" {
		t.Errorf("lines %+v and %+v, want them to say where they are from", got[0], got[8])
	}
	if r := w.recent(); r[len(r)-1] != "no end" {
		t.Errorf("the last of %q is not the last line", r)
	}
}

// What asks for something, or counts on one line, is seen before its line ends.
func TestOutputIsShownBeforeItsLineEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newLogStore(t.TempDir(), LogLimits{})
		w := newWriter(t, s, "a", "main")
		out := w.stream("stdout")
		check := func(when string, want ...string) {
			t.Helper()
			if got := lineTexts(readLogs(t, s, workload.LogQuery{})); !slices.Equal(got, want) {
				t.Errorf("%s: lines %q, want %q", when, got, want)
			}
		}
		_, _ = io.WriteString(out, "loading ")
		time.Sleep(shownAfter / 2)
		_, _ = io.WriteString(out, "weights…")
		time.Sleep(shownAfter * 3 / 4)
		check("soon after the last of it")
		time.Sleep(shownAfter)
		check("a while after", "loading weights…")
		_, _ = io.WriteString(out, "\n\ndone\n")
		check("when it has ended", "loading weights…", "", "done")
		_, _ = io.WriteString(out, "half a ")
		time.Sleep(2 * shownAfter)
		_, _ = io.WriteString(out, "line\n")
		w.flush()
		time.Sleep(2 * shownAfter)
		check("at the end", "loading weights…", "", "done", "half a ", "line")
	})
}

// Whatever is done to the files by hand, what is written afterwards can be read, and a
// follower reads on.
func TestLogsSurviveHands(t *testing.T) {
	t.Parallel()
	for name, hand := range map[string]func(dir, file string) error{
		"truncated":      func(_, file string) error { return os.Truncate(file, 0) },
		"removed":        func(_, file string) error { return os.Remove(file) },
		"moved away":     func(_, file string) error { return os.Rename(file, file+".old") },
		"folder removed": func(dir, _ string) error { return os.RemoveAll(dir) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			s := newLogStore(root, LogLimits{})
			w := newWriter(t, s, "a", "main")
			out := w.stream("stdout")
			_, _ = io.WriteString(out, "before, and it is a long line\n")

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			followed := make(chan string)
			var wg sync.WaitGroup
			wg.Go(func() {
				_ = s.read(ctx, workload.LogQuery{Name: "iris", Follow: true}, time.Time{}, func(l workload.LogLine) error {
					select {
					case followed <- l.Text:
					case <-ctx.Done():
					}
					return nil
				})
			})
			if got := <-followed; got != "before, and it is a long line" {
				t.Errorf("followed %q", got)
			}
			dir := filepath.Join(root, "iris", "a")
			if err := hand(dir, filepath.Join(dir, logName("main", 1))); err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"after", "later"} {
				_, _ = io.WriteString(out, text+"\n")
				if got := <-followed; got != text {
					t.Errorf("followed %q, want %q", got, text)
				}
			}
			cancel()
			wg.Wait()
			if got, want := lineTexts(readLogs(t, s, workload.LogQuery{})), []string{"after", "later"}; !slices.Equal(got, want) {
				t.Errorf("lines %q, want %q", got, want)
			}
		})
	}
}

func TestLogsRotate(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := newLogStore(root, LogLimits{FileBytes: 500, Files: 3})
	w := newWriter(t, s, "a", "main")
	out := w.stream("stdout")
	for i := range 100 {
		_, _ = fmt.Fprintf(out, "line %03d\n", i)
	}
	files := numbers(filepath.Join(root, "iris", "a"), "main")
	if len(files) != 3 {
		t.Fatalf("files %v, want 3", files)
	}
	for _, n := range files {
		info, err := os.Stat(filepath.Join(root, "iris", "a", logName("main", n)))
		if err != nil || info.Size() > 500 {
			t.Errorf("file %d: %v, %v, want at most 500 bytes", n, info.Size(), err)
		}
	}
	got := lineTexts(readLogs(t, s, workload.LogQuery{}))
	for i, l := range got {
		if want := fmt.Sprintf("line %03d", 100-len(got)+i); l != want {
			t.Fatalf("line %d of what is left is %q, want %q", i, l, want)
		}
	}
	if len(got) < 20 {
		t.Errorf("%d lines are left, want about three files of them", len(got))
	}
	for _, n := range []int{1, 5, 15, len(got), 1000} {
		if tail := lineTexts(readLogs(t, s, workload.LogQuery{Tail: n})); !slices.Equal(tail, got[max(0, len(got)-n):]) {
			t.Errorf("Tail %d = %q, want the last %d of %q", n, tail, n, got)
		}
	}
}

// A follower that reads across rotations loses and doubles nothing.
func TestLogsFollowAcrossRotation(t *testing.T) {
	t.Parallel()
	s := newLogStore(t.TempDir(), LogLimits{FileBytes: 2000, Files: 1000})
	w := newWriter(t, s, "a", "main")
	out := w.stream("stdout")
	const lines = 2000
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range lines {
			_, _ = fmt.Fprintf(out, "line %d\n", i)
		}
	})
	err := s.read(ctx, workload.LogQuery{Name: "iris", Follow: true}, time.Time{}, func(l workload.LogLine) error {
		got = append(got, l.Text)
		if len(got) == lines {
			cancel()
		}
		return nil
	})
	wg.Wait()
	if err != nil {
		t.Errorf("read = %v after its context ended, want nil", err)
	}
	for i, l := range got {
		if want := fmt.Sprintf("line %d", i); l != want {
			t.Fatalf("line %d is %q, want %q", i, l, want)
		}
	}
}

func TestLogsOfThePreviousRunOnly(t *testing.T) {
	t.Parallel()
	s := newLogStore(t.TempDir(), LogLimits{})
	w := newWriter(t, s, "a", "main")
	for run := 1; run <= 3; run++ {
		if run > 1 {
			w.startRun()
		}
		_, _ = fmt.Fprintf(w.stream("stdout"), "in run %d\n", run)
		w.flush()
	}
	w.startRun() // nothing was written in it yet
	if got := lineTexts(readLogs(t, s, workload.LogQuery{Previous: true})); !slices.Equal(got, []string{"in run 3"}) {
		t.Errorf("the previous run has %q, want that of run 3", got)
	}
	if got := lineTexts(readLogs(t, s, workload.LogQuery{Previous: true, Tail: 5})); !slices.Equal(got, []string{"in run 3"}) {
		t.Errorf("the tail of the previous run is %q, want that of run 3", got)
	}
}

func TestLogsSinceAndPrefix(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := newLogStore(root, LogLimits{})
	old := time.Now().Add(-time.Hour).UTC().Format(logTime)
	for _, replica := range []string{"abc", "abd"} {
		dir := filepath.Join(root, "iris", replica)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		text := old + " 1 stdout old " + replica + "\nnot a line\n" + time.Now().UTC().Format(logTime) + " 1 stdout new " + replica + "\nhalf a li"
		if err := os.WriteFile(filepath.Join(dir, "main.1.log"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := lineTexts(readLogs(t, s, workload.LogQuery{})); !slices.Equal(got, []string{"old abc", "old abd", "new abc", "new abd"}) {
		t.Errorf("all lines are %q", got)
	}
	if got := lineTexts(readLogs(t, s, workload.LogQuery{Since: time.Minute})); !slices.Equal(got, []string{"new abc", "new abd"}) {
		t.Errorf("the lines of the last minute are %q", got)
	}
	if got := lineTexts(readLogs(t, s, workload.LogQuery{Replica: "abd"})); !slices.Equal(got, []string{"old abd", "new abd"}) {
		t.Errorf("the lines of abd are %q", got)
	}
	err := s.read(t.Context(), workload.LogQuery{Name: "iris", Replica: "ab"}, time.Time{}, nil)
	if fault.Code(err) != "logs.replica_ambiguous" || !strings.Contains(err.Error(), "abc, abd") {
		t.Errorf("an ambiguous prefix = %v, want the candidates", err)
	}
	stop := errors.New("stop")
	if err := s.read(t.Context(), workload.LogQuery{Name: "iris"}, time.Time{}, func(workload.LogLine) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("read = %v, want the error of the function", err)
	}
}

func TestLogsOfGoneReplicasStayForAWhile(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := newLogStore(root, LogLimits{Retired: 2, Removed: 1})
	for i, replica := range []string{"a", "b", "c", "d"} {
		w := newWriter(t, s, replica, "main")
		_, _ = io.WriteString(w.stream("stdout"), replica+"\n")
		at := time.Now().Add(time.Duration(i-10) * time.Minute)
		if err := os.Chtimes(filepath.Join(root, "iris", replica), at, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, replica := range []string{"b", "c", "d"} {
		s.retire("iris", replica)
	}
	if got := lineTexts(readLogs(t, s, workload.LogQuery{})); !slices.Equal(got, []string{"a", "c", "d"}) {
		t.Errorf("lines of %q are left, want those of a, which lives, and of the two last to go", got)
	}
	for i, name := range []string{"rose", "tulip"} {
		dir := filepath.Join(root, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-10) * time.Minute)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
	}
	s.clean(map[string]bool{"iris": true})
	if isDir(filepath.Join(root, "rose")) || !isDir(filepath.Join(root, "tulip")) || !isDir(filepath.Join(root, "iris")) {
		t.Error("clean kept the wrong workloads, want iris and the last of the others")
	}
}

func TestLogsThatCannotBeWrittenStopNobody(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "logs")
	if err := os.WriteFile(root, nil, 0o600); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	s := newLogStore(root, LogLimits{})
	var reasons []string
	w := s.writer("iris", "a", "main", func(reason, message string) { reasons = append(reasons, reason+": "+message) })
	w.startRun()
	out := w.stream("stdout")
	for range 100 {
		if n, err := io.WriteString(out, "lost\n"); n != 5 || err != nil {
			t.Fatalf("Write = %d, %v, want it to go on", n, err)
		}
	}
	if len(reasons) != 1 || !strings.HasPrefix(reasons[0], "LogsUnwritable: ") || !strings.Contains(reasons[0], "not a directory") {
		t.Errorf("reports are %q, want one that says why", reasons)
	}
	if lost := w.lost(); lost != "log lines are lost: not a directory" {
		t.Errorf("lost() = %q while lines are lost", lost)
	}
	if r := w.recent(); len(r) != keptRecent || r[0] != "lost" {
		t.Errorf("in memory are %q, want the last lines all the same", r)
	}
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(out, "kept\n")
	if lost := w.lost(); lost != "" || len(reasons) != 2 || !strings.HasPrefix(reasons[1], "LogsKept: ") {
		t.Errorf("lost() = %q, reports %q when lines are kept again", lost, reasons)
	}
	got := lineTexts(readLogs(t, s, workload.LogQuery{}))
	if len(got) != 2 || !strings.Contains(got[0], "100 lines before this one could not be kept") || got[1] != "kept" {
		t.Errorf("lines %q, want the number of lost ones and what came after", got)
	}
}

func FuzzParseLogLine(f *testing.F) {
	f.Add("2026-11-22T00:05:28.853682566Z 1 stdout hello world")
	f.Add("2026-11-22T00:05:28.853682566Z 1 stdout ")
	f.Add("x 1 stdout y")
	f.Add("0001-01-01T0:00:00,000000000Z 0  ") // the year 1, run 0, no stream
	f.Fuzz(func(t *testing.T, text string) {
		line, run, ok := parseLogLine(text)
		if ok && (run < 1 || line.Stream != "stdout" && line.Stream != "stderr") {
			t.Errorf("parseLogLine(%q) = %+v, %d", text, line, run)
		}
	})
}

// A deleted API leaves its logs, for whoever deleted it because it failed; the next one of
// its name does not begin with them.
func TestLogsAreOfOneDeployment(t *testing.T) {
	t.Parallel()
	e := &Engine{feed: engine.NewFeed(), logs: newLogStore(t.TempDir(), LogLimits{}), controllers: map[string]*controller{}}
	_, _ = io.WriteString(newWriter(t, e.logs, "a", "main").stream("stdout"), "of the one before\n")
	read := func() []string {
		var lines []workload.LogLine
		if err := e.Logs(t.Context(), workload.LogQuery{Name: "iris", Since: time.Hour}, func(l workload.LogLine) error {
			lines = append(lines, l)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return lineTexts(lines)
	}
	if got := read(); !slices.Equal(got, []string{"of the one before"}) {
		t.Errorf("the logs after a deletion are %q, want what was left", got)
	}
	c := newController(e, "iris")
	c.desired = &engine.Deployment{Revision: &workload.Revision{InitialDeploymentTime: time.Now().UnixNano()}}
	e.controllers["iris"] = c
	_, _ = io.WriteString(newWriter(t, e.logs, "b", "main").stream("stdout"), "of this one\n")
	if got := read(); !slices.Equal(got, []string{"of this one"}) {
		t.Errorf("the logs of an API whose name was used before are %q, want its own", got)
	}
}
