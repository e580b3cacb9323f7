package awstest

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// nodegroup is a managed node group: a promise of EKS about an Auto Scaling group.
type nodegroup struct {
	view  object
	group string // of Auto Scaling
}

func (n *nodegroup) status() string { return textOf(n.view["status"]) }

func (c *call) nodegroup() (*eksCluster, *nodegroup, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, nil, err
	}
	name := c.in.text("nodegroupName")
	n := k.nodegroups[name]
	if n == nil {
		return nil, nil, notFoundByEKS("No node group found for name: %s.", name)
	}
	return k, n, nil
}

func onNodegroup(c *call) []string {
	return []string{c.arn("eks", "nodegroup/"+c.in.text("name")+"/"+c.in.text("nodegroupName")+"/*")}
}

// scaling is how many nodes there may be.
type scaling struct{ min, max, desired int }

func (p *params) scaling(was scaling) (scaling, error) {
	s := scaling{p.number("minSize", was.min), p.number("maxSize", was.max), p.number("desiredSize", was.desired)}
	switch {
	case s.max < 1:
		return s, badParameter("maxSize must be at least 1")
	case s.min > s.desired:
		return s, badParameter("Minimum capacity %d can't be greater than desired size %d", s.min, s.desired)
	case s.desired > s.max:
		return s, badParameter("desired capacity %d can't be greater than max size %d", s.desired, s.max)
	}
	return s, nil
}

func (s scaling) view() object {
	return object{"minSize": s.min, "maxSize": s.max, "desiredSize": s.desired}
}

func createNodegroup(c *call) (object, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, err
	}
	name := c.in.text("nodegroupName")
	switch {
	case k.nodegroups[name] != nil:
		return nil, inUseByEKS("NodeGroup already exists with name %s and cluster name %s", name, k.name)
	case len(k.nodegroups) >= c.quota("eks", quotaNodegroups):
		return nil, refuse("ResourceLimitExceededException", "Nodegroup limit exceeded for cluster.")
	}
	if err := k.active(); err != nil {
		return nil, err
	}
	role := c.in.text("nodeRole")
	ec2Name := c.ec2Principal()
	if err := c.usable(role, ec2Name, "The role '%s' is not authorized to be assumed by "+ec2Name+" or does not exist"); err != nil {
		return nil, err
	}
	if err := c.linked("eks-nodegroup.amazonaws.com"); err != nil {
		return nil, err
	}
	n, s, err := c.newNodegroup(k, name, role)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(k.authMap, role) {
		k.authMap = append(k.authMap, role)
	}
	k.nodegroups[name] = n
	c.made["nodegroup"]++
	c.clock.after(20*time.Second, func() { c.raise(k, n, s) })
	return object{"nodegroup": n.view}, nil
}

// ec2Principal is what instances take on roles as.
func (a *Account) ec2Principal() string {
	if a.partition == "aws-cn" {
		return "ec2.amazonaws.com.cn"
	}
	return "ec2.amazonaws.com"
}

