package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Tags of what belongs to a cluster. TagTemplate is the digest of a stack's template.
const (
	TagClusterName = "cortex.dev/cluster-name"
	TagTemplate    = "cortex.dev/template"
	tagName        = "Name"
)

// Names of node groups and labels. The groups' are those of cortex 0.42, but for mixed ones,
// which had no name of their own; SystemGroup is that of Cortex itself.
const (
	SystemGroup    = "cx-operator"
	onDemandPrefix = "cx-wd-"
	spotPrefix     = "cx-ws-"
	mixedPrefix    = "cx-wx-"

	labelNodeGroup = "cortex.dev/node-group"
	labelSystem    = "cortex.dev/system"
	// LabelDrains is that of nodes which nobody but themselves empties when they go.
	LabelDrains = "cortex.dev/drains-itself"

	gpuResource    = "nvidia.com/gpu"
	neuronResource = "aws.amazon.com/neuron"
)

// partition is one of AWS's separate clouds.
type partition struct {
	regions string // what the names of its regions begin with
	name    string // in ARNs
	ec2     string // the principal by which instances assume a role
}

// partitions in the order in which they are tried. In China EC2 has a name of its own
// in trust policies, EKS has not. (In the European Sovereign Cloud neither has.)
var partitions = []partition{
	{"cn-", "aws-cn", "ec2.amazonaws.com.cn"},
	{"us-gov-", "aws-us-gov", "ec2.amazonaws.com"},
	{"eusc-", "aws-eusc", "ec2.amazonaws.com"},
	{"", "aws", "ec2.amazonaws.com"},
}

// secretRegions begin the names of regions that nobody outside can know anything of.
var secretRegions = []string{"us-iso-", "us-isob-", "us-isof-", "eu-isoe-"}

func partitionOf(region string) partition {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.regions) {
			return p
		}
	}
	return partitions[len(partitions)-1]
}

// PartitionOf is the partition of a region, as ARNs have it.
func PartitionOf(region string) string { return partitionOf(region).name }

// short is the first 8 hexadecimal digits of a digest.
func short(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}

// Names are the names of everything of a cluster, which follow from its own, its
// account and its region. They are what a cluster is found by.
type Names struct {
	cluster, account, region string
}

// NamesOf returns the names of a cluster.
func NamesOf(cluster, account, region string) Names { return Names{cluster, account, region} }

// ID tells clusters apart where a name has no room for all of theirs.
func (n Names) ID() string { return short(n.cluster + "/" + n.account + "/" + n.region) }

// Bucket is the name of the bucket: that of cortex 0.42.
func (n Names) Bucket() string { return n.cluster + "-" + short(n.account+n.region) }

// LogGroup is the name of the log group.
func (n Names) LogGroup() string { return n.cluster }

// Policy is the name of the policy that all APIs have.
func (n Names) Policy() string { return "cortex-" + n.cluster + "-" + n.region }

// PolicyARN is the ARN of Policy.
func (n Names) PolicyARN() string { return n.iam("policy/" + n.Policy()) }

// Queues begin the names of the cluster's queues. AWS's published minimum policy of
// Cortex allows no others.
func (n Names) Queues() string { return "cx-" + n.ID() + "-" }

// The published minimum policy allows roles whose names begin with eksctl- only. A
// name of a role has 64 characters at most.
const longestClusterInRole = 30

// Role is the name of the role for one part of a cluster.
func (n Names) Role(part string) string {
	cluster := n.cluster[:min(len(n.cluster), longestClusterInRole)]
	return "eksctl-" + strings.TrimRight(cluster, "-") + "-" + n.ID() + "-" + part
}

// RoleARN is the ARN of Role.
func (n Names) RoleARN(part string) string { return n.iam("role/" + n.Role(part)) }

// Stack is the name of the stack for one part of a cluster. eksctl takes no such name
// for one of its own, so that it never deletes half of a cluster.
func (n Names) Stack(part string) string { return "eksctl-" + n.cluster + "-cortex-" + part }

// Part is the inverse of Stack.
func (n Names) Part(stack string) (part string, ours bool) {
	return strings.CutPrefix(stack, n.Stack(""))
}

// OldStack is the stack of a cluster that cortex 0.42 or eksctl has made.
func (n Names) OldStack() string { return "eksctl-" + n.cluster + "-cluster" }

// Roles are the names of all roles, by the ids of their steps.
func (n Names) Roles() map[string]string {
	all := map[string]string{}
	for _, part := range roleParts {
		all[IDRole+part] = n.Role(part)
	}
	return all
}

func (n Names) iam(what string) string {
	return "arn:" + PartitionOf(n.region) + ":iam::" + n.account + ":" + what
}

// arn is an ARN of this account and region.
func (n Names) arn(service, what string) string {
	return "arn:" + PartitionOf(n.region) + ":" + service + ":" + n.region + ":" + n.account + ":" + what
}

// bucketARN is that of the bucket, or of what is below a path in it.
func (n Names) bucketARN(path string) string {
	return "arn:" + PartitionOf(n.region) + ":s3:::" + n.Bucket() + path
}

// IsAccount reports whether a text can be an account of AWS.
func IsAccount(text string) bool { return accountShape.MatchString(text) }

// IsName and IsRegion report whether a text can be the name or the region of a cluster.
func IsName(text string) bool {
	return clusterNameShape.MatchString(text) && len(text) >= MinNameLength && len(text) <= MaxNameLength
}

// IsRegion is described at IsName.
func IsRegion(text string) bool { return regionShape.MatchString(text) }
