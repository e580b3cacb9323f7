package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
)

// tenLines is room for ten samples with numbers of two digits.
var tenLines = int64(10 * len(appendEntry(nil, ptr(sample(10)))))

func TestRotationKeepsSoMuchAndNoMore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, Config{Path: path, MaxBytes: tenLines, Keep: 3})
	for n := 10; n < 99; n++ {
		l.Write(sample(n))
		if got := ids(t, l); !strings.HasSuffix(got, strconv.Itoa(n)) {
			t.Fatalf("Read() = %s, want %d at the end", got, n)
		}
	}
	if got, want := ids(t, l), numbersTo(60, 98); got != want {
		t.Errorf("Read() = %s, want %s", got, want)
	}
	if got := len(numbers(path)); got != 3 {
		t.Errorf("%d rotated files are kept, want 3", got)
	}
	for _, name := range []string{path, numbered(path, 1), numbered(path, 3)} {
		if info, err := os.Stat(name); err != nil || info.Size() > tenLines {
			t.Errorf("Stat(%s) = %v, %v, want at most %d bytes", name, info, err, tenLines)
		}
	}
	fewer := open(t, Config{Path: path, MaxBytes: tenLines, Keep: 1})
	if got, want := ids(t, fewer), numbersTo(80, 98); got != want {
		t.Errorf("Read() when fewer are kept = %s, want %s", got, want)
	}
}

// TestInterruptedRotations leaves each state that a rotation goes through, and
// wants every line once, before and after the next rotation.
func TestInterruptedRotations(t *testing.T) {
	t.Parallel()
	const keep = 4
	for _, full := range []int{0, 1, 2, 3} { // rotated files that are there before
		for done := range full + 2 { // renames that were done
			t.Run(fmt.Sprintf("%d files, %d renames", full, done), func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "audit.log")
				l := open(t, Config{Path: path, MaxBytes: tenLines, Keep: keep})
				last := 10 + 10*(full+1) - 1
				for n := 10; n <= last; n++ {
					l.Write(sample(n))
				}
				_ = l.Close()
				for i := range done {
					to := full + 1 - i
					from := numbered(path, to-1)
					if to == 1 {
						from = path
					}
					if err := os.Rename(from, numbered(path, to)); err != nil {
						t.Fatal(err)
					}
				}
				l = open(t, Config{Path: path, MaxBytes: tenLines, Keep: keep})
				if got, want := ids(t, l), numbersTo(10, last); got != want {
					t.Errorf("Read() = %s, want %s", got, want)
				}
				l.Write(sample(last + 1))
				if got, want := ids(t, l), numbersTo(10, last+1); got != want {
					t.Errorf("Read() after the next entry = %s, want %s", got, want)
				}
			})
		}
	}
}