// newNodegroup checks the rest of a request.
func (c *call) newNodegroup(k *eksCluster, name, role string) (*nodegroup, scaling, error) {
	s, err := c.in.object("scalingConfig").scaling(scaling{1, 2, 2})
	if err != nil {
		return nil, s, err
	}
	version := c.in.or("version", k.version())
	release := c.in.or("releaseVersion", c.release(versionNamed(k.version())))
	capacity, ami := c.in.or("capacityType", "ON_DEMAND"), c.in.text("amiType")
	kinds := c.in.texts("instanceTypes")
	switch {
	case minor(version) > minor(k.version()) || versionNamed(version) == nil:
		return nil, s, badParameter("Requested Nodegroup version %s is not supported for cluster version %s", version, k.version())
	case !strings.HasPrefix(release, version+"."):
		return nil, s, badParameter("Requested release version %s is not valid for kubernetes version %s.", release, version)
	case len(kinds) == 0 || len(kinds) > 20:
		return nil, s, badParameter("Instance types: want 1 to 20, found %d", len(kinds))
	case capacity == "SPOT" && c.linked("spot.amazonaws.com") != nil:
		return nil, s, c.linked("spot.amazonaws.com")
	}
	if err := fitting(kinds, ami); err != nil {
		return nil, s, err
	}
	for _, id := range c.in.texts("subnets") {
		if _, err := c.byID("subnet", id); err != nil {
			return nil, s, badParameter("The subnet ID '%s' does not exist", id)
		}
	}
	template := c.in.object("launchTemplate")
	lt, err := c.byID("launch-template", template.text("id"))
	if err != nil {
		return nil, s, badRequest("Launch template %s was not found", template.text("id"))
	}
	c.in.ignore("clientRequestToken")
	update := c.in.object("updateConfig")
	percent := update.number("maxUnavailablePercentage", 0)
	labels, tags := textMap(c.in.tagMap("labels")), textMap(c.in.tagMap("tags"))
	view := object{
		"nodegroupName": name, "nodegroupArn": c.arn("eks", "nodegroup/"+k.name+"/"+name+"/"+c.uuid()), "clusterName": k.name, "version": version, "releaseVersion": release,
		"createdAt": stamp(c.clock.now), "modifiedAt": stamp(c.clock.now), "status": "CREATING", "capacityType": capacity, "scalingConfig": s.view(),
		"instanceTypes": anys(kinds), "subnets": anys(c.in.texts("subnets")), "amiType": ami, "nodeRole": role, "labels": labels, "tags": tags,
		"health": object{"issues": []any{}}, "updateConfig": object{"maxUnavailable": 1}, "resources": object{"autoScalingGroups": []any{}},
		"launchTemplate": object{"id": lt.id, "name": lt.text("launchTemplateName"), "version": template.or("version", "1")},
	}
	if percent > 0 {
		view["updateConfig"] = object{"maxUnavailablePercentage": percent}
	}
	taints, err := c.taints()
	if err != nil {
		return nil, s, err
	}
	set(view, "taints", taints)
	return &nodegroup{view: view}, s, nil
}

// fitting refuses instance types that there are not, or that the image is not for.
func fitting(kinds []string, ami string) error {
	for _, each := range kinds {
		t, ok := types[each]
		if !ok {
			return badParameter("The following supplied instance types do not exist: [%s]", each)
		}
		if arm := strings.Contains(ami, "_ARM_"); arm != (t.arch == "arm64") {
			return badParameter("[%s] is not a valid instance type for requested amiType %s", each, ami)
		}
	}
	return nil
}

var taintEffects = []string{"NO_SCHEDULE", "NO_EXECUTE", "PREFER_NO_SCHEDULE"}

func (c *call) taints() (list []any, err error) {
	for _, t := range c.in.objects("taints") {
		if !slices.Contains(taintEffects, t.text("effect")) {
			return nil, badParameter("Taints: the effect %q is not one of %s", t.text("effect"), strings.Join(taintEffects, ", "))
		}
		list = append(list, object{"key": t.text("key"), "value": t.text("value"), "effect": t.text("effect")})
	}
	return list, nil
}

