package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/auth/login"
	"cortex.dev/cortex/internal/environments"
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
	environments.Environment
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

// configuration returns the environments there are, and says once what of the file is
// left out.
func (a *app) configuration() (*environments.Config, error) {
	c, err := a.environments.Read()
	if err != nil {
		return nil, err
	}
	for _, ignored := range c.Ignored {
		if !a.ignored {
			a.note("%s: %s", a.environments.Path(), ignored)
		}
	}
	a.ignored = len(c.Ignored) > 0
	return c, nil
}

// connect returns the environment that flag and configuration choose. In pretty
// mode it says which, where that may be in doubt.
func (a *app) connect(ctx context.Context, flag string, o output, stopped whenStopped) (*target, error) {
	c, err := a.configuration()
	if err != nil {
		return nil, err
	}
	env, err := c.Choose(flag)
	if err != nil {
		return nil, err
	}
	if o == pretty && flag == "" && len(c.All()) > 1 {
		a.note("using %s environment\n", env.Name)
	}
	return a.reach(ctx, env, stopped)
}

// reach returns a client of env.
func (a *app) reach(ctx context.Context, env environments.Environment, stopped whenStopped) (*target, error) {
	t := &target{Environment: env}
	a.asked = t
	if !a.verbatim {
		defer func() { t.Service = visibleService{t.Service} }()
	}
	var err error
	if !env.IsLocal() {
		t.Service, _, err = a.remote(env)
		return t, err
	}
	// A socket alone may be that of a process which is being ended.
	_, running, err := a.daemon.Running(ctx)
	if err != nil {
		return nil, err
	}
	if !running {
		if stopped == refuse {
			return nil, errStopped()
		}
		if a.insideReplica() {
			return nil, fault.New(fault.Unsupported, "local.inside_an_api", "this program runs inside an API, where no local environment is started").
				WithHint("call other APIs at $%s; to manage APIs from here, configure an environment with `cortex env configure NAME --operator-endpoint URL`", workload.EnvAPIEndpoint)
		}
		a.note("starting the local environment")
		info, _, err := a.daemon.Start(ctx)
		if err != nil {
			return nil, err
		}
		t.started = true
		a.note("the local environment runs; APIs are at %s\n", info.APIEndpoint)
	}
	t.Service, err = a.daemon.Client()
	return t, err
}

// insideReplica reports whether this program runs in a container or process of an API,
// which has a configuration folder of its own.
func (a *app) insideReplica() bool {
	return a.getenv("CORTEX_VERSION") != "" && filepath.Base(a.getenv("CORTEX_CLI_CONFIG_DIR")) == "client"
}

// anonymous returns a client of a remote operator that proves no identity.
func anonymous(env environments.Environment) (*httpapi.Client, error) {
	trusted, err := env.TLS()
	if err != nil {
		return nil, err
	}
	return httpapi.NewClient(httpapi.ClientConfig{Endpoint: env.OperatorEndpoint, TLS: trusted})
}

// remote returns a client of a remote operator. Over https its calls carry a
// session, which is made of the AWS identity of this user when there is none; then
// the second result is what makes it.
func (a *app) remote(env environments.Environment) (*httpapi.Client, *login.Login, error) {
	client, err := anonymous(env)
	if err != nil || !strings.HasPrefix(env.OperatorEndpoint, "https://") {
		return client, nil, err
	}
	sessions := login.New(login.Config{
		Operator: client, Endpoint: env.OperatorEndpoint, ClusterID: env.ClusterID,
		Dir: a.sessionsDir(), Getenv: a.getenv,
	})
	a.logins = append(a.logins, sessions)
	return client.WithSessions(sessions), sessions, nil
}

func (a *app) sessionsDir() string { return filepath.Join(a.configDir, "sessions") }

const codeNotDeployed = "resources.api_not_deployed"

const codeStopped = "local.not_running"

func errStopped() error {
	return fault.New(fault.Unavailable, codeStopped, "the local environment is not running").
		WithHint("`cortex local start` starts it with everything that was deployed; so does `cortex deploy`")
}

func (a *app) environmentNames() []string {
	c, err := a.configuration()
	if err != nil {
		return nil
	}
	return c.Names()
}

// completing is what a press of the tab key may ask an environment for.
func (a *app) completing(env *string, ask func(context.Context, *target, []string) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(contextOf(cmd), completionTimeout)
		defer cancel()
		t, err := a.connect(ctx, *env, jsonOut, refuse)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		words, err := ask(ctx, t, args)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// apiNames completes the first argument with the names of deployed APIs.
func (a *app) apiNames(env *string) cobra.CompletionFunc {
	return a.completingFirst(env, namesOf)
}

// completingFirst completes the first argument only.
func (a *app) completingFirst(env *string, ask func(context.Context, *target) ([]string, error)) cobra.CompletionFunc {
	return a.completing(env, func(ctx context.Context, t *target, args []string) ([]string, error) {
		if len(args) > 0 {
			return nil, nil
		}
		return ask(ctx, t)
	})
}

// apiNamesOfAll completes each argument with the name of an API that is not there yet.
func (a *app) apiNamesOfAll(env *string) cobra.CompletionFunc {
	return a.completing(env, func(ctx context.Context, t *target, args []string) ([]string, error) {
		names, err := namesOf(ctx, t)
		return slices.DeleteFunc(names, func(n string) bool {
			name, _, _ := strings.Cut(n, "\t")
			return slices.Contains(args, name)
		}), err
	})
}

func namesOf(ctx context.Context, t *target) ([]string, error) {
	apis, err := t.List(ctx)
	var names []string
	for _, api := range apis {
		if api.Metadata != nil {
			names = append(names, fmt.Sprintf("%s\t%s", api.Metadata.Name, api.Metadata.Kind))
		}
	}
	return names, err
}

// namesAndVersions completes the name of an API, and then one of its versions.
func (a *app) namesAndVersions(env *string) cobra.CompletionFunc {
	return a.completing(env, func(ctx context.Context, t *target, args []string) ([]string, error) {
		switch len(args) {
		case 0:
			return namesOf(ctx, t)
		case 1:
			versions, err := t.History(ctx, args[0])
			var words []string
			for _, v := range versions {
				words = append(words, fmt.Sprintf("%s\t%s, %s", versionName(v), orElse(string(v.Result), v.Cause), time.Unix(v.LastUpdated, 0).Local().Format(timeFormat)))
			}
			return words, err
		}
		return nil, nil
	})
}

// replicaIDs completes the replicas of the API that is the first argument.
func (a *app) replicaIDs(env *string) cobra.CompletionFunc {
	return a.completing(env, func(ctx context.Context, t *target, args []string) ([]string, error) {
		if len(args) == 0 {
			return nil, nil
		}
		api, err := t.Describe(ctx, args[0])
		var words []string
		if api.Status != nil {
			for _, r := range api.Status.Replicas {
				words = append(words, fmt.Sprintf("%s\t%s", r.ID, r.State))
			}
		}
		return words, err
	})
}

func contextOf(cmd *cobra.Command) context.Context {
	if ctx := cmd.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}
