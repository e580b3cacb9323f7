package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"cortex.dev/cortex/internal/suggest"
	"cortex.dev/cortex/internal/workload"
)

// Addons that every cluster has. Pods need CoreDNS, which is ready only where there are
// nodes; nodes need the others.
var (
	addonsBeforeNodes = []string{"vpc-cni", "kube-proxy", "eks-pod-identity-agent"}
	addonAfterNodes   = "coredns"
)

// Addons are the add-ons that every cluster has.
func Addons() []string { return append(slices.Clone(addonsBeforeNodes), addonAfterNodes) }

// zonesWithoutEKS are ids of zones in which EKS puts no control plane.
var zonesWithoutEKS = []string{"use1-az3", "usw1-az2", "cac1-az3"}

// Check returns every rule that a valid configuration breaks in the light of what is
// known of its account. Its paths are those of Validate.
func (c *Config) Check(f *Facts) []workload.Violation {
	k := &checker{}
	if f.Region != c.Region {
		k.add(workload.Violation{Path: "region", Code: CodeFactsOfElsewhere, Message: "is not the region that the facts are of", Found: c.Region, Allowed: f.Region})
		return k.list
	}
	k.version(c, f)
	k.types(c, f)
	k.existingSubnets(c, f)
	k.existingZones(c, f)
	if arn := c.SSLCertificateARN; arn != "" {
		switch status, ok := f.Certificates[arn]; {
		case !ok:
			k.add(workload.Violation{Path: "ssl_certificate_arn", Code: CodeCertificateNotFound, Message: "there is no such certificate in " + c.Region, Found: arn})
		case status != "ISSUED":
			k.add(workload.Violation{Path: "ssl_certificate_arn", Code: CodeCertificateNotFound, Message: "is a certificate that no load balancer takes", Found: status, Allowed: "ISSUED"})
		}
	}
	for i, arn := range c.Policies() {
		if !slices.Contains(f.Policies, arn) {
			path := "iam_policy_arns"
			if c.IAMPolicyARNs != nil {
				path = at(path, i)
			}
			k.add(workload.Violation{Path: path, Code: CodePolicyNotFound, Message: "there is no such policy, or nobody may look", Found: arn})
		}
	}
	return k.list
}

func (k *checker) version(c *Config, f *Facts) {
	v := f.newest()
	if c.KubernetesVersion != "" {
		v = f.version(c.KubernetesVersion)
	}
	var offered []string
	for _, each := range f.Versions {
		if each.Status == standardSupport && each.Version <= NewestKubernetes {
			offered = append(offered, each.Version)
		}
	}
	slices.Sort(offered)
	bad := workload.Violation{Path: "kubernetes_version", Code: CodeVersionNotFound, Found: c.KubernetesVersion, Allowed: strings.Join(offered, ", ")}
	switch {
	case v == nil && c.KubernetesVersion == "":
		bad.Message, bad.Allowed = "EKS offers no version in standard support that this release of Cortex was tested with", "at most "+NewestKubernetes
	case v == nil:
		bad.Message = "EKS does not offer this version"
	case v.Status != standardSupport:
		bad.Message = "is not in standard support any more: it would cost six times as much"
	default:
		for _, name := range Addons() {
			if v.Addons[name] == "" {
				k.add(workload.Violation{Path: "kubernetes_version", Code: CodeFactsIncomplete, Message: "the facts have no version of the add-on " + name + " for it", Found: v.Version})
			}
		}
		return
	}
	k.add(bad)
}

