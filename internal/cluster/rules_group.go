package cluster

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/workload"
)

// groups checks node groups one by one, then together.
func (k *checker) groups(c *Config) {
	if n := len(c.NodeGroups); n > MaxGroups {
		k.add(workload.Violation{Path: "node_groups", Code: CodeTooManyGroups, Message: "has too many groups", Found: strconv.Itoa(n), Allowed: fmt.Sprintf("at most %d", MaxGroups)})
		return
	}
	names := map[string]bool{}
	for i := range c.NodeGroups {
		path, g := at("node_groups", i), &c.NodeGroups[i]
		k.groupName(path+".name", g.Name)
		if names[g.Name] && g.Name != "" {
			k.add(workload.Violation{Path: path + ".name", Code: CodeDuplicateGroup, Message: "another group has this name", Found: found(g.Name)})
		}
		names[g.Name] = true
		k.groupType(path+".instance_type", g.InstanceType)
		k.groupSize(path, g)
		k.number(path+".priority", "priority", g.Priority)
		k.volume(path, g)
		k.spot(path, g)
	}
}

// Creation returns the rules that c breaks if there is no such cluster yet.
func (c *Config) Creation() []workload.Violation {
	k := &checker{}
	if nodes := c.nodes(); nodes > MaxNodesAtFirst {
		v := workload.Violation{
			Path: "node_groups", Code: CodeTooManyNodes, Message: "has too many nodes to begin with: the sum of min_instances",
			Found: strconv.FormatInt(nodes, 10), Allowed: fmt.Sprintf("at most %d", MaxNodesAtFirst), Hint: "begin with fewer, and raise min_instances later",
		}
		for i := range c.NodeGroups {
			v.Related = append(v.Related, at("node_groups", i)+".min_instances")
		}
		k.add(v)
	}
	return k.list
}

// nodes is how many nodes there are at least.
func (c *Config) nodes() (sum int64) {
	for i := range c.NodeGroups {
		sum += max(0, min(c.NodeGroups[i].MinInstances, int64(bounds["min_instances"].Max)))
	}
	return sum
}

func (k *checker) groupName(path, name string) {
	switch {
	case name == "":
		k.add(workload.Violation{Path: path, Code: workload.CodeCannotBeEmpty, Message: "must not be empty"})
	case len(name) > MaxGroupNameLength:
		k.add(workload.Violation{Path: path, Code: workload.CodeTooLong, Message: "is too long", Found: found(name), Allowed: fmt.Sprintf("at most %d characters", MaxGroupNameLength)})
	default:
		k.shape(path, name, groupNameShape, "a name for a node group", "letters, digits and dashes, beginning and ending with a letter or digit")
	}
}

func (k *checker) groupType(path, name string) bool {
	r := refuseType(name)
	if r != nil {
		k.add(workload.Violation{Path: path, Code: r.code, Message: r.message, Found: found(name), Hint: r.hint})
	}
	return r == nil
}

func (k *checker) groupSize(path string, g *NodeGroup) {
	least, most := path+".min_instances", path+".max_instances"
	if !k.number(least, "min_instances", g.MinInstances) || !k.number(most, "max_instances", g.MaxInstances) {
		return
	}
	switch {
	case g.MaxInstances == 0:
		k.add(workload.Violation{
			Path: most, Code: CodeMaxInstancesZero, Message: "must not be 0: EKS keeps room for one node in every group", Found: "0",
			Hint: "write min_instances: 0 to let it be empty, or leave the group out",
		})
	case g.MinInstances > g.MaxInstances:
		k.add(workload.Violation{
			Path: least, Code: CodeMinAboveMax, Message: fmt.Sprintf("must not be greater than max_instances (%d)", g.MaxInstances),
			Found: strconv.FormatInt(g.MinInstances, 10), Related: []string{most},
		})
	}
}

// volumeRule is what a type of volume takes.
type volumeRule struct {
	leastIOPS, mostIOPS int64 // 0: IOPS cannot be chosen
	perGB               int64 // most IOPS for each GB
	throughput          bool  // can be chosen
}

