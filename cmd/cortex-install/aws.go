package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"cortex.dev/cortex/internal/cli"
	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awsrecord"
	"cortex.dev/cortex/internal/cluster/eks"
	"cortex.dev/cortex/internal/install"
)

// keysFresh is how long credentials are used before they are looked for again: those of a
// login are renewed by others.
const keysFresh = 10 * time.Minute

// cloud opens the AWS account of the credentials that keys finds.
func cloud(ctx context.Context, keys cli.CloudKeys, region string) (cli.Cloud, error) {
	provider := aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		found, err := keys(ctx)
		if err != nil {
			return aws.Credentials{}, err
		}
		return aws.Credentials{
			AccessKeyID: found.ID, SecretAccessKey: found.Secret.Text(), SessionToken: found.Token.Text(), Source: found.Found.Source,
			CanExpire: true, Expires: time.Now().Add(keysFresh),
		}, nil
	})
	cfg := eks.Config(provider, region)
	if err := endpoints(&cfg); err != nil {
		return nil, err
	}
	if err := recorded(&cfg); err != nil {
		return nil, err
	}
	account, err := eks.Open(ctx, cfg, kubernetes{})
	if err != nil {
		return nil, err
	}
	return account, nil
}

// recorded has what is said to AWS written down, when the environment names a folder for it.
func recorded(cfg *aws.Config) error {
	dir := os.Getenv(awsrecord.Variable)
	if dir == "" {
		return nil
	}
	machine, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("finding out what this machine is called, which no recording may say: %w", err)
	}
	recorder, err := awsrecord.New(dir, cfg.HTTPClient, machine, func(err error) { fmt.Fprintln(os.Stderr, "recording what is said to AWS:", err) })
	if err != nil {
		return err
	}
	cfg.HTTPClient = recorder
	return nil
}

// endpoints takes over what the environment says of where AWS is, as every program of AWS
// does: endpoints of a VPC, of FIPS, of a simulator.
func endpoints(cfg *aws.Config) error {
	env, err := awsconfig.NewEnvConfig()
	if err != nil {
		return fmt.Errorf("reading the AWS_ variables of the environment: %w", err)
	}
	cfg.ConfigSources = append(cfg.ConfigSources, env)
	if ignored := env.IgnoreConfiguredEndpoints; env.BaseEndpoint != "" && (ignored == nil || !*ignored) {
		cfg.BaseEndpoint = &env.BaseEndpoint
	}
	return nil
}

// kubernetes is package install as package eks wants it.
type kubernetes struct{}

func at(p eks.Place) install.Config {
	return install.Config{
		Server:    &install.Server{Name: p.Cluster, URL: p.Endpoint, Authority: p.Authority, Token: p.Token},
		Namespace: install.DefaultNamespace, Version: version, Timeout: 10 * time.Minute,
	}
}

// Version is that of this program.
func (kubernetes) Version() string { return version }

// addons are what the nodes of a cluster need beside the chart.
func addons(p eks.Place, chart *cluster.Chart) install.NodeAddons {
	return install.NodeAddons{Cluster: p.Cluster, Region: p.Region, Groups: chart.Autoscaler, Devices: chart.DevicePlugins, Images: chart.Images}
}

// Missing are the images that no registry has.
func (kubernetes) Missing(ctx context.Context, p eks.Place, chart *cluster.Chart, kubernetesVersion string) (missing []string, unknown string, err error) {
	c := at(p)
	c.Namespace, c.Values = chart.Namespace, chart.Values
	return install.MissingImages(ctx, c, addons(p, chart), kubernetesVersion)
}

// Apply puts the chart on a cluster.
func (kubernetes) Apply(ctx context.Context, p eks.Place, chart *cluster.Chart, say func(string)) (eks.Applied, error) {
	c := at(p)
	c.Namespace, c.Values, c.Wait = chart.Namespace, chart.Values, true
	c.Progress = func(s install.Step) { say(s.Name + ": " + s.Detail) }
	// Before the chart, whose pods may wait for nodes.
	if err := install.ApplyNodeAddons(ctx, c, addons(p, chart)); err != nil {
		return eks.Applied{}, err
	}
	info, err := install.Apply(ctx, c)
	if err != nil {
		return eks.Applied{}, err
	}
	authority, err := install.Authority(ctx, c)
	return eks.Applied{Version: info.Version, Authority: authority}, err
}

// Release has a cluster let go of what it has made in AWS.
func (kubernetes) Release(ctx context.Context, p eks.Place, _ func(string)) error {
	return install.ReleaseCloud(ctx, at(p))
}

// Holding are the budgets that let no pod go.
func (kubernetes) Holding(ctx context.Context, p eks.Place) ([]string, error) {
	return install.Holding(ctx, at(p))
}

// Nodes are the machines of mixed groups that have joined.
func (kubernetes) Nodes(ctx context.Context, p eks.Place) (map[string]bool, error) {
	return install.Machines(ctx, at(p), cluster.LabelDrains)
}

// Drain empties machines of mixed groups.
func (kubernetes) Drain(ctx context.Context, p eks.Place, ids []string, say func(string)) error {
	return install.Drain(ctx, at(p), cluster.LabelDrains, ids, say)
}

// Health is what the installation says of itself.
func (kubernetes) Health(ctx context.Context, p eks.Place) (all []cluster.Check, err error) {
	checks, err := install.Health(ctx, at(p))
	for _, c := range checks {
		all = append(all, cluster.Check(c))
	}
	return all, err
}

// Mapped are the identities of aws-auth.
func (kubernetes) Mapped(ctx context.Context, p eks.Place) (all []eks.Mapping, err error) {
	found, err := install.Identities(ctx, at(p))
	for _, i := range found {
		all = append(all, eks.Mapping(i))
	}
	return all, err
}

// Unmap takes identities out of aws-auth.
func (kubernetes) Unmap(ctx context.Context, p eks.Place, mappings []eks.Mapping) error {
	var arns []string
	for _, m := range mappings {
		arns = append(arns, m.ARN)
	}
	return install.RemoveIdentities(ctx, at(p), arns)
}
