package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/awscreds"
	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/filelock"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

// Cloud is an AWS account in which clusters are, seen from one region.
type Cloud interface {
	// Identity is the account, and the ARN of whose credentials are used.
	Identity() (account, caller string)
	// Facts reads what a plan needs to know, and Pin holds a plan to what a cluster that is
	// there was made with.
	Facts(ctx context.Context, c *cluster.Config) (*cluster.Facts, error)
	Pin(ctx context.Context, c *cluster.Config, f *cluster.Facts) (*cluster.Config, *cluster.Facts, error)
	State(ctx context.Context, plan *cluster.Plan) (cluster.State, error)
	// LookForImages asks registries for every image; unknown says why it could not.
	LookForImages(ctx context.Context, plan *cluster.Plan) (unknown string, err error)
	Up(ctx context.Context, c *cluster.Config, f *cluster.Facts, plan *cluster.Plan, r cluster.Run) error

	Configure(ctx context.Context, c *cluster.Config) (*cluster.Reconfiguration, []workload.Violation, error)
	Apply(ctx context.Context, c *cluster.Reconfiguration, r cluster.Run) error

	Upgrade(ctx context.Context, name, to string) (*cluster.Upgrade, error)
	CarryOut(ctx context.Context, u *cluster.Upgrade, r cluster.Run) error

	Removal(ctx context.Context, name string, keep bool) ([]cluster.Change, error)
	Down(ctx context.Context, name string, keep bool, r cluster.Run) ([]cluster.Verified, error)
	Verify(ctx context.Context, name string, keep bool) ([]cluster.Verified, error)

	Info(ctx context.Context, name string) (*cluster.Status, error)
	// StackDrift has AWS compare what stacks have made with what there is, which takes a minute.
	StackDrift(ctx context.Context, name string) ([]cluster.Drift, error)
	Health(ctx context.Context, name string) ([]cluster.Check, error)
	Grant(ctx context.Context, name, who string) (principal string, err error)
	Revoke(ctx context.Context, name, who string) (removed []string, err error)
	Administrators(ctx context.Context, name string) ([]cluster.Access, error)
	// Token proves who runs the program to the API server of a cluster.
	Token(ctx context.Context, name string) (text string, expires time.Time, err error)
}

// CloudKeys finds credentials anew each time that it is called: those of a login expire
// while a cluster is made.
type CloudKeys func(ctx context.Context) (awscreds.Credentials, error)

// clusterTarget says which cluster on AWS is meant.
type clusterTarget struct {
	file, name, region string
}

func (t *clusterTarget) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&t.file, "config", "c", "", "cluster file, of which the name and the region are read")
	flags.StringVarP(&t.name, "name", "n", "", "name of the cluster")
	flags.StringVarP(&t.region, "region", "r", "", "aws region of the cluster")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
}

// resolve settles which cluster is meant: flags before the file, before the only cluster
// that was made from this machine.
func (t *clusterTarget) resolve(a *app) error {
	if t.file != "" {
		parsed, err := readCluster(t.file)
		if err != nil {
			return err
		}
		t.name, t.region = either(t.name, parsed.Config.ClusterName), either(t.region, parsed.Config.Region)
	}
	known := a.knownClusters()
	if t.name == "" || t.region == "" {
		var fit []clusterTarget
		for _, k := range known {
			if (t.name == "" || t.name == k.name) && (t.region == "" || t.region == k.region) {
				fit = append(fit, k)
			}
		}
		if len(fit) != 1 {
			return fault.New(fault.Usage, "cli.cluster_access_config_or_prompts_required", "which cluster is meant is not clear: this machine knows of %s", count(len(fit), "such cluster")).
				WithHint("give --name and --region, or --config with its file")
		}
		t.name, t.region = fit[0].name, fit[0].region
	}
	if !cluster.IsName(t.name) || !cluster.IsRegion(t.region) {
		return fault.New(fault.Usage, "cli.wrong_flag", "%q in %q is no cluster: want a name such as iris, and a region such as us-west-2", t.name, t.region)
	}
	return nil
}

// readCluster reads a cluster file.
func readCluster(file string) (*manifest.ClusterFile, error) {
	data, err := manifest.Read(file)
	if err != nil {
		return nil, err
	}
	return manifest.ParseCluster(file, data)
}

// knownPath is where this machine remembers a cluster that was made from it. Releases 0.18
// to 0.42 had their own files there, of the same keys.
func (a *app) knownPath(name, region string) string {
	return filepath.Join(a.configDir, "cluster_"+name+"_"+region+".yaml")
}

