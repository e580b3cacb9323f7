// Command testsum runs `go test -json` with the arguments it is given and prints
// what a person wants to read: go test's own line of every package, the whole
// output of what failed, the reason of every test that was skipped, and one
// closing line with the numbers of tests that passed, failed and were skipped.
//
//	go run ./scripts/testsum -race ./...
//
// It exits with the exit code of go test.
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
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...) //nolint:gosec // the point of the program
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
	s := newSummary(stdout)
	s.read(events)
	err = cmd.Wait()
	s.close()
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
	said                    map[string][]string // by package and test
	passed, failed, skipped int
	packages, broken        int
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, said: map[string][]string{}}
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
	fmt.Fprintf(s.out, "tests: %d passed, %d failed, %d skipped; packages: %d ok, %d failed\n",
		s.passed, s.failed, s.skipped, s.packages, s.broken)
}
