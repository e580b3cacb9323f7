package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/environments"
)

type versions struct {
	CLI         string `json:"cli_version"`
	Environment string `json:"environment,omitempty"`
	Operator    string `json:"operator_version,omitempty"`
}

func (a *app) versionCommand() *cobra.Command {
	var env string
	var out output
	cmd := &cobra.Command{
		Use:   "version",
		Short: "print the version of the cli, and of an environment",
		Long: "Print the version of the command line; with --env also of that environment, and without\n" +
			"it of the local one if it runs.",
		Example: "  cortex version\n" +
			"  cortex version --env production",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{CLI: a.hooks.Version}
			if err := a.operatorVersion(cmd.Context(), env, &v); err != nil {
				return err
			}
			if out != pretty {
				return a.print(out, v)
			}
			a.say("cli version: %s", v.CLI)
			if v.Operator != "" {
				a.say("%s version: %s", v.Environment, v.Operator)
			}
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	return cmd
}

// operatorVersion asks an environment that was named, and the local one when it
// is there to be asked.
func (a *app) operatorVersion(ctx context.Context, env string, v *versions) error {
	if env == "" {
		if _, ok, err := a.daemon.Peer(ctx); err != nil || !ok {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if info, err := a.daemon.Info(ctx); err == nil {
			v.Environment, v.Operator = environments.Local, info.Version
		}
		return nil
	}
	t, err := a.connect(ctx, env, jsonOut, refuse)
	if err != nil {
		return err
	}
	info, err := t.Info(ctx)
	if err != nil {
		return err
	}
	v.Environment, v.Operator = t.Name, info.Version
	return nil
}