// maxKnown bounds how many clusters are looked at.
const maxKnown = 1000

func (a *app) knownClusters() (all []clusterTarget) {
	paths, err := filepath.Glob(filepath.Join(a.configDir, "cluster_*.yaml"))
	if err != nil {
		return nil
	}
	for _, path := range paths[:min(len(paths), maxKnown)] {
		if k, err := readKnown(path); err == nil {
			all = append(all, clusterTarget{name: k.Name, region: k.Region})
		}
	}
	return all
}

// known is what this machine remembers of a cluster.
type known struct {
	Name     string `yaml:"cluster_name"`
	Region   string `yaml:"region"`
	Operator string `yaml:"operator_endpoint"` // that environments lead to; empty: none was made
}

func readKnown(path string) (k known, err error) {
	data, err := os.ReadFile(path)
	switch {
	case err != nil:
		return k, err
	case len(data) > maxValues:
		return k, fault.New(fault.Malformed, "cli.wrong_file", "%s is too large", path)
	}
	if err := readYAML(data, &k); err != nil {
		return k, err
	}
	if !cluster.IsName(k.Name) || !cluster.IsRegion(k.Region) {
		return k, fault.New(fault.Malformed, "cli.wrong_file", "%s names no cluster", path)
	}
	return k, nil
}

// remember notes that a cluster is worked on from this machine, and where its operator is
// when that is known; forget, that it is gone.
func (a *app) remember(name, region, operator string) error {
	if err := os.MkdirAll(a.configDir, 0o700); err != nil {
		return err
	}
	path := a.knownPath(name, region)
	if k, err := readKnown(path); err == nil && operator == "" {
		operator = k.Operator
	}
	text := "cluster_name: " + name + "\nregion: " + region + "\n"
	if operator != "" {
		text += fmt.Sprintf("operator_endpoint: %q\n", operator)
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

func (a *app) forget(name, region string) { _ = os.Remove(a.knownPath(name, region)) }

// alone keeps another command of this machine from working on the same cluster.
func (a *app) alone(ctx context.Context, name, region string) (done func(), err error) {
	if err := os.MkdirAll(a.configDir, 0o700); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	done, err = filelock.Lock(ctx, a.knownPath(name, region)+".lock", os.O_CREATE|os.O_RDWR)
	if err != nil {
		return nil, fault.New(fault.Conflict, "clusterstate.being_changed", "another command of this machine works on cluster %s in %s", name, region).
			WithHint("wait for it, or end it: what it has begun is gone on with")
	}
	return done, nil
}

// machine is the name of this machine, for those who find a cluster being changed.
func machine() string {
	name, err := os.Hostname()
	if err != nil {
		return "an unknown machine"
	}
	return name
}

// cloudWork makes do the work of a command about a cluster on AWS, as clusterWork does for
// those about any: the program with the libraries for it takes over.
func (a *app) cloudWork(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.clusterWork(func(cmd *cobra.Command, _ *ClusterHooks) error { return do(cmd, args) })(cmd, args)
	}
}

// aboutCluster completes a command about a cluster that flags, a file or this machine name:
// do gets the account that it is in. Without yes, nothing is ever asked for.
func (a *app) aboutCluster(cmd *cobra.Command, yes *bool, do func(ctx context.Context, cloud Cloud, t clusterTarget, args []string) error) *cobra.Command {
	var keys keyFlags
	var t clusterTarget
	cmd.RunE = a.cloudWork(func(cmd *cobra.Command, args []string) error {
		if err := t.resolve(a); err != nil {
			return err
		}
		cloud, err := a.cloud(cmd.Context(), &keys, t.name, t.region, yes == nil || *yes)
		if err != nil {
			return err
		}
		return do(cmd.Context(), cloud, t, args)
	})
	t.add(cmd)
	keys.add(cmd)
	return cmd
}

// cloud opens the account of the credentials that are found for a cluster.
func (a *app) cloud(ctx context.Context, k *keyFlags, name, region string, yes bool) (Cloud, error) {
	keys, err := a.clusterKeys(ctx, k, name, region, yes)
	if err != nil {
		return nil, err
	}
	cloud, err := a.hooks.Cluster.Cloud(ctx, keys.find, region)
	if err != nil {
		return nil, err
	}
	account, caller := cloud.Identity()
	a.note("account %s, as %s", account, caller)
	return cloud, a.cacheKeys(keys, name, region)
}