var volumeRules = map[string]volumeRule{
	gp2: {},
	gp3: {leastIOPS: 3000, mostIOPS: 16000, perGB: 500, throughput: true},
	io1: {leastIOPS: 100, mostIOPS: 64000, perGB: 50},
}

func (k *checker) volume(path string, g *NodeGroup) {
	of := path + ".instance_volume_type"
	sizeFits := k.number(path+".instance_volume_size", "instance_volume_size", g.VolumeSize)
	switch g.VolumeType {
	case sc1, st1:
		k.add(workload.Violation{
			Path: of, Code: CodeNotPossible, Message: "cannot be the volume of a node: EC2 starts no machine from a volume of this type", Found: g.VolumeType,
			Allowed: strings.Join([]string{gp2, gp3, io1}, ", "), Hint: "take gp3",
		})
		return
	}
	rule, known := volumeRules[g.VolumeType]
	if !known {
		k.oneOf(of, g.VolumeType, gp2, gp3, io1)
		return
	}
	k.iops(path, g, rule, sizeFits)
	k.throughput(path, g, rule)
}

func (k *checker) iops(path string, g *NodeGroup, rule volumeRule, sizeFits bool) {
	if g.VolumeIOPS == nil {
		return
	}
	iops := *g.VolumeIOPS
	v := workload.Violation{Path: path + ".instance_volume_iops", Found: strconv.FormatInt(iops, 10), Related: []string{path + ".instance_volume_type"}}
	switch {
	case rule.mostIOPS == 0:
		v.Code, v.Message, v.Hint = CodeIOPSNotSupported, "cannot be chosen for "+g.VolumeType+" volumes", "remove it, or take gp3"
	case iops < rule.leastIOPS:
		v.Code, v.Message, v.Allowed = CodeIOPSTooSmall, "is too small for "+g.VolumeType, fmt.Sprintf("%d to %d", rule.leastIOPS, rule.mostIOPS)
	case iops > rule.mostIOPS:
		v.Code, v.Message, v.Allowed = CodeIOPSTooLarge, "is too large for "+g.VolumeType, fmt.Sprintf("%d to %d", rule.leastIOPS, rule.mostIOPS)
	case sizeFits && iops > rule.perGB*g.VolumeSize:
		v.Code, v.Message = CodeIOPSToSize, fmt.Sprintf("is too large for %d GB: a %s volume has at most %d for each", g.VolumeSize, g.VolumeType, rule.perGB)
		v.Allowed, v.Related = fmt.Sprintf("at most %d", rule.perGB*g.VolumeSize), append(v.Related, path+".instance_volume_size")
	default:
		return
	}
	k.add(v)
}

func (k *checker) throughput(path string, g *NodeGroup, rule volumeRule) {
	iops, throughput := path+".instance_volume_iops", path+".instance_volume_throughput"
	switch {
	case g.VolumeThroughput == nil && rule.throughput && g.VolumeIOPS != nil:
		k.add(workload.Violation{Path: iops, Code: CodeTwoOrNone, Message: "needs instance_volume_throughput beside it", Hint: "give both, or neither", Related: []string{throughput}})
	case g.VolumeThroughput == nil:
	case !rule.throughput:
		k.add(workload.Violation{
			Path: throughput, Code: CodeThroughputNotSupported, Message: "cannot be chosen for " + g.VolumeType + " volumes", Found: strconv.FormatInt(*g.VolumeThroughput, 10),
			Hint: "remove it, or take gp3", Related: []string{path + ".instance_volume_type"},
		})
	case !k.number(throughput, "instance_volume_throughput", *g.VolumeThroughput):
	case g.VolumeIOPS == nil:
		k.add(workload.Violation{Path: throughput, Code: CodeTwoOrNone, Message: "needs instance_volume_iops beside it", Hint: "give both, or neither", Related: []string{iops}})
	case *g.VolumeIOPS < 4**g.VolumeThroughput:
		k.add(workload.Violation{
			Path: throughput, Code: CodeIOPSToThroughput, Message: "needs four times as many instance_volume_iops", Found: strconv.FormatInt(*g.VolumeThroughput, 10),
			Allowed: fmt.Sprintf("at most %d for %d", *g.VolumeIOPS/4, *g.VolumeIOPS), Related: []string{iops},
		})
	}
}

