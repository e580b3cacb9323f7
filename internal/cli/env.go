package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/auth/login"
	"cortex.dev/cortex/internal/environments"
	"cortex.dev/cortex/internal/fault"
)

func (a *app) envCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "env",
		Short: "manage cli environments (contains subcommands)",
		Long: "Manage the environments to which commands go. `local` is this machine and always there.\n" +
			"They are kept in cli.yaml in the configuration folder (~/.cortex, or CORTEX_CLI_CONFIG_DIR).",
		Example: "  cortex env list\n" +
			"  cortex env configure production --operator-endpoint https://operator.example.com",
	}
	cmd.AddCommand(a.envConfigureCommand(), a.envListCommand(), a.envDefaultCommand(), a.envRenameCommand(), a.envDeleteCommand())
	return cmd
}

// environmentArg completes the first argument with the names of environments.
func (a *app) environmentArg(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.environmentNames(), cobra.ShellCompDirectiveNoFileComp
}

// environmentFrom returns the first argument, or asks for it.
func (a *app) environmentFrom(ctx context.Context, args []string, question string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	return a.ask(ctx, question+" ("+strings.Join(a.environmentNames(), ", ")+"):", false)
}

// listedEnvironments is what `cortex env list -o json` says.
type listedEnvironments struct {
	Default      string              `json:"default_environment"`
	Environments []listedEnvironment `json:"environments"`
}

// listedEnvironment is one line of `cortex env list -o json`.
type listedEnvironment struct {
	Name             string `json:"name"`
	OperatorEndpoint string `json:"operator_endpoint"`
}

func (a *app) envListCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list all configured environments",
		Example: "  cortex env list\n" +
			"  cortex env list -o json",
		Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			c, err := a.configuration()
			if err != nil {
				return err
			}
			current := ""
			if env, err := c.Choose(""); err == nil {
				current = env.Name
			}
			list := []listedEnvironment{}
			for _, e := range c.All() {
				l := listedEnvironment{e.Name, e.OperatorEndpoint}
				if e.IsLocal() {
					l.OperatorEndpoint = "unix://" + a.daemon.Files().Socket
				}
				list = append(list, l)
			}
			if out != pretty {
				return a.print(out, listedEnvironments{current, list})
			}
			for i, e := range c.All() {
				if i > 0 {
					a.say("")
				}
				a.sayEnvironment(e, e.Name == current)
			}
			return nil
		},
	}
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) sayEnvironment(e environments.Environment, current bool) {
	name := e.Name
	if current {
		name += " (default)"
	}
	a.say("%s", a.paint.bold(name))
	if !e.IsLocal() {
		a.say("cortex operator endpoint: %s", e.OperatorEndpoint)
		if e.ClusterID != "" {
			a.say("cluster: %s", e.ClusterID)
		}
		switch {
		case e.Anchor.Fingerprint != "":
			a.say("certificate: only %s", e.Anchor.Fingerprint)
		case e.Anchor.CAData != "":
			a.say("certificate: of an authority of its own")
		}
		return
	}
	a.say("this machine, state in %s", a.daemon.Files().StateDir)
	if e.AWSAccessKeyID != "" {
		a.say("aws access key id: %s", maskedKey(e.AWSAccessKeyID))
	}
	if e.AWSRegion != "" {
		a.say("aws region: %s", e.AWSRegion)
	}
	if e.APIPort != nil {
		a.say("api port: %d", *e.APIPort)
	}
	if e.AutoscalingTick != "" {
		a.say("autoscaling tick: %s", e.AutoscalingTick)
	}
}

func (a *app) envDefaultCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "default [ENVIRONMENT_NAME]",
		Short:             "set the default environment",
		Example:           "  cortex env default production",
		Args:              between(0, "ENVIRONMENT_NAME"),
		ValidArgsFunction: a.environmentArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := a.environmentFrom(cmd.Context(), args, "name of environment to set as default")
			if err != nil {
				return err
			}
			already := false
			err = a.environments.Change(cmd.Context(), func(c *environments.Config) (err error) {
				already, err = c.SetDefault(name)
				return err
			})
			switch {
			case err != nil:
				return err
			case already:
				a.say("%s is already the default environment", name)
			default:
				a.say("set %s as the default environment", name)
			}
			return nil
		},
	}
}

func (a *app) envRenameCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "rename EXISTING_NAME NEW_NAME",
		Short:             "rename an existing environment",
		Example:           "  cortex env rename production prod",
		Args:              exactly("EXISTING_NAME", "NEW_NAME"),
		ValidArgsFunction: a.environmentArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			from, to := args[0], args[1]
			if from == environments.Local || to == environments.Local {
				return fault.New(fault.Usage, "cli.wrong_arguments", "environment local is this machine and keeps its name")
			}
			err := a.environments.Change(cmd.Context(), func(c *environments.Config) error {
				if err := c.Rename(from, to); err != nil {
					return err
				}
				return asUsage(c.Find(to).Check())
			})
			if err != nil {
				return err
			}
			a.say("renamed the %s environment to %s", from, to)
			return nil
		},
	}
}

func (a *app) envDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "delete [ENVIRONMENT_NAME]",
		Short:             "delete an environment configuration",
		Long:              "Delete an environment from the configuration. What is deployed there stays.",
		Example:           "  cortex env delete production",
		Args:              between(0, "ENVIRONMENT_NAME"),
		ValidArgsFunction: a.environmentArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := a.environmentFrom(cmd.Context(), args, "name of environment to delete")
			if err != nil {
				return err
			}
			wasDefault := false
			var gone environments.Environment
			err = a.environments.Change(cmd.Context(), func(c *environments.Config) (err error) {
				wasDefault = c.DefaultEnvironment == name
				if gone, err = c.Remove(name); err != nil {
					return err
				}
				if slices.ContainsFunc(c.Environments, func(e environments.Environment) bool { return e.OperatorEndpoint == gone.OperatorEndpoint }) {
					gone.OperatorEndpoint = "" // another name of the same place goes on using its session
				}
				return nil
			})
			if err != nil {
				return err
			}
			if gone.OperatorEndpoint != "" {
				if _, err := login.Forget(a.sessionsDir(), gone.OperatorEndpoint); err != nil {
					return err
				}
			}
			a.say("deleted the %s environment configuration", name)
			if wasDefault {
				a.sayNewDefault()
			}
			return nil
		},
	}
}

// sayNewDefault says where commands go after the default is gone.
func (a *app) sayNewDefault() {
	c, err := a.configuration()
	if err != nil {
		return
	}
	if env, err := c.Choose(""); err == nil {
		a.say("%s", fmt.Sprintf("set the default environment to %s", env.Name))
	} else {
		a.say("unset the default environment")
	}
}