// types checks the instance types of all groups, and that of Cortex itself.
func (k *checker) types(c *Config, f *Facts) {
	if _, ok := f.InstanceTypes[SystemType]; !ok {
		k.add(workload.Violation{
			Path: "region", Code: CodeTypeNotInRegion, Message: "does not offer " + SystemType + ", on which Cortex itself runs", Found: c.Region,
		})
	} else {
		k.release("region", SystemType, c, f)
	}
	for i := range c.NodeGroups {
		g, path := &c.NodeGroups[i], at("node_groups", i)
		primary, ok := f.InstanceTypes[g.InstanceType]
		if !ok {
			k.notOffered(path+".instance_type", g.InstanceType, f)
			continue
		}
		k.release(path+".instance_type", g.InstanceType, c, f)
		k.image(path+".instance_type", g, c, f)
		if !g.Spot || g.SpotConfig == nil {
			continue
		}
		for _, name := range g.types()[1:] {
			at := at(path+".spot_config.instance_distribution", slices.Index(g.SpotConfig.InstanceDistribution, name))
			other, ok := f.InstanceTypes[name]
			if !ok {
				k.notOffered(at, name, f)
				continue
			}
			k.comparable(at, g.InstanceType, name, primary, other)
			k.spotPrice(at, g, name, f)
		}
	}
}

func (k *checker) notOffered(path, name string, f *Facts) {
	k.add(workload.Violation{
		Path: path, Code: CodeTypeNotInRegion, Message: "is not offered in " + f.Region, Found: found(name), Hint: suggest.Hint(name, sortedKeys(f.InstanceTypes)),
	})
}

// release checks that there are images for a type.
func (k *checker) release(path, name string, c *Config, f *Facts) {
	image := f.InstanceTypes[name].Image()
	if image == "" {
		k.add(workload.Violation{Path: path, Code: CodeTypeNotSupported, Message: "cannot be used: EKS has no image for its devices", Found: name})
		return
	}
	if v := c.VersionIn(f); v != nil && v.Releases[image] == "" {
		k.add(workload.Violation{Path: path, Code: CodeFactsIncomplete, Message: fmt.Sprintf("the facts have no release of %s for Kubernetes %s", image, v.Version), Found: name})
	}
}

// image checks that the image of a mixed group is known: EKS chooses those of its own groups.
func (k *checker) image(path string, g *NodeGroup, c *Config, f *Facts) {
	image := f.InstanceTypes[g.InstanceType].Image()
	if v := c.VersionIn(f); c.mixes(g) && image != "" && v != nil && v.Images[image] == "" {
		k.add(workload.Violation{
			Path: path, Code: CodeFactsIncomplete, Message: fmt.Sprintf("the facts have no id of the image %s for Kubernetes %s", image, v.Version), Found: g.InstanceType,
			Hint: "a mixed group needs it: images in the file of facts, as docs/aws.md describes it",
		})
	}
}

// VersionIn is the version of Kubernetes that a cluster gets, or nil.
func (c *Config) VersionIn(f *Facts) *KubernetesVersion {
	if c.KubernetesVersion == "" {
		return f.newest()
	}
	return f.version(c.KubernetesVersion)
}

// comparable checks that what fits the first type of a group fits another of its types.
func (k *checker) comparable(path, first, name string, a, b InstanceType) {
	short := func(code, what string, has, needs int64) {
		if has < needs {
			k.add(workload.Violation{
				Path: path, Code: code, Found: name,
				Message: fmt.Sprintf("has less than %s: %s %d, and %d", first, what, has, needs), Hint: "every type of a group must hold what its first one holds",
			})
		}
	}
	short(CodeSpotMemory, "MiB of memory", b.MemoryMiB, a.MemoryMiB)
	short(CodeSpotCPU, "virtual CPUs", b.VCPUs, a.VCPUs)
	short(CodeSpotGPU, "GPUs", b.GPUs, a.GPUs)
	short(CodeSpotInf, "Inferentia chips", b.NeuronDevices, min(a.NeuronDevices, 1))
	if a.Image() != b.Image() {
		k.add(workload.Violation{
			Path: path, Code: CodeArchitecture, Found: name, Message: fmt.Sprintf("needs another image than %s: %s, and %s", first, b.Image(), a.Image()),
			Hint: "put it into a group of its own",
		})
	}
}

