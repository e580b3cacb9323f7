package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// lookAtSize is how often the size of the terminal is looked at.
const lookAtSize = 250 * time.Millisecond

// exitStatus is how a command ended that ran elsewhere: this program ends in the same way.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("the command ended with exit code %d", int(e)) }

func (a *app) execCommand() *cobra.Command {
	var env string
	var req workload.ExecRequest
	var input, tty bool
	cmd := &cobra.Command{
		Use:   "exec API_NAME -- COMMAND...",
		Short: "run a command in a replica of an api",
		Long: "Run a command in a replica of an API: in its folder, with its environment and within its\n" +
			"limits, beside what it serves with. The exit code is that of the command, which ends when\n" +
			"this program does. No shell reads the words: for one, run it (`-- sh -c '…'`).",
		Example: "  cortex exec iris -- env\n" +
			"  cortex exec iris -it -- sh\n" +
			"  cortex exec iris -i -- sh -c 'cat > model.bin' < model.bin",
		Args: func(cmd *cobra.Command, args []string) error {
			words, command := atDash(cmd, args)
			if len(words) > 0 && len(command) == 0 {
				return fmt.Errorf("missing -- COMMAND")
			}
			return exactly("API_NAME")(cmd, words)
		},
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			words, command := atDash(cmd, args)
			req.Name, req.Command = words[0], command
			t, err := a.connect(cmd.Context(), env, jsonOut, refuse) // what is printed is the command's
			if err != nil {
				return err
			}
			return a.exec(cmd.Context(), t, req, input, tty)
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().StringVar(&req.Replica, "replica", "", "in this replica, by its id or a unique prefix (default: the oldest)")
	cmd.Flags().StringVarP(&req.Container, "container", "c", "", "in this container of the pod (default: the first)")
	cmd.Flags().BoolVarP(&input, "stdin", "i", false, "send the standard input")
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "give the command a terminal; with -i")
	return cmd
}

func (a *app) exec(ctx context.Context, t *target, req workload.ExecRequest, input, tty bool) error {
	streams := workload.ExecStreams{Stdout: a.streams.Out, Stderr: a.streams.Err}
	if input {
		streams.Stdin = a.streams.In
	}
	if tty {
		in, ok := terminal(a.streams.In)
		out, shown := terminal(a.streams.Out)
		if !ok || !shown || !input {
			return fault.New(fault.Usage, "cli.no_terminal", "-t needs -i, and a terminal at both ends of this program").
				WithHint("leave -t out")
		}
		size := sizeOf(out)
		size.Term = a.getenv("TERM")
		req.TTY = &size
		before, err := term.MakeRaw(in) // Ctrl-C is the command's
		if err != nil {
			return fmt.Errorf("taking over the terminal: %w", err)
		}
		defer func() { _ = term.Restore(in, before) }()
		sizes, stop := sizesOf(ctx, out, size)
		defer stop()
		streams.Resize = sizes
	}
	code, err := t.Exec(ctx, req, streams)
	if err == nil && code != 0 {
		err = exitStatus(code)
	}
	return err
}

func sizeOf(fd int) workload.TTY {
	cols, rows, err := term.GetSize(fd)
	if err != nil {
		cols, rows = 80, 24
	}
	return workload.TTY{Rows: uint16(rows), Cols: uint16(cols)}
}

// sizesOf tells each new size of a terminal until stop is called.
func sizesOf(ctx context.Context, fd int, was workload.TTY) (sizes <-chan workload.TTY, stop func()) {
	told, done := make(chan workload.TTY), make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	was.Term = ""
	go func() {
		defer close(done)
		tick := time.NewTicker(lookAtSize)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if is := sizeOf(fd); is != was {
				select {
				case told <- is:
					was = is
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return told, func() {
		cancel()
		<-done
	}
}
