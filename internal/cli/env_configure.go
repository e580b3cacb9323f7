package cli

import (
	"bufio"
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/environments"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/trust"
)

func (a *app) envConfigureCommand() *cobra.Command {
	var e environments.Environment
	var port int
	var tick time.Duration
	var shows trustFlags
	cmd := &cobra.Command{
		Use:   "configure [ENVIRONMENT_NAME]",
		Short: "configure an environment",
		Long: "Configure an environment: for `local` the credentials that APIs get and how it runs (flags\n" +
			"that are left out stay as they are), for any other one the endpoint of its operator and how\n" +
			"that proves itself: by a certificate that this machine's authorities vouch for, by an authority\n" +
			"of its own (--ca), or by one certificate (--fingerprint). There is no way to skip that.",
		Example: "  cortex env configure production --operator-endpoint https://operator.example.com\n" +
			"  cortex env configure team --operator-endpoint https://10.0.0.5:8889 --ca ca.pem\n" +
			"  cortex env configure local --aws-access-key-id AKIA... --aws-secret-access-key ... --aws-region us-west-2\n" +
			"  cortex env configure local --api-port 9000",
		Args:              between(0, "ENVIRONMENT_NAME"),
		ValidArgsFunction: a.environmentArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := a.environmentFrom(cmd.Context(), args, "name of environment to configure")
			if err != nil {
				return err
			}
			e.Name = name
			if cmd.Flags().Changed("api-port") {
				e.APIPort = &port
			}
			if cmd.Flags().Changed("autoscaling-tick") {
				e.AutoscalingTick = tick.String()
			}
			if e.IsLocal() {
				return a.configureLocal(cmd.Context(), e, cmd.Flags().Changed)
			}
			return a.configureRemote(cmd.Context(), e, shows, cmd.Flags().Changed)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&e.OperatorEndpoint, "operator-endpoint", "o", "", "endpoint of the operator, as in https://operator.example.com")
	f.StringVar(&shows.ca, "ca", "", "file with the certificate authority of the operator, as PEM")
	f.StringVar(&shows.fingerprint, "fingerprint", "", "sha256 fingerprint of the operator's certificate or of its authority")
	_ = cmd.MarkFlagFilename("ca", "pem", "crt")
	f.StringVarP(&e.AWSAccessKeyID, "aws-access-key-id", "k", "", "local: aws access key id for apis; empty removes it")
	f.StringVarP(&e.AWSSecretAccessKey, "aws-secret-access-key", "s", "", "local: aws secret access key for apis; - reads it from standard input, so that no list of processes shows it")
	f.StringVar(&e.AWSSessionToken, "aws-session-token", "", "local: aws session token for apis; - reads it from standard input, after the secret access key")
	f.StringVarP(&e.AWSRegion, "aws-region", "r", "", "local: aws region for apis")
	f.IntVar(&port, "api-port", environments.DefaultAPIPort, "local: port on which apis are served; 0 takes any free one")
	f.DurationVar(&tick, "autoscaling-tick", autoscaler.DefaultTick, "local: time between two decisions of the autoscaler")
	return cmd
}

// localOnly are the flags of `env configure` that only local has.
var localOnly = []string{"aws-access-key-id", "aws-secret-access-key", "aws-session-token", "aws-region", "api-port", "autoscaling-tick"}

// trustFlags say how an operator proves itself.
type trustFlags struct{ ca, fingerprint string }

func (a *app) configureLocal(ctx context.Context, e environments.Environment, given func(string) bool) error {
	for _, flag := range []string{"operator-endpoint", "ca", "fingerprint"} {
		if given(flag) {
			return fault.New(fault.Usage, "cli.wrong_flag", "environment local is this machine and has no operator endpoint").
				WithHint("configure an environment with another name")
		}
	}
	if !slices.ContainsFunc(localOnly, given) {
		return fault.New(fault.Usage, "cli.wrong_arguments", "nothing to configure").
			WithHint("give at least one of --%s", strings.Join(localOnly, ", --"))
	}
	if err := readSecrets(a.streams.In, &e.AWSSecretAccessKey, &e.AWSSessionToken); err != nil {
		return err
	}
	if given("aws-access-key-id") && e.AWSAccessKeyID != "" && !given("aws-secret-access-key") {
		secret, err := a.ask(ctx, "aws secret access key:", true)
		if err != nil {
			return err
		}
		e.AWSSecretAccessKey = secret
	}
	err := a.environments.Change(ctx, func(c *environments.Config) error {
		local, err := c.Get(environments.Local)
		if err != nil {
			return err
		}
		merge(&local, e, given)
		if (local.AWSAccessKeyID == "") != (local.AWSSecretAccessKey == "") {
			return fault.New(fault.Usage, "cli.wrong_flag", "an aws access key id and its secret access key go together")
		}
		c.Put(local)
		return asUsage(local.Check())
	})
	if err != nil {
		return err
	}
	a.say("configured local environment")
	if _, ok, err := a.daemon.Peer(ctx); err == nil && ok {
		a.note("it is running; the change applies when it is started again: `cortex local stop && cortex local start`")
	}
	return nil
}

