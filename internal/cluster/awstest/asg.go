package awstest

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// asgState is what Auto Scaling knows.
type asgState struct {
	groups map[string]*asgGroup
}

// asgGroup is an Auto Scaling group: of a node group, or somebody's own.
type asgGroup struct {
	name, arn         string
	instanceType      string
	subnets, firewall []string
	min, max, desired int
	instances         []string // that it has
	leaving           int      // that are on their way out
	tags              map[string]asgTag
	targets           []string // ARNs of target groups
	activities        []object // newest first
	failure           string   // why the last launch failed
	created           time.Time
	own               *ownGroup // nil: EKS has made it
	suspended         []string
}

type asgTag struct {
	value     string
	propagate bool
}

// launchPause is how long a group waits before it tries again what has failed.
const launchPause = 30 * time.Second

// interfacesStay is how long what the CNI has made for pods is left over.
const interfacesStay = 4 * time.Minute

func (a *Account) newAutoScaling(name, instanceType string, subnets, firewall []string, s scaling, tags map[string]string) {
	g := &asgGroup{
		name: name, instanceType: instanceType, subnets: subnets, firewall: firewall, min: s.min, max: s.max, tags: map[string]asgTag{}, created: a.clock.now,
		arn: a.arn("autoscaling", "autoScalingGroup:"+a.uuid()+":autoScalingGroupName/"+name),
	}
	for k, v := range tags {
		g.tags[k] = asgTag{v, true}
	}
	a.asg.groups[name] = g
	a.made["auto-scaling-group"]++
	a.scaleTo(name, s.desired)
}

// scaleTo brings a group to so many instances.
func (a *Account) scaleTo(name string, desired int) {
	if g := a.asg.groups[name]; g != nil {
		g.desired = desired
		a.clock.after(5*time.Second, func() { a.adjust(g) })
	}
}

func (a *Account) adjust(g *asgGroup) {
	for len(g.instances) > g.desired {
		last := g.instances[len(g.instances)-1]
		g.instances = g.instances[:len(g.instances)-1]
		g.leaving++
		a.end(g, last)
	}
	for len(g.instances) < g.desired {
		subnet := a.ec2.records[g.subnets[len(g.instances)%len(g.subnets)]]
		tags := map[string]string{"aws:autoscaling:groupName": g.name}
		for k, t := range g.tags {
			if t.propagate {
				tags[k] = t.value
			}
		}
		i, err := a.launchFor(g, subnet, tags)
		if err != nil {
			g.failure = asRefusal(err).message
			a.act(g, "Launching a new EC2 instance.  Status Reason: "+g.failure, "Failed", g.failure)
			a.clock.after(launchPause, func() { a.adjust(g) })
			return
		}
		g.failure = ""
		g.instances = append(g.instances, i.id)
		a.act(g, "Launching a new EC2 instance: "+i.id, "Successful", "")
		a.clock.after(instanceTakes+nodeJoins, func() { a.joined(g, i, subnet) })
	}
}

func (a *Account) act(g *asgGroup, what, status, why string) {
	o := object{
		"ActivityId": a.uuid(), "AutoScalingGroupName": g.name, "Description": what, "StatusCode": status, "StartTime": stamp(a.clock.now), "Cause": "At " + stamp(a.clock.now).Format(time.RFC3339) + " the difference between desired and actual capacity was noticed.",
		"EndTime": stamp(a.clock.now), "Progress": 100, "Details": "{}",
	}
	set(o, "StatusMessage", why)
	g.activities = append([]object{o}, g.activities[:min(len(g.activities), 99)]...)
}

// end has an instance terminated, once whoever has a hook into that was given time.
func (a *Account) end(g *asgGroup, id string) {
	i := a.ec2.records[id]
	var wait time.Duration
	if g.own != nil && i.state() == "running" {
		wait = g.own.hook
	}
	if wait == 0 {
		a.leave(g, i)
		a.act(g, "Terminating EC2 instance: "+id, "Successful", "")
		return
	}
	g.own.waiting = append(g.own.waiting, id)
	a.clock.after(wait, func() {
		g.own.waiting = slices.DeleteFunc(g.own.waiting, func(w string) bool { return w == id })
		a.leave(g, i)
		a.act(g, "Terminating EC2 instance: "+id, "Successful", "")
	})
}

// clusterOf is the cluster that a node of a group has joined; empty: none.
func (a *Account) clusterOf(g *asgGroup, i *record) string {
	if g.own == nil {
		return g.tags["eks:cluster-name"].value
	}
	return a.joins(i)
}

// joined gives a node the interface that the CNI makes for its pods.
func (a *Account) joined(g *asgGroup, i, subnet *record) {
	if i.state() != "running" || a.clusterOf(g, i) == "" {
		return
	}
	eni := a.newInterface(subnet, "aws-K8S-"+i.id, "interface", g.firewall)
	eni.data["attachment"] = object{"instanceId": i.id, "deviceIndex": 1, "status": "attached"}
	eni.retag(map[string]string{"cluster.k8s.amazonaws.com/name": a.clusterOf(g, i), "node.k8s.amazonaws.com/instance_id": i.id})
}

