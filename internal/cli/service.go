package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

// completionTimeout bounds what a press of the tab key may cost.
const completionTimeout = 500 * time.Millisecond

// whenStopped says what to do about a local environment that does not run.
type whenStopped bool

const (
	refuse whenStopped = false
	start  whenStopped = true
)

// target is the environment of one command.
type target struct {
	environment
	workload.Service
	started bool // the local environment was started for this command
}

// envFlag adds --env.
func (a *app) envFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVarP(name, "env", "e", "", "environment to use")
	_ = cmd.RegisterFlagCompletionFunc("env", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return a.environmentNames(), cobra.ShellCompDirectiveNoFileComp
	})
}

// connect returns the environment that flag and configuration choose. In pretty
// mode it says which, where that may be in doubt.
func (a *app) connect(ctx context.Context, flag string, o output, stopped whenStopped) (*target, error) {
	c, err := a.readConfig()
	if err != nil {
		return nil, err
	}
	env, err := c.choose(flag)
	if err != nil {
		return nil, err
	}
	if o == pretty && flag == "" && len(c.all()) > 1 {
		a.note("using %s environment\n", env.Name)
	}
	return a.reach(ctx, env, stopped)
}

// reach returns a client of env.
func (a *app) reach(ctx context.Context, env environment, stopped whenStopped) (*target, error) {
	t := &target{environment: env}
	var err error
	if !env.local() {
		t.Service, err = httpapi.NewClient(httpapi.ClientConfig{Endpoint: env.OperatorEndpoint})
		return t, err
	}
	// A socket alone may be that of a process which is being ended.
	_, running, err := a.running(ctx)
	if err != nil {
		return nil, err
	}
	if !running {
		if stopped == refuse {
			return nil, errStopped()
		}
		a.note("starting the local environment")
		info, _, err := a.startLocal(ctx)
		if err != nil {
			return nil, err
		}
		t.started = true
		a.note("the local environment runs; APIs are at %s\n", info.APIEndpoint)
	}
	t.Service, err = a.localClient()
	return t, err
}

func errStopped() error {
	return fault.New(fault.Unavailable, "local.not_running", "the local environment is not running").
		WithHint("`cortex local start` starts it with everything that was deployed; so does `cortex deploy`")
}

func (a *app) environmentNames() []string {
	c, err := a.readConfig()
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range c.all() {
		names = append(names, e.Name)
	}
	return names
}

// apiNames completes the first argument with the names of deployed APIs.
func (a *app) apiNames(env *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(contextOf(cmd), completionTimeout)
		defer cancel()
		t, err := a.connect(ctx, *env, jsonOut, refuse)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		apis, err := t.List(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, api := range apis {
			if api.Metadata != nil {
				names = append(names, fmt.Sprintf("%s\t%s", api.Metadata.Name, api.Metadata.Kind))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func contextOf(cmd *cobra.Command) context.Context {
	if ctx := cmd.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}