// raise makes the Auto Scaling group of a node group, and waits for its nodes.
func (c *call) raise(k *eksCluster, n *nodegroup, s scaling) {
	if n.status() != "CREATING" {
		return
	}
	name := textOf(n.view["nodegroupName"])
	var subnets []string
	for _, v := range n.view["subnets"].([]any) {
		subnets = append(subnets, textOf(v))
	}
	for _, id := range subnets {
		subnet := c.ec2.records[id]
		if subnet != nil && c.wayOut(subnet) == "igw" && subnet.data["mapPublicIpOnLaunch"] != true {
			n.fail("Ec2SubnetInvalidConfiguration", "One or more Amazon EC2 Subnets of ["+id+"] for node group "+name+" does not automatically assign public IP addresses to instances launched into it. "+
				"If you want your instances to be assigned a public IP address, then you need to enable auto-assign public IP address for the subnet.", id)
			return
		}
	}
	types := n.view["instanceTypes"].([]any)
	n.group = "eks-" + name + "-" + c.letters(hexDigits, 8) + "-" + c.letters(hexDigits, 4) + "-" + c.letters(hexDigits, 4) + "-" + c.letters(hexDigits, 12)
	c.newAutoScaling(n.group, textOf(types[0]), subnets, []string{k.group}, s, map[string]string{
		"eks:cluster-name": k.name, "eks:nodegroup-name": name, "kubernetes.io/cluster/" + k.name: "owned",
		"k8s.io/cluster-autoscaler/enabled": "true", "k8s.io/cluster-autoscaler/" + k.name: "owned",
	})
	n.view["resources"] = object{"autoScalingGroups": []any{object{"name": n.group}}}
	began := c.clock.now
	c.clock.until(10*time.Second, nodesGiveUp+time.Minute, func() (bool, error) {
		why, text := c.notJoined(k, n, s)
		switch {
		case n.status() != "CREATING" || why == "":
			return true, nil
		case c.clock.now.Sub(began) >= nodesGiveUp:
			n.fail(why, text, c.asg.groups[n.group].instances...)
			return true, nil
		}
		return false, nil
	}, func(error) {
		if n.status() == "CREATING" {
			n.view["status"] = "ACTIVE"
		}
	})
}

func (n *nodegroup) fail(code, message string, ids ...string) {
	n.view["status"] = "CREATE_FAILED"
	n.view["health"] = object{"issues": []any{object{"code": code, "message": message, "resourceIds": anys(ids)}}}
}

// notJoined says why nodes have not joined (yet).
func (c *call) notJoined(k *eksCluster, n *nodegroup, s scaling) (code, message string) {
	g := c.asg.groups[n.group]
	if g.failure != "" {
		return "AsgInstanceLaunchFailures", g.failure
	}
	if len(g.instances) < s.desired {
		return "NodeCreationFailure", "Instances failed to join the kubernetes cluster"
	}
	for _, id := range g.instances {
		i := c.ec2.records[id]
		subnet := c.ec2.records[i.text("subnetId")]
		switch {
		case c.clock.now.Sub(i.data["launchTime"].(time.Time)) < nodeJoins+instanceTakes:
			return "NodeCreationFailure", "Instances failed to join the kubernetes cluster"
		case c.wayOut(subnet) == "":
			return "NodeCreationFailure", "Instances failed to join the kubernetes cluster"
		case k.addons["vpc-cni"] == nil:
			return "NodeCreationFailure", "Unhealthy nodes in the kubernetes cluster"
		}
	}
	return "", ""
}

// nodes are how many nodes of a cluster have joined.
func (a *Account) nodes(k *eksCluster) int {
	count := 0
	for _, n := range k.nodegroups {
		if g := a.asg.groups[n.group]; g != nil && (n.status() == "ACTIVE" || n.status() == "UPDATING") {
			count += len(g.instances)
		}
	}
	return count
}

func describeNodegroup(c *call) (object, error) {
	_, n, err := c.nodegroup()
	if err != nil {
		return nil, err
	}
	return object{"nodegroup": n.view}, nil
}

func listNodegroups(c *call) (object, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, err
	}
	return c.names("nodegroups", sorted(k.nodegroups))
}

func deleteNodegroup(c *call) (object, error) {
	k, n, err := c.nodegroup()
	if err != nil {
		return nil, err
	}
	if n.status() == "DELETING" {
		return object{"nodegroup": n.view}, nil
	}
	if n.status() == "UPDATING" {
		return nil, inUseByEKS("Nodegroup %s currently has an update in progress", n.view["nodegroupName"])
	}
	n.view["status"] = "DELETING"
	c.clock.after(30*time.Second, func() { c.scaleTo(n.group, 0) })
	c.clock.until(10*time.Second, time.Hour, func() (bool, error) {
		g := c.asg.groups[n.group]
		return g == nil || len(g.instances) == 0 && g.desired == 0 && c.settled(g), nil
	}, func(error) {
		delete(c.asg.groups, n.group)
		delete(k.nodegroups, textOf(n.view["nodegroupName"]))
		role := textOf(n.view["nodeRole"])
		for _, other := range k.nodegroups {
			if textOf(other.view["nodeRole"]) == role {
				return
			}
		}
		k.authMap = slices.DeleteFunc(k.authMap, func(r string) bool { return r == role })
	})
	return object{"nodegroup": n.view}, nil
}

