package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func (a *app) secretCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "keep passwords and tokens out of cortex.yaml",
		Long: "Keep passwords and tokens out of cortex.yaml. A secret has a name, which a container\n" +
			"refers to, and a value, which only the container gets:\n\n" +
			"  env:\n" +
			"    HF_TOKEN: {secret: hf-token}\n\n" +
			"No command shows a value again.",
		Example: "  cortex secret set hf-token",
	}
	cmd.AddCommand(a.secretSetCommand(), a.secretListCommand(), a.secretDeleteCommand())
	return cmd
}

func (a *app) secretSetCommand() *cobra.Command {
	var env, file string
	var out output
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "set the value of a secret",
		Long: "Set the value of a secret, which is typed at a prompt that does not show it, or comes\n" +
			"from standard input or from a file; never from the command line, which others can see.\n" +
			"One line end at the end is not part of the value.\n\n" +
			"Replicas that run have the value of before until they are replaced: `cortex refresh`.",
		Example: "  cortex secret set hf-token                    # asks for it\n" +
			"  pass show hf | cortex secret set hf-token\n" +
			"  cortex secret set tls-key --file key.pem",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 { // which is not repeated: it may be the value
				return fault.New(fault.Usage, "cli.wrong_arguments", "the value of a secret cannot be an argument: lists of processes and the history of the shell have it then; it is asked for, or read from standard input")
			}
			return exactly("NAME")(nil, args)
		},
		ValidArgsFunction: a.secretNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.setSecret(cmd.Context(), args[0], file, env, out)
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().StringVar(&file, "file", "", "file that has the value; - is standard input")
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) setSecret(ctx context.Context, name, file, env string, out output) error {
	if !workload.IsSecretName(name) {
		return fault.New(fault.Usage, workload.CodeSecretName, "%q cannot be the name of a secret", name).
			WithHint("names have %s, at most %d characters", workload.WordsOf(workload.NamePattern), workload.MaxSecretNameLength)
	}
	value, err := a.readSecretValue(ctx, name, file)
	if err != nil {
		return err
	}
	if problem := workload.SecretValueProblem(value); problem != "" {
		return fault.New(fault.Invalid, workload.CodeSecretValue, "the value %s", problem).
			WithHint("a secret is text of 1 to %d bytes; encode other data, with base64 for example", workload.MaxSecretBytes)
	}
	t, err := a.connect(ctx, env, out, start)
	if err != nil {
		return err
	}
	set, err := t.SetSecret(ctx, name, value)
	if err != nil {
		return err
	}
	if out != pretty {
		return a.print(out, set)
	}
	if set.Created {
		a.say("made the secret %s", name)
	} else {
		a.say("changed the secret %s", name)
	}
	for _, api := range set.RunWithOld {
		a.say("%s runs with the value of before; to take the new one: cortex refresh %s", api, api)
	}
	return nil
}

// readSecretValue returns the value without the line end that editors and echo add.
func (a *app) readSecretValue(ctx context.Context, name, file string) ([]byte, error) {
	_, asks := terminal(a.streams.In)
	var in io.Reader = a.streams.In
	switch {
	case file == "" && asks:
		text, err := a.ask(ctx, "value of "+name+" (not shown):", true)
		return []byte(text), err
	case file != "" && file != "-":
		f, err := os.Open(file)
		if err != nil {
			return nil, fault.New(fault.Usage, "cli.cannot_read_file", "reading the value: %w", err)
		}
		defer f.Close()
		in = f
	}
	value, err := io.ReadAll(io.LimitReader(in, workload.MaxSecretBytes+3)) // a line end, and one byte too many
	if err != nil {
		return nil, fault.New(fault.Usage, "cli.cannot_read_file", "reading the value: %w", err)
	}
	if cut, ok := bytes.CutSuffix(value, []byte("\n")); ok {
		value = bytes.TrimSuffix(cut, []byte("\r"))
	}
	return value, nil
}

func (a *app) secretListCommand() *cobra.Command {
	var env string
	var out output
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "list secrets, without their values",
		Long:    "List secrets, without their values: when each was set, and which APIs use it.",
		Example: "  cortex secret list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			all, err := t.Secrets(cmd.Context())
			if err != nil {
				return err
			}
			if out != pretty {
				if all == nil {
					all = []workload.Secret{}
				}
				return a.print(out, all)
			}
			if len(all) == 0 {
				a.say("there are no secrets; cortex secret set NAME makes one")
				return nil
			}
			list := table{headers: []string{"name", "set", "used by"}}
			for _, s := range all {
				list.rows = append(list.rows, []string{s.Name, s.SetAt.Local().Format(timeFormat) + " (" + since(s.SetAt, time.Now()) + ")", orElse(strings.Join(s.UsedBy, ", "), "-")})
			}
			list.write(a.streams.Out, a.paint)
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) secretDeleteCommand() *cobra.Command {
	var env string
	var out output
	var force bool
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "delete a secret",
		Long: "Delete a secret. While APIs that are deployed refer to it, that is refused: their next\n" +
			"replicas could not start.",
		Example:           "  cortex secret delete hf-token",
		Args:              exactly("NAME"),
		ValidArgsFunction: a.secretNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			m, err := t.DeleteSecret(cmd.Context(), args[0], force)
			if err != nil {
				return err
			}
			return a.sayMessage(out, m)
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().BoolVarP(&force, "force", "f", false, "delete it although APIs refer to it")
	addOutputFlag(cmd, &out)
	return cmd
}

// secretNames completes the first argument with the names of secrets.
func (a *app) secretNames(env *string) cobra.CompletionFunc {
	return a.completingFirst(env, func(ctx context.Context, t *target) (names []string, err error) {
		all, err := t.Secrets(ctx)
		for _, each := range all {
			names = append(names, each.Name)
		}
		return names, err
	})
}
