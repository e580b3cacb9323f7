package cli

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) clusterGrantCommand() *cobra.Command {
	return a.aboutCluster(&cobra.Command{
		Use:   "grant ARN",
		Short: "let a user or a role administer a cluster on AWS",
		Long: "Let a user or a role of the account administer a cluster: an access entry of EKS with its policy\n" +
			"for administrators. To run `cortex cluster` commands they need permissions in AWS as well:\n" +
			"`cortex cluster policy` prints them.",
		Example: "  cortex cluster grant arn:aws:iam::123456789012:role/Admins --name iris --region us-west-2",
		Args:    exactly("ARN"),
	}, nil, func(ctx context.Context, cloud Cloud, t clusterTarget, args []string) error {
		principal, err := cloud.Grant(ctx, t.name, args[0])
		if err != nil {
			return err
		}
		a.say("%s administers cluster %s now", principal, t.name)
		a.note("to run `cortex cluster` commands it needs the permissions of `cortex cluster policy --name %s --region %s` too", t.name, t.region)
		return nil
	})
}

func (a *app) clusterRevokeCommand() *cobra.Command {
	return a.aboutCluster(&cobra.Command{
		Use:   "revoke ARN",
		Short: "take the access to a cluster on AWS from a user or a role",
		Long: "Take every way in that a user or a role has to a cluster: its access entry, and its lines of the\n" +
			"ConfigMap aws-auth, which would count again without the entry. It is out within minutes. The\n" +
			"last administrator stays.",
		Example: "  cortex cluster revoke arn:aws:iam::123456789012:user/carol --name iris --region us-west-2",
		Args:    exactly("ARN"),
	}, nil, func(ctx context.Context, cloud Cloud, t clusterTarget, args []string) error {
		removed, err := cloud.Revoke(ctx, t.name, args[0])
		if err != nil {
			return err
		}
		left, err := cloud.Administrators(ctx, t.name)
		if err != nil {
			return err
		}
		a.say("%s has no access to cluster %s any more (%s); it is out within minutes", args[0], t.name, strings.Join(removed, ", "))
		for _, x := range left {
			a.say("  still an administrator: %s (%s)", x.ARN, strings.Join(x.By, ", "))
		}
		return nil
	})
}

// credential is what kubectl wants to hear of a program that proves an identity.
type credential struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Status     struct {
		Expires string `json:"expirationTimestamp"`
		Token   string `json:"token"`
	} `json:"status"`
}

func (a *app) clusterTokenCommand() *cobra.Command {
	cmd := a.aboutCluster(&cobra.Command{
		Use:   "token",
		Short: "print a token for the Kubernetes of a cluster on AWS, as kubectl takes it",
		Long: "Print a token that proves who you are to the API server of a cluster, in the form in which\n" +
			"kubectl takes it from a credential plugin. It is made on this machine, and lives 15 minutes.\n" +
			"Nothing else is said, because kubectl would show it each time.",
		Example: "  cortex cluster token --name iris --region us-west-2",
		Args:    exactly(),
	}, nil, func(ctx context.Context, cloud Cloud, t clusterTarget, _ []string) error {
		text, expires, err := cloud.Token(ctx, t.name)
		if err != nil {
			return err
		}
		c := credential{APIVersion: "client.authentication.k8s.io/v1", Kind: "ExecCredential"}
		c.Status.Token, c.Status.Expires = text, expires.UTC().Format(time.RFC3339)
		return json.NewEncoder(a.streams.Out).Encode(c)
	})
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.quiet = true
		return run(cmd, args)
	}
	return cmd
}
