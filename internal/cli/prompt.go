package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/fault"
)

// maxAnswer bounds a line typed at a prompt.
const maxAnswer = 4096

// confirm asks a question that is answered by y or n. Without a terminal nobody
// is there to answer, which is an error.
func (a *app) confirm(ctx context.Context, format string, args ...any) (bool, error) {
	question := fmt.Sprintf(format, args...)
	for {
		answer, err := a.ask(ctx, question+" (y/n)", false)
		if err != nil {
			return false, err
		}
		switch strings.ToLower(answer) {
		case "y", "yes":
			return true, nil
		case "n", "no":
			return false, nil
		}
	}
}

// errAtPrompt is Ctrl-C or the end of input at a prompt: the work failed.
func errAtPrompt() error {
	return fault.New(fault.Conflict, "cli.prompt_interrupted", "nothing was done: the question was not answered")
}

// ask returns the line typed at a prompt. A secret one is not shown.
func (a *app) ask(ctx context.Context, prompt string, secret bool) (string, error) {
	fd, ok := terminal(a.streams.In)
	if !ok {
		return "", fault.New(fault.Usage, "cli.cannot_ask", "%s", prompt).
			WithHint("there is no terminal to ask on; answer with a flag (see --help)")
	}
	if secret {
		show, err := hideTyping(fd) // before anybody is asked to type
		if err != nil {
			return "", fmt.Errorf("hiding what is typed: %w", err)
		}
		defer func() {
			show()
			fmt.Fprintln(a.streams.Err)
		}()
	}
	fmt.Fprint(a.streams.Err, prompt+" ")
	type line struct {
		text string
		err  error
	}
	typed := make(chan line, 1)
	// A read from a terminal cannot be called off; the goroutine is left to it when
	// the user interrupts, and the program ends.
	go func() {
		text, err := readLine(a.streams.In)
		typed <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.streams.Err)
		return "", errAtPrompt()
	case l := <-typed:
		if l.err != nil {
			return "", errAtPrompt()
		}
		return strings.TrimSpace(l.text), nil
	}
}

// hideTyping turns the echo of a terminal off until show is called.
func hideTyping(fd int) (show func(), err error) {
	old, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, err
	}
	hidden := *old
	hidden.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, setTermios, &hidden); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(fd, setTermios, old) }, nil
}

func readLine(in io.Reader) (string, error) {
	text, err := bufio.NewReader(io.LimitReader(in, maxAnswer)).ReadString('\n')
	if errors.Is(err, io.EOF) && text != "" {
		err = nil
	}
	return text, err
}
