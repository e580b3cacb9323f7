package cluster

// The parts of a cluster that have a role of their own.
const (
	roleCluster    = "cluster"
	roleNodes      = "nodes"
	roleMixed      = "mixed" // nodes of mixed groups
	roleOperator   = "operator"
	roleGateway    = "gateway"
	roleAPIs       = "apis"
	roleAutoscaler = "autoscaler"
	roleLogs       = "logs"
)

// roleParts are all that any cluster has.
var roleParts = []string{roleCluster, roleNodes, roleMixed, roleOperator, roleGateway, roleAPIs, roleAutoscaler, roleLogs}

// has reports whether a cluster has a role for one part.
func (c *Config) has(part string) bool {
	switch part {
	case roleLogs:
		return c.CloudWatchLogs || c.CloudWatchMetrics
	case roleMixed:
		return c.Mixes()
	}
	return true
}

// InlinePolicy is the name of what a role for pods may do besides what is attached to it.
const InlinePolicy = "cortex"

// podRole says which pods have a role.
type podRole struct{ resource, namespace, account, role string }

// Namespaces into which the chart is put.
const namespaceOperator, namespaceAPIs = "cortex", "cortex-apis"

var podRoles = []podRole{
	{"ApisIdentity", namespaceAPIs, "default", roleAPIs},
	{"OperatorIdentity", namespaceOperator, "cortex-operator", roleOperator},
	{"GatewayIdentity", namespaceOperator, "cortex-gateway", roleGateway},
	{"AutoscalerIdentity", "kube-system", "cluster-autoscaler", roleAutoscaler},
	{"LogsIdentity", namespaceOperator + "-logs", "cortex-logs", roleLogs},
	{"MetricsIdentity", namespaceOperator, "cortex-cloudwatch", roleLogs}, // which go through the log group
}

// Document is an IAM policy.
type Document struct {
	Version   string      `json:"Version"`
	Statement []Statement `json:"Statement"`
}

// Statement is one statement of a policy.
type Statement struct {
	Sid       string                         `json:"Sid,omitempty"`
	Effect    string                         `json:"Effect"`
	Principal map[string]string              `json:"Principal,omitempty"`
	Action    []string                       `json:"Action"`
	Resource  []string                       `json:"Resource,omitempty"`
	Condition map[string]map[string][]string `json:"Condition,omitempty"`
}

func document(statements ...Statement) *Document { return &Document{"2012-10-17", statements} }

func allow(actions []string, resources ...string) Statement {
	return Statement{Effect: "Allow", Action: actions, Resource: resources}
}

// Principals that take on roles.
const (
	eksService  = "eks.amazonaws.com"
	podsService = "pods.eks.amazonaws.com"
)

// trust lets a service take on a role. EKS tags the sessions that it makes.
func trust(service string, actions ...string) *Document {
	return document(Statement{Effect: "Allow", Principal: map[string]string{"Service": service}, Action: actions})
}

const assume, tagSession = "sts:AssumeRole", "sts:TagSession"

// role is a role of the cluster, whole.
func (b *builder) role(part string) *Role {
	r := &Role{Name: b.names.Role(part), ARN: b.names.RoleARN(part), Tags: b.c.allTags()}
	p := partitionOf(b.c.Region)
	switch part {
	case roleCluster:
		r.Trust = trust(eksService, assume, tagSession)
		r.Attach = []string{awsPolicy(p.name, "AmazonEKSClusterPolicy")}
		return r
	case roleNodes, roleMixed:
		r.Profile = part == roleMixed
		r.Trust = trust(p.ec2, assume)
		r.Attach = []string{
			awsPolicy(p.name, "AmazonEKSWorkerNodePolicy"), awsPolicy(p.name, "AmazonEKS_CNI_Policy"), awsPolicy(p.name, "AmazonEC2ContainerRegistryPullOnly"),
		}
		return r
	case roleAPIs:
		r.Attach = append([]string{b.names.PolicyARN()}, b.c.Policies()...)
	}
	r.Trust = trust(podsService, assume, tagSession)
	r.Inline = map[string]*Document{InlinePolicy: b.inline(part)}
	return r
}

// pathItems is where in the bucket the items of AsyncAPIs and what is kept of jobs are.
const pathItems = "items"

// What operator and gateways do there besides reading, and with the queues by which they tell
// each other of items.
var (
	keepItems = []string{"s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}
	tellItems = []string{"sqs:CreateQueue", "sqs:DeleteQueue", "sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage"}
)

// inline is what a role for pods may do besides what is attached to it.
func (b *builder) inline(part string) *Document {
	n := b.names
	queues := n.arn("sqs", n.Queues()+"*")
	switch part {
	case roleOperator:
		return document(
			allow([]string{"s3:GetObject"}, n.bucketARN("/*")), // jobs may have their items there
			allow([]string{"s3:ListBucket"}, n.bucketARN("")),
			allow(keepItems, n.bucketARN("/"+pathItems+"/*")),
			allow(tellItems, queues),
			allow([]string{"logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams", "logs:GetLogEvents", "logs:FilterLogEvents"},
				n.arn("logs", "log-group:"+n.LogGroup()+":*")),
		)
	case roleLogs:
		return document(allow([]string{"logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"}, n.arn("logs", "log-group:"+n.LogGroup()+":*")))
	case roleGateway:
		return document(
			allow(append([]string{"s3:GetObject"}, keepItems...), n.bucketARN("/"+pathItems+"/*")),
			// All of it: who may not list a bucket is not told that an object is missing.
			allow([]string{"s3:ListBucket"}, n.bucketARN("")),
			allow(tellItems, queues),
		)
	case roleAPIs:
		// A policy for all buckets of the account, which is the default, would let any API
		// rewrite what clients trust the cluster by, and read the items of all others.
		return document(Statement{
			Sid: "NotTheClusterItself", Effect: "Deny", Action: []string{"s3:*"}, Resource: []string{n.bucketARN("/cluster/*"), n.bucketARN("/" + pathItems + "/*")},
		}, Statement{
			Sid: "NotTheBucketItself", Effect: "Deny", Action: []string{"s3:Put*", "s3:Delete*"}, Resource: []string{n.bucketARN("")},
		})
	}
	scale := allow([]string{"autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"}, "*")
	// EKS gives its groups this tag.
	scale.Condition = map[string]map[string][]string{"StringEquals": {"aws:ResourceTag/eks:cluster-name": {b.c.ClusterName}}}
	statements := []Statement{
		allow([]string{
			"autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances", "autoscaling:DescribeLaunchConfigurations",
			"autoscaling:DescribeScalingActivities", "autoscaling:DescribeTags",
			"ec2:DescribeImages", "ec2:DescribeInstanceTypes", "ec2:DescribeLaunchTemplateVersions", "ec2:GetInstanceTypesFromInstanceRequirements",
		}, "*"),
		scale,
		allow([]string{"eks:DescribeNodegroup"}, n.arn("eks", "nodegroup/"+b.c.ClusterName+"/*")),
	}
	if b.c.Mixes() {
		scale.Condition = map[string]map[string][]string{"StringEquals": {"aws:ResourceTag/" + TagClusterName: {b.c.ClusterName}}}
		statements = append(statements, scale)
	}
	return document(statements...)
}

// clusterPolicy is the policy that all APIs have. It is there to be widened by hand: what
// it gives at first is what nobody can be denied.
func clusterPolicy() *Document {
	return document(allow([]string{"sts:GetCallerIdentity"}, "*"))
}
