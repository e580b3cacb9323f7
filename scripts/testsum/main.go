// Command testsum runs `go test -json` with the arguments it is given and prints
// what a person wants to read: go test's own line of every package, the whole
// output of what failed, the reason of every test that was skipped, and one
// closing line with the numbers of tests that passed, failed and were skipped.
//
//	go run ./scripts/testsum [-again] -race ./...
//
// With -again it runs each test that failed once more, alone, and calls those that
// pass then FLAKY: a machine with many others on it makes a few of some thousand
// fail, and each of them is worth a look. What was not a test that failed (a package
// that does not build, or ended in a panic), a data race, and more than a few fail as
// they do without. It exits with the exit code of go test, 0 when only flaky ones failed.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, "", os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run tests what is in dir; empty is the present folder.
func run(ctx context.Context, dir string, args []string, stdout, stderr io.Writer) int {
	again := len(args) > 0 && args[0] == "-again"
	if again {
		args = args[1:]
	}
	s := newSummary(stdout, dir)
	code := s.test(ctx, args, stderr)
	if again && code != 0 && ctx.Err() == nil && s.again(ctx, args, stderr) {
		code = 0
	}
	s.close()
	return code
}

// maxAgain is how many tests may be flaky; more are a defect.
const maxAgain = 5

// again runs each test that failed once more, and reports whether nothing is left
// that failed.
func (s *summary) again(ctx context.Context, args []string, stderr io.Writer) bool {
	tests := leaves(s.failures)
	if len(tests) == 0 || len(tests) > maxAgain || s.grave || s.broken > s.brokenByTests() {
		return false
	}
	for _, t := range tests {
		one := newSummary(s.out, s.dir)
		code := one.test(ctx, append(flagsOf(args), "-count=1", "-run", t.pattern(), t.pkg), stderr)
		if code != 0 || one.passed == 0 {
			return false
		}
		s.print("FLAKY\t" + t.pkg + "\t" + t.name + ": it failed, and passed when it ran again, alone\n")
	}
	s.flaky, s.passed, s.failed = len(tests), s.passed+s.failed, 0
	s.packages, s.broken = s.packages+s.broken, 0
	return true
}

// brokenByTests is how many packages have a test that failed.
func (s *summary) brokenByTests() int {
	packages := map[string]bool{}
	for _, t := range s.failures {
		packages[t.pkg] = true
	}
	return len(packages)
}

// test is a test, or a part of one.
type test struct{ pkg, name string }

// leaves are those of tests that failed by themselves, not for a part of them.
func leaves(tests []test) []test {
	return slices.DeleteFunc(slices.Clone(tests), func(t test) bool {
		return slices.ContainsFunc(tests, func(part test) bool { return part.pkg == t.pkg && strings.HasPrefix(part.name, t.name+"/") })
	})
}

// pattern selects t for -run.
func (t test) pattern() string {
	elements := strings.Split(t.name, "/")
	for i, e := range elements {
		elements[i] = "^" + regexp.QuoteMeta(e) + "$"
	}
	return strings.Join(elements, "/")
}

// flagsOf are the arguments before the packages.
func flagsOf(args []string) []string {
	for i, a := range args {
		if strings.HasPrefix(a, "./") {
			return slices.Clone(args[:i])
		}
	}
	return slices.Clone(args)
}

// test runs go test and reads what it says.
func (s *summary) test(ctx context.Context, args []string, stderr io.Writer) int {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...) //nolint:gosec // the point of the program
	cmd.Dir = s.dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = stderr
	events, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(stderr, "error: starting go test:", err)
		return 1
	}
	s.read(events)
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(stderr, "error: go test:", err)
		return 1
	case s.failed > 0:
		return 1
	}
	return 0
}

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action, Package, Test, Output string
}

// summary holds what tests say until it is known whether anybody should read it.
type summary struct {
	out                     io.Writer
	dir                     string
	said                    map[string][]string // by package and test
	passed, failed, skipped int
	packages, broken, flaky int
	failures                []test
	grave                   bool // something was said that no second try forgives
}

func newSummary(out io.Writer, dir string) *summary {
	return &summary{out: out, dir: dir, said: map[string][]string{}}
}

func (s *summary) read(events io.Reader) {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil && e.Action != "" {
			s.add(e)
		} else if len(line) > 0 {
			_, _ = s.out.Write(line) // go test itself has something to say
		}
		if err != nil {
			return
		}
	}
}

func (s *summary) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		s.grave = s.grave || isGrave(e.Output)
		if e.Test == "" && isVerdict(e.Output) || e.Action == "build-output" {
			s.print(e.Output)
			return
		}
		if !strings.HasPrefix(e.Output, "=== ") { // who runs when; the numbers of a failure are below it
			s.said[key] = append(s.said[key], e.Output)
		}
		return
	case "pass":
		s.count(e, &s.passed, &s.packages)
	case "skip":
		s.count(e, &s.skipped, nil)
		if e.Test != "" {
			s.print("SKIP\t" + e.Package + "\t" + e.Test + ": " + reason(s.said[key]) + "\n")
		}
	case "fail":
		if e.Test != "" {
			s.failures = append(s.failures, test{e.Package, e.Test})
		}
		s.count(e, &s.failed, &s.broken)
		s.print(strings.Join(s.said[key], ""))
	default:
		return
	}
	delete(s.said, key)
}

// count adds one to the number of tests, or of packages when e is about one.
func (s *summary) count(e event, tests, packages *int) {
	if e.Test != "" {
		*tests++
	} else if packages != nil {
		*packages++
	}
}

// isVerdict recognises go test's own line about a package.
func isVerdict(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "FAIL\t") || strings.HasPrefix(line, "panic:")
}

// isGrave recognises tests that were cut short, and a data race.
func isGrave(line string) bool {
	return slices.ContainsFunc([]string{"panic:", "fatal error:", "WARNING: DATA RACE"}, func(prefix string) bool { return strings.HasPrefix(line, prefix) })
}

// reason returns what a skipped test said, without the frame around it.
func reason(said []string) string {
	for _, line := range said {
		line = strings.TrimSpace(line)
		if _, text, found := strings.Cut(line, ".go:"); found {
			if _, text, found = strings.Cut(text, ": "); found {
				return text
			}
		}
	}
	return "it does not say why"
}

func (s *summary) print(text string) { _, _ = io.WriteString(s.out, text) }

func (s *summary) close() {
	fmt.Fprintf(s.out, "tests: %d passed, %d failed, %d skipped; packages: %d ok, %d failed", s.passed, s.failed, s.skipped, s.packages, s.broken)
	if s.flaky > 0 {
		fmt.Fprintf(s.out, "; %d flaky", s.flaky)
	}
	fmt.Fprintln(s.out)
}
