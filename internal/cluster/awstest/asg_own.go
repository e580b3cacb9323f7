package awstest

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ownGroup is what an Auto Scaling group has that EKS has not made.
type ownGroup struct {
	policy  object // the MixedInstancesPolicy, as it came
	hook    time.Duration
	waiting []string // instances that are to be terminated, and that the hook holds
}

func listOf(v any) []any {
	list, _ := v.([]any)
	return list
}

func (g *asgGroup) instanceView(i *record, state string) object {
	o := object{
		"InstanceId": i.id, "AvailabilityZone": i.data["placement"].(object)["availabilityZone"], "LifecycleState": state, "HealthStatus": "Healthy",
		"InstanceType": i.text("instanceType"), "ProtectedFromScaleIn": false,
	}
	if g.own != nil {
		o["LaunchTemplate"] = object{"LaunchTemplateId": i.text("templateId"), "Version": i.text("templateVersion")}
	}
	return o
}

// mixOf reads a MixedInstancesPolicy.
type mixOf struct {
	base, percent int
	price         string
	types         []string
	template      *record
	version       string
}

var spotStrategies = []string{"lowest-price", "capacity-optimized", "capacity-optimized-prioritized", "price-capacity-optimized"}

func (c *call) mix(p *params) (m mixOf, err error) {
	d, t := p.object("InstancesDistribution"), p.object("LaunchTemplate")
	spec := t.object("LaunchTemplateSpecification")
	m = mixOf{base: d.number("OnDemandBaseCapacity", 0), percent: d.number("OnDemandPercentageAboveBaseCapacity", 100), price: d.text("SpotMaxPrice"), version: spec.text("Version")}
	for _, o := range t.objects("Overrides") {
		m.types = append(m.types, o.text("InstanceType"))
	}
	price, priceErr := strconv.ParseFloat(m.price, 64)
	m.template, err = c.byID("launch-template", spec.text("LaunchTemplateId"))
	switch {
	case err != nil:
		return m, invalid("You must use a valid fully-formed launch template. The specified launch template, with template ID %s, does not exist.", spec.text("LaunchTemplateId"))
	case m.template.version(m.version) == nil:
		return m, invalid("You must use a valid fully-formed launch template. Could not find launch template version")
	case m.base < 0 || m.percent < 0 || m.percent > 100:
		return m, invalid("OnDemandPercentageAboveBaseCapacity must be between 0 and 100, found %d", m.percent)
	case !slices.Contains(spotStrategies, d.or("SpotAllocationStrategy", "lowest-price")) || d.or("OnDemandAllocationStrategy", "prioritized") != "prioritized":
		return m, invalid("Allocation strategies %s, %s are not valid", d.text("SpotAllocationStrategy"), d.text("OnDemandAllocationStrategy"))
	case m.price != "" && (priceErr != nil || price <= 0):
		return m, invalid("The spot max price %s is not valid", m.price)
	case len(m.types) == 0:
		return m, notSimulated("a MixedInstancesPolicy without overrides")
	}
	for _, name := range m.types {
		if _, known := types[name]; !known {
			return m, invalid("You are requesting an instance type that does not exist: %s", name)
		}
	}
	return m, c.startable(m)
}

// version is the data of one version of a launch template, or nil.
func (r *record) version(n string) object {
	for _, v := range r.list("versions") {
		version := v.(object)
		if strconv.Itoa(version["versionNumber"].(int)) == n {
			data, _ := version["launchTemplateData"].(object)
			return data
		}
	}
	return nil
}

// startable holds what instances are to start from to what there is.
func (c *call) startable(m mixOf) error {
	p := newParams("LaunchTemplateData.", m.template.version(m.version))
	image, known := c.eks.images[p.text("ImageId")]
	profile := p.object("IamInstanceProfile")
	of := c.iam.profiles[profile.text("Name")]
	groups := p.texts("SecurityGroupIds")
	switch {
	case !known:
		return invalid("You must use a valid fully-formed launch template. The image id '[%s]' does not exist", p.text("ImageId"))
	case of == nil || of.role == "" || c.clock.now.Sub(of.changed) < c.o.Propagation:
		return invalid("You must use a valid fully-formed launch template. Value (%s) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", profile.text("Name"))
	case len(groups) == 0:
		return notSimulated("instances in the default security group")
	}
	for _, id := range groups {
		if _, err := c.byID("security-group", id); err != nil {
			return invalid("You must use a valid fully-formed launch template. The security group '%s' does not exist", id)
		}
	}
	for _, name := range m.types {
		if arm := strings.HasPrefix(image.kind, "arm64"); arm != (types[name].arch == "arm64") {
			return invalid("You must use a valid fully-formed launch template. The architecture of %s does not match that of the image %s", name, p.text("ImageId"))
		}
	}
	return c.passes(c.iam.roles[of.role].arn, c.ec2Principal())
}