// leave ends an instance. The interface of its pods stays behind for a while, available,
// and keeps subnets and groups from being deleted.
func (a *Account) leave(g *asgGroup, i *record) {
	for _, eni := range a.where("network-interface", "attachment.instanceId", i.id) {
		if eni.text("description") == "aws-K8S-"+i.id {
			delete(eni.data, "attachment")
			eni.data["status"] = "available"
			if !a.o.LeakedInterfaces {
				a.clock.after(interfacesStay, func() { a.dropInterface(eni.id) })
			}
		}
	}
	a.terminate(i)
	a.clock.after(instanceGoneTakes, func() { g.leaving-- })
}

// settled reports whether a group has no instance on its way out.
func (a *Account) settled(g *asgGroup) bool { return g.leaving == 0 }

func onGroup(c *call) []string {
	name := c.in.text("AutoScalingGroupName")
	if g := c.asg.groups[name]; g != nil {
		return []string{g.arn}
	}
	return []string{c.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/"+name)}
}

// onTaggedGroups are the groups that a request is about to tag.
func onTaggedGroups(c *call) []string {
	var list []string
	for _, v := range c.in.list("Tags") {
		t, _ := v.(object)
		if g := c.asg.groups[textOf(t["ResourceId"])]; g != nil && !slices.Contains(list, g.arn) {
			list = append(list, g.arn)
		}
	}
	if list == nil {
		list = []string{"*"}
	}
	return list
}

var autoscalingService = &service{
	name: "autoscaling", version: "2011-01-01", namespace: "http://autoscaling.amazonaws.com/doc/2011-01-01/", protocol: query{}, errors: wordsQuery,
	operations: []operation{
		{name: "DescribeAutoScalingGroups", do: describeGroups},
		{name: "DescribeScalingActivities", do: describeActivities},
		{name: "DescribeTags", do: describeGroupTags},
		{name: "CreateOrUpdateTags", do: tagGroups, on: onTaggedGroups},
		{name: "AttachLoadBalancerTargetGroups", do: attachTargets, on: onGroup},
		{name: "DetachLoadBalancerTargetGroups", do: detachTargets, on: onGroup},
		{name: "DescribeLoadBalancerTargetGroups", do: describeAttached},
		{name: "SetDesiredCapacity", do: setDesired, on: onGroup},
		{name: "CreateAutoScalingGroup", do: createGroup, on: onGroup},
		{name: "UpdateAutoScalingGroup", do: updateScalingGroup, on: onGroup},
		{name: "DeleteAutoScalingGroup", do: deleteGroup, on: onGroup},
		{name: "DeleteTags", do: untagGroups, on: onTaggedGroups},
		{name: "SuspendProcesses", do: suspendProcesses, on: onGroup},
		{name: "TerminateInstanceInAutoScalingGroup", do: terminateInGroup, on: onInstanceGroup},
	},
}

func (c *call) autoScalingGroup() (*asgGroup, error) {
	name := c.in.text("AutoScalingGroupName")
	g := c.asg.groups[name]
	if g == nil {
		return nil, invalid("AutoScalingGroup name not found - AutoScalingGroup '%s' not found", name)
	}
	return g, nil
}

// cut is a list of Auto Scaling, in pages.
func (c *call) cut(name string, list []any) (object, error) {
	part, next, err := c.page(list, "NextToken", "MaxRecords")
	if err != nil {
		return nil, err
	}
	out := object{name: append([]any{}, part...)}
	set(out, "NextToken", next)
	return out, nil
}

func describeGroups(c *call) (object, error) {
	names := c.in.texts("AutoScalingGroupNames")
	filters := map[string][]string{}
	for _, f := range c.in.objects("Filters") {
		filters[f.text("Name")] = f.texts("Values")
	}
	var list []any
	for _, name := range sorted(c.asg.groups) {
		g := c.asg.groups[name]
		if len(names) > 0 && !slices.Contains(names, name) || !g.fits(filters) {
			continue
		}
		var instances []any
		for _, id := range g.instances {
			i := c.ec2.records[id]
			state := "Pending"
			if i.state() == "running" {
				state = "InService"
			}
			instances = append(instances, g.instanceView(i, state))
		}
		if g.own != nil {
			for _, id := range g.own.waiting {
				instances = append(instances, g.instanceView(c.ec2.records[id], "Terminating:Wait"))
			}
		}
		var zones []any
		for _, s := range g.subnets {
			zones = append(zones, c.ec2.records[s].text("availabilityZone"))
		}
		o := object{
			"AutoScalingGroupName": name, "AutoScalingGroupARN": g.arn, "MinSize": g.min, "MaxSize": g.max, "DesiredCapacity": g.desired, "DefaultCooldown": 300, "HealthCheckType": "EC2",
			"AvailabilityZones": zones, "CreatedTime": stamp(g.created), "Instances": append([]any{}, instances...), "Tags": g.tagViews(), "TargetGroupARNs": anys(g.targets), "HealthCheckGracePeriod": 15,
		}
		for _, process := range g.suspended {
			o["SuspendedProcesses"] = append(listOf(o["SuspendedProcesses"]), object{"ProcessName": process, "SuspensionReason": "User suspended at " + stamp(g.created).Format(time.RFC3339)})
		}
		if g.own != nil {
			o["MixedInstancesPolicy"], o["CapacityRebalance"], o["VPCZoneIdentifier"] = g.own.policy, false, strings.Join(g.subnets, ",")
		}
		list = append(list, o)
	}
	return c.cut("AutoScalingGroups", list)
}

// fits holds a group against filters: tag-key, tag-value and tag:KEY.
func (g *asgGroup) fits(filters map[string][]string) bool {
	for name, values := range filters {
		found := false
		for key, t := range g.tags {
			found = found || name == "tag-key" && slices.Contains(values, key) || name == "tag-value" && slices.Contains(values, t.value) || name == "tag:"+key && slices.Contains(values, t.value)
		}
		if !found {
			return false
		}
	}
	return true
}

func (g *asgGroup) tagViews() []any {
	list := []any{}
	for _, key := range sorted(g.tags) {
		t := g.tags[key]
		list = append(list, object{"ResourceId": g.name, "ResourceType": "auto-scaling-group", "Key": key, "Value": t.value, "PropagateAtLaunch": t.propagate})
	}
	return list
}

func describeActivities(c *call) (object, error) {
	name := c.in.text("AutoScalingGroupName")
	c.in.ignore("IncludeDeletedGroups")
	var list []any
	for _, n := range sorted(c.asg.groups) {
		for _, o := range c.asg.groups[n].activities {
			if name == "" || name == n {
				list = append(list, o)
			}
		}
	}
	return c.cut("Activities", list)
}

func describeGroupTags(c *call) (object, error) {
	filters := map[string][]string{}
	for _, f := range c.in.objects("Filters") {
		filters[f.text("Name")] = f.texts("Values")
	}
	var list []any
	for _, name := range sorted(c.asg.groups) {
		for _, v := range c.asg.groups[name].tagViews() {
			t := v.(object)
			fits := true
			for filter, values := range filters {
				field, known := map[string]string{"auto-scaling-group": "ResourceId", "key": "Key", "value": "Value"}[filter]
				if !known {
					return nil, invalid("Filter type %s is not correct. Allowed Filter types are: auto-scaling-group key propagate-at-launch value", filter)
				}
				fits = fits && slices.Contains(values, textOf(t[field]))
			}
			if fits {
				list = append(list, t)
			}
		}
	}
	return c.cut("Tags", list)
}

func tagGroups(c *call) (object, error) {
	for _, t := range c.in.objects("Tags") {
		g := c.asg.groups[t.text("ResourceId")]
		if g == nil || t.text("ResourceType") != "auto-scaling-group" {
			return nil, invalid("AutoScalingGroup name not found - null")
		}
		g.tags[t.text("Key")] = asgTag{t.text("Value"), t.flag("PropagateAtLaunch")}
	}
	return nil, nil
}

func attachTargets(c *call) (object, error) {
	g, err := c.autoScalingGroup()
	if err != nil {
		return nil, err
	}
	for _, arn := range c.in.texts("TargetGroupARNs") {
		if c.elb.find("targetgroup", arn) == nil {
			return nil, invalid("Provided Target Groups may not be valid. Please ensure they exist and try again.")
		}
		if !slices.Contains(g.targets, arn) {
			g.targets = append(g.targets, arn)
			c.made["attachment"]++
		}
	}
	return nil, nil
}

func detachTargets(c *call) (object, error) {
	g, err := c.autoScalingGroup()
	if err != nil {
		return nil, err
	}
	gone := c.in.texts("TargetGroupARNs")
	g.targets = slices.DeleteFunc(g.targets, func(arn string) bool { return slices.Contains(gone, arn) })
	return nil, nil
}

func describeAttached(c *call) (object, error) {
	g, err := c.autoScalingGroup()
	if err != nil {
		return nil, err
	}
	var list []any
	for _, arn := range g.targets {
		list = append(list, object{"LoadBalancerTargetGroupARN": arn, "State": "InService"})
	}
	return c.cut("LoadBalancerTargetGroups", list)
}

func setDesired(c *call) (object, error) {
	g, err := c.autoScalingGroup()
	if err != nil {
		return nil, err
	}
	c.in.ignore("HonorCooldown")
	n, err := strconv.Atoi(c.in.text("DesiredCapacity"))
	if err != nil || n < g.min || n > g.max {
		return nil, invalid("New SetDesiredCapacity value %s is not between min value %d and max value %d for the AutoScalingGroup.", c.in.text("DesiredCapacity"), g.min, g.max)
	}
	c.scaleTo(g.name, n)
	return nil, nil
}
