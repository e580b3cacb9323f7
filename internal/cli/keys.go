package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func (a *app) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "make and revoke the keys with which callers may call APIs",
		Long: "Make and revoke the keys with which callers may call APIs that ask for one:\n\n" +
			"  networking:\n" +
			"    auth:\n" +
			"      accept: [keys]\n\n" +
			"The name of a key is the caller: limits count by it, and a key that replaces another one\n" +
			"has the same name. A key is shown once, when it is made; what is kept of it tells nobody\n" +
			"what it is.",
		Example: "  cortex keys create mobile --api iris --expires 90d",
	}
	cmd.AddCommand(a.keysCreateCommand(), a.keysListCommand(), a.keysRotateCommand(), a.keysRevokeCommand())
	return cmd
}

func (a *app) keysCreateCommand() *cobra.Command {
	var env string
	var out output
	var req workload.KeyRequest
	var expires dayDuration
	var labels []string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "make a key",
		Long: "Make a key, which is good for the APIs that are named, or for all that there are and will\n" +
			"be. It is shown once.",
		Example: "  cortex keys create mobile --api iris --expires 90d\n" +
			"  cortex keys create ci --all-apis --label team=platform",
		Args: exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Name, req.ExpiresIn = args[0], workload.Duration(expires)
			var err error
			if req.Labels, err = itemLabels(labels); err != nil {
				return err
			}
			switch {
			case req.AllAPIs && len(req.APIs) > 0:
				return fault.New(fault.Usage, "cli.wrong_arguments", "--api and --all-apis exclude each other")
			case !req.AllAPIs && len(req.APIs) == 0:
				return fault.New(fault.Usage, "cli.wrong_arguments", "it is not said which APIs the key is good for").
					WithHint("name them with --api, or say --all-apis")
			}
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			made, err := t.CreateKey(cmd.Context(), req)
			if err != nil {
				return err
			}
			return a.showKey(cmd.Context(), t, out, "made", made)
		},
	}
	a.envFlag(cmd, &env)
	flags := cmd.Flags()
	flags.StringSliceVar(&req.APIs, "api", nil, "an API that it is good for; may be repeated")
	flags.BoolVar(&req.AllAPIs, "all-apis", false, "it is good for all APIs, also those that are deployed later")
	flags.Var(&expires, "expires", "how long it is good for, as in 90d or 12h (default: until it is revoked)")
	flags.StringArrayVar(&labels, "label", nil, "what is remembered of it, as name=value; may be repeated")
	addOutputFlag(cmd, &out)
	_ = cmd.RegisterFlagCompletionFunc("api", a.completing(&env, func(ctx context.Context, t *target, _ []string) ([]string, error) { return namesOf(ctx, t) }))
	return cmd
}

// showKey is the one time that a key is shown.
func (a *app) showKey(ctx context.Context, t *target, out output, did string, made workload.KeyMade) error {
	if out != pretty {
		return a.print(out, made)
	}
	until := ""
	if !made.ExpiresAt.IsZero() {
		until = ", until " + made.ExpiresAt.Local().Format(timeFormat)
	}
	a.say("%s the key %s, for %s%s:", did, made.Name, orElse(strings.Join(made.APIs, ", "), "all APIs"), until)
	a.say("")
	a.say("  %s", made.Text)
	a.say("")
	a.say("It is not shown again. Whoever has it may call:")
	a.say("")
	a.say(`  curl -H "Authorization: Bearer cxk_…" %s`, keyEndpoint(ctx, t, made.APIs))
	return nil
}

// keyEndpoint is where a key is good. It was made, so that not to know this is no error.
func keyEndpoint(ctx context.Context, t *target, apis []string) string {
	if len(apis) > 0 {
		if api, err := t.Get(ctx, apis[0]); err == nil && api.Endpoint != "" {
			return api.Endpoint
		}
	}
	return "ENDPOINT"
}

func (a *app) keysListCommand() *cobra.Command {
	var env string
	var out output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list keys, without the keys themselves",
		Long: "List keys, without the keys themselves: which APIs each is good for and until when. One\n" +
			"that has expired is listed for 30 days.",
		Example: "  cortex keys list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			all, err := t.Keys(cmd.Context())
			if err != nil {
				return err
			}
			if out != pretty {
				if all == nil {
					all = []workload.Key{}
				}
				return a.print(out, all)
			}
			if len(all) == 0 {
				a.say("there are no keys; cortex keys create NAME makes one")
				return nil
			}
			list := table{headers: []string{"name", "id", "state", "apis", "created", "expires"}}
			for _, k := range all {
				expires := "never"
				if !k.ExpiresAt.IsZero() {
					expires = k.ExpiresAt.Local().Format(timeFormat)
				}
				list.rows = append(list.rows, []string{
					k.Name, k.ID, k.State, orElse(strings.Join(k.APIs, ", "), "all"),
					k.CreatedAt.Local().Format(timeFormat) + " (" + since(k.CreatedAt, time.Now()) + ")", expires,
				})
			}
			list.write(a.streams.Out, a.paint)
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) keysRotateCommand() *cobra.Command {
	var env string
	var out output
	var grace, expires dayDuration
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "make a key in place of another",
		Long: "Make a key in place of another, for the same APIs and the same caller. With --grace the one\n" +
			"before is good for a while yet, so that callers can change over; without it, for nothing\n" +
			"any more. There are at most two keys of a name: those before are good for nothing.\n\n" +
			"Unless --expires says how long, it is good for as long as the one before was made for.",
		Example:           "  cortex keys rotate mobile --grace 24h",
		Args:              exactly("NAME"),
		ValidArgsFunction: a.keyNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			made, err := t.RotateKey(cmd.Context(), args[0], workload.KeyRotation{Grace: workload.Duration(grace), ExpiresIn: workload.Duration(expires)})
			if err != nil {
				return err
			}
			return a.showKey(cmd.Context(), t, out, "replaced", made)
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().Var(&grace, "grace", "how long the one before is good yet, as in 24h or 7d (default: not at all)")
	cmd.Flags().Var(&expires, "expires", "how long the new one is good for, as in 90d (default: as the one before)")
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) keysRevokeCommand() *cobra.Command {
	var env string
	var out output
	cmd := &cobra.Command{
		Use:               "revoke NAME",
		Short:             "make the keys of a name worthless",
		Long:              "Make the keys of a name worthless, at once and for good.",
		Example:           "  cortex keys revoke mobile",
		Args:              exactly("NAME"),
		ValidArgsFunction: a.keyNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			m, err := t.RevokeKey(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.sayMessage(out, m)
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	return cmd
}

// keyNames completes the first argument with the names of keys, each once.
func (a *app) keyNames(env *string) cobra.CompletionFunc {
	return a.completingFirst(env, func(ctx context.Context, t *target) (names []string, err error) {
		all, err := t.Keys(ctx)
		for _, k := range all {
			if len(names) == 0 || names[len(names)-1] != k.Name {
				names = append(names, k.Name)
			}
		}
		return names, err
	})
}