func (g *asgGroup) sized(p *params) error {
	least, most := p.number("MinSize", g.min), p.number("MaxSize", g.max)
	desired := p.number("DesiredCapacity", g.desired)
	if !p.has("DesiredCapacity") {
		desired = min(max(desired, least), most)
	}
	if least > most || desired < least || desired > most {
		return invalid("Desired capacity:%d must be between the specified min size:%d and max size:%d", desired, least, most)
	}
	g.min, g.max, g.desired = least, most, desired
	return nil
}

func createGroup(c *call) (object, error) {
	name := c.in.text("AutoScalingGroupName")
	switch {
	case c.asg.groups[name] != nil:
		return nil, refuse("AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name %s already exists", name)
	case c.in.text("CapacityRebalance") == "true":
		return nil, notSimulated("capacity rebalancing")
	}
	if err := c.linked("autoscaling.amazonaws.com"); err != nil {
		return nil, err
	}
	whole := c.in.whole("MixedInstancesPolicy")
	m, err := c.mix(c.in.object("MixedInstancesPolicy"))
	if err != nil {
		return nil, err
	}
	if m.percent < 100 {
		if err := c.linked("spot.amazonaws.com"); err != nil {
			return nil, err
		}
	}
	g := &asgGroup{
		name: name, min: c.in.number("MinSize", 0), max: c.in.number("MaxSize", 0), desired: c.in.number("MinSize", 0), tags: map[string]asgTag{}, created: c.clock.now,
		arn: c.arn("autoscaling", "autoScalingGroup:"+c.uuid()+":autoScalingGroupName/"+name), own: &ownGroup{policy: whole.(object)},
		subnets: strings.Split(c.in.text("VPCZoneIdentifier"), ","), instanceType: m.types[0],
	}
	for _, id := range g.subnets {
		if _, err := c.byID("subnet", id); err != nil {
			return nil, invalid("The subnet ID '%s' does not exist", id)
		}
	}
	if err := g.sized(c.in); err != nil {
		return nil, err
	}
	for _, h := range c.in.objects("LifecycleHookSpecificationList") {
		name, transition, result := h.text("LifecycleHookName"), h.text("LifecycleTransition"), h.or("DefaultResult", "ABANDON")
		seconds := h.number("HeartbeatTimeout", 3600)
		if name == "" || transition != "autoscaling:EC2_INSTANCE_TERMINATING" || result != "CONTINUE" || seconds < 30 || seconds > 7200 {
			return nil, notSimulated("the hook %s: %s, %s, %d", name, transition, result, seconds)
		}
		g.own.hook = time.Duration(seconds) * time.Second
	}
	for _, t := range c.in.objects("Tags") {
		t.ignore("ResourceId", "ResourceType")
		g.tags[t.text("Key")] = asgTag{t.text("Value"), t.flag("PropagateAtLaunch")}
	}
	c.asg.groups[name] = g
	c.made["auto-scaling-group"]++
	c.scaleTo(name, g.desired)
	return nil, nil
}

func updateScalingGroup(c *call) (object, error) {
	g, err := c.autoScalingGroup()
	if err != nil {
		return nil, err
	}
	if c.in.has("MixedInstancesPolicy") {
		whole := c.in.whole("MixedInstancesPolicy")
		if _, err := c.mix(c.in.object("MixedInstancesPolicy")); err != nil {
			return nil, err
		}
		if g.own == nil {
			return nil, notSimulated("changes of groups that EKS has made")
		}
		g.own.policy = whole.(object)
	}
	if v := c.in.text("VPCZoneIdentifier"); v != "" && v != strings.Join(g.subnets, ",") {
		return nil, notSimulated("changes of VPCZoneIdentifier")
	}
	if err := g.sized(c.in); err != nil {
		return nil, err
	}
	c.scaleTo(g.name, g.desired)
	return nil, nil
}

