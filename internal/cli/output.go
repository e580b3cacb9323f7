package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"cortex.dev/cortex/internal/fault"
)

// output is the value of -o.
type output string

const (
	pretty   output = "pretty"
	jsonOut  output = "json"
	yamlOut  output = "yaml"
	outWords        = "pretty|json|yaml"
)

const errOutputType = "is not an output format"

// Set, String and Type make output a flag.
func (o *output) Set(s string) error {
	switch v := output(s); v {
	case pretty, jsonOut, yamlOut:
		*o = v
		return nil
	}
	return fmt.Errorf("%q %s; one of %s", s, errOutputType, outWords)
}

func (o *output) String() string { return string(*o) }

// Type is the word for the value in help texts.
func (o *output) Type() string { return outWords }

func addOutputFlag(cmd *cobra.Command, o *output) {
	*o = pretty
	cmd.Flags().VarP(o, "output", "o", "how to print the answer")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(strings.Split(outWords, "|"), cobra.ShellCompDirectiveNoFileComp))
}

// print writes v as JSON or YAML; both have the same keys in the same order.
func (a *app) print(o output, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if o == yamlOut {
		if data, err = jsonToYAML(data); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(a.streams.Out, strings.TrimRight(string(data), "\n"))
	return err
}

// printLine writes v as one of many: a line of JSON, or a document of YAML.
func (a *app) printLine(o output, v any) error {
	if o == yamlOut {
		fmt.Fprint(a.streams.Out, "---\n")
		return a.print(o, v)
	}
	return json.NewEncoder(a.streams.Out).Encode(v)
}

func (a *app) say(format string, args ...any) { fmt.Fprintf(a.streams.Out, format+"\n", args...) }

// note says something beside the answer.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.streams.Err, format+"\n", args...)
	}
}

// fileDescriptor returns the descriptor of a stream that is a terminal.
func terminal(stream any) (fd int, ok bool) {
	f, ok := stream.(interface{ Fd() uintptr })
	if !ok {
		return 0, false
	}
	return int(f.Fd()), term.IsTerminal(int(f.Fd()))
}

// answersData reports whether a command was asked for JSON or YAML.
func answersData(cmd *cobra.Command) bool {
	f := cmd.Flags().Lookup("output")
	return f != nil && f.Value.Type() == outWords && f.Value.String() != string(pretty)
}

// toldError is an error for programs.
type toldError struct {
	Code     string          `json:"code"`
	Message  string          `json:"message"`
	Hint     string          `json:"hint"`
	Problems []fault.Problem `json:"problems,omitempty"`
}

// printError tells what went wrong: one line, the problems of a file one per
// line, and what to do; a line of JSON where the answer is data.
func (a *app) printError(err error) {
	f := fault.From(err)
	if a.data {
		_ = json.NewEncoder(a.streams.Err).Encode(toldError{f.Code, f.Message, f.Hint, f.Problems})
		return
	}
	f = visibleIn(f)
	paint := newPainter(a.streams.Err, a.getenv)
	w := a.streams.Err
	switch len(f.Problems) {
	case 0, 1:
		first, rest, _ := strings.Cut(strings.TrimRight(f.Message, "\n"), "\n")
		fmt.Fprintln(w, paint.bold(paint.red("error: ")+first))
		if rest != "" {
			fmt.Fprintln(w, rest)
		}
	default:
		fmt.Fprintln(w, paint.bold(paint.red("error: ")+problemTitle(f.Problems)))
		writeProblems(w, paint, f.Problems)
	}
	if f.Hint != "" {
		fmt.Fprintln(w, paint.dim("hint: ")+f.Hint)
	}
}

func problemTitle(problems []fault.Problem) string {
	files := map[string]bool{}
	for _, p := range problems {
		files[p.File] = true
	}
	if len(files) == 1 && problems[0].File != "" {
		return fmt.Sprintf("%s has %d problems", problems[0].File, len(problems))
	}
	return fmt.Sprintf("there are %d problems", len(problems))
}

// writeProblems writes one problem per line, the texts aligned behind positions
// that editors recognise.
func writeProblems(w io.Writer, paint painter, problems []fault.Problem) {
	where := make([]string, len(problems))
	width := 0
	for i, p := range problems {
		where[i] = p.File
		if p.Line > 0 {
			where[i] = fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
		}
		width = max(width, textWidth(where[i]))
	}
	for i, p := range problems {
		p.File = ""
		fmt.Fprintf(w, "  %s  %s\n", paint.dim(pad(where[i], width)), indentRest(p.String(), width+4))
	}
}
