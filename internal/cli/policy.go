package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/policy"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func (a *app) policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "check and try out who may do what on a cluster",
		Long: "Check and try out policy files, in which an operator is told in Cedar who may do what.\n" +
			"Without a file every principal of the operator's AWS account may do everything.\n\n" +
			"The commands here need no environment and no credentials.",
		Example: "  cortex policy check policy.cedar\n" +
			"  cortex policy explain policy.cedar --principal arn:aws:iam::123456789012:user/bob --action deploy --api iris",
	}
	cmd.AddCommand(a.policyCheckCommand(), a.policyExplainCommand(), a.policySchemaCommand())
	return cmd
}

// checkedPolicy is what `cortex policy check -o json` says.
type checkedPolicy struct {
	File     string           `json:"file"`
	Valid    bool             `json:"valid"`
	Policies []policy.Outline `json:"policies"`
	Problems []fault.Problem  `json:"problems"`
}

func (a *app) policyCheckCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "check FILE|-",
		Short: "check a policy file",
		Long: "Check a policy file as an operator does before it takes it: its syntax, and every name and\n" +
			"comparison against the schema. List all problems with their positions, or else the policies\n" +
			"and whom and what they name.",
		Example: "  cortex policy check policy.cedar\n" +
			"  cortex policy check policy.cedar -o json",
		Args:              exactly("FILE"),
		ValidArgsFunction: completePolicy,
		RunE:              func(_ *cobra.Command, args []string) error { return a.checkPolicy(args[0], out) },
	}
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) checkPolicy(file string, out output) error {
	file, data, err := a.readPolicy(file)
	if err != nil {
		return err
	}
	sum, err := policy.Check(file, data)
	if out != pretty {
		c := checkedPolicy{File: file, Valid: err == nil, Policies: sum.Policies, Problems: []fault.Problem{}}
		if err != nil {
			c.Policies, c.Problems = []policy.Outline{}, fault.From(err).Problems
		}
		if printed := a.print(out, c); printed != nil {
			return printed
		}
	}
	if err != nil || out != pretty {
		return err
	}
	text := "1 policy"
	if n := len(sum.Policies); n != 1 {
		text = fmt.Sprintf("%d policies", n)
	}
	a.say("%s: %s, no problems\n", file, text)
	t := table{headers: []string{"policy", "effect", "line", "principals", "actions", "resources", "conditions"}}
	for _, p := range sum.Policies {
		t.rows = append(t.rows, []string{
			p.ID, p.Effect, fmt.Sprint(p.Line), orAny(p.Principals), orAny(p.Actions), orAny(p.Resources), fmt.Sprint(p.Conditions),
		})
	}
	t.write(a.streams.Out, a.paint)
	return nil
}

// orAny lists names, of which none stands for all.
func orAny(names []string) string {
	const shown = 3
	switch {
	case len(names) == 0:
		return "any"
	case len(names) > shown:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
	}
	return strings.Join(names, ", ")
}

func (a *app) readPolicy(file string) (name string, data []byte, err error) {
	in := a.streams.In
	name = "standard input"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", nil, fault.New(fault.NotFound, "policy.unreadable", "reading the policy: %w", err).
				WithHint("name a file with policies, or - for the standard input")
		}
		defer f.Close()
		in, name = f, file
	}
	// One byte more than it may have, so that the check sees it.
	if data, err = io.ReadAll(io.LimitReader(in, policy.MaxBytes+1)); err != nil {
		return "", nil, fault.New(fault.Invalid, "policy.unreadable", "reading the policy: %w", err)
	}
	return name, data, nil
}

func completePolicy(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"cedar"}, cobra.ShellCompDirectiveFilterFileExt
}

// policyQuestion is what `cortex policy explain` is asked.
type policyQuestion struct {
	out                                                                output
	principal, account, action, api, secret, volume, kind, env, expect string
}

