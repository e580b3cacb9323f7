package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/term"

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
	fmt.Fprint(a.streams.Err, prompt+" ")
	type line struct {
		text string
		err  error
	}
	typed := make(chan line, 1)
	// A read from a terminal cannot be called off; the goroutine is left to it when
	// the user interrupts, and the program ends.
	go func() {
		var l line
		if secret {
			var data []byte
			data, l.err = term.ReadPassword(fd)
			l.text = string(data)
			fmt.Fprintln(a.streams.Err)
		} else {
			l.text, l.err = readLine(a.streams.In)
		}
		typed <- l
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

func readLine(in io.Reader) (string, error) {
	text, err := bufio.NewReader(io.LimitReader(in, maxAnswer)).ReadString('\n')
	if errors.Is(err, io.EOF) && text != "" {
		err = nil
	}
	return text, err
}