// spotPrice holds a type to max_price, and without one to the limit that spot requests of
// 0.42 had by default: the price on demand of the first type.
func (k *checker) spotPrice(path string, g *NodeGroup, name string, f *Facts) {
	limit, known := onDemand(g.InstanceType)
	known, what := known && f.Region == pricedRegion, g.InstanceType+" on demand"
	if p := g.SpotConfig.MaxPrice; p != nil {
		limit, known, what = dollars(*p), true, "max_price"
	}
	if price, ok := f.SpotPrices[name]; ok && known && dollars(price) > limit {
		k.add(workload.Violation{
			Path: path, Code: CodeSpotPrice, Found: name, Message: fmt.Sprintf("costs %s an hour as a spot instance now, more than %s (%s)", dollars(price), what, limit),
			Hint: "remove it",
		})
	}
}

func (k *checker) existingSubnets(c *Config, f *Facts) {
	vpc := ""
	for i, s := range c.Subnets {
		path := at("subnets", i)
		fact := f.subnet(s.SubnetID)
		v := workload.Violation{Path: path + ".subnet_id", Code: CodeNotPossible, Found: s.SubnetID}
		switch {
		case fact == nil:
			v.Code, v.Message = CodeSubnetNotFound, "there is no such subnet in "+c.Region
		case fact.Zone != s.AvailabilityZone:
			v.Path, v.Code, v.Message, v.Found = path+".availability_zone", CodeInvalidZone, "is not the zone of "+s.SubnetID, s.AvailabilityZone
			v.Allowed = fact.Zone
		case vpc != "" && fact.VPC != vpc:
			v.Message, v.Allowed = "is in another VPC than the first subnet: "+fact.VPC, "subnets of "+vpc
		case c.SubnetVisibility == Public && !fact.Public:
			v.Message, v.Hint = "has no route to an internet gateway, and subnet_visibility is public", "write subnet_visibility: private"
		case c.SubnetVisibility == Public && !fact.PublicAddresses:
			v.Message = "gives instances no public address, so that nodes in it reach nothing"
			v.Hint = "turn on auto-assign of public addresses for the subnet"
		case c.SubnetVisibility == Private && fact.Public:
			v.Message, v.Hint = "has a route to an internet gateway, and subnet_visibility is private", "write subnet_visibility: public"
		case fact.FreeAddresses < 16:
			v.Message, v.Allowed = fmt.Sprintf("has %d free addresses", fact.FreeAddresses), "16 or more"
		default:
			vpc = cmp.Or(vpc, fact.VPC)
			continue
		}
		if fact != nil {
			vpc = cmp.Or(vpc, fact.VPC)
		}
		k.add(v)
	}
	if !c.OwnNetwork() || len(k.list) > 0 {
		return
	}
	for _, b := range []struct{ path, scheme string }{
		{"operator_load_balancer_scheme", c.OperatorLoadBalancerScheme}, {"api_load_balancer_scheme", c.APILoadBalancerScheme},
	} {
		if b.scheme == InternetFacing && len(c.publicSubnets(f)) < 2 {
			k.add(workload.Violation{
				Path: b.path, Code: CodeNotPossible, Message: "must not be internet-facing: " + vpc + " has no two public subnets in different zones", Found: b.scheme,
				Allowed: Internal, Related: []string{"subnets"},
			})
		}
	}
}

// publicSubnets are subnets for what faces the internet, one in each zone: those of the
// user that are public, then others of the same VPC.
func (c *Config) publicSubnets(f *Facts) []string {
	first := f.subnet(c.Subnets[0].SubnetID)
	if first == nil {
		return nil
	}
	byZone := map[string]string{}
	candidates := slices.Clone(f.Subnets)
	slices.SortFunc(candidates, func(a, b SubnetFact) int { return cmp.Compare(a.ID, b.ID) })
	for _, named := range []bool{true, false} {
		for _, s := range candidates {
			isNamed := slices.ContainsFunc(c.Subnets, func(own Subnet) bool { return own.SubnetID == s.ID })
			if isNamed == named && s.Public && s.VPC == first.VPC && byZone[s.Zone] == "" {
				byZone[s.Zone] = s.ID
			}
		}
	}
	var ids []string
	for _, z := range sortedKeys(byZone) {
		ids = append(ids, byZone[z])
	}
	return ids
}

