// Package cluster plans a Cortex cluster in somebody's own AWS account: what a
// cluster file may say, and which things it comes to in AWS, in which order, for
// which price and within which quotas.
//
// It promises that Build and Diff are pure: the same configuration and the same
// facts give the same bytes, and neither a clock nor a network nor chance has a say.
// All that is known of AWS comes in as Facts, all that is to be done goes out as a
// Plan, and both are plain data that can be printed, compared and kept.
//
// It must not call AWS, link an SDK for it, or read a file: the keys of a cluster
// file and their positions are package manifest's.
package cluster

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// Config is a cluster file. Keys that the file leaves out have their defaults after
// Default; what depends on the account is filled in by Build.
type Config struct {
	ClusterName       string            `json:"cluster_name"`
	Region            string            `json:"region"`
	KubernetesVersion string            `json:"kubernetes_version,omitempty"` // such as 1.35; empty: the newest that Cortex knows
	NodeGroups        []NodeGroup       `json:"node_groups"`
	Tags              map[string]string `json:"tags,omitempty"`

	AvailabilityZones []string `json:"availability_zones,omitempty"` // empty: chosen by Build
	SubnetVisibility  string   `json:"subnet_visibility"`
	Subnets           []Subnet `json:"subnets,omitempty"` // empty: Build makes a network
	NATGateway        string   `json:"nat_gateway"`
	VPCCIDR           string   `json:"vpc_cidr,omitempty"`

	APILoadBalancerType        string   `json:"api_load_balancer_type"`
	APILoadBalancerScheme      string   `json:"api_load_balancer_scheme"`
	OperatorLoadBalancerScheme string   `json:"operator_load_balancer_scheme"`
	APICIDRs                   []string `json:"api_load_balancer_cidr_white_list,omitempty"`      // empty: from anywhere
	OperatorCIDRs              []string `json:"operator_load_balancer_cidr_white_list,omitempty"` // empty: from anywhere
	SSLCertificateARN          string   `json:"ssl_certificate_arn,omitempty"`

	IAMPolicyARNs      []string          `json:"iam_policy_arns"` // nil: DefaultPolicyARN
	ClusterCredentials string            `json:"cluster_credentials,omitempty"`
	CloudWatchLogs     bool              `json:"cloudwatch_logs,omitempty"` // what APIs write goes to the log group, too
	CloudWatchMetrics  bool              `json:"cloudwatch_metrics,omitempty"`
	Images             map[string]string `json:"images,omitempty"` // by what comes after image_ in their keys
}

// Subnet is a subnet of the user's own.
type Subnet struct {
	AvailabilityZone string `json:"availability_zone"`
	SubnetID         string `json:"subnet_id"`
}

// NodeGroup is a group of equal nodes for APIs.
type NodeGroup struct {
	Name             string      `json:"name"`
	InstanceType     string      `json:"instance_type"`
	MinInstances     int64       `json:"min_instances"`
	MaxInstances     int64       `json:"max_instances"`
	Priority         int64       `json:"priority"`
	VolumeSize       int64       `json:"instance_volume_size"` // GB
	VolumeType       string      `json:"instance_volume_type"`
	VolumeIOPS       *int64      `json:"instance_volume_iops,omitempty"`
	VolumeThroughput *int64      `json:"instance_volume_throughput,omitempty"` // MB/s
	Spot             bool        `json:"spot"`
	SpotConfig       *SpotConfig `json:"spot_config,omitempty"`
}

// SpotConfig says how a group gets spot instances.
type SpotConfig struct {
	InstanceDistribution []string `json:"instance_distribution,omitempty"`
	OnDemandBase         int64    `json:"on_demand_base_capacity"`
	OnDemandPercentage   int64    `json:"on_demand_percentage_above_base_capacity"`
	MaxPrice             *float64 `json:"max_price,omitempty"`
	InstancePools        *int64   `json:"instance_pools,omitempty"`
}

// Words that keys of the file accept.
const (
	Public  = "public"
	Private = "private"

	NATNone            = "none"
	NATSingle          = "single"
	NATHighlyAvailable = "highly_available"

	BalancerNLB = "nlb"
	BalancerELB = "elb"

	InternetFacing = "internet-facing"
	Internal       = "internal"

	CredentialsInherit = "inherit"
	CredentialsRole    = "role"

	gp2, gp3, io1, sc1, st1 = "gp2", "gp3", "io1", "sc1", "st1"
)