func deleteGroup(c *call) (object, error) {
	g, err := c.autoScalingGroup()
	if err != nil {
		return nil, err
	}
	if !c.in.flag("ForceDelete") && (len(g.instances) > 0 || g.leaving > 0) {
		return nil, refuse("ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.")
	}
	for _, id := range g.instances {
		g.leaving++
		c.leave(g, c.ec2.records[id])
	}
	delete(c.asg.groups, g.name)
	return nil, nil
}

func untagGroups(c *call) (object, error) {
	for _, t := range c.in.objects("Tags") {
		t.ignore("ResourceType", "Value", "PropagateAtLaunch")
		if g := c.asg.groups[t.text("ResourceId")]; g != nil {
			delete(g.tags, t.text("Key"))
		}
	}
	return nil, nil
}

var processes = []string{"Launch", "Terminate", "AddToLoadBalancer", "AlarmNotification", "AZRebalance", "HealthCheck", "InstanceRefresh", "ReplaceUnhealthy", "ScheduledActions"}

func suspendProcesses(c *call) (object, error) {
	g, err := c.autoScalingGroup()
	if err != nil {
		return nil, err
	}
	for _, name := range c.in.texts("ScalingProcesses") {
		switch {
		case !slices.Contains(processes, name):
			return nil, invalid("Scaling process %s is not valid", name)
		case !slices.Contains(g.suspended, name):
			g.suspended = append(g.suspended, name)
		}
	}
	return nil, nil
}

// groupOf is the group that an instance is in.
func (a *Account) groupOf(id string) *asgGroup {
	for _, name := range sorted(a.asg.groups) {
		if g := a.asg.groups[name]; slices.Contains(g.instances, id) {
			return g
		}
	}
	return nil
}