// existingZones checks the zones that the file names, or that there are enough.
func (k *checker) existingZones(c *Config, f *Facts) {
	named := slices.Clone(c.AvailabilityZones)
	for _, s := range c.Subnets {
		named = append(named, s.AvailabilityZone)
	}
	for i, name := range named {
		path := at("availability_zones", i)
		if c.OwnNetwork() {
			path = at("subnets", i) + ".availability_zone"
		}
		j := slices.IndexFunc(f.Zones, func(z Zone) bool { return z.Name == name })
		if j < 0 {
			k.add(workload.Violation{Path: path, Code: CodeInvalidZone, Message: "is not an availability zone of " + c.Region + " for this account", Found: name, Allowed: strings.Join(f.zoneNames(), ", ")})
			continue
		}
		if why := c.unsupported(f, f.Zones[j]); why != "" {
			k.add(workload.Violation{Path: path, Code: CodeUnsupportedZone, Message: "cannot be used: " + why, Found: name, Hint: "name another zone, or another instance type"})
		}
	}
	if len(named) == 0 && len(c.chosenZones(f)) < 2 && len(k.list) == 0 {
		v := workload.Violation{Path: "region", Code: CodeNotEnoughZones, Found: c.Region, Message: "has no two zones with EKS and every instance type of the file"}
		var why []string
		for _, z := range f.Zones {
			if reason := c.unsupported(f, z); reason != "" {
				why = append(why, z.Name+": "+reason)
			}
		}
		v.Hint = strings.Join(why, "; ")
		k.add(v)
	}
}

func (f *Facts) zoneNames() (names []string) {
	for _, z := range f.Zones {
		names = append(names, z.Name)
	}
	slices.Sort(names)
	return names
}

// unsupported says why a zone cannot be used, or "".
func (c *Config) unsupported(f *Facts, z Zone) string {
	if slices.Contains(zonesWithoutEKS, z.ID) {
		return "EKS has no control planes there (" + z.ID + ")"
	}
	for _, name := range c.AllTypes() {
		if t, ok := f.InstanceTypes[name]; ok && !t.offered(z.Name) {
			return name + " is not offered there"
		}
	}
	return ""
}

// AllTypes are the instance types of a cluster, sorted.
func (c *Config) AllTypes() []string {
	all := []string{SystemType}
	for i := range c.NodeGroups {
		all = append(all, c.NodeGroups[i].types()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// SpotTypes are those of spot groups, sorted.
func (c *Config) SpotTypes() (all []string) {
	for i := range c.NodeGroups {
		if c.NodeGroups[i].Spot {
			all = append(all, c.NodeGroups[i].types()...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// chosenZones are the zones of a cluster whose file names none, as 0.42 chose them: two
// in us-east-1, elsewhere three where there are three.
func (c *Config) chosenZones(f *Facts) []string {
	most := 3
	if c.Region == "us-east-1" {
		most = 2
	}
	var names []string
	for _, name := range f.zoneNames() {
		i := slices.IndexFunc(f.Zones, func(z Zone) bool { return z.Name == name })
		if len(names) < most && c.unsupported(f, f.Zones[i]) == "" {
			names = append(names, name)
		}
	}
	return names
}

// zoneNames are the zones of a cluster.
func (c *Config) zoneNames(f *Facts) []string {
	switch {
	case c.OwnNetwork():
		var names []string
		for _, s := range c.Subnets {
			names = append(names, s.AvailabilityZone)
		}
		return names
	case len(c.AvailabilityZones) > 0:
		return c.AvailabilityZones
	}
	return c.chosenZones(f)
}
