package cli

import (
	"context"
	"fmt"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/login"
	"cortex.dev/cortex/internal/environments"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
)

// identity is what `cortex whoami -o json` says.
type identity struct {
	Environment string            `json:"environment"`
	Endpoint    string            `json:"operator_endpoint,omitempty"`
	Credentials *credentials      `json:"credentials,omitempty"`
	Principal   *auth.Principal   `json:"principal,omitempty"`
	ClusterID   string            `json:"cluster_id,omitempty"`
	ExpiresAt   *time.Time        `json:"session_expires_at,omitempty"`
	Policy      string            `json:"policy,omitempty"`
	Permissions []auth.Permission `json:"permissions,omitempty"`
	User        string            `json:"user,omitempty"` // of this machine; the local environment only
}

// credentials is what this machine would sign with.
type credentials struct {
	Source      string `json:"source"`
	Profile     string `json:"profile,omitempty"`
	AccessKeyID string `json:"access_key_id"` // masked
}

func (a *app) whoamiCommand() *cobra.Command {
	var env string
	var out output
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "show the identity that an environment sees, and what it may do there",
		Long: "Show which AWS credentials this machine would use and where they come from, who the operator\n" +
			"says that is, what its policy allows, and how long the session lasts.",
		Example: "  cortex whoami\n" +
			"  cortex whoami --env production -o json",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := a.whoami(cmd.Context(), env)
			if err != nil {
				return err
			}
			if out != pretty {
				return a.print(out, id)
			}
			a.sayIdentity(id, time.Now())
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) whoami(ctx context.Context, flag string) (identity, error) {
	env, client, sessions, err := a.proving(flag)
	if err != nil {
		return identity{}, err
	}
	id := identity{Environment: env.Name, Endpoint: env.OperatorEndpoint}
	if client == nil {
		id.Endpoint, id.User = "unix://"+a.daemon.Files().Socket, userName()
		return id, nil
	}
	found, err := sessions.Credentials(ctx)
	if err != nil {
		return identity{}, err
	}
	id.Credentials = &credentials{Source: found.Source, Profile: found.Profile, AccessKeyID: found.AccessKeyID}
	// A session that other credentials made says nothing of these.
	if kept, ok := sessions.Kept(); ok && kept.AccessKeyID != found.AccessKeyID {
		if _, err := login.Forget(a.sessionsDir(), env.OperatorEndpoint); err != nil {
			return identity{}, err
		}
	}
	who, err := client.WhoAmI(ctx)
	if err != nil {
		return identity{}, err
	}
	id.Principal, id.ClusterID, id.ExpiresAt, id.Policy, id.Permissions = &who.Principal, who.ClusterID, &who.ExpiresAt, who.Policy, who.Permissions
	return id, nil
}

// proving returns the environment for a command about identities; without a client
// when it is the local one, where nobody has to prove anything.
func (a *app) proving(flag string) (environments.Environment, *httpapi.Client, *login.Login, error) {
	c, err := a.configuration()
	if err != nil {
		return environments.Environment{}, nil, nil, err
	}
	env, err := c.Choose(flag)
	if err != nil || env.IsLocal() {
		return env, nil, nil, err
	}
	client, sessions, err := a.remote(env)
	if err == nil && sessions == nil {
		err = fault.New(fault.Unsupported, "cli.no_identity", "environment %s is reached over plain http, which has no identities", env.Name)
	}
	return env, client, sessions, err
}

func userName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

func (a *app) sayIdentity(id identity, now time.Time) {
	line := func(name, format string, args ...any) { a.say("%-13s %s", name, fmt.Sprintf(format, args...)) }
	line("environment", "%s (%s)", id.Environment, id.Endpoint)
	if id.Principal == nil {
		line("you are", "%s on this machine", id.User)
		line("you may", "do everything: the local environment is yours")
		return
	}
	source := id.Credentials.Source
	if p := id.Credentials.Profile; p != "" && !strings.Contains(source, p) {
		source += ", profile " + p
	}
	line("credentials", "%s (%s)", id.Credentials.AccessKeyID, source)
	line("you are", "%s", id.Principal.ARN)
	if s := id.Principal.Session; s != "" {
		line("", "session name %s", s)
	}
	line("account", "%s", id.Principal.Account)
	line("cluster", "%s", id.ClusterID)
	var may, not []string
	for _, p := range id.Permissions {
		if p.Allowed {
			may = append(may, string(p.Action))
		} else {
			not = append(not, string(p.Action))
		}
	}
	switch {
	case len(not) == 0:
		line("you may", "do everything")
	case len(may) == 0:
		line("you may", "do nothing to the environment as a whole")
	default:
		line("you may", "%s", strings.Join(may, ", "))
		line("you may not", "%s", strings.Join(not, ", "))
	}
	line("policy", "%s", id.Policy)
	line("session", "ends %s (in %s)", id.ExpiresAt.Local().Format("15:04:05 MST"), id.ExpiresAt.Sub(now).Round(time.Second))
}

func (a *app) logoutCommand() *cobra.Command {
	var env string
	var everyone, yes bool
	cmd := &cobra.Command{
		Use:   "logout",
		Short: "forget the session of an environment",
		Long: "Forget the session of an environment on this machine: the next command proves the identity again.\n" +
			"With --everyone, end every session of everybody at the operator, as after a leak. It takes the\n" +
			"permission cluster:revokeSessions.",
		Example: "  cortex logout\n" +
			"  cortex logout --env production --everyone",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, client, _, err := a.proving(env)
			if err != nil {
				return err
			}
			if client == nil {
				return fault.New(fault.Unsupported, "cli.no_identity", "the local environment has no sessions")
			}
			if everyone {
				if err := a.revoke(cmd.Context(), target, client, yes); err != nil {
					return err
				}
			}
			n, err := login.Forget(a.sessionsDir(), target.OperatorEndpoint)
			switch {
			case err != nil:
				return err
			case n == 0 && !everyone:
				a.say("there was no session for %s", target.Name)
			case !everyone:
				a.say("logged out of %s", target.Name)
			}
			return nil
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().BoolVar(&everyone, "everyone", false, "end every session of everybody at the operator")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "skip prompts")
	return cmd
}

func (a *app) revoke(ctx context.Context, env environments.Environment, client *httpapi.Client, yes bool) error {
	if !yes {
		ok, err := a.confirm(ctx, "end every session of everybody at %s?", env.Name)
		if err != nil {
			return err
		}
		if !ok {
			return errAtPrompt()
		}
	}
	if err := client.RevokeSessions(ctx); err != nil {
		return err
	}
	a.say("every session at %s is ended; each command proves its identity again", env.Name)
	return nil
}
