package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// nobody is a user without rights, on every system.
const nobody = 65534

// cmdForeign makes a folder, with app and cfg in it, that belongs to a user
// without rights, and sets the variable to it: foreign DIR.
func cmdForeign(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: foreign VARIABLE")
	}
	// The folders of scripts are closed to other users.
	dir, err := os.MkdirTemp("", "cxu")
	ts.Check(err)
	ts.Defer(func() {
		endAll(dir)
		report := races(dir)
		os.RemoveAll(dir)
		if report != "" {
			ts.Fatalf("%s", report)
		}
	})
	ts.Setenv("GORACE", raceOptions(dir))
	for _, d := range []string{dir, filepath.Join(dir, "app"), filepath.Join(dir, "cfg")} {
		ts.Check(os.MkdirAll(d, 0o755))
		if os.Getuid() == 0 {
			ts.Check(os.Chown(d, nobody, nobody))
		}
	}
	ts.Setenv(args[0], dir)
}

// cmdUnprivileged runs a program as a user without rights, and checks its exit
// code; with a pattern it is run again until its standard output matches:
//
//	unprivileged [-m pattern] CODE program args...
func cmdUnprivileged(ts *testscript.TestScript, neg bool, args []string) {
	pattern := regexp.MustCompile("")
	if len(args) > 2 && args[0] == "-m" {
		pattern = regexp.MustCompile("(?m)" + args[1])
		args = args[2:]
	}
	if neg || len(args) < 2 {
		ts.Fatalf("usage: unprivileged [-m pattern] CODE program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		got, stdout, stderr := unprivileged(ts, args[1:])
		done := got == want && pattern.MatchString(stdout)
		if done || time.Now().After(deadline) || pattern.String() == "" {
			fmt.Fprint(ts.Stdout(), stdout)
			fmt.Fprint(ts.Stderr(), stderr)
			if !done {
				ts.Fatalf("%s exits with %d, want %d and %q", strings.Join(args[1:], " "), got, want, pattern)
			}
			return
		}
		<-tick.C
	}
}

func unprivileged(ts *testscript.TestScript, args []string) (code int, stdout, stderr string) {
	cmd := exec.Command(filepath.Join(bin, args[0]), args[1:]...)
	cmd.Dir, cmd.Env = "/", scriptEnv(ts)
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	return code, out.String(), problems.String()
}