// merge overwrites in old what was given of e.
func merge(old *environments.Environment, e environments.Environment, given func(string) bool) {
	old.Provider = ""
	if given("aws-access-key-id") {
		old.AWSAccessKeyID, old.AWSSecretAccessKey = e.AWSAccessKeyID, e.AWSSecretAccessKey
		if !given("aws-session-token") {
			old.AWSSessionToken = "" // it belonged to the other key
		}
	} else if given("aws-secret-access-key") {
		old.AWSSecretAccessKey = e.AWSSecretAccessKey
	}
	if given("aws-session-token") {
		old.AWSSessionToken = e.AWSSessionToken
	}
	if given("aws-region") {
		old.AWSRegion = e.AWSRegion
	}
	if given("api-port") {
		old.APIPort = e.APIPort
	}
	if given("autoscaling-tick") {
		old.AutoscalingTick = e.AutoscalingTick
	}
}

// asUsage says that a wrong value came from the command line.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	f := *fault.From(err)
	f.Kind = fault.Usage
	return &f
}

func (a *app) configureRemote(ctx context.Context, e environments.Environment, shows trustFlags, given func(string) bool) error {
	for _, flag := range localOnly {
		if given(flag) {
			return fault.New(fault.Usage, "cli.wrong_flag", "--%s is of the environment local only", flag)
		}
	}
	if shows.ca != "" && shows.fingerprint != "" {
		return fault.New(fault.Usage, "cli.mutually_exclusive_flags", "--ca and --fingerprint cannot be used together")
	}
	if e.OperatorEndpoint == "" {
		e.OperatorEndpoint = a.getenv("CORTEX_OPERATOR_ENDPOINT")
	}
	if e.OperatorEndpoint == "" {
		var err error
		if e.OperatorEndpoint, err = a.ask(ctx, "cortex operator endpoint:", false); err != nil {
			return err
		}
	}
	endpoint, err := environments.ParseEndpoint(e.OperatorEndpoint)
	if err != nil {
		return asUsage(err)
	}
	e.OperatorEndpoint = endpoint
	if err := asUsage(e.Check()); err != nil {
		return err
	}
	if e.Anchor, err = anchor(ctx, endpoint, shows); err != nil {
		return err
	}
	if err := verifyOperator(ctx, &e); err != nil {
		return err
	}
	isDefault := false
	err = a.environments.Change(ctx, func(c *environments.Config) error {
		known := c.Find(e.Name) != nil
		c.Put(e)
		isDefault = !known && c.DefaultEnvironment == e.Name
		return nil
	})
	if err != nil {
		return err
	}
	a.say("configured %s environment", e.Name)
	if isDefault {
		a.say("set %s as the default environment (`cortex env default %s` changes it)", e.Name, environments.Local)
	}
	return nil
}

// anchor is how the operator at endpoint proves itself.
func anchor(ctx context.Context, endpoint string, flags trustFlags) (trust.Anchor, error) {
	switch {
	case flags == trustFlags{}:
		return trust.Anchor{}, nil
	case !strings.HasPrefix(endpoint, "https://"):
		return trust.Anchor{}, fault.New(fault.Usage, "cli.wrong_flag", "--ca and --fingerprint are for endpoints that begin with https://")
	case flags.ca != "":
		return trust.ReadCA(flags.ca)
	}
	want, err := auth.ParseFingerprint(flags.fingerprint)
	if err != nil {
		return trust.Anchor{}, fault.New(fault.Usage, "cli.wrong_flag", "--fingerprint: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return trust.ByFingerprint(ctx, endpoint, want)
}

// verifyOperator makes sure that an operator answers at the endpoint, and notes of
// which cluster. It needs no identity.
func verifyOperator(ctx context.Context, e *environments.Environment) error {
	client, err := anonymous(*e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if strings.HasPrefix(e.OperatorEndpoint, "https://") {
		var challenge auth.Challenge
		if challenge, _, err = client.Challenge(ctx); err == nil {
			if err = challenge.Check(); err == nil {
				e.ClusterID = challenge.ClusterID
			}
		}
	} else {
		_, err = client.Info(ctx)
	}
	switch {
	case err == nil:
		return nil
	case fault.Code(err) == httpapi.CodeUntrusted, fault.Code(err) == httpapi.CodeOldRelease:
		return err
	}
	return fault.New(fault.Disconnected, "cli.invalid_operator_endpoint", "%s is not a cortex operator endpoint: %w", e.OperatorEndpoint, err).
		WithHint("nothing was changed; check the address and that this machine can reach it")
}

// readSecrets takes those that are given as - from standard input, a line each.
func readSecrets(in io.Reader, secrets ...*string) error {
	lines := bufio.NewScanner(io.LimitReader(in, maxAnswer))
	for _, secret := range secrets {
		if *secret != "-" {
			continue
		}
		if !lines.Scan() || strings.TrimSpace(lines.Text()) == "" {
			return fault.New(fault.Usage, "cli.wrong_flag", "standard input has no line for a secret that was given as -").
				WithHint("such as: printf '%%s\\n' \"$SECRET\" | cortex env configure local --aws-access-key-id … --aws-secret-access-key -")
		}
		*secret = strings.TrimSpace(lines.Text())
	}
	return nil
}
