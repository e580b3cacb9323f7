package process

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/workload"
)

// overTerminal gives a command a terminal of its own.
func (c *conversation) overTerminal(cmd *exec.Cmd, tty workload.TTY, streams workload.ExecStreams) error {
	ours, theirs, err := openTerminal()
	if err != nil {
		return fmt.Errorf("opening a terminal: %w", err)
	}
	c.ours, c.theirs = append(c.ours, ours), append(c.theirs, theirs)
	c.outputs = append(c.outputs, answer{ours, streams.Stdout})
	resize(ours, tty)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr.Setctty = true // its descriptor 0
	if tty.Term != "" {
		cmd.Env = append(cmd.Env[:len(cmd.Env):len(cmd.Env)], "TERM="+tty.Term)
	}
	c.inputs = append(c.inputs, func() {
		for {
			select {
			case <-c.ended:
				return
			case size, ok := <-streams.Resize:
				if !ok {
					return
				}
				resize(ours, size)
			}
		}
	})
	if streams.Stdin != nil {
		c.inputs = append(c.inputs, func() { _, _ = io.Copy(ours, streams.Stdin) }) // ends with the caller's input
	}
	return nil
}

func resize(terminal *os.File, size workload.TTY) {
	conn, err := terminal.SyscallConn()
	if err != nil {
		return // closed
	}
	_ = conn.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
	})
}

// openTerminal returns both ends of a new terminal.
func openTerminal() (ours, theirs *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		theirs, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		_ = unix.Close(fd) // nobody has it
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), "/dev/ptmx"), theirs, nil // descriptors that do not block can be waited for
}
