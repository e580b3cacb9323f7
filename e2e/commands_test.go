package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdExits runs a program and checks its exit code: exits 2 cortex nonsense.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s exits with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
	if args[1] == "cortex" && slices.Contains(args, "json") {
		ts.Check(holdToSchema(ts, args[2:], ts.ReadFile("stdout")))
	}
}

// cmdUntil repeats a program until it succeeds and its output matches:
//
//	until [-t 30s] [-m pattern] program args...
//
// "! until" waits for it to fail.
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	patience := 30 * time.Second
	pattern := regexp.MustCompile("")
	for len(args) > 1 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-t":
			d, err := time.ParseDuration(args[1])
			ts.Check(err)
			patience = d
		case "-m":
			pattern = regexp.MustCompile("(?m)" + args[1])
		default:
			ts.Fatalf("unknown flag %s", args[0])
		}
		args = args[2:]
	}
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var err error
		var out string
		if args[0] == "http" {
			out, err = exchange(args[1:])
		} else {
			out, err = quietly(ts, args)
		}
		matched := pattern.MatchString(out)
		if neg && err != nil || !neg && err == nil && matched {
			fmt.Fprint(ts.Stdout(), out)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("until %s: error %v, output matches %q: %v\n%s", strings.Join(args, " "), err, pattern, matched, out)
		}
		<-tick.C
	}
}

// quietly runs a program of which only the last of many runs is of interest.
func quietly(ts *testscript.TestScript, args []string) (string, error) {
	path := args[0]
	if own := filepath.Join(bin, path); path == "cortex" || path == "server" {
		path = own
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), scriptEnv(ts)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return string(out), err
}

// cmdAPIs sets $API to where the APIs of this script are.
func cmdAPIs(ts *testscript.TestScript, _ bool, _ []string) {
	p, err := here()
	ts.Check(err)
	url, err := p.apis(ts)
	ts.Check(err)
	ts.Setenv("API", url)
}

// cmdLatest sets $JOB to the id of the latest job of an API: latest API.
func cmdLatest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: latest API")
	}
	out, err := quietly(ts, []string{"cortex", "jobs", args[0], "--limit", "1", "-o", "json"})
	ts.Check(err)
	var list []struct {
		JobID string `json:"job_id"`
	}
	ts.Check(json.Unmarshal([]byte(out), &list))
	if len(list) != 1 {
		ts.Fatalf("%s has no job: %s", args[0], out)
	}
	ts.Setenv("JOB", list[0].JobID)
}

// cmdDaemon kills the daemon as a crash would: daemon kill9.
func cmdDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || args[0] != "kill9" {
		ts.Fatalf("usage: daemon kill9")
	}
	s, err := statusOf(ts)
	ts.Check(err)
	if !s.Running {
		ts.Fatalf("the local environment does not run")
	}
	ts.Check(syscall.Kill(s.PID, syscall.SIGKILL))
}

// cmdTaken takes a port until the end of the script and sets the variable to it.
func cmdTaken(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: taken VARIABLE")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { ln.Close() })
	ts.Setenv(args[0], strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))
}

// cmdReplace replaces text in a file: replace FILE OLD NEW. Variables in NEW are
// already filled in.
func cmdReplace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace file old new")
	}
	path := ts.MkAbs(args[0])
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s does not contain %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(path, []byte(strings.ReplaceAll(text, args[1], args[2])), 0o600))
}

// cmdTwice runs one command twice at the same time; both must succeed. What they
// say goes to the standard output.
func cmdTwice(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: twice program args...")
	}
	type result struct {
		out []byte
		err error
	}
	results := make(chan result, 2)
	for range cap(results) {
		cmd := exec.Command(filepath.Join(bin, args[0]), args[1:]...)
		cmd.Dir, cmd.Env = ts.MkAbs("."), scriptEnv(ts)
		go func() {
			out, err := cmd.CombinedOutput()
			results <- result{out, err}
		}()
	}
	var failed error
	for range cap(results) {
		r := <-results
		fmt.Fprintf(ts.Stdout(), "%s", r.out)
		failed = errors.Join(failed, r.err)
	}
	ts.Check(failed)
}
