// Package enginetest is the conformance suite of engine.Engine: what every place
// in which replicas run has to do, shown with real containers.
//
// It promises nothing to the product; only tests import it. It must not know how
// an engine does what it asks for.
package enginetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Options is what the suite asks of the engine that a harness makes.
type Options struct {
	StateDir string
	Drain    func(ctx context.Context, workload, replica string) error
	InFlight func(workload string) map[string]int
	Env      map[string]string // for every container
	Secrets  map[string]string // values that containers may refer to, by name
	Grace    time.Duration     // between the decision to stop a replica and SIGKILL
	Deadline time.Duration     // for a replica to become ready
	Steady   time.Duration     // that it must have been ready before it replaces another
	Server   string            // path of the compiled, static test server
	TB       testing.TB        // of the scene, for what it needs around it; nil in a daemon
}

// Secret is what an engine asks that reads values itself.
func (o Options) Secret(_ context.Context, name string) (string, error) {
	value, ok := o.Secrets[name]
	if !ok {
		return "", fault.New(fault.NotFound, workload.CodeSecretNotFound, "there is no secret %s", name)
	}
	return value, nil
}

// Harness is one engine under test, not running yet.
type Harness struct {
	Engine engine.Engine
	// Container returns a container that runs the test server with these arguments.
	Container func(args ...string) workload.Container
	// Self is the command line of the test server inside of the container.
	Self []string
	// Broken returns containers that can never start, by the code of the reason.
	Broken map[string]workload.Container
	// OwnNetwork says that a container has a network of its own: fixed ports of
	// two replicas do not clash, and CORTEX_PORT is the pod's port.
	OwnNetwork bool
	// DiesWithUs says that replicas end with the program that started them, however
	// that dies; otherwise they are ended when the next engine begins.
	DiesWithUs bool
	// BoundsMemory says that compute.mem is a limit here.
	BoundsMemory bool
	// Alive reports whether a process, as the test server knows its number, still
	// runs; nil where that cannot be seen from outside.
	Alive func(pid int) bool

	// Outlives says that replicas live on when Run ends or its program dies, and
	// that the next engine finds them as they are.
	Outlives bool
	// DrainsItself says that a replica finishes the requests under way before it is
	// told to end, without Options.Drain.
	DrainsItself bool
	// Delegates says that somebody else starts and stops replicas, within the same
	// bounds but in its own order, so that moments in between are not the engine's.
	Delegates bool
	// DeleteVolume deletes a volume that this machine keeps; nil where others keep them.
	DeleteVolume func(name string) error
	// LogsEndWithReplica says that logs can be read as long as their replica is there.
	LogsEndWithReplica bool
	// OneStream says that what was written to stderr is told as stdout.
	OneStream bool
	// SeesLess says that somebody else asks probes, who tells neither the body of an
	// answer nor an exit code, and that nobody sees where else a container listens.
	SeesLess bool
}

// Crash-loop timing an engine under test is to use, so that the suite is quick.
const (
	BackoffFirst = 20 * time.Millisecond
	BackoffMax   = 100 * time.Millisecond
	Version      = "conformance"
)

// Build compiles the test server into dir and returns its path.
func Build(dir string) (string, error) {
	path := filepath.Join(dir, "server")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "cortex.dev/cortex/internal/engine/enginetest/testdata/server")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling the test server: %w\n%s", err, out)
	}
	return path, nil
}

// Run holds the engines that build returns to the contract: to all of it, or to
// the named parts where only those can differ from an engine that was held to all.
func Run(t *testing.T, build func(o Options) (Harness, error), only ...string) {
	dir := t.TempDir()
	server, err := Build(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Setenv(secretName, "of the platform"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range scenes() {
		if len(only) > 0 && !slices.Contains(only, tt.name) {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &scene{T: t, build: build, options: Options{StateDir: t.TempDir(), Server: server, Grace: 20 * time.Second, Deadline: time.Hour, Steady: 50 * time.Millisecond, TB: t}}
			if tt.options != nil {
				tt.options(s)
			}
			s.start()
			if tt.unless != nil && tt.unless(s.Harness) {
				t.Skip("not of an engine like this: see the fields of Harness")
			}
			tt.play(s)
		})
	}
}

// secretName is a variable of this program that no container may see.
const secretName = "ENGINETEST_SECRET"

type test struct {
	name    string
	options func(s *scene)
	unless  func(h Harness) bool // the engine is one that this cannot be asked of
	play    func(s *scene)
}
