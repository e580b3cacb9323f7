package docker

import (
	"context"
	"io"
	"syscall"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"cortex.dev/cortex/internal/workload"
)

// Exec implements local.Container. Docker itself cannot end a command in a container: it
// is ended by its number where that is one of this machine and belongs to this user;
// elsewhere it is left to the container. One that has a terminal is told that it is gone.
func (c *running) Exec(ctx context.Context, command []string, tty *workload.TTY, streams workload.ExecStreams) (int, error) {
	cli := c.r.cli
	options := client.ExecCreateOptions{Cmd: command, AttachStdin: streams.Stdin != nil, AttachStdout: true, AttachStderr: true}
	attach := client.ExecAttachOptions{}
	if tty != nil {
		size := client.ConsoleSize{Height: uint(tty.Rows), Width: uint(tty.Cols)}
		options.TTY, options.ConsoleSize = true, size
		attach.TTY, attach.ConsoleSize = true, size
		if tty.Term != "" {
			options.Env = []string{"TERM=" + tty.Term}
		}
	}
	created, err := cli.ExecCreate(ctx, c.id, options)
	if err != nil {
		return 0, err
	}
	attached, err := cli.ExecAttach(ctx, created.ID, attach)
	if err != nil {
		return 0, err
	}
	defer attached.Close()
	stop := context.AfterFunc(ctx, func() {
		c.endExec(ctx, created.ID)
		attached.Close()
	})
	defer stop()
	if streams.Stdin != nil {
		go func() { // its end is the caller's
			_, _ = io.Copy(attached.Conn, streams.Stdin)
			_ = attached.CloseWrite()
		}()
	}
	ended := make(chan struct{})
	defer close(ended)
	if tty != nil {
		go c.resize(ctx, created.ID, streams.Resize, ended)
		_, _ = io.Copy(streams.Stdout, attached.Reader) // ends with the command or with ctx
	} else {
		_, _ = stdcopy.StdCopy(streams.Stdout, streams.Stderr, attached.Reader)
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	got, err := cli.ExecInspect(ctx, created.ID, client.ExecInspectOptions{})
	if err != nil {
		return 0, err
	}
	return got.ExitCode, nil
}

func (c *running) resize(ctx context.Context, id string, sizes <-chan workload.TTY, ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case size, ok := <-sizes:
			if !ok {
				return
			}
			_, _ = c.r.cli.ExecResize(ctx, id, client.ExecResizeOptions{Height: uint(size.Rows), Width: uint(size.Cols)})
		}
	}
}

// endExec ends a command if it can.
func (c *running) endExec(ctx context.Context, id string) {
	if !c.r.local {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), asking)
	defer cancel()
	if got, err := c.r.cli.ExecInspect(ctx, id, client.ExecInspectOptions{}); err == nil && got.Running && got.PID > 1 {
		_ = syscall.Kill(got.PID, syscall.SIGKILL) // of another user: it stays
	}
}
