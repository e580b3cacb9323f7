package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func (a *app) stopCommand() *cobra.Command {
	var o deployOptions
	cmd := &cobra.Command{
		Use:   "stop API_NAME...",
		Short: "stop apis, which refuse requests until they are started",
		Long: "Stop APIs: requests under way are answered, then the replicas are stopped. Until somebody\n" +
			"starts or deploys an API, its callers get a 503 with the code stopped, and none of them\n" +
			"wakes it. Its history, its endpoint and what it is configured to be stay.",
		Example:           "  cortex stop iris\n  cortex stop iris sentiment",
		Args:              atLeastOne("API_NAME"),
		ValidArgsFunction: a.apiNamesOfAll(&o.env),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.noWait = true // what answers goes on until it has answered
			return a.change(cmd.Context(), args, o, func(ctx context.Context, t *target, name string) (workload.DeployResult, error) {
				return t.Stop(ctx, name)
			})
		},
	}
	a.envFlag(cmd, &o.env)
	addOutputFlag(cmd, &o.out)
	return cmd
}

func (a *app) startCommand() *cobra.Command {
	var o deployOptions
	cmd := &cobra.Command{
		Use:   "start API_NAME...",
		Short: "start apis that were stopped",
		Long: "Start APIs that were stopped, each with as many replicas as it had, and wait until they\n" +
			"are live.",
		Example:           "  cortex start iris\n  cortex start iris sentiment --no-wait",
		Args:              atLeastOne("API_NAME"),
		ValidArgsFunction: a.apiNamesOfAll(&o.env),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), args, o, func(ctx context.Context, t *target, name string) (workload.DeployResult, error) {
				return t.Start(ctx, name)
			})
		},
	}
	a.waitFlags(cmd, &o)
	return cmd
}

func (a *app) scaleCommand() *cobra.Command {
	var o deployOptions
	cmd := &cobra.Command{
		Use:   "scale API_NAME REPLICAS",
		Short: "set the number of replicas of an api",
		Long: "Set the number of replicas of an API, from its min_replicas to its max_replicas, and wait\n" +
			"until they are ready. The autoscaler goes on from there as after a decision of its own: it\n" +
			"takes none away for downscale_stabilization_period, and adds none for\n" +
			"upscale_stabilization_period. To keep a number, deploy the file with other bounds.",
		Example:           "  cortex scale iris 4",
		Args:              exactly("API_NAME", "REPLICAS"),
		ValidArgsFunction: a.apiNames(&o.env),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.ParseUint(args[1], 10, 31)
			if err != nil {
				return fault.New(fault.Usage, "cli.wrong_arguments", "REPLICAS is %q, and not a whole number from 0", args[1]).
					WithHint("usage: %s", cmd.UseLine())
			}
			return a.change(cmd.Context(), args[:1], o, func(ctx context.Context, t *target, name string) (workload.DeployResult, error) {
				return t.Resize(ctx, name, int(n))
			})
		},
	}
	a.waitFlags(cmd, &o)
	return cmd
}

// waitFlags are those of a command that changes what is deployed and waits for it.
func (a *app) waitFlags(cmd *cobra.Command, o *deployOptions) {
	a.envFlag(cmd, &o.env)
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "return as soon as the change is accepted")
	cmd.Flags().DurationVar(&o.timeout, "timeout", defaultDeployTimeout, "how long to wait for the api to be live")
	addOutputFlag(cmd, &o.out)
}

// change does something to each of several APIs, of which one that refuses stops no
// other, and waits until all of them are as they should be.
func (a *app) change(ctx context.Context, names []string, o deployOptions, do func(context.Context, *target, string) (workload.DeployResult, error)) error {
	t, err := a.connect(ctx, o.env, o.out, refuse)
	if err != nil {
		return err
	}
	var results []workload.DeployResult
	var first error
	for _, name := range distinct(names) {
		r, err := do(ctx, t, name)
		switch {
		case ctx.Err() != nil:
			return err
		case err != nil && len(names) == 1:
			return err
		case err != nil:
			f := fault.From(err)
			r = workload.DeployResult{Name: name, Error: "error: " + f.Message, Code: f.Code}
			a.printError(err)
			first = errReported
		}
		results = append(results, r)
	}
	outcome := first
	if !o.noWait {
		err := newWaiter(a, t, o).wait(ctx, results)
		if ctx.Err() != nil {
			return err
		}
		outcome = errors.Join(outcome, err)
	}
	if o.out != pretty {
		return errors.Join(outcome, a.print(o.out, results))
	}
	for _, r := range results {
		if o.noWait && r.Error == "" {
			a.say("%s", r.Message)
		}
	}
	return outcome
}

// distinct leaves out what was there before.
func distinct(names []string) []string {
	var list []string
	seen := map[string]bool{}
	for _, n := range names {
		if !seen[n] {
			list = append(list, n)
		}
		seen[n] = true
	}
	return list
}

// atLeastOne checks that there are arguments, and none is empty.
func atLeastOne(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("missing %s", name)
		}
		for _, arg := range args {
			if arg == "" {
				return fmt.Errorf("%s is empty", name)
			}
		}
		return nil
	}
}
