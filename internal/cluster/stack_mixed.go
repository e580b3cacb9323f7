package cluster

import (
	"strconv"
	"strings"
)

// Tags of the scaling groups of mixed groups, by which they are found: EKS's own are its own.
const (
	TagGroup   = "cortex.dev/group"              // what the group is called in a plan
	TagVersion = "cortex.dev/kubernetes-version" // of the image that its nodes start from
)

// IsMixed reports whether a group of a plan is a scaling group of Cortex's own. EKS's managed
// node groups are either on demand or spot, and take no limit of the price.
func IsMixed(group string) bool { return strings.HasPrefix(group, mixedPrefix) }

// mixes reports whether a group is what no managed node group of EKS can be.
func (c *Config) mixes(g *NodeGroup) bool {
	s := g.SpotConfig
	if !g.Spot || s == nil {
		return false
	}
	if s.OnDemandPercentage > 0 {
		return true
	}
	// Up to the price on demand is what EKS pays anyway.
	price, known := onDemand(g.InstanceType)
	return s.MaxPrice != nil && !(known && c.Region == pricedRegion && price == dollars(*s.MaxPrice))
}

// Mixes reports whether any group of a cluster is mixed.
func (c *Config) Mixes() bool {
	for i := range c.NodeGroups {
		if c.mixes(&c.NodeGroups[i]) {
			return true
		}
	}
	return false
}

// onDemandOf is how many of n nodes of a group are on demand. AWS rounds in their favour.
func (m *managed) onDemandOf(n int64) int64 {
	switch {
	case m.mix != nil:
		base := min(n, m.mix.OnDemandBase)
		return base + ((n-base)*m.mix.OnDemandPercentage+99)/100
	case m.spot:
		return 0
	}
	return n
}

// drainSeconds are what a node has to empty itself before it ends: what EC2 gives a spot
// instance that it takes back.
const drainSeconds = 120

// mixedStack is an Auto Scaling group with its launch template. EKS knows nothing of it: how
// its nodes find the cluster is in their user data, who they are in the stack of access.
//
// CapacityRebalance is off: it ends instances that run, on the mere guess that EC2 may want
// them back, and nobody would know that they are to be drained first but the node itself.
func (b *builder) mixedStack(m managed) *template {
	t := newTemplate("Cortex: nodes " + m.name + " of cluster " + b.c.ClusterName)
	t.parameter("Subnets", typeSubnets)
	t.parameter("Min", typeNumber)
	t.parameter("Max", typeNumber)
	t.parameter("Group", typeGroup)
	t.parameter("Endpoint", "String")
	t.parameter("Authority", "String")
	data, meta := b.launchData(m)
	data["ImageId"] = b.version.Images[b.f.InstanceTypes[m.types[0]].Image()]
	data["IamInstanceProfile"] = object{"Name": b.names.Role(roleMixed)}
	data["SecurityGroupIds"] = []any{ref("Group")}
	data["UserData"] = object{"Fn::Base64": object{"Fn::Sub": b.userData(m)}}
	t.resource("Template", "AWS::EC2::LaunchTemplate", object{"LaunchTemplateData": data, "TagSpecifications": meta})
	var types []any
	for _, name := range m.types {
		types = append(types, object{"InstanceType": name})
	}
	spread := object{
		"OnDemandBaseCapacity": m.mix.OnDemandBase, "OnDemandPercentageAboveBaseCapacity": m.mix.OnDemandPercentage,
		"OnDemandAllocationStrategy": "prioritized", "SpotAllocationStrategy": "price-capacity-optimized",
	}
	if p := m.mix.MaxPrice; p != nil {
		spread["SpotMaxPrice"] = strconv.FormatFloat(*p, 'f', -1, 64)
	}
	tags := b.c.allTags()
	tags[tagName] = b.c.ClusterName + "-" + m.name
	tags[TagGroup], tags[TagVersion] = m.name, b.version.Version
	tags["kubernetes.io/cluster/"+b.c.ClusterName] = "owned"
	tags["k8s.io/cluster-autoscaler/enabled"], tags["k8s.io/cluster-autoscaler/"+b.c.ClusterName] = "true", "owned"
	var list []any
	for _, key := range sortedKeys(tags) {
		list = append(list, object{"Key": key, "Value": tags[key], "PropagateAtLaunch": strings.HasPrefix(key, "kubernetes.io/cluster/")})
	}
	t.resource("Nodes", "AWS::AutoScaling::AutoScalingGroup", object{
		"MinSize": ref("Min"), "MaxSize": ref("Max"), "VPCZoneIdentifier": ref("Subnets"), "CapacityRebalance": false,
		"MixedInstancesPolicy": object{
			"InstancesDistribution": spread,
			"LaunchTemplate": object{
				"LaunchTemplateSpecification": object{"LaunchTemplateId": ref("Template"), "Version": attribute("Template", "LatestVersionNumber")},
				"Overrides":                   types,
			},
		},
		// A node that is to go has this long to empty itself. Nobody says when it has.
		"LifecycleHookSpecificationList": []any{object{
			"LifecycleHookName": "drain", "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING", "HeartbeatTimeout": drainSeconds, "DefaultResult": "CONTINUE",
		}},
		"Tags": list,
	})
	t.output("Id", ref("Nodes"))
	return t
}

// userData is what a node of a mixed group is told when it starts, for Fn::Sub. EKS's images
// read it, and set the kubelet up.
func (b *builder) userData(m managed) string {
	var labels, taints []string
	for _, key := range sortedKeys(m.labels) {
		labels = append(labels, key+"="+m.labels[key])
	}
	for _, each := range m.taints {
		taints = append(taints, each.key+"="+each.value+":NoSchedule")
	}
	flags := []string{"--node-labels=" + commas(labels)}
	if len(taints) > 0 {
		flags = append(flags, "--register-with-taints="+commas(taints))
	}
	node := object{
		"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig",
		"spec": object{
			"cluster": object{"name": b.c.ClusterName, "apiServerEndpoint": "${Endpoint}", "certificateAuthority": "${Authority}", "cidr": b.services().String()},
			"kubelet": object{"flags": flags},
		},
	}
	const boundary = "cortex-node"
	return strings.Join([]string{
		"MIME-Version: 1.0", `Content-Type: multipart/mixed; boundary="` + boundary + `"`, "",
		"--" + boundary, "Content-Type: application/node.eks.aws", "", string(encode(node)),
		"--" + boundary + "--", "",
	}, "\n")
}

// mixedParams are the parameters of a stack of mixed nodes. How many there may be goes along
// with any change of it: its handler writes these numbers whatever it changes.
func (b *builder) mixedParams(m managed, subnets Source) map[string]Source {
	return map[string]Source{
		"Subnets": subnets, "Min": {Literal: decimal(m.min), Along: true}, "Max": {Literal: decimal(m.max), Along: true},
		"Group": output("cluster", "SecurityGroup"), "Endpoint": output("cluster", "Endpoint"), "Authority": output("cluster", "Authority"),
	}
}

// accessStack lets nodes of mixed groups into the cluster. EKS does that for its own groups.
func (b *builder) accessStack() *template {
	t := newTemplate("Cortex: who mixed nodes of cluster " + b.c.ClusterName + " are")
	t.resource("Entry", "AWS::EKS::AccessEntry", object{
		"ClusterName": b.c.ClusterName, "PrincipalArn": b.names.RoleARN(roleMixed), "Type": "EC2_LINUX", "Tags": tagList(b.c.allTags()),
	})
	return t
}