func (a *app) policyExplainCommand() *cobra.Command {
	var q policyQuestion
	cmd := &cobra.Command{
		Use:   "explain [FILE]",
		Short: "say what a policy decides, and why",
		Long: "Say whether a policy file (default: the default policy) allows an action, by which of its\n" +
			"policies, and which others would but for their conditions. Needs no environment.\n\n" +
			"The exit code is 0 for either answer; with --expect it is 1 for the other one, so that\n" +
			"policies can be tested.",
		Example: "  cortex policy explain policy.cedar --principal arn:aws:iam::123456789012:user/bob --action get --api iris\n" +
			"  cortex policy explain policy.cedar --principal arn:aws:iam::123456789012:role/CI --action delete --api iris --expect deny",
		Args:              between(0, "FILE"),
		ValidArgsFunction: completePolicy,
		RunE: func(_ *cobra.Command, args []string) error {
			file := ""
			if len(args) > 0 {
				file = args[0]
			}
			return a.explainPolicy(file, q)
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.principal, "principal", "", "the user, role, assumed role, root or federated user who asks, as an ARN")
	f.StringVar(&q.action, "action", "", "what is to be done: "+actionWords("|"))
	f.StringVar(&q.api, "api", "", "to which api (default: to the environment as a whole)")
	f.StringVar(&q.secret, "secret", "", "to which secret, for the actions on secrets")
	f.StringVar(&q.volume, "volume", "", "to which volume, or folder of the machine, for the actions on volumes")
	f.StringVar(&q.kind, "kind", "", "kind of the api (default: it is not deployed)")
	f.StringVar(&q.env, "cluster-name", "cortex", "name of the cluster")
	f.StringVar(&q.account, "account", "", "account of the cluster (default: that of the principal)")
	f.StringVar(&q.expect, "expect", "", "allow or deny: fail when the answer is the other one")
	addOutputFlag(cmd, &q.out)
	_ = cmd.MarkFlagRequired("principal")
	_ = cmd.MarkFlagRequired("action")
	none := cobra.ShellCompDirectiveNoFileComp
	_ = cmd.RegisterFlagCompletionFunc("action", cobra.FixedCompletions(strings.Split(actionWords("|"), "|"), none))
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(strings.Split(kindWords("|"), "|"), none))
	_ = cmd.RegisterFlagCompletionFunc("expect", cobra.FixedCompletions([]cobra.Completion{auth.Allow, auth.Deny}, none))
	for _, name := range []string{"principal", "api", "secret", "volume", "cluster-name", "account"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return cmd
}

func actionWords(between string) string {
	var words []string
	for _, act := range auth.Actions {
		words = append(words, string(act))
	}
	return strings.Join(words, between)
}

func kindWords(between string) string {
	var words []string
	for _, k := range workload.Kinds() {
		words = append(words, string(k))
	}
	return strings.Join(words, between)
}

func (a *app) explainPolicy(file string, q policyQuestion) error {
	query, err := q.query()
	if err != nil {
		return err
	}
	p := query.Principal
	if q.account == "" {
		q.account = p.Account
	}
	authorizer, err := policy.New(policy.Config{Account: q.account, Partition: p.Partition, Environment: q.env, File: file})
	if err != nil {
		return err
	}
	if q.principal != p.ARN {
		a.note("%s is decided upon as %s", q.principal, p.ARN)
	}
	x := authorizer.Explain(query)
	if q.out == pretty {
		a.sayExplanation(x)
	} else if err := a.print(q.out, x); err != nil {
		return err
	}
	if q.expect != "" && q.expect != x.Decision {
		return fault.New(fault.Invalid, "policy.unexpected", "expected %s, and the answer is %s", q.expect, x.Decision)
	}
	return nil
}

// query checks the flags.
func (q policyQuestion) query() (auth.Query, error) {
	wrong := func(flag, format string, args ...any) error {
		return fault.New(fault.Usage, "cli.wrong_flag", "--%s %s", flag, fmt.Sprintf(format, args...))
	}
	p, err := auth.ParseARN(q.principal)
	if err != nil {
		return auth.Query{}, wrong("principal", "%q: %s", q.principal, err)
	}
	action := auth.Action(q.action)
	kinds := strings.Split(kindWords("|"), "|")
	switch {
	case !slices.Contains(auth.Actions, action):
		return auth.Query{}, wrong("action", "%q is not an action; expected one of %s", q.action, actionWords(", "))
	case q.api != "" && strings.HasPrefix(q.action, "cluster:"):
		return auth.Query{}, wrong("api", "and --action %s cannot be used together: it is done to the environment", q.action)
	case q.api != "" && action.OnSecrets():
		return auth.Query{}, wrong("api", "and --action %s cannot be used together: it is done to a secret, named with --secret", q.action)
	case q.secret != "" && !action.OnSecrets():
		return auth.Query{}, wrong("secret", "and --action %s cannot be used together: it is not done to secrets", q.action)
	case q.api != "" && action.OnVolumes():
		return auth.Query{}, wrong("api", "and --action %s cannot be used together: it is done to a volume, named with --volume", q.action)
	case q.volume != "" && !action.OnVolumes():
		return auth.Query{}, wrong("volume", "and --action %s cannot be used together: it is not done to volumes", q.action)
	case q.kind != "" && q.api == "":
		return auth.Query{}, wrong("kind", "is that of an API: name it with --api")
	case q.kind != "" && !slices.Contains(kinds, q.kind):
		return auth.Query{}, wrong("kind", "%q is not a kind; expected one of %s", q.kind, strings.Join(kinds, ", "))
	case q.account != "" && !auth.IsAccount(q.account):
		return auth.Query{}, wrong("account", "%q is not an AWS account ID (12 digits)", q.account)
	case q.env == "":
		return auth.Query{}, wrong("cluster-name", "is empty")
	case q.expect != "" && q.expect != auth.Allow && q.expect != auth.Deny:
		return auth.Query{}, wrong("expect", "%q is neither allow nor deny", q.expect)
	}
	return auth.Query{
		Principal: p, Action: action,
		Resource: auth.Resource{API: q.api, Secret: q.secret, Volume: q.volume, Kind: q.kind, Environment: q.env},
	}, nil
}

func (a *app) sayExplanation(x policy.Explanation) {
	what := "environment " + x.Environment
	if x.Secret != "" {
		what = "secret " + x.Secret + " of " + what
	}
	if x.Volume != "" {
		what = "volume " + x.Volume + " of " + what
	}
	if x.API != "" {
		what = "API " + x.API + " of " + what
		if x.Kind != "" {
			what = x.Kind + strings.TrimPrefix(what, "API")
		}
	}
	word := a.paint.green(x.Decision)
	if x.Decision == auth.Deny {
		word = a.paint.red(x.Decision)
	}
	a.say("%s: %s, action %s, %s", a.paint.bold(word), x.Principal, x.Action, what)
	for _, r := range x.Policies {
		a.say("  %s by policy %s%s", map[string]string{"permit": "permitted", "forbid": "forbidden"}[r.Effect], r.ID, place(r))
	}
	if len(x.Policies) == 0 {
		a.say("  no policy permits it")
	}
	for _, r := range x.Near {
		why := "its conditions do not hold"
		if r.Error != "" {
			why = "it cannot be evaluated: " + r.Error
		}
		a.say("  not by policy %s%s: %s", r.ID, place(r), why)
	}
}

// place is where a policy stands, in a form that editors recognise.
func place(r policy.Reason) string {
	switch {
	case r.File != "":
		return fmt.Sprintf(" (%s:%d:%d)", r.File, r.Line, r.Column)
	case r.ID == policy.IDAccount:
		return ": the principal is of another account"
	}
	return ""
}

func (a *app) policySchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "print the Cedar schema of policies",
		Long: "Print the Cedar schema that policies are held to: the principals, actions and resources that\n" +
			"there are, and their attributes. Editors that know Cedar complete names from it.",
		Example: "  cortex policy schema > cortex.cedarschema",
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			_, err := a.streams.Out.Write(policy.Schema())
			return err
		},
	}
}
