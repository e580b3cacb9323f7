package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
)

// ClusterHooks are what commands about a Kubernetes cluster need. The libraries for
// it make a program three times as large and slow to start, so the program that
// people type may be without them: it hands such commands over, see Hooks.Delegate.
type ClusterHooks struct {
	Install   func(ctx context.Context, cfg ClusterConfig) (ClusterInfo, error)
	Upgrade   func(ctx context.Context, cfg ClusterConfig) (ClusterInfo, error)
	Uninstall func(ctx context.Context, cfg ClusterConfig, keepAPIs bool) error
	Health    func(ctx context.Context, cfg ClusterConfig) ([]ClusterCheck, error)
	// Where says which cluster is meant, and asks none.
	Where func(cfg ClusterConfig) (ClusterPlace, error)
	// Render returns the objects of an installation as YAML, and asks no cluster.
	Render func(cfg ClusterConfig) (string, error)
	// Cloud opens the AWS account of the credentials that keys finds, as seen from a region.
	Cloud func(ctx context.Context, keys CloudKeys, region string) (Cloud, error)
}

// ClusterConfig says which cluster, and what to put on it.
type ClusterConfig struct {
	Kubeconfigs []string
	Context     string
	Namespace   string
	ValueFiles  [][]byte       // contents, each laid over the one before
	Assignments []string       // key=value, laid over the files
	Values      map[string]any // from flags, laid over both
	Images      string         // an archive of images to push first; empty: none
	Wait        bool
	Timeout     time.Duration
	Version     string
	Progress    func(ClusterStep)
}

// ClusterPlace is which cluster a kubeconfig means.
type ClusterPlace struct {
	Context string // of the kubeconfig
	Server  string
}

// ClusterStep is a part of the work that has ended.
type ClusterStep struct {
	Name   string
	Detail string
	Took   time.Duration
}

// ClusterInfo is what those need to know who use an installation. What is not known
// yet is empty.
type ClusterInfo struct {
	Namespace     string `json:"namespace"`
	APIsNamespace string `json:"apis_namespace"`
	ClusterName   string `json:"cluster_name"`
	Version       string `json:"version"`
	Endpoint      string `json:"operator_endpoint"`
	APIs          string `json:"api_endpoint"`
	Fingerprint   string `json:"fingerprint"`
}

// ClusterCheck is one thing that has to be right.
type ClusterCheck struct {
	Name string
	OK   bool
	Text string
	Do   string
}

// clusterFlags are common to the commands about a cluster.
type clusterFlags struct {
	kubeconfig string
	context    string
	namespace  string
}

func (f *clusterFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file (default: KUBECONFIG, then .kube/config in the home folder)")
	flags.StringVar(&f.context, "context", "", "context of the kubeconfig (default: its current one)")
	flags.StringVar(&f.namespace, "namespace", "cortex", "namespace of the installation")
	_ = cmd.MarkFlagFilename("kubeconfig")
}

// config returns which cluster the flags and the environment mean.
func (f *clusterFlags) config(a *app) ClusterConfig {
	cfg := ClusterConfig{Context: f.context, Namespace: f.namespace, Version: a.hooks.Version}
	switch {
	case f.kubeconfig != "":
		cfg.Kubeconfigs = []string{f.kubeconfig}
	case a.getenv("KUBECONFIG") != "":
		cfg.Kubeconfigs = filepath.SplitList(a.getenv("KUBECONFIG"))
	default:
		cfg.Kubeconfigs = []string{filepath.Join(a.getenv("HOME"), ".kube", "config")}
	}
	return cfg
}

// valueFlags say what is put on a cluster.
type valueFlags struct {
	apisNamespace string
	account       string
	region        string
	clusterName   string
	files         []string
	set           []string
	images        string
	noWait        bool
	timeout       time.Duration
	dryRun        bool
}

