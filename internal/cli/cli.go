// Package cli is the command line: it reads what a user typed, asks a
// workload.Service for it and says the answer in words, JSON or YAML.
//
// It promises that results go to the standard output and everything else to the
// standard error; that the exit code is 0 when the work is done, 1 when it
// failed, 2 when the command line was wrong and nothing was done, 130 when the user
// interrupted it, and after `cortex exec` that of the command; and that there is no colour without a terminal.
//
// It must not decide anything about workloads, and must not read the process's
// environment, arguments or signals by itself: main hands them in.
package cli

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/auth/login"
	"cortex.dev/cortex/internal/environments"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/localenv"
)

// ExitInterrupted is the exit code after Ctrl-C, as shells expect it.
const ExitInterrupted = 130

// Streams are the three standard streams. Only an Out that is a terminal gets
// colour and redrawn progress; only an In that is one is asked questions.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Hooks are what the command line cannot do by itself.
type Hooks struct {
	Version string // of the program
	// RunLocal hosts the local environment until ctx ends, and then returns after
	// everything it started has stopped.
	RunLocal func(ctx context.Context, cfg hostconfig.Local) error
	// Serve hosts the environment for a team, in the same way.
	Serve func(ctx context.Context, cfg hostconfig.Server, ready func(hostconfig.ServerInfo)) error
	// Verify compares everything in a state folder with its checksums.
	Verify func(ctx context.Context, stateDir string) (hostconfig.Verified, error)
	// Cluster is nil where Kubernetes clusters cannot be worked on.
	Cluster *ClusterHooks
	// Delegate hands the whole command line over to a program with a Cluster, and
	// returns only if that cannot be.
	Delegate func(ctx context.Context) error
}

// Run carries out one command line and returns the exit code.
func Run(ctx context.Context, args []string, streams Streams, getenv func(string) string, hooks Hooks) int {
	a, err := newApp(streams, getenv, hooks)
	if err != nil {
		(&app{streams: streams}).printError(err)
		return fault.ExitFailed
	}
	root := a.root()
	root.SetArgs(args)
	if err = unknownWord(root, args); err == nil {
		var cmd *cobra.Command
		cmd, err = root.ExecuteContextC(ctx)
		a.data = answersData(cmd)
	}
	for _, l := range a.logins {
		if w := l.Warning(); w != "" {
			a.note("%s", w)
		}
	}
	var ended exitStatus
	switch {
	case err == nil:
		return fault.ExitDone
	case errors.As(err, &ended):
		return int(ended)
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return ExitInterrupted
	case errors.Is(err, errReported):
		return fault.ExitFailed
	case !a.started:
		// Cobra's own complaints about words and flags come before any work.
		err = usage(err)
	}
	a.printError(err)
	return fault.ExitCode(err)
}

// errReported ends a command whose failure has been told already.
var errReported = errors.New("reported")

// app is what all commands share.
type app struct {
	streams      Streams
	getenv       func(string) string
	hooks        Hooks
	configDir    string
	environments environments.File
	daemon       *localenv.Daemon
	paint        painter        // for Out
	started      bool           // a command's own work has begun
	ignored      bool           // what is left out of cli.yaml has been said
	data         bool           // the answer is JSON or YAML, and so are errors
	quiet        bool           // who runs it shows people whatever is said beside the answer
	verbatim     bool           // what others have written is printed as it is
	seen         rates          // of `get --watch`; nil: nobody watches
	asked        *target        // the environment that was asked last
	logins       []*login.Login // of the environments that it asked
}

func newApp(streams Streams, getenv func(string) string, hooks Hooks) (*app, error) {
	a := &app{streams: streams, getenv: getenv, hooks: hooks, paint: newPainter(streams.Out, getenv)}
	dir := getenv("CORTEX_CLI_CONFIG_DIR")
	if dir == "" {
		home := getenv("HOME")
		if home == "" {
			return nil, fault.New(fault.Usage, "cli.no_config_dir", "neither HOME nor CORTEX_CLI_CONFIG_DIR is set").
				WithHint("set CORTEX_CLI_CONFIG_DIR to a folder for the configuration and the state of the local environment")
		}
		dir = filepath.Join(home, ".cortex")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	a.configDir = dir
	a.environments = environments.In(dir)
	a.daemon = localenv.New(dir, a.note)
	return a, nil
}

// usage returns err as a mistake in the command line.
func usage(err error) error {
	if fault.Is(err, fault.Usage) {
		return err
	}
	return fault.New(fault.Usage, "cli.usage", "%w", err)
}