func TestFilesThatSomebodyMovesAway(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		notice func(*testing.T, *Log, *clock)
	}{
		"noticed within a second": {func(_ *testing.T, _ *Log, now *clock) { now.add(lookEvery) }},
		"told": {func(t *testing.T, l *Log, _ *clock) {
			if err := l.Reopen(); err != nil {
				t.Errorf("Reopen() = %v", err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := &clock{now: noon}
			path := filepath.Join(t.TempDir(), "audit.log")
			l := open(t, Config{Path: path, Now: now.Now})
			l.Write(sample(1))
			if err := os.Rename(path, path+"-20260304"); err != nil {
				t.Fatal(err)
			}
			l.Write(sample(2)) // goes where the first went
			tt.notice(t, l, now)
			l.Write(sample(3))
			if got := strings.Count(contents(t, path+"-20260304"), "\n"); got != 2 {
				t.Errorf("the file that was moved has %d lines, want 2", got)
			}
			if got, want := ids(t, l), "3"; got != want {
				t.Errorf("Read() = %s, want %s", got, want)
			}
		})
	}
}

// TestMovedAwayWhenItIsFull rotates a file that is no longer there: what was
// rotated before must stay where it is.
func TestMovedAwayWhenItIsFull(t *testing.T) {
	t.Parallel()
	now := &clock{now: noon}
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, Config{Path: path, MaxBytes: tenLines, Keep: 1, Now: now.Now})
	for n := 10; n < 30; n++ {
		l.Write(sample(n))
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	l.Write(sample(30))
	if got, want := ids(t, l), numbersTo(10, 19)+" 30"; got != want {
		t.Errorf("Read() = %s, want %s", got, want)
	}
}

func TestAFileThatSomebodyEmpties(t *testing.T) {
	t.Parallel()
	now := &clock{now: noon}
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, Config{Path: path, MaxBytes: tenLines, Now: now.Now})
	for n := 10; n < 20; n++ {
		l.Write(sample(n))
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	now.add(lookEvery)
	l.Write(sample(20))
	if got := numbers(path); len(got) != 0 {
		t.Errorf("rotated files %v, want none: the file was short again", got)
	}
	if got, want := ids(t, l), "20"; got != want {
		t.Errorf("Read() = %s, want %s", got, want)
	}
}

func TestLinksAreFollowed(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()
	target, link := filepath.Join(elsewhere, "real.log"), filepath.Join(dir, "audit.log")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	l := open(t, Config{Path: link, MaxBytes: tenLines})
	for n := 10; n < 25; n++ {
		l.Write(sample(n))
	}
	if got := numbers(target); len(got) != 1 {
		t.Errorf("rotated files beside the target: %v, want one", got)
	}
	if got, want := ids(t, l), numbersTo(10, 24); got != want {
		t.Errorf("Read() = %s, want %s", got, want)
	}
}

// TestAFileThatCannotBeRotated may grow to twice its size.
func TestAFileThatCannotBeRotated(t *testing.T) {
	t.Parallel()
	now, said := &clock{now: noon}, &bytes.Buffer{}
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.MkdirAll(filepath.Join(numbered(path, 1), "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	l := open(t, Config{Path: path, MaxBytes: tenLines, Keep: 1, Now: now.Now, Log: slog.New(slog.NewTextHandler(said, nil))})
	for n := 10; n < 40; n++ {
		l.Write(sample(n))
	}
	if got, want := ids(t, l), numbersTo(10, 29); got != want {
		t.Errorf("Read() = %s, want %s", got, want)
	}
	if got := l.Dropped(); got != 10 {
		t.Errorf("Dropped() = %d, want 10", got)
	}
	if got := strings.Count(said.String(), "\n"); got != 1 {
		t.Errorf("it was logged %d times, want once", got)
	}
	if err := os.RemoveAll(numbered(path, 1)); err != nil {
		t.Fatal(err)
	}
	now.add(lookEvery)
	l.Write(sample(40))
	got := entries(t, l, auth.AuditQuery{})
	if len(got) != 22 || got[20].RequestID != "40" || got[21].Action != ActionLost || got[21].Suppressed != 10 {
		t.Errorf("Read() = %d entries to %+v, want 20, 40, and that 10 were lost", len(got), got[len(got)-1])
	}
}

// TestReadWhileItIsRotated wants every reader to see consecutive numbers.
func TestReadWhileItIsRotated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, Config{Path: path, MaxBytes: tenLines, Keep: 20})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var written atomic.Int64
	l.Write(sample(0))
	// What is written during one reading are ten files at most: of those that are kept,
	// none may go before it is read, however slow the reader is.
	const during = 100
	may := make(chan struct{}, during)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; ; n++ {
			select {
			case <-may:
			case <-ctx.Done():
				return
			}
			l.Write(sample(n))
			written.Store(int64(n))
		}
	}()
	for range 100 {
		for len(may) < during {
			may <- struct{}{}
		}
		next, begun := -1, int(written.Load())
		_, err := ReadFile(t.Context(), path, auth.AuditQuery{}, func(e auth.Entry) error {
			n, err := strconv.Atoi(e.RequestID)
			if err != nil {
				return err
			}
			if next >= 0 && n != next {
				return fmt.Errorf("%d comes where %d should", n, next)
			}
			next = n + 1
			return nil
		})
		if err != nil {
			t.Fatalf("ReadFile() = %v", err)
		}
		if next <= begun {
			t.Fatalf("ReadFile() ended before %d, though %d was written", next, begun)
		}
	}
	stop()
	<-done
}

// TestOpenWhileItIsRotated has the log rotated after each file that a reader opens:
// whatever is opened comes in order and has no gap.
func TestOpenWhileItIsRotated(t *testing.T) {
	t.Parallel()
	for rotations := range 5 {
		for after := range 6 {
			path := filepath.Join(t.TempDir(), "audit.log")
			l := open(t, Config{Path: path, MaxBytes: tenLines, Keep: 20})
			next := 10
			write := func(lines int) {
				for range lines {
					l.Write(sample(next))
					next++
				}
			}
			write(35)
			opened := 0
			files, err := openAll(path, func(name string) (kept, error) {
				f, err := openRegular(name)
				if opened++; opened == after+1 {
					write(10 * rotations)
				}
				return f, err
			})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range files {
				if _, err := readLines(t.Context(), io.LimitReader(f, f.size), func(e auth.Entry) error {
					got = append(got, e.RequestID)
					return nil
				}); err != nil {
					t.Error(err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
			if have, want := strings.Join(got, " "), numbersTo(10, 9+len(got)); len(got) < 35 || have != want {
				t.Errorf("after %d files, %d rotations: lines %s, want 10 to at least 44", after+1, rotations, have)
			}
		}
	}
}

func TestReadEndsWithItsContextAndWithFnsError(t *testing.T) {
	t.Parallel()
	l := open(t, Config{Path: filepath.Join(t.TempDir(), "audit.log"), Now: func() time.Time { return noon }})
	for n := range 1000 {
		l.Write(sample(n))
	}
	mine, calls := errors.New("mine"), 0
	err := l.Read(t.Context(), auth.AuditQuery{}, func(auth.Entry) error { calls++; return mine })
	if !errors.Is(err, mine) || calls != 1 {
		t.Errorf("Read() = %v after %d calls, want the error of fn after one", err, calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Read(ctx, auth.AuditQuery{}, func(auth.Entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("Read() = %v, want %v", err, context.Canceled)
	}
}