// changeable refuses a change of a node group while there is another.
func (n *nodegroup) changeable() error {
	switch n.status() {
	case "ACTIVE", "DEGRADED":
		return nil
	case "UPDATING":
		return inUseByEKS("Nodegroup %s currently has an update in progress", n.view["nodegroupName"])
	}
	return badRequest("Nodegroup %s is not in ACTIVE status", n.view["nodegroupName"])
}

func updateNodegroupConfig(c *call) (object, error) {
	k, n, err := c.nodegroup()
	if err != nil {
		return nil, err
	}
	if err := n.changeable(); err != nil {
		return nil, err
	}
	c.in.ignore("clientRequestToken")
	params := map[string]string{}
	was := n.scaling()
	s := was
	if c.in.has("scalingConfig") {
		if s, err = c.in.object("scalingConfig").scaling(was); err != nil {
			return nil, err
		}
		params["MinSize"], params["MaxSize"], params["DesiredSize"] = strconv.Itoa(s.min), strconv.Itoa(s.max), strconv.Itoa(s.desired)
	}
	labels := c.in.object("labels")
	add, gone := labels.tagMap("addOrUpdateLabels"), labels.texts("removeLabels")
	update := c.in.object("updateConfig")
	percent := update.number("maxUnavailablePercentage", 0)
	n.view["status"] = "UPDATING"
	u := c.begun(k, "ConfigUpdate", params, scalingTakes, func() {
		n.view["status"] = "ACTIVE"
		n.view["scalingConfig"] = s.view()
		merged := without(n.view["labels"].(object), gone...)
		for key, v := range add {
			merged[key] = v
		}
		n.view["labels"] = merged
		if percent > 0 {
			n.view["updateConfig"] = object{"maxUnavailablePercentage": percent}
		}
		g := c.asg.groups[n.group]
		g.min, g.max = s.min, s.max
		c.scaleTo(n.group, s.desired)
	})
	return object{"update": u}, nil
}

func (n *nodegroup) scaling() scaling {
	v := n.view["scalingConfig"].(object)
	return scaling{v["minSize"].(int), v["maxSize"].(int), v["desiredSize"].(int)}
}

func updateNodegroupVersion(c *call) (object, error) {
	k, n, err := c.nodegroup()
	if err != nil {
		return nil, err
	}
	if err := n.changeable(); err != nil {
		return nil, err
	}
	c.in.ignore("clientRequestToken", "force")
	version := c.in.or("version", k.version())
	release := c.in.text("releaseVersion")
	template := c.in.object("launchTemplate")
	template.ignore("id", "name")
	templateVersion := template.text("version")
	switch {
	case versionNamed(version) == nil || minor(version) > minor(k.version()):
		return nil, badParameter("Requested Nodegroup version %s is not supported for cluster version %s", version, k.version())
	case release == "":
		release = c.release(versionNamed(version))
	case !strings.HasPrefix(release, version+"."):
		return nil, badParameter("Requested release version %s is not valid for kubernetes version %s.", release, version)
	}
	n.view["status"] = "UPDATING"
	u := c.begun(k, "VersionUpdate", map[string]string{"Version": version, "ReleaseVersion": release}, nodegroupUpdateTake, func() {
		n.view["status"], n.view["version"], n.view["releaseVersion"] = "ACTIVE", version, release
		if templateVersion != "" {
			n.view["launchTemplate"].(object)["version"] = templateVersion
		}
	})
	return object{"update": u}, nil
}
