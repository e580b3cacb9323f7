package cluster

// managed is a group of nodes: one group of the file is one or two of them. It is a managed
// node group of EKS, unless it is mixed.
type managed struct {
	name     string // in EKS
	of       *NodeGroup
	types    []string
	spot     bool
	min, max int64
	priority int64 // of the autoscaler: the higher is filled first
	labels   map[string]string
	taints   []taint
	volume   object
	mix      *SpotConfig // of a mixed group
}

type taint struct{ key, value string }

// Priorities of the autoscaler: those of the file, with room for a group's on-demand
// nodes before its spot nodes.
const priorityStep = 10

// systemNodes are those on which Cortex itself runs.
func (b *builder) systemNodes() managed {
	iops, throughput := int64(gp3IOPS), int64(gp3Throughput)
	g := &NodeGroup{VolumeSize: 20, VolumeType: gp3, VolumeIOPS: &iops, VolumeThroughput: &throughput}
	return managed{
		name: SystemGroup, of: g, types: []string{SystemType}, min: 2, max: 25,
		labels: map[string]string{labelSystem: "true"}, taints: []taint{{labelSystem, "true"}}, volume: volumeOf(g),
	}
}

// groupNodes are the groups that one group of the file comes to. Managed ones cannot mix:
// where that is enough, nodes that are to be on demand in a group of spot instances are a group
// of their own.
func (b *builder) groupNodes(g *NodeGroup) []managed {
	first := b.f.InstanceTypes[g.InstanceType]
	m := managed{
		of: g, types: g.types(), min: g.MinInstances, max: g.MaxInstances, priority: g.Priority * priorityStep,
		labels: map[string]string{labelNodeGroup: g.Name}, volume: volumeOf(g),
	}
	// What asks for no device has no business on a node that has some.
	switch {
	case first.GPUs > 0:
		m.taints = []taint{{gpuResource, "true"}}
	case first.NeuronDevices > 0:
		m.taints = []taint{{neuronResource, "true"}}
	}
	onDemand, spot := m, m
	onDemand.name, onDemand.types = onDemandPrefix+g.Name, []string{g.InstanceType}
	spot.name, spot.spot = spotPrefix+g.Name, true
	if !g.Spot {
		return []managed{onDemand}
	}
	if b.c.mixes(g) {
		m.name, m.spot, m.mix = mixedPrefix+g.Name, true, g.SpotConfig
		m.labels = map[string]string{labelNodeGroup: g.Name, LabelDrains: "true"}
		return []managed{m}
	}
	base := g.SpotConfig.OnDemandBase
	if base == 0 {
		return []managed{spot}
	}
	onDemand.min, onDemand.max, onDemand.priority = min(base, g.MinInstances), base, m.priority+priorityStep/2
	spot.min, spot.max = g.MinInstances-onDemand.min, g.MaxInstances-base
	if spot.max == 0 {
		return []managed{onDemand}
	}
	return []managed{onDemand, spot}
}

func volumeOf(g *NodeGroup) object {
	v := object{"VolumeSize": g.VolumeSize, "VolumeType": g.VolumeType, "Encrypted": true, "DeleteOnTermination": true}
	if g.VolumeIOPS != nil {
		v["Iops"] = *g.VolumeIOPS
	}
	if g.VolumeThroughput != nil {
		v["Throughput"] = *g.VolumeThroughput
	}
	return v
}

// nodesStack is a managed node group and its launch template. How many nodes it may have
// are parameters: an update of the stack keeps them as they are, because a stack that
// sets them also sets how many there are now.
func (b *builder) nodesStack(m managed) *template {
	t := newTemplate("Cortex: nodes " + m.name + " of cluster " + b.c.ClusterName)
	t.parameter("Subnets", typeSubnets)
	t.parameter("Min", typeNumber)
	t.parameter("Max", typeNumber)
	data, meta := b.launchData(m)
	t.resource("Template", "AWS::EC2::LaunchTemplate", object{"LaunchTemplateData": data, "TagSpecifications": meta})
	capacity := "ON_DEMAND"
	if m.spot {
		capacity = "SPOT"
	}
	image := b.f.InstanceTypes[m.types[0]].Image()
	properties := object{
		"ClusterName": b.c.ClusterName, "NodegroupName": m.name, "NodeRole": b.names.RoleARN(roleNodes), "Subnets": ref("Subnets"),
		"AmiType": image, "CapacityType": capacity, "InstanceTypes": m.types,
		"Version": b.version.Version, "ReleaseVersion": b.version.Releases[image],
		"ScalingConfig": object{"MinSize": ref("Min"), "MaxSize": ref("Max"), "DesiredSize": ref("Min")},
		"UpdateConfig":  object{"MaxUnavailablePercentage": AtOncePercent}, "Labels": m.labels,
		"LaunchTemplate": object{"Id": ref("Template"), "Version": attribute("Template", "LatestVersionNumber")},
		"Tags":           b.c.allTags(),
	}
	if len(m.taints) > 0 {
		var taints []any
		for _, each := range m.taints {
			taints = append(taints, object{"Key": each.key, "Value": each.value, "Effect": "NO_SCHEDULE"})
		}
		properties["Taints"] = taints
	}
	t.resource("Nodes", "AWS::EKS::Nodegroup", properties)
	t.output("Id", ref("Nodes"))
	return t
}

// launchData is what every launch template says, and the tags of the template itself.
func (b *builder) launchData(m managed) (data object, meta []any) {
	tags := b.c.allTags()
	tags[tagName] = b.c.ClusterName + "-" + m.name
	var specs []any
	for _, kind := range []string{"instance", "volume", "network-interface"} {
		specs = append(specs, object{"ResourceType": kind, "Tags": tagList(tags)})
	}
	return object{
		"BlockDeviceMappings": []any{object{"DeviceName": "/dev/xvda", "Ebs": m.volume}},
		// One hop: pods do not get at the credentials of their node.
		"MetadataOptions":   object{"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
		"TagSpecifications": specs,
	}, []any{object{"ResourceType": "launch-template", "Tags": tagList(tags)}}
}

// scaleTags tell the autoscaler what a node of a group would be like while there is none.
func (m *managed) scaleTags(t InstanceType) map[string]string {
	const template = "k8s.io/cluster-autoscaler/node-template/"
	tags := map[string]string{}
	for key, value := range m.labels {
		tags[template+"label/"+key] = value
	}
	for _, each := range m.taints {
		tags[template+"taint/"+each.key] = each.value + ":NoSchedule"
	}
	if t.GPUs > 0 {
		tags[template+"resources/"+gpuResource] = decimal(t.GPUs)
	}
	if t.NeuronDevices > 0 {
		tags[template+"resources/"+neuronResource] = decimal(t.NeuronDevices)
	}
	return tags
}
