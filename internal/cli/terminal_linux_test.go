package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/workload"
)

// runInTerminal runs a program on a pseudo-terminal of 100 columns and copies
// what it shows there to the standard output, escapes written as ^[. What stands
// in $TYPE is typed after each time the text in $AWAIT appears; ^C is Ctrl-C, \n the enter key,
// ^[ escape. Either may be several with " then " between them: the first time it is the first.
func runInTerminal() {
	code, err := inTerminal(os.Args[1:], os.Getenv("AWAIT"), os.Getenv("TYPE"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 99
	}
	os.Exit(code)
}

func inTerminal(args []string, await, typed string) (int, error) {
	master, slave, err := openTerminal()
	if err != nil {
		return 0, err
	}
	defer master.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	slave.Close()
	defer func() { _ = cmd.Process.Kill() }()
	if err := converse(master, await, strings.NewReplacer("^C", "\x03", `\n`, "\n", "^[", "\x1b").Replace(typed)); err != nil {
		return 0, err
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// openTerminal makes a pseudo-terminal: the end of a person, and that of programs.
func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			master.Close()
		}
	}()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 20, Col: 100}); err != nil {
		return nil, nil, err
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	return master, slave, err
}

// converse copies from the terminal until its other end closes.
func converse(master io.ReadWriter, await, typed string) error {
	var seen bytes.Buffer
	from, answers := 0, 0
	step := func(all string) string {
		steps := strings.Split(all, " then ")
		return steps[min(answers, len(steps)-1)]
	}
	buf := make([]byte, 4096)
	for {
		n, err := master.Read(buf)
		seen.Write(buf[:n])
		fmt.Print(strings.NewReplacer("\x1b", "^[", "\r", "").Replace(string(buf[:n])))
		if i := bytes.Index(seen.Bytes()[from:], []byte(step(await))); await != "" && i >= 0 {
			from += i + len(step(await))
			key := step(typed)
			if answers++; answers > 10 {
				return errors.New("the program asks again and again")
			}
			if _, err := io.WriteString(master, key); err != nil {
				return err
			}
		}
		if err != nil { // EIO when the last program on the terminal has gone
			return nil
		}
	}
}

// quiet is an environment in which nothing happens.
type quiet struct{ workload.Service }

func (quiet) Watch(ctx context.Context, _ workload.WatchQuery, fn func(workload.Watched) error) error {
	if err := fn(workload.Watched{ID: "e-1", Snapshot: true}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// lateRead is a terminal whose reader is held up until the end, on the way into the kernel.
type lateRead struct {
	*os.File
	ctx   context.Context
	begin func()
	lines bool // it would have waited for a line of the user's
}

func (r *lateRead) Read([]byte) (int, error) {
	r.begin()
	<-r.ctx.Done()
	look, over := time.NewTicker(time.Millisecond), time.After(200*time.Millisecond)
	defer look.Stop()
	for !r.lines {
		select {
		case <-look.C:
			mode, err := unix.IoctlGetTermios(int(r.Fd()), unix.TCGETS)
			r.lines = err != nil || mode.Lflag&unix.ICANON != 0
		case <-over:
			return 0, nil
		}
	}
	return 0, nil
}

// The terminal is as it was only when nothing reads it any more: a read that begins after that
// ends with the user's next line, and the command with it.
func TestTopReadsNothingOnceItIsOver(t *testing.T) {
	t.Parallel()
	master, slave, err := openTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	go func() { _, _ = io.Copy(io.Discard, master) }()
	ctx, cancel := context.WithCancel(t.Context())
	in := &lateRead{File: slave, ctx: ctx, begin: cancel}
	a := &app{streams: Streams{In: in, Out: slave, Err: slave}}
	if err := a.topLive(ctx, &target{Service: quiet{}}, int(slave.Fd())); !errors.Is(err, context.Canceled) {
		t.Errorf("topLive() = %v, want that it was cancelled", err)
	}
	if in.lines {
		t.Error("the terminal was given back while it was still read")
	}
}
