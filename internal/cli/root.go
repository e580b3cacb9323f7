package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/suggest"
)

// Groups of commands in the help text.
const (
	groupAPIs  = "apis"
	groupFiles = "files"
	groupSetup = "setup"
	groupKube  = "kube"
)

// root returns the whole tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:     "cortex",
		Short:   "deploy, manage and scale models and containers as APIs",
		Version: a.hooks.Version,
		Long: "Deploy, manage and scale models and containers as APIs.\n\n" +
			"Describe your APIs in a cortex.yaml, run `cortex deploy`, and call them.\n" +
			"Without any other environment they run on this machine.",
		Example: "  cortex deploy                      # what ./cortex.yaml says\n" +
			"  cortex get                         # every API and how it is doing\n" +
			"  cortex predict iris sample.json    # call one",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetIn(a.streams.In)
	root.SetOut(a.streams.Out)
	root.SetErr(a.streams.Err)
	root.SetVersionTemplate("cli version: {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(fault.New(fault.Usage, flagCode(err), "%w", err).WithHint("see `%s --help`", cmd.CommandPath()))
	})
	root.AddGroup(
		&cobra.Group{ID: groupAPIs, Title: "APIs:"},
		&cobra.Group{ID: groupFiles, Title: "Without an environment:"},
		&cobra.Group{ID: groupSetup, Title: "Setup:"},
		&cobra.Group{ID: groupKube, Title: "Kubernetes:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupAPIs, a.deployCommand(), a.runCommand(), a.devCommand(), a.getCommand(), a.topCommand(), a.dashboardCommand(), a.describeCommand(), a.predictCommand(), a.submitCommand(), a.jobsCommand(), a.resultsCommand(), a.itemsCommand(), a.itemCommand(), a.cancelCommand(), a.retryCommand(), a.purgeCommand(), a.webhooksCommand(), a.schedulesCommand(), a.logsCommand(),
		a.eventsCommand(), a.explainCommand(), a.historyCommand(), a.rollbackCommand(), a.refreshCommand(),
		a.stopCommand(), a.startCommand(), a.scaleCommand(), a.execCommand(), a.deleteCommand(), a.secretCommand(), a.keysCommand(), a.usageCommand(), a.volumeCommand())
	add(groupFiles, a.initCommand(), a.validateCommand(), a.migrateCommand(), a.schemaCommand(), a.simulateCommand(), a.policyCommand())
	add(groupSetup, a.localCommand(), a.serverCommand(), a.envCommand(), a.whoamiCommand(), a.tokenCommand(), a.logoutCommand(), a.auditCommand(), a.versionCommand(), a.completionCommand())
	add(groupKube, a.installCommand(), a.upgradeCommand(), a.uninstallCommand(), a.clusterCommand())
	root.SetHelpCommand(a.helpCommand())
	root.AddCommand(a.referenceCommand())
	a.finish(root)
	return root
}

// finish gives every command what none may lack: flags in the order in which
// they were declared, and arguments whose mistakes are mistakes of usage.
func (a *app) finish(cmd *cobra.Command) {
	cmd.Flags().SortFlags = false
	cmd.PersistentFlags().SortFlags = false
	cmd.InheritedFlags().SortFlags = false
	cmd.DisableFlagsInUseLine = true
	if cmd.HasSubCommands() {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = group
		cmd.SuggestionsMinimumDistance = 2
		for _, c := range cmd.Commands() {
			a.finish(c)
		}
		return
	}
	check, work := cmd.Args, cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.started, a.data = true, answersData(cmd)
		a.verbatim = a.data
		return a.withNearest(cmd.Context(), work(cmd, args), args)
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if check == nil {
			return nil
		}
		if err := check(cmd, args); err != nil {
			return fault.New(fault.Usage, "cli.wrong_arguments", "%w", err).WithHint("usage: %s", cmd.UseLine())
		}
		return nil
	}
}

// withNearest adds to the error that an API is not deployed the name that was probably
// meant.
func (a *app) withNearest(ctx context.Context, err error, args []string) error {
	if fault.Code(err) != codeNotDeployed || a.asked == nil || len(args) == 0 {
		return err
	}
	apis, cannot := a.asked.List(ctx)
	if cannot != nil {
		return err
	}
	names := make([]string, len(apis))
	for i := range apis {
		names[i] = apiName(&apis[i])
	}
	if near := suggest.Nearest(args[0], names); near != "" {
		return fault.From(err).WithHint("did you mean %s?", near)
	}
	return err
}

// group is the work of a command that only has sub-commands: to say which.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return unknownCommand(cmd, args[0])
}

// unknownWord looks for a word that is no command before its flags are looked at, which
// nobody knows either.
func unknownWord(root *cobra.Command, args []string) error {
	root.InitDefaultHelpCmd()
	at, rest, err := root.Find(args)
	if err != nil || !at.HasSubCommands() || len(rest) == 0 || strings.HasPrefix(rest[0], "-") || strings.HasPrefix(rest[0], "__") {
		return nil //nolint:nilerr // cobra says it, when it comes to that
	}
	return unknownCommand(at, rest[0])
}

func unknownCommand(parent *cobra.Command, word string) error {
	hint := fmt.Sprintf("see `%s --help`", parent.CommandPath())
	if pointer := pointers[word]; pointer != "" && !parent.HasParent() {
		hint = pointer
	} else if near := parent.SuggestionsFor(word); len(near) > 0 {
		hint = fmt.Sprintf("did you mean %s?", strings.Join(near, ", "))
	}
	return fault.New(fault.Usage, "cli.unknown_command", "unknown command %q for %q", word, parent.CommandPath()).WithHint("%s", hint)
}

func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "help about any command",
		Example: "  cortex help deploy",
		GroupID: groupSetup,
		Args:    cobra.ArbitraryArgs,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			at, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, c := range at.Commands() {
				if !c.Hidden {
					names = append(names, c.Name()+"\t"+c.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			at, rest, err := cmd.Root().Find(args)
			if err != nil {
				return usage(err)
			}
			if len(rest) > 0 {
				return unknownCommand(at, rest[0])
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}

// flagCode returns the stable code of a mistake in a flag: that of the flag's
// own check where it has one.
func flagCode(err error) string {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if code := fault.Code(e); code != "" {
			return code
		}
	}
	if strings.Contains(err.Error(), errOutputType) {
		return "flags.invalid_output_type"
	}
	return "cli.wrong_flag"
}

// exclusive refuses flags that contradict each other.
func exclusive(cmd *cobra.Command, x, y string) error {
	if cmd.Flags().Changed(x) && cmd.Flags().Changed(y) {
		return fault.New(fault.Usage, "cli.mutually_exclusive_flags", "--%s and --%s cannot be used together", x, y)
	}
	return nil
}

// exactly and between check the number of arguments in the words of the command.
func exactly(names ...string) cobra.PositionalArgs { return between(len(names), names...) }

func between(least int, names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return fmt.Errorf("missing %s", names[len(args)])
		case len(args) > len(names):
			return fmt.Errorf("unexpected argument %q", args[len(names)])
		case slices.Contains(args[:min(least, len(args))], ""):
			return fmt.Errorf("%s is empty", names[slices.Index(args, "")])
		}
		return nil
	}
}
