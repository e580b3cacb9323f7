package cli

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

func (a *app) clusterPolicyCommand() *cobra.Command {
	var t clusterTarget
	var accountID string
	var published bool
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "print the IAM policy that the commands for a cluster on AWS need",
		Long: "Print the IAM policy that the commands for one cluster need: what they do, on what is of this\n" +
			"cluster where AWS lets one say so. Nobody is asked.\n\n" +
			"With --published it is the minimum policy that the documentation of cortex 0.42 has. It allows\n" +
			"more, and is enough too.",
		Example: "  cortex cluster policy --name iris --region us-west-2 --account-id 123456789012",
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			if err := t.resolve(a); err != nil {
				return err
			}
			if !cluster.IsAccount(accountID) {
				return fault.New(fault.Usage, "cli.wrong_flag", "--account-id %q is no AWS account: want 12 digits", accountID)
			}
			names := cluster.NamesOf(t.name, accountID, t.region)
			var policy any = names.CallerPolicy()
			if published {
				policy = json.RawMessage(names.MinimumPolicy())
			}
			enc := json.NewEncoder(a.streams.Out)
			enc.SetIndent("", "  ")
			return enc.Encode(policy)
		},
	}
	t.add(cmd)
	cmd.Flags().BoolVar(&published, "published", false, "print the published minimum policy instead")
	cmd.Flags().StringVar(&accountID, "account-id", "", "aws account of the cluster (required)")
	return cmd
}