// mostPrice is far beyond what any instance costs.
const mostPrice = 10_000

func (k *checker) spot(path string, g *NodeGroup) {
	s := g.SpotConfig
	path += ".spot_config"
	if s == nil {
		return
	}
	if !g.Spot {
		k.add(workload.Violation{
			Path: path, Code: CodeSpotNotEnabled, Message: "must not be given for a group that is not of spot instances",
			Hint: "add spot: true to the group, or remove spot_config", Related: []string{strings.TrimSuffix(path, "_config")},
		})
		return
	}
	types := path + ".instance_distribution"
	if n := len(g.types()); n > maxTypes {
		k.add(workload.Violation{Path: types, Code: CodeTooMany, Message: "has too many instance types", Found: strconv.Itoa(n), Allowed: fmt.Sprintf("at most %d", maxTypes)})
	} else {
		k.once(types, s.InstanceDistribution)
		for i, t := range s.InstanceDistribution {
			if t != g.InstanceType { // which has been judged where it stands
				k.groupType(at(types, i), t)
			}
		}
	}
	base := path + ".on_demand_base_capacity"
	if k.number(base, "spot_config.on_demand_base_capacity", s.OnDemandBase) && s.OnDemandBase > g.MaxInstances {
		k.add(workload.Violation{
			Path: base, Code: CodeBaseAboveMax, Message: fmt.Sprintf("must not be greater than max_instances (%d)", g.MaxInstances),
			Found: strconv.FormatInt(s.OnDemandBase, 10), Related: []string{strings.TrimSuffix(path, ".spot_config") + ".max_instances"},
		})
	}
	share := path + ".on_demand_percentage_above_base_capacity"
	k.number(share, "spot_config.on_demand_percentage_above_base_capacity", s.OnDemandPercentage)
	if p := s.MaxPrice; p != nil && !(*p > 0 && *p <= mostPrice) {
		k.add(workload.Violation{Path: path + ".max_price", Code: workload.CodeGreaterThan, Message: "must be greater than 0", Found: strconv.FormatFloat(*p, 'f', -1, 64), Allowed: fmt.Sprintf("dollars an hour, at most %d", mostPrice)})
	}
	if s.InstancePools != nil {
		k.number(path+".instance_pools", "spot_config.instance_pools", *s.InstancePools)
	}
}

// Warnings says which keys of a valid configuration have no effect, or one that their
// authors may not expect. Their paths are those of Validate.
func (c *Config) Warnings() []workload.Violation {
	k := &checker{}
	if c.IAMPolicyARNs == nil {
		k.add(workload.Violation{Path: "iam_policy_arns", Code: CodeEveryBucket, Message: "is not given: every API may read and write every bucket of the account (AmazonS3FullAccess), as always", Hint: "name the policies that APIs need"})
	}
	if c.SubnetVisibility == Public && c.NATGateway != NATNone && !c.OwnNetwork() {
		k.add(workload.Violation{Path: "nat_gateway", Code: CodeNoEffect, Message: "has no effect where nodes are in public subnets: none is made", Hint: "remove it"})
	}
	if len(c.NodeGroups) == 0 {
		k.add(workload.Violation{Path: "node_groups", Code: CodeNoGroups, Message: "is empty: no API can be deployed before there is a group"})
	}
	for i := range c.NodeGroups {
		s := c.NodeGroups[i].SpotConfig
		if s != nil && s.InstancePools != nil {
			k.add(workload.Violation{Path: at("node_groups", i) + ".spot_config.instance_pools", Code: CodeNoEffect, Message: "has no effect: EKS chooses pools by price and capacity", Hint: "remove it"})
		}
	}
	return slices.Clip(k.list)
}