const (
	// DefaultName is that of a cluster whose file names none.
	DefaultName = "cortex"
	// defaultVPC is the network that Cortex and eksctl have always made.
	defaultVPC = "192.168.0.0/16"

	gp3IOPS, gp3Throughput = 3000, 125 // what a gp3 volume has without paying for more
)

// NewConfig returns what a file that says nothing means.
func NewConfig() *Config {
	return &Config{
		ClusterName: DefaultName, SubnetVisibility: Public,
		APILoadBalancerType: BalancerNLB, APILoadBalancerScheme: InternetFacing, OperatorLoadBalancerScheme: InternetFacing,
	}
}

// NewNodeGroup returns a group of which the file says nothing.
func NewNodeGroup() NodeGroup {
	return NodeGroup{MinInstances: 1, MaxInstances: 5, Priority: 1, VolumeSize: 50, VolumeType: gp3}
}

// Default fills in what follows from other keys. Doing it twice changes nothing.
func (c *Config) Default() {
	if c.NATGateway == "" {
		c.NATGateway = NATNone
		if c.SubnetVisibility == Private && len(c.Subnets) == 0 {
			c.NATGateway = NATSingle
		}
	}
	for i := range c.NodeGroups {
		c.NodeGroups[i].fill()
	}
}

func (g *NodeGroup) fill() {
	switch {
	case g.VolumeType == gp3 && g.VolumeIOPS == nil && g.VolumeThroughput == nil:
		iops, throughput := int64(gp3IOPS), int64(gp3Throughput)
		g.VolumeIOPS, g.VolumeThroughput = &iops, &throughput
	case g.VolumeType == io1 && g.VolumeIOPS == nil:
		iops := min(50*g.VolumeSize, 3000)
		g.VolumeIOPS = &iops
	}
	if g.Spot && g.SpotConfig == nil {
		g.SpotConfig = &SpotConfig{}
	}
}

// types are the instance types of a group, the primary first whether the file lists it
// or not.
func (g *NodeGroup) types() []string {
	all := []string{g.InstanceType}
	if !g.Spot || g.SpotConfig == nil {
		return all
	}
	for _, t := range g.SpotConfig.InstanceDistribution {
		if t != g.InstanceType {
			all = append(all, t)
		}
	}
	return all
}

// Policies are the managed policies of APIs.
func (c *Config) Policies() []string {
	if c.IAMPolicyARNs == nil {
		return []string{DefaultPolicyARN(c.Region)}
	}
	return c.IAMPolicyARNs
}

// DefaultPolicyARN is the policy that APIs have where the file names none, as in every
// release of Cortex.
func DefaultPolicyARN(region string) string {
	return awsPolicy(PartitionOf(region), "AmazonS3FullAccess")
}

func awsPolicy(partition, name string) string { return "arn:" + partition + ":iam::aws:policy/" + name }

// OwnNetwork reports whether the user has a network already.
func (c *Config) OwnNetwork() bool { return len(c.Subnets) > 0 }

// Range is the private addresses of the network that is made for a cluster, as a CIDR; empty
// where the user has a network already.
func (c *Config) Range() string {
	if c.OwnNetwork() || c.VPCCIDR != "" {
		return c.VPCCIDR
	}
	return defaultVPC
}

// File is a cluster file that says all of c, its defaults too: JSON, which is YAML, with its
// keys in the order of the page. What c leaves to the account, it does not say.
func (c *Config) File() []byte {
	said := *c
	said.Images, said.VPCCIDR, said.IAMPolicyARNs = nil, c.Range(), c.Policies()
	if said.NodeGroups == nil {
		said.NodeGroups = []NodeGroup{}
	}
	text := bytes.TrimSuffix(encode(said), []byte("}"))
	for _, name := range sortedKeys(c.Images) {
		text = fmt.Appendf(text, ",%s:%s", encode("image_"+name), encode(c.Images[name]))
	}
	return append(text, '}')
}

// allTags are the tags of everything that can have some.
func (c *Config) allTags() map[string]string {
	all := maps.Clone(c.Tags)
	if all == nil {
		all = map[string]string{}
	}
	all[TagClusterName] = c.ClusterName
	return all
}

// sortedKeys returns the keys of a map in an order that is always the same.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
