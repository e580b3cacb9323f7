package cluster

import "strings"

// MaxPolicyLength is how many characters of a policy AWS takes, spaces aside.
const MaxPolicyLength = 6144

// verbs are actions of a service.
func verbs(service, words string) (all []string) {
	for _, word := range strings.Fields(words) {
		all = append(all, service+":"+word)
	}
	return all
}

func named(sid string, s Statement) Statement {
	s.Sid = sid
	return s
}

// CallerPolicy is what the commands for a cluster need to be allowed: exactly what they do,
// on exactly what is of this cluster where AWS lets one say so. It is narrower than AWS's
// minimum policy that was published for Cortex.
func (n Names) CallerPolicy() *Document {
	region := "arn:" + PartitionOf(n.region) + ":"
	stacks := n.arn("cloudformation", "stack/"+n.Stack("")+"*")
	roles := n.iam("role/" + n.Role("*"))
	linked := allow(verbs("iam", "CreateServiceLinkedRole"), "*")
	linked.Condition = map[string]map[string][]string{"StringEquals": {"iam:AWSServiceName": {
		"eks.amazonaws.com", "eks-nodegroup.amazonaws.com", "elasticloadbalancing.amazonaws.com", "autoscaling.amazonaws.com", "spot.amazonaws.com",
	}}}
	return document(
		named("Facts", allow(append(verbs("ec2", "Describe*"),
			"autoscaling:Describe*", "elasticloadbalancing:Describe*", "eks:DescribeClusterVersions", "eks:DescribeAddonVersions", "eks:ListClusters",
			"servicequotas:ListServiceQuotas", "acm:DescribeCertificate", "iam:GetPolicy", "sqs:ListQueues", "sts:GetCallerIdentity", "cloudformation:DescribeStacks", "cloudformation:DescribeStackDriftDetectionStatus",
			"kms:DescribeKey", "kms:CreateGrant"), "*")),
		named("Releases", allow(verbs("ssm", "GetParameters"), region+"ssm:"+n.region+"::parameter/aws/service/eks/*")),
		named("Stacks", allow(verbs("cloudformation",
			"CreateStack DeleteStack DescribeStackEvents ListStackResources CreateChangeSet DescribeChangeSet ExecuteChangeSet DeleteChangeSet ContinueUpdateRollback "+
				"DetectStackDrift DetectStackResourceDrift DescribeStackResourceDrifts"), stacks)),
		named("Network", allow(verbs("ec2",
			"CreateVpc DeleteVpc ModifyVpcAttribute CreateSubnet DeleteSubnet ModifySubnetAttribute CreateInternetGateway DeleteInternetGateway AttachInternetGateway "+
				"DetachInternetGateway AttachVpnGateway DetachVpnGateway CreateRouteTable DeleteRouteTable CreateRoute DeleteRoute AssociateRouteTable DisassociateRouteTable "+
				"ReplaceRouteTableAssociation CreateNatGateway DeleteNatGateway AllocateAddress ReleaseAddress AssociateAddress DisassociateAddress AcceptAddressTransfer "+
				"CreateSecurityGroup DeleteSecurityGroup AuthorizeSecurityGroup* RevokeSecurityGroup* CreateLaunchTemplate CreateLaunchTemplateVersion ModifyLaunchTemplate DeleteLaunchTemplate* "+
				"RunInstances CreateVpcEndpoint DeleteVpcEndpoints DeleteNetworkInterface CreateTags DeleteTags"), "*")),
		named("Create", allow([]string{"eks:CreateCluster", "cloudwatch:PutMetricAlarm"}, "*")), // AWS lets nobody name what there is not yet; alarms are of scaling groups
		named("Cluster", allow([]string{"eks:*"},
			n.arn("eks", "cluster/"+n.cluster), n.arn("eks", "nodegroup/"+n.cluster+"/*"), n.arn("eks", "addon/"+n.cluster+"/*"),
			n.arn("eks", "access-entry/"+n.cluster+"/*"), n.arn("eks", "podidentityassociation/"+n.cluster+"/*"))),
		named("Balancers", allow(verbs("elasticloadbalancing",
			"AddTags RemoveTags CreateLoadBalancer DeleteLoadBalancer ModifyLoadBalancerAttributes CreateTargetGroup DeleteTargetGroup ModifyTargetGroup ModifyTargetGroupAttributes "+
				"CreateListener DeleteListener ModifyListener ModifyListenerAttributes RegisterTargets DeregisterTargets SetIpAddressType SetSecurityGroups SetSubnets ModifyCapacityReservation ModifyIpPools"), "*")),
		named("ScalingGroups", allow(verbs("autoscaling", "AttachLoadBalancerTargetGroups CreateOrUpdateTags"), n.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/eks-cx-*"))),
		named("OwnGroups", allow([]string{"autoscaling:*"}, n.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/"+n.Stack("nodes-")+"*"))),
		named("Roles", allow(verbs("iam",
			"CreateRole GetRole TagRole DeleteRole PassRole AttachRolePolicy DetachRolePolicy ListAttachedRolePolicies PutRolePolicy GetRolePolicy DeleteRolePolicy"), roles)),
		named("Profile", allow(verbs("iam", "CreateInstanceProfile GetInstanceProfile AddRoleToInstanceProfile RemoveRoleFromInstanceProfile DeleteInstanceProfile"), n.iam("instance-profile/"+n.Role("*")))),
		named("Grant", allow(verbs("iam", "GetRole"), n.iam("role/*"))),
		named("Policy", allow(verbs("iam", "CreatePolicy DeletePolicy ListPolicyVersions DeletePolicyVersion"), n.PolicyARN())),
		named("ServiceRoles", linked),
		named("Bucket", allow([]string{"s3:*"}, n.bucketARN(""), n.bucketARN("/*"))),
		named("Logs", allow(verbs("logs", "CreateLogGroup TagLogGroup ListTagsLogGroup"), n.arn("logs", "log-group:"+n.LogGroup()), n.arn("logs", "log-group:"+n.LogGroup()+":*"))),
		named("LogsGone", allow(verbs("logs", "DeleteLogGroup"), n.arn("logs", "log-group:"+n.LogGroup()+":*"))),
		named("Queues", allow(verbs("sqs", "DeleteQueue"), n.arn("sqs", n.Queues()+"*"))),
	)
}
