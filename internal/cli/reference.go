package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// referenceCommand writes docs/cli.md; it is not for users.
func (a *app) referenceCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "reference",
		Hidden:  true,
		Short:   "print the reference of all commands as Markdown",
		Example: "  cortex reference > docs/cli.md",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return writeReference(a.streams.Out, cmd.Root())
		},
	}
}

// writeReference writes every visible command with its flags and examples.
func writeReference(w io.Writer, root *cobra.Command) error {
	var b strings.Builder
	b.WriteString("# Command reference\n\n")
	b.WriteString("Generated from the help texts by `go test ./internal/cli -run Reference -update`; do not edit.\n\n")
	b.WriteString("Results go to the standard output, everything else to the standard error. Exit codes: 0 done, " +
		"1 failed, 2 wrong command line (nothing was done), 130 interrupted. There is no colour without a terminal or with `NO_COLOR`.\n\n" +
		"`-o json` and `-o yaml` have the same members. `cortex schema COMMAND`, such as `cortex schema env list`, prints the JSON Schema of " +
		"what a command prints; names in capitals are definitions in it, and in the OpenAPI document of the management " +
		"API (`/openapi.json`). An error is then one line of JSON on the standard error: `code`, `message`, `hint` and, of a file, " +
		"`problems`, a list of `Problem`.\n")
	for _, c := range allCommands(root) {
		if c.Hidden || c.Name() == "help" {
			continue
		}
		referenceOf(&b, c)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func referenceOf(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n", c.CommandPath())
	text := c.Long
	if text == "" {
		text = strings.ToUpper(c.Short[:1]) + c.Short[1:] + "."
	}
	// What is indented in a terminal is a block of its own in Markdown.
	fmt.Fprintf(b, "%s\n\n```text\n%s\n```\n", strings.ReplaceAll(text, "\n  ", "\n    "), c.UseLine())
	if c.HasSubCommands() {
		b.WriteString("\n")
		for _, s := range c.Commands() {
			if !s.Hidden && s.Name() != "help" {
				fmt.Fprintf(b, "- `%s`: %s\n", s.CommandPath(), s.Short)
			}
		}
	}
	var flags [][2]string
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" {
			meaning := f.Usage
			if !slices.Contains([]string{"", "false", "0", "0s", "-1"}, f.DefValue) {
				meaning += " (default `" + f.DefValue + "`)"
			}
			flags = append(flags, [2]string{flagName(f), meaning})
		}
	})
	if len(flags) > 0 {
		b.WriteString("\n| flag | meaning |\n|---|---|\n")
		for _, f := range flags {
			fmt.Fprintf(b, "| `%s` | %s |\n", strings.ReplaceAll(f[0], "|", `\|`), strings.ReplaceAll(f[1], "|", `\|`))
		}
	}
	if answer, ok := answers[c.CommandPath()]; ok {
		fmt.Fprintf(b, "\nWith `-o json`: %s.\n", answer.words)
	}
	fmt.Fprintf(b, "\nFor example:\n\n```text\n%s\n```\n", dedent(c.Example))
}

func flagName(f *pflag.Flag) string {
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if kind := f.Value.Type(); kind != "bool" {
		name += " " + kind
	}
	return name
}

func dedent(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}

// allCommands returns cmd and everything below it, in the order of the help texts.
func allCommands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		all = slices.Concat(all, allCommands(c))
	}
	return all
}
