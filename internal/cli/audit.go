package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/audit"
	"cortex.dev/cortex/internal/fault"
)

func (a *app) auditCommand() *cobra.Command {
	var env, file string
	var q auth.AuditQuery
	var out output
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "show who did, or was refused, what",
		Long: "Show the audit of an environment, oldest first: one line for each decision, refusals too. It\n" +
			"takes the permission cluster:audit; with --file, the file is read instead, also while no\n" +
			"server runs.",
		Example: "  cortex audit --since 1h\n" +
			"  cortex audit --denied --principal user/mallory\n" +
			"  cortex audit --file /var/lib/cortex/server/audit/audit.log -o json",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Since < 0 {
				return fault.New(fault.Usage, "cli.wrong_flag", "--since %s is in the future", q.Since)
			}
			if err := exclusive(cmd, "file", "env"); err != nil {
				return err
			}
			return a.readAudit(cmd.Context(), env, file, q, out)
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().DurationVar(&q.Since, "since", 0, "only what is this young, as in 90s or 24h")
	cmd.Flags().StringVar(&q.Principal, "principal", "", "only of one identity: its arn in any form, or the end of one such as user/alice")
	cmd.Flags().BoolVar(&q.Denied, "denied", false, "refusals only")
	cmd.Flags().StringVar(&file, "file", "", "read this audit log file, with those that were rotated")
	_ = cmd.MarkFlagFilename("file")
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) readAudit(ctx context.Context, env, file string, q auth.AuditQuery, out output) error {
	show := a.sayEntry
	if out != pretty {
		show = func(e auth.Entry) error { return a.printLine(out, e) }
	}
	if file != "" {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return fault.New(fault.NotFound, "cli.no_such_file", "%s does not exist", file)
		}
		damaged, err := audit.ReadFile(ctx, file, q, show)
		if damaged > 0 {
			a.note("%s could not be read", count(damaged, "damaged line"))
		}
		return err
	}
	target, client, _, err := a.proving(env)
	if err != nil {
		return err
	}
	if client == nil {
		return fault.New(fault.Unsupported, "cli.no_identity", "the local environment keeps no audit: only you can reach it").
			WithHint("name another environment with --env, or the log of a server with --file")
	}
	if out == pretty && env == "" {
		a.note("using %s environment\n", target.Name)
	}
	return client.Audit(ctx, q, show)
}

// sayEntry writes one decision in one line, in columns that do not depend on others.
func (a *app) sayEntry(e auth.Entry) error {
	e = visibleIn(e)
	who := e.Principal
	if who == "" {
		who = "not proven"
	} else if p, err := auth.ParseARN(e.Principal); err == nil {
		who = p.Account + " " + p.Name()
	}
	if e.Session != "" {
		who += " (" + e.Session + ")"
	}
	why := ""
	switch {
	case e.Outcome != "":
		why = strings.Join(strings.Fields(strings.Join([]string{e.Operation, e.Version, e.Outcome, e.Code}, " ")), " ")
		if len(e.Command) > 0 {
			why += ": " + strings.Join(e.Command, " ")
		}
	case e.Reason != "":
		why = e.Reason
	case len(e.Policies) > 0:
		why = "by " + strings.Join(e.Policies, ", ")
	case e.Decision == auth.Deny:
		why = "no policy permits it"
	}
	decision := pad(e.Decision, len(auth.Allow))
	if e.Decision == auth.Deny {
		decision = a.paint.red(decision)
	}
	line := e.Time.Local().Format(time.DateTime) + "  " + decision + "  " + pad(string(e.Action), 14) + "  " + pad(e.Resource, 18) + "  " + pad(who, 32) + "  " + why
	a.say("%s", strings.TrimRight(line, " "))
	if e.Suppressed > 0 {
		a.say("%s", a.paint.dim(strings.Repeat(" ", 21)+fmt.Sprintf("and %d more like it", e.Suppressed)))
	}
	return nil
}
