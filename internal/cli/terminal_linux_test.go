package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
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
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return 0, err
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return 0, err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 20, Col: 100}); err != nil {
		return 0, err
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return 0, err
	}
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
