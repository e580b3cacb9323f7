// Package examples_test deploys every example with the real command line into a
// real local environment, and calls it as its README says.
package examples_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// programs are the examples with Go programs to build; the binaries land beside
// their cortex.yaml, as the READMEs say.
var programs = []string{"iris", "streaming", "websocket", "grpc", "pod", "jobs"}

// place is where the tests work: a copy of the examples, so that the checkout
// stays clean, the binary, and the configuration folder of an environment.
type place struct{ dir, cortex, config string }

var here place

func TestMain(m *testing.M) {
	code, err := setUp(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "setting up the examples:", err)
		code = 1
	}
	os.Exit(code)
}

func setUp(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "cortex-examples-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	here = place{dir: filepath.Join(dir, "examples"), cortex: filepath.Join(dir, "cortex"), config: filepath.Join(dir, "config")}
	if err := os.CopyFS(here.dir, os.DirFS(".")); err != nil {
		return 1, err
	}
	if err := goBuild(here.cortex, "../cmd/cortex"); err != nil {
		return 1, err
	}
	for _, example := range programs {
		if err := goBuild(filepath.Join(here.dir, example, "bin")+"/", "./"+example+"/..."); err != nil {
			return 1, err
		}
	}
	if out, err := here.command(context.Background(), "local", "start", "--api-port", "0", "--autoscaling-tick", "1s").CombinedOutput(); err != nil {
		return 1, fmt.Errorf("cortex local start: %w\n%s", err, out)
	}
	defer func() {
		if out, stopErr := here.command(context.Background(), "local", "stop").CombinedOutput(); stopErr != nil {
			err = errors.Join(err, fmt.Errorf("cortex local stop: %w\n%s", stopErr, out))
			_ = here.command(context.Background(), "local", "stop", "--force").Run() // all that is left to try
		}
	}()
	return m.Run(), nil
}

func goBuild(output, what string, env ...string) error {
	cmd := exec.Command("go", "build", "-o", output, what) //nolint:noctx // the test's own time limit holds
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", what, err, out)
	}
	return nil
}

// TestSources looks at what the program is built of: go test remembers a result
// until a file changes that a test has looked at, and another process built it.
func TestSources(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"../cmd", "../internal", "."} {
		if err := filepath.WalkDir(folder, func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			t.Error(err)
		}
	}
}

// command is `cortex args…`, typed in the folder of the examples.
func (p place) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.cortex, args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "CORTEX_CLI_CONFIG_DIR="+p.config, "NO_COLOR=1", "PYTHONDONTWRITEBYTECODE=1")
	return cmd
}

// cortex runs a command that must succeed and returns what it prints.
func cortex(t *testing.T, args ...string) string {
	t.Helper()
	out, err := here.command(t.Context(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("cortex %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// deploy deploys the file of an example, and has its APIs deleted when the test
// ends, the last one first: a splitter before its targets. It returns the
// endpoint of the named API.
func deploy(t *testing.T, file, name string, others ...string) string {
	t.Helper()
	t.Cleanup(func() {
		for _, api := range append([]string{name}, others...) {
			out, err := here.command(context.Background(), "delete", api, "--force").CombinedOutput()
			if err != nil {
				t.Errorf("cortex delete %s: %v\n%s", api, err, out)
			}
		}
	})
	cortex(t, "deploy", file)
	return get(t, name).Endpoint
}

// api is what the tests read of `cortex get -o json`.
type api struct {
	Endpoint string
	Status   struct {
		Ready, Requested int
		Phase            string
	}
}

func get(t *testing.T, name string) api {
	t.Helper()
	var apis []api
	out := cortex(t, "get", name, "-o", "json")
	if err := json.Unmarshal([]byte(out), &apis); err != nil || len(apis) != 1 {
		t.Fatalf("cortex get %s -o json = %s (%v), want a list of one api", name, out, err)
	}
	return apis[0]
}

// call sends a request and returns the status and the body.
func call(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// until asks again and again whether something has come true, for a minute.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("after a minute: %s", what)
		}
	}
}
