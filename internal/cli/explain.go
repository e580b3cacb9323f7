package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/workload"
)

func (a *app) explainCommand() *cobra.Command {
	var env string
	var out output
	cmd := &cobra.Command{
		Use:   "explain API_NAME",
		Short: "say why an api is not ready, and what to do",
		Long: "Walk from the file to the probe of an API, stop at the first layer that is not in order,\n" +
			"and say what is wrong, what shows it and what to do about it.",
		Example: "  cortex explain iris\n" +
			"  cortex explain iris -o json",
		Args:              exactly("API_NAME"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			e, err := t.Explain(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if out != pretty {
				return a.print(out, e)
			}
			writeExplanation(a.streams.Out, a.paint, e)
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	return cmd
}

func writeExplanation(w io.Writer, paint painter, e workload.Explanation) {
	fmt.Fprintln(w, paint.bold(e.Summary))
	if len(e.Steps) > 0 {
		fmt.Fprintln(w)
	}
	width := 0
	for _, s := range e.Steps {
		width = max(width, textWidth(s.Layer))
	}
	for _, s := range e.Steps {
		mark := paint.green("ok ")
		switch {
		case s.Pending:
			mark = paint.yellow("...")
		case !s.OK:
			mark = paint.red("NOT")
		}
		fmt.Fprintf(w, "  %s  %s  %s\n", mark, pad(s.Layer, width), indentRest(s.Detail, width+9))
	}
	if e.Cause != nil {
		writeCause(w, paint, e.Cause)
	}
}

// writeCause writes a reason as a block: what, what shows it, what to do.
func writeCause(w io.Writer, paint painter, r *workload.Reason) {
	const label = 12
	row := func(name, text string) {
		fmt.Fprintf(w, "  %s%s\n", paint.dim(pad(name, label)), indentRest(text, label+2))
	}
	fmt.Fprintln(w)
	row("cause", r.Message)
	for _, e := range r.Evidence {
		row(e.Kind, e.Text)
	}
	if r.Fix != "" {
		row("what to do", r.Fix)
	}
}

// indentRest indents every line of text but the first.
func indentRest(text string, by int) string {
	return strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+strings.Repeat(" ", by))
}
