package enginetest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// daemonVariable makes a test program run an engine instead of tests.
const daemonVariable = "ENGINETEST_DAEMON"

// orders are what the daemon is told.
type orders struct {
	Options  daemonOptions
	Revision *workload.Revision
}

type daemonOptions struct {
	StateDir, Server string
	Grace            time.Duration
}

// Main runs the tests, or, when a test started this program to be killed, an
// engine. A TestMain that calls it passes what it passes to Run.
func Main(m *testing.M, build func(o Options) (Harness, error)) int {
	text := os.Getenv(daemonVariable)
	if text == "" {
		return m.Run()
	}
	if err := daemonMain(text, build); err != nil {
		fmt.Println("error", err)
		return 1
	}
	return 0
}

func daemonMain(text string, build func(o Options) (Harness, error)) error {
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	h, err := build(Options{StateDir: o.Options.StateDir, Server: o.Options.Server, Grace: o.Options.Grace})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := h.Engine.Apply(ctx, engine.Deployment{Revision: o.Revision, Replicas: 1}); err != nil {
		return err
	}
	go func() {
		_ = h.Engine.Watch(ctx, func(st engine.Status) {
			if ready, _ := st.Ready(); ready == 1 {
				fmt.Println("ready", st.Replicas[0].Address)
			}
		})
	}()
	go func() {
		_ = h.Engine.Logs(ctx, workload.LogQuery{Name: o.Revision.Name, Follow: true}, func(l workload.LogLine) error {
			fmt.Println(l.Text)
			return nil
		})
	}()
	return h.Engine.Run(ctx)
}

// daemon is another program that runs an engine with one replica.
type daemon struct {
	cmd      *exec.Cmd
	stateDir string
	address  string
	child    int
	killed   bool
}

// startDaemon returns when the replica of a new daemon is ready and has a child.
func startDaemon(s *scene) *daemon {
	s.T.Helper()
	d := &daemon{stateDir: s.TempDir()}
	text, err := json.Marshal(orders{
		Options:  daemonOptions{StateDir: d.stateDir, Server: s.options.Server, Grace: s.options.Grace},
		Revision: s.revision("iris", "r1", env("SERVER_CHILD", "1")),
	})
	if err != nil {
		s.Fatal(err)
	}
	d.cmd = exec.Command(os.Args[0])
	d.cmd.Env = append(os.Environ(), daemonVariable+"="+string(text))
	d.cmd.Stderr = os.Stderr
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(d.kill)
	lines := bufio.NewScanner(out)
	for (d.address == "" || d.child == 0) && lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "ready":
			d.address = rest
		case "child":
			d.child, _ = strconv.Atoi(rest)
		case "error":
			s.Fatal(rest)
		}
	}
	return d
}

// kill ends the daemon as the kernel would, and waits for its end.
func (d *daemon) kill() {
	if d.killed {
		return
	}
	d.killed = true
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
}