func onInstanceGroup(c *call) []string {
	if g := c.groupOf(c.in.text("InstanceId")); g != nil {
		return []string{g.arn}
	}
	return []string{c.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/*")}
}

func terminateInGroup(c *call) (object, error) {
	id := c.in.text("InstanceId")
	g := c.groupOf(id)
	if g == nil {
		return nil, invalid("Instance Id not found - No managed instance found for instance ID: %s", id)
	}
	if c.in.flag("ShouldDecrementDesiredCapacity") {
		if g.desired <= g.min {
			return nil, invalid("Currently, desiredSize equals minSize (%d). Terminating instance without replacement will violate group's min size constraint.", g.min)
		}
		g.desired--
	}
	g.instances = slices.DeleteFunc(g.instances, func(i string) bool { return i == id })
	g.leaving++
	c.end(g, id)
	c.clock.after(5*time.Second, func() { c.adjust(g) })
	return object{"Activity": object{
		"ActivityId": c.uuid(), "AutoScalingGroupName": g.name, "Description": "Terminating EC2 instance: " + id, "StatusCode": "InProgress", "StartTime": stamp(c.clock.now), "Progress": 0, "Cause": "instance was taken out of service in response to a user request.",
	}}, nil
}

// launchFor starts an instance of a group: on demand or spot, as its policy has it.
func (a *Account) launchFor(g *asgGroup, subnet *record, tags map[string]string) (*record, error) {
	if g.own == nil {
		return a.launch(g.instanceType, subnet, g.firewall, tags)
	}
	p := newParams("", g.own.policy)
	d, t := p.object("InstancesDistribution"), p.object("LaunchTemplate")
	spec := t.object("LaunchTemplateSpecification")
	template := a.ec2.records[spec.text("LaunchTemplateId")]
	if template == nil || template.version(spec.text("Version")) == nil {
		return nil, invalid("The specified launch template, with template ID %s, does not exist.", spec.text("LaunchTemplateId"))
	}
	data := newParams("", template.version(spec.text("Version")))
	for _, s := range data.objects("TagSpecifications") {
		if s.text("ResourceType") == "instance" {
			for k, v := range s.tags("Tags") {
				tags[k] = v
			}
		}
	}
	base, percent := d.number("OnDemandBaseCapacity", 0), d.number("OnDemandPercentageAboveBaseCapacity", 100)
	dear := min(base, g.desired)
	dear += ((g.desired-dear)*percent + 99) / 100
	for _, id := range g.instances {
		if a.ec2.records[id].text("instanceLifecycle") == "" {
			dear--
		}
	}
	var err error
	for _, o := range t.objects("Overrides") {
		var i *record
		if i, err = a.launch(o.text("InstanceType"), subnet, data.texts("SecurityGroupIds"), tags); err != nil {
			continue
		}
		if dear <= 0 {
			i.data["instanceLifecycle"] = "spot"
		}
		i.data["templateId"], i.data["templateVersion"], i.data["userData"] = template.id, spec.text("Version"), data.text("UserData")
		return i, nil
	}
	return nil, err
}

// joins is the cluster that an instance of somebody's own joins: what its user data say has to
// be so, and its role has to have an entry.
func (a *Account) joins(i *record) string {
	node := nodeConfig(i.text("userData"))
	spec := newParams("", node).object("spec")
	cluster, kubelet := spec.object("cluster"), spec.object("kubelet")
	k := a.eks.clusters[cluster.text("name")]
	template := a.ec2.records[i.text("templateId")]
	if k == nil || template == nil {
		return ""
	}
	data := newParams("", template.version(i.text("templateVersion")))
	profile := a.iam.profiles[data.object("IamInstanceProfile").text("Name")]
	if profile == nil || a.iam.roles[profile.role] == nil {
		return ""
	}
	entry := k.entries[a.iam.roles[profile.role].arn]
	network := k.view["kubernetesNetworkConfig"].(object)
	labelled := slices.ContainsFunc(kubelet.texts("flags"), func(f string) bool { return strings.HasPrefix(f, "--node-labels=") })
	if entry == nil || entry.view["type"] != nodeEntry || entry.of != a.iam.roles[profile.role].id || !labelled ||
		cluster.text("apiServerEndpoint") != k.view["endpoint"] || cluster.text("certificateAuthority") != k.view["certificateAuthority"].(object)["data"] ||
		cluster.text("cidr") != network["serviceIpv4Cidr"] || k.addons["vpc-cni"] == nil || a.wayOut(a.ec2.records[i.text("subnetId")]) == "" ||
		!slices.Contains(data.texts("SecurityGroupIds"), k.group) {
		return ""
	}
	return k.name
}

// nodeConfig is the NodeConfig in user data of AL2023, or nil.
func nodeConfig(data string) object {
	text, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return nil
	}
	message, err := mail.ReadMessage(strings.NewReader(string(text)))
	if err != nil {
		return nil
	}
	kind, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" {
		return nil
	}
	parts := multipart.NewReader(message.Body, params["boundary"])
	for {
		part, err := parts.NextPart()
		if err != nil {
			return nil
		}
		body, err := io.ReadAll(part)
		node := object{}
		if err != nil || part.Header.Get("Content-Type") != "application/node.eks.aws" || json.Unmarshal(body, &node) != nil {
			continue
		}
		if node["apiVersion"] == "node.eks.aws/v1alpha1" && node["kind"] == "NodeConfig" {
			return node
		}
	}
}

// Joined are the ids of those instances of a cluster's own groups that are nodes of it.
func (a *Account) Joined(cluster string) []string {
	defer a.locked()()
	var all []string
	for _, name := range sorted(a.asg.groups) {
		g := a.asg.groups[name]
		for _, id := range g.instances {
			i := a.ec2.records[id]
			if g.own != nil && i.state() == "running" && a.clock.now.Sub(i.data["launchTime"].(time.Time)) >= instanceTakes+nodeJoins && a.joins(i) == cluster {
				all = append(all, id)
			}
		}
	}
	return all
}

// Spot says how many instances of a group there are, and how many of them are spot.
func (a *Account) Spot(group string) (all, spot int) {
	defer a.locked()()
	if g := a.asg.groups[group]; g != nil {
		for _, id := range g.instances {
			all++
			if a.ec2.records[id].text("instanceLifecycle") == "spot" {
				spot++
			}
		}
	}
	return all, spot
}

func (h *handler) groupProperties() object {
	in := h.some("MinSize", "MaxSize", "MixedInstancesPolicy", "CapacityRebalance", "DesiredCapacity")
	var ids []string
	for _, v := range listOf(h.props["VPCZoneIdentifier"]) {
		ids = append(ids, textOf(v))
	}
	in["VPCZoneIdentifier"] = strings.Join(ids, ",")
	return in
}

func makeScalingGroup(h *handler) (string, object, error) {
	in := h.groupProperties()
	name := h.stack.name + "-" + h.r.logical + "-" + h.letters(idLetters, 12)
	in["AutoScalingGroupName"] = name
	for key, v := range h.some("Tags", "LifecycleHookSpecificationList") {
		in[key] = v
	}
	for key, v := range map[string]string{"aws:cloudformation:stack-name": h.stack.name, "aws:cloudformation:stack-id": h.stack.id, "aws:cloudformation:logical-id": h.r.logical} {
		in["Tags"] = append(slices.Clone(listOf(in["Tags"])), object{"Key": key, "Value": v, "PropagateAtLaunch": "true"})
	}
	return name, object{}, h.try("autoscaling", "CreateAutoScalingGroup", in)
}

func scalingGroupReady(h *handler) (bool, error) {
	g := h.asg.groups[h.r.physical]
	switch {
	case g == nil:
		return false, refuse("NotStabilized", "AutoScalingGroup %s is not there any more", h.r.physical)
	case g.failure != "" && h.clock.now.Sub(g.created) > 10*time.Minute:
		return false, refuse("NotStabilized", "Group did not stabilize. Last scaling activity: %s", g.failure)
	}
	running := 0
	for _, id := range g.instances {
		if h.ec2.records[id].state() == "running" {
			running++
		}
	}
	return running >= g.desired, nil
}

func changeScalingGroup(h *handler, old object) error {
	if mustJSON(old["LifecycleHookSpecificationList"]) != mustJSON(h.props["LifecycleHookSpecificationList"]) {
		return notSimulated("changes of hooks")
	}
	now, was := tagsOf(h.props), tagsOf(old)
	var list, gone []any
	for _, t := range listOf(h.props["Tags"]) {
		tag := without(t.(object))
		tag["ResourceId"], tag["ResourceType"] = h.r.physical, "auto-scaling-group"
		list = append(list, tag)
	}
	for _, key := range sorted(was) {
		if _, kept := now[key]; !kept {
			gone = append(gone, object{"Key": key, "ResourceId": h.r.physical, "ResourceType": "auto-scaling-group"})
		}
	}
	if mustJSON(old["Tags"]) != mustJSON(h.props["Tags"]) {
		if err := h.try("autoscaling", "CreateOrUpdateTags", object{"Tags": list}); err != nil {
			return err
		}
		if len(gone) > 0 {
			if err := h.try("autoscaling", "DeleteTags", object{"Tags": gone}); err != nil {
				return err
			}
		}
	}
	in := without(h.groupProperties(), "CapacityRebalance")
	in["AutoScalingGroupName"] = h.r.physical
	return h.try("autoscaling", "UpdateAutoScalingGroup", in)
}

// removeScalingGroup empties a group; what is empty goes at once.
func removeScalingGroup(h *handler) error {
	if h.asg.groups[h.r.physical] == nil {
		return nil
	}
	return h.try("autoscaling", "UpdateAutoScalingGroup", object{"AutoScalingGroupName": h.r.physical, "MinSize": "0", "MaxSize": "0", "DesiredCapacity": "0"})
}

func scalingGroupGone(h *handler) (bool, error) {
	g := h.asg.groups[h.r.physical]
	if g == nil {
		return true, nil
	}
	if len(g.instances) > 0 || !h.settled(g) {
		return false, nil
	}
	return true, h.try("autoscaling", "DeleteAutoScalingGroup", object{"AutoScalingGroupName": h.r.physical})
}

func readScalingGroup(h *handler) object {
	g := h.asg.groups[h.r.physical]
	if g == nil {
		return nil
	}
	return object{"MinSize": strconv.Itoa(g.min), "MaxSize": strconv.Itoa(g.max)}
}
