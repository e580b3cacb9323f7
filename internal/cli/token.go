package cli

import (
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

func (a *app) tokenCommand() *cobra.Command {
	var env string
	var out output
	var apis []string
	ttl := auth.DefaultCallTTL
	cmd := &cobra.Command{
		Use:   "token",
		Short: "make a session with which your AWS identity calls APIs",
		Long: "Make a session with which your AWS identity calls APIs that accept iam (networking.auth), and\n" +
			"print it. It lives for up to an hour, is good for the APIs that you name and for nothing else, and\n" +
			"what policies say when it is made (the action invoke) holds for as long.",
		Example: "  cortex token --api iris > token               # curl -H \"Authorization: Bearer $(cat token)\" …\n" +
			"  cortex token --api iris --api lily --ttl 1h -o json",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(apis) == 0 {
				return fault.New(fault.Usage, "cli.wrong_arguments", "a session is for APIs that are named").WithHint("--api NAME, which may be repeated")
			}
			chosen, client, _, err := a.proving(env)
			if err != nil {
				return err
			}
			if client == nil {
				return fault.New(fault.Unsupported, "cli.no_identity", "nobody proves an AWS identity in environment %s", chosen.Name).
					WithHint("make a key instead: cortex keys create NAME --api %s", apis[0])
			}
			session, err := client.CreateCallSession(cmd.Context(), auth.CallRequest{APIs: apis, TTL: ttl.String()})
			if err != nil {
				return err
			}
			if out != pretty {
				return a.print(out, session)
			}
			a.say("%s", session.Token)
			a.note("of %s, until %s", session.Principal.ARN, session.ExpiresAt.Local().Format(time.RFC1123))
			return nil
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().StringSliceVar(&apis, "api", nil, "an API to call; may be repeated")
	cmd.Flags().DurationVar(&ttl, "ttl", ttl, "how long it lives, from 1m to 1h")
	addOutputFlag(cmd, &out)
	return cmd
}
