package process

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// Exec implements local.Container: a process beside that of the container, in its folder,
// with its environment, in its group of resources and with its mark, so that what is left
// of it ends with the replica.
func (p *process) Exec(ctx context.Context, command []string, tty *workload.TTY, streams workload.ExecStreams) (int, error) {
	if len(command) == 0 {
		return 0, errors.New("the command is empty")
	}
	path, err := findExecutable(command[0], p.spec.Directory, lookup(p.env, "PATH"))
	if err != nil {
		return 0, err
	}
	cmd := &exec.Cmd{Path: path, Args: command, Dir: p.spec.Directory, Env: p.env, SysProcAttr: attributes()}
	c := &conversation{ended: make(chan struct{})}
	defer c.close()
	if tty != nil {
		err = c.overTerminal(cmd, *tty, streams)
	} else {
		err = c.overPipes(cmd, streams)
	}
	if err != nil {
		return 0, err
	}
	p.r.mu.Lock()
	err = p.r.spawn(cmd, p.mark, p.group)
	p.r.mu.Unlock()
	if err != nil {
		return 0, cannotStart(path, command[0], err)
	}
	c.begin()
	collected := make(chan struct{})
	go func() {
		defer close(collected)
		await(cmd, func() { killGroup(cmd.Process.Pid) })
	}()
	select {
	case <-collected:
	case <-ctx.Done():
		killGroup(cmd.Process.Pid)
	case <-p.done:
		killGroup(cmd.Process.Pid)
	}
	<-collected
	c.finish()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return exitOf(cmd.ProcessState.Sys().(syscall.WaitStatus)).Code, nil
}

// conversation is what goes between a command and its caller.
type conversation struct {
	theirs  []*os.File // of the command
	ours    []*os.File
	outputs []answer
	inputs  []func() // each copies until its caller's end; none is waited for
	ended   chan struct{}
	copying sync.WaitGroup
}

type answer struct {
	from *os.File
	to   io.Writer
}

// begin starts to copy, once the command has its ends.
func (c *conversation) begin() {
	closeAll(c.theirs)
	c.theirs = nil
	for _, o := range c.outputs {
		c.copying.Go(func() { c.copy(o) })
	}
	for _, in := range c.inputs {
		go in()
	}
}

// copy hands on what the command writes, however slowly its caller reads. When the command
// has ended, what others that it left behind say is waited for a moment only.
func (c *conversation) copy(o answer) {
	buf := make([]byte, 32<<10)
	for {
		select {
		case <-c.ended:
			_ = o.from.SetReadDeadline(time.Now().Add(waitDelay))
		default:
		}
		n, err := o.from.Read(buf)
		if n > 0 {
			if _, err := o.to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// finish returns when all that the command wrote is handed on.
func (c *conversation) finish() {
	close(c.ended)
	for _, o := range c.outputs {
		_ = o.from.SetReadDeadline(time.Now().Add(waitDelay))
	}
	c.copying.Wait()
}

func (c *conversation) close() { closeAll(append(c.theirs, c.ours...)) }

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing is written any more
	}
}

// pipe makes a pipe of which the command has one end.
func (c *conversation) pipe(theirsReads bool) (theirs, ours *os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	theirs, ours = w, r
	if theirsReads {
		theirs, ours = r, w
	}
	c.theirs, c.ours = append(c.theirs, theirs), append(c.ours, ours)
	return theirs, ours, nil
}

func (c *conversation) overPipes(cmd *exec.Cmd, streams workload.ExecStreams) error {
	for _, o := range []struct {
		to  io.Writer
		end *io.Writer
	}{{streams.Stdout, &cmd.Stdout}, {streams.Stderr, &cmd.Stderr}} {
		theirs, ours, err := c.pipe(false)
		if err != nil {
			return err
		}
		*o.end = theirs
		c.outputs = append(c.outputs, answer{ours, o.to})
	}
	if streams.Stdin == nil {
		return nil
	}
	theirs, ours, err := c.pipe(true)
	if err != nil {
		return err
	}
	cmd.Stdin = theirs
	c.inputs = append(c.inputs, func() {
		_, _ = io.Copy(ours, streams.Stdin) // ends with the caller's input, or with the command
		_ = ours.Close()
	})
	return nil
}