func (f *valueFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.account, "account-id", "", "aws account whose identities may manage the installation")
	flags.StringVar(&f.region, "region", "", "aws region in whose STS identities are proven")
	flags.StringVar(&f.clusterName, "cluster-name", "", "name of the installation (default: cortex)")
	flags.StringVar(&f.apisNamespace, "apis-namespace", "", "namespace of what is deployed (default: cortex-apis)")
	flags.StringArrayVar(&f.files, "values", nil, "file of values of the chart; may be repeated, the last one wins")
	flags.StringArrayVar(&f.set, "set", nil, "one value of the chart as key=value, such as gateway.replicas=3; may be repeated")
	flags.StringVar(&f.images, "load-images", "", "archive of images (make images) to push first to the registry of the values")
	flags.BoolVar(&f.noWait, "no-wait", false, "return before everything is available")
	flags.DurationVar(&f.timeout, "timeout", 5*time.Minute, "how long to wait")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print the objects and change nothing")
	_ = cmd.MarkFlagFilename("values", "yaml", "yml")
	_ = cmd.MarkFlagFilename("load-images", "tar")
}

// maxValues bounds a file of values.
const maxValues = 1 << 20

// fill puts what the flags say into cfg.
func (f *valueFlags) fill(cfg *ClusterConfig) error {
	if f.timeout <= 0 {
		return fault.New(fault.Usage, "cli.wrong_flag", "--timeout must be positive")
	}
	for _, file := range f.files {
		data, err := os.ReadFile(file)
		if err != nil {
			return fault.New(fault.Usage, "cli.wrong_flag", "--values: %w", err)
		}
		if len(data) > maxValues {
			return fault.New(fault.Usage, "cli.wrong_flag", "--values: %s has more than 1 MiB", file)
		}
		cfg.ValueFiles = append(cfg.ValueFiles, data)
	}
	cfg.Images = f.images
	cfg.Assignments, cfg.Wait, cfg.Timeout, cfg.Values = f.set, !f.noWait, f.timeout, map[string]any{}
	for key, v := range map[string]string{"account": f.account, "region": f.region, "clusterName": f.clusterName} {
		if v != "" {
			cfg.Values[key] = v
		}
	}
	if f.apisNamespace != "" {
		cfg.Values["apis"] = map[string]any{"namespace": f.apisNamespace}
	}
	return nil
}

// errNoCluster is a program that can neither do such commands nor hand them over.
func errNoCluster() error {
	return fault.New(fault.Unsupported, "cli.no_cluster_program", "this program cannot work on Kubernetes clusters").
		WithHint("the program cortex-install belongs beside it")
}

// clusterWork makes do the work of cmd; a program without what it takes hands the
// whole command line over to the one that has it.
func (a *app) clusterWork(do func(cmd *cobra.Command, hooks *ClusterHooks) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		switch {
		case a.hooks.Cluster != nil:
			return do(cmd, a.hooks.Cluster)
		case a.hooks.Delegate != nil:
			return a.hooks.Delegate(cmd.Context())
		}
		return errNoCluster()
	}
}

// place says which cluster is changed: without --context it is whichever kubectl was
// pointed at last.
func (a *app) place(hooks *ClusterHooks, cfg ClusterConfig) (string, error) {
	p, err := hooks.Where(cfg)
	return fmt.Sprintf("context %s (%s)", p.Context, p.Server), err
}

// sure asks on a terminal whether the cluster is the one that was meant; a script has
// said so by its kubeconfig.
func (a *app) sure(ctx context.Context, hooks *ClusterHooks, cfg ClusterConfig, what string, yes bool) error {
	place, err := a.place(hooks, cfg)
	if err != nil {
		return err
	}
	if _, asks := terminal(a.streams.In); yes || !asks {
		a.note("%s, namespace %s", place, cfg.Namespace)
		return nil
	}
	ok, err := a.confirm(ctx, "%s in namespace %s of %s?", what, cfg.Namespace, place)
	if err == nil && !ok {
		err = fault.New(fault.Conflict, "cli.not_confirmed", "nothing was changed")
	}
	return err
}

// progress returns what draws the steps of the work, one line each.
func (a *app) progress() func(ClusterStep) {
	return func(s ClusterStep) {
		a.note("%s %s %s", pad(s.Name, 18), pad(s.Detail, 40), strings.TrimSpace(fmt.Sprintf("%6.1f s", s.Took.Seconds())))
	}
}

func (a *app) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "make clusters on AWS; look after an installation on a Kubernetes cluster",
		Example: "  cortex cluster up cluster.yaml\n" +
			"  cortex cluster health --namespace cortex-staging",
	}
	cmd.AddCommand(a.clusterPlanCommand(), a.clusterUpCommand(), a.clusterInfoCommand(), a.clusterConfigureCommand(), a.clusterUpgradeCommand(), a.clusterDownCommand(),
		a.clusterGrantCommand(), a.clusterRevokeCommand(), a.clusterTokenCommand(), a.clusterPolicyCommand(), a.clusterHealthCommand(), a.clusterExportCommand())
	return cmd
}

func (a *app) clusterHealthCommand() *cobra.Command {
	var f clusterFlags
	var keys keyFlags
	var t clusterTarget
	var yes bool
	var out output
	cmd := &cobra.Command{
		Use:   "health",
		Short: "say what is wrong with an installation, in words",
		Long: "Say what is wrong with an installation, in words, and what to do about it. The exit code is\n" +
			"1 when something is.\n\n" +
			"With --name, --region or --config it is that of a cluster on AWS: then the control plane, add-ons,\n" +
			"nodes, load balancers and stacks are looked at too, and no kubeconfig is needed.",
		Example: "  cortex cluster health\n" +
			"  cortex cluster health -o json --kubeconfig staging.kubeconfig\n" +
			"  cortex cluster health --name iris --region us-west-2",
		Args: exactly(),
		RunE: a.clusterWork(func(cmd *cobra.Command, hooks *ClusterHooks) error {
			if t == (clusterTarget{}) {
				checks, err := hooks.Health(cmd.Context(), f.config(a))
				if err != nil {
					return err
				}
				return a.sayHealth(out, checks)
			}
			for _, flag := range []string{"kubeconfig", "context", "namespace"} {
				if cmd.Flags().Changed(flag) {
					return fault.New(fault.Usage, "cli.wrong_flag", "--%s is of any Kubernetes cluster, and --name, --region and --config are of one on AWS: give one kind", flag)
				}
			}
			if err := t.resolve(a); err != nil {
				return err
			}
			cloud, err := a.cloud(cmd.Context(), &keys, t.name, t.region, yes)
			if err != nil {
				return err
			}
			found, err := cloud.Health(cmd.Context(), t.name)
			if err != nil {
				return err
			}
			var checks []ClusterCheck
			for _, c := range found {
				checks = append(checks, ClusterCheck(c))
			}
			return a.sayHealth(out, checks)
		}),
	}
	f.add(cmd)
	t.add(cmd)
	keys.add(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "skip prompts")
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) sayHealth(out output, checks []ClusterCheck) error {
	bad := 0
	byName := map[string]bool{}
	width := 0
	for _, c := range checks {
		byName[c.Name] = c.OK
		width = max(width, len(c.Name))
		if !c.OK {
			bad++
		}
	}
	if out != pretty {
		return errors.Join(a.print(out, byName), reportedIf(bad > 0))
	}
	for _, c := range checks {
		word := a.paint.green("ok   ")
		if !c.OK {
			word = a.paint.red("wrong")
		}
		a.say("%s  %s  %s", pad(strings.ReplaceAll(c.Name, "_", " "), width), word, c.Text)
		if !c.OK && c.Do != "" {
			a.say("%s         %s", strings.Repeat(" ", width), a.paint.dim(c.Do))
		}
	}
	if bad > 0 {
		a.note("\n%s of %d wrong", count(bad, "thing"), len(checks))
	}
	return reportedIf(bad > 0)
}

func reportedIf(failed bool) error {
	if failed {
		return errReported
	}
	return nil
}
