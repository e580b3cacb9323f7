package awstest

import (
	"slices"
	"time"
)

// elbState is what Elastic Load Balancing knows, oldest first.
type elbState struct {
	things []*elbThing
}

// elbThing is a load balancer, a target group or a listener.
type elbThing struct {
	kind, arn  string
	view       object
	tags       map[string]string
	attributes map[string]string
	interfaces []string
	created    time.Time
}

// How long load balancers take.
const (
	balancerTakes     = 140 * time.Second
	balancerGoneTakes = 50 * time.Second // until its addresses are free
	targetTakes       = 30 * time.Second // until it is healthy
)

func (e *elbState) find(kind, arn string) *elbThing {
	for _, t := range e.things {
		if t.kind == kind && t.arn == arn {
			return t
		}
	}
	return nil
}

func (e *elbState) of(kind string) []*elbThing {
	return slices.DeleteFunc(slices.Clone(e.things), func(t *elbThing) bool { return t.kind != kind })
}

func (e *elbState) drop(t *elbThing) {
	e.things = slices.DeleteFunc(e.things, func(o *elbThing) bool { return o == t })
}

// notFoundCodes are the codes for what is not there.
var notFoundCodes = map[string]string{"loadbalancer": "LoadBalancerNotFound", "targetgroup": "TargetGroupNotFound", "listener": "ListenerNotFound"}

func (c *call) thing(kind, parameter string) (*elbThing, error) {
	t := c.elb.find(kind, c.in.text(parameter))
	if t == nil {
		return nil, refuse(notFoundCodes[kind], "One or more %ss not found", kind)
	}
	return t, nil
}

func onThing(kind, parameter string) func(c *call) []string {
	return func(c *call) []string {
		if arn := c.in.text(parameter); parameter != "" && arn != "" {
			return []string{arn}
		}
		return []string{c.arn("elasticloadbalancing", kind+"/*")}
	}
}

func onThings(c *call) []string { return c.in.texts("ResourceArns") }

var elbService = &service{
	name: "elasticloadbalancing", version: "2015-12-01", namespace: "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/", protocol: query{}, errors: wordsQuery,
	operations: []operation{
		{name: "CreateLoadBalancer", do: createBalancer, on: onThing("loadbalancer", "")},
		{name: "DescribeLoadBalancers", do: describeThings("loadbalancer", "LoadBalancerArns", "LoadBalancers")},
		{name: "ModifyLoadBalancerAttributes", do: setAttributes("loadbalancer", "LoadBalancerArn"), on: onThing("loadbalancer", "LoadBalancerArn")},
		{name: "DescribeLoadBalancerAttributes", do: getAttributes("loadbalancer", "LoadBalancerArn")},
		{name: "DeleteLoadBalancer", do: deleteBalancer, on: onThing("loadbalancer", "LoadBalancerArn")},
		{name: "CreateTargetGroup", do: createTargetGroup, on: onThing("targetgroup", "")},
		{name: "DescribeTargetGroups", do: describeThings("targetgroup", "TargetGroupArns", "TargetGroups")},
		{name: "ModifyTargetGroupAttributes", do: setAttributes("targetgroup", "TargetGroupArn"), on: onThing("targetgroup", "TargetGroupArn")},
		{name: "DescribeTargetGroupAttributes", do: getAttributes("targetgroup", "TargetGroupArn")},
		{name: "DeleteTargetGroup", do: deleteTargetGroup, on: onThing("targetgroup", "TargetGroupArn")},
		{name: "DescribeTargetHealth", do: describeTargetHealth},
		{name: "CreateListener", do: createListener, on: onThing("loadbalancer", "LoadBalancerArn")},
		{name: "DescribeListeners", do: describeThings("listener", "ListenerArns", "Listeners")},
		{name: "ModifyListener", do: modifyListener, on: onThing("listener", "ListenerArn")},
		{name: "DeleteListener", do: deleteListener, on: onThing("listener", "ListenerArn")},
		{name: "AddTags", do: addTags, on: onThings},
		{name: "RemoveTags", do: removeTags, on: onThings},
		{name: "DescribeTags", do: describeThingTags},
	},
}

func createBalancer(c *call) (object, error) {
	name, kind, scheme := c.in.text("Name"), c.in.or("Type", "application"), c.in.or("Scheme", "internet-facing")
	switch {
	case kind != "network":
		return nil, notSimulated("load balancers of the type %s", kind)
	case len(name) > 32 || name == "":
		return nil, invalid("Load balancer name '%s' cannot be longer than '32' characters", name)
	case scheme != "internal" && scheme != "internet-facing":
		return nil, invalid("Load balancer scheme '%s' must be one of 'internet-facing' or 'internal'", scheme)
	}
	for _, other := range c.elb.of("loadbalancer") {
		if other.view["LoadBalancerName"] == name {
			return nil, refuse("DuplicateLoadBalancerName", "A load balancer with the same name '%s' exists, but with different settings", name)
		}
	}
	if len(c.elb.of("loadbalancer")) >= c.quota("elasticloadbalancing", "L-69A177A2") {
		return nil, refuse("TooManyLoadBalancers", "The maximum number of load balancers has been reached")
	}
	groups := c.in.texts("SecurityGroups")
	for _, g := range groups {
		if _, err := c.byID("security-group", g); err != nil {
			return nil, refuse("InvalidSecurityGroup", "Security group '%s' does not exist", g)
		}
	}
	subnets, err := c.balancerSubnets(scheme)
	if err != nil {
		return nil, err
	}
	if err := c.linked("elasticloadbalancing.amazonaws.com"); err != nil {
		return nil, err
	}
	id := c.letters(hexDigits, 16)
	full := "net/" + name + "/" + id
	b := &elbThing{kind: "loadbalancer", arn: c.arn("elasticloadbalancing", "loadbalancer/"+full), tags: c.in.tags("Tags"), created: c.clock.now, attributes: map[string]string{
		"load_balancing.cross_zone.enabled": "false", "deletion_protection.enabled": "false", "access_logs.s3.enabled": "false",
	}}
	var zones []any
	for _, s := range subnets {
		zones = append(zones, object{"ZoneName": s.text("availabilityZone"), "SubnetId": s.id, "LoadBalancerAddresses": []any{}})
		eni := c.newInterface(s, "ELB "+full, "network_load_balancer", groups)
		eni.data["requesterManaged"], eni.data["requesterId"] = true, "amazon-elb"
		if scheme == "internet-facing" {
			eni.data["association"] = object{"publicIp": c.publicAddress(), "ipOwnerId": "amazon"}
		}
		b.interfaces = append(b.interfaces, eni.id)
	}
	b.view = object{
		"LoadBalancerArn": b.arn, "LoadBalancerName": name, "Type": "network", "Scheme": scheme, "State": object{"Code": "provisioning"}, "VpcId": subnets[0].text("vpcId"),
		"DNSName": name + "-" + id + ".elb." + c.region + "." + c.suffix, "CanonicalHostedZoneId": "Z18D5FSROUN65G", "CreatedTime": stamp(c.clock.now), "AvailabilityZones": zones,
		"SecurityGroups": anys(groups), "IpAddressType": "ipv4",
	}
	c.clock.after(balancerTakes, func() { b.view["State"] = object{"Code": "active"} })
	c.elb.things = append(c.elb.things, b)
	c.made["load-balancer"]++
	return object{"LoadBalancers": []any{b.view}}, nil
}

// balancerSubnets checks where a load balancer is to be.
func (c *call) balancerSubnets(scheme string) ([]*record, error) {
	var list []*record
	zones := map[string]bool{}
	for _, id := range c.in.texts("Subnets") {
		s, err := c.byID("subnet", id)
		if err != nil {
			return nil, refuse("SubnetNotFound", "The subnet ID '%s' does not exist", id)
		}
		zone := s.text("availabilityZone")
		switch {
		case zones[zone]:
			return nil, refuse("InvalidConfigurationRequest", "A load balancer cannot be attached to multiple subnets in the same Availability Zone")
		case scheme == "internet-facing" && len(c.where("internet-gateway", "attachmentSet.vpcId", s.text("vpcId"))) == 0:
			return nil, refuse("InvalidSubnet", "VPC %s has no internet gateway", s.text("vpcId"))
		case s.data["availableIpAddressCount"].(int) < 8:
			return nil, refuse("InvalidSubnet", "Not enough IP space available in %s. ELB requires at least 8 free IP addresses in each subnet.", s.id)
		}
		zones[zone] = true
		list = append(list, s)
	}
	if len(list) == 0 {
		return nil, invalid("At least one subnet must be specified")
	}
	return list, nil
}

// describeThings lists a kind, by ARNs, by names, or by the load balancer.
func describeThings(kind, arns, under string) func(c *call) (object, error) {
	return func(c *call) (object, error) {
		wanted, names, balancer := c.in.texts(arns), c.in.texts("Names"), c.in.text("LoadBalancerArn")
		for _, arn := range wanted {
			if c.elb.find(kind, arn) == nil {
				return nil, refuse(notFoundCodes[kind], "One or more %ss not found", kind)
			}
		}
		var list []any
		found := 0
		for _, t := range c.elb.of(kind) {
			name := textOf(t.view["LoadBalancerName"]) + textOf(t.view["TargetGroupName"])
			named := slices.Contains(names, name)
			ofBalancer := t.view["LoadBalancerArn"] == balancer || slices.Contains(valuesAt(t.view, []string{"LoadBalancerArns"}), balancer)
			if len(wanted) > 0 && !slices.Contains(wanted, t.arn) || len(names) > 0 && !named || balancer != "" && !ofBalancer {
				continue
			}
			found++
			list = append(list, t.view)
		}
		if len(names) > 0 && found == 0 {
			return nil, refuse(notFoundCodes[kind], "One or more %ss not found", kind)
		}
		part, next, err := c.page(list, "Marker", "PageSize")
		if err != nil {
			return nil, err
		}
		out := object{under: append([]any{}, part...)}
		set(out, "NextMarker", next)
		return out, nil
	}
}

func setAttributes(kind, parameter string) func(c *call) (object, error) {
	return func(c *call) (object, error) {
		t, err := c.thing(kind, parameter)
		if err != nil {
			return nil, err
		}
		for _, a := range c.in.objects("Attributes") {
			key := a.text("Key")
			if _, known := t.attributes[key]; !known {
				return nil, refuse("InvalidConfigurationRequest", "%s attribute key '%s' is not recognized", kind, key)
			}
			t.attributes[key] = a.text("Value")
		}
		return object{"Attributes": tagList(t.attributes, "Key", "Value")}, nil
	}
}

func getAttributes(kind, parameter string) func(c *call) (object, error) {
	return func(c *call) (object, error) {
		t, err := c.thing(kind, parameter)
		if err != nil {
			return nil, err
		}
		return object{"Attributes": tagList(t.attributes, "Key", "Value")}, nil
	}
}

func deleteBalancer(c *call) (object, error) {
	b := c.elb.find("loadbalancer", c.in.text("LoadBalancerArn"))
	if b == nil {
		return nil, nil // it is not said
	}
	if b.attributes["deletion_protection.enabled"] == "true" {
		return nil, refuse("OperationNotPermitted", "Load balancer '%s' cannot be deleted because deletion protection is enabled", b.arn)
	}
	for _, l := range c.elb.of("listener") {
		if l.view["LoadBalancerArn"] == b.arn {
			c.elb.drop(l)
		}
	}
	for _, g := range c.elb.of("targetgroup") {
		g.unlink(b.arn)
	}
	c.elb.drop(b)
	c.clock.after(balancerGoneTakes, func() {
		for _, id := range b.interfaces {
			c.dropInterface(id)
		}
	})
	return nil, nil
}

func (t *elbThing) unlink(balancer string) {
	list, _ := t.view["LoadBalancerArns"].([]any)
	t.view["LoadBalancerArns"] = slices.DeleteFunc(slices.Clone(list), func(v any) bool { return v == balancer })
}

// byARN finds anything of load balancing.
func (e *elbState) byARN(arn string) *elbThing {
	for _, t := range e.things {
		if t.arn == arn {
			return t
		}
	}
	return nil
}

func addTags(c *call) (object, error) {
	tags := c.in.tags("Tags")
	for _, arn := range c.in.texts("ResourceArns") {
		t := c.elb.byARN(arn)
		if t == nil {
			return nil, refuse("LoadBalancerNotFound", "Resource '%s' not found", arn)
		}
		for k, v := range tags {
			t.tags[k] = v
		}
	}
	return nil, nil
}

func removeTags(c *call) (object, error) {
	keys := c.in.texts("TagKeys")
	for _, arn := range c.in.texts("ResourceArns") {
		if t := c.elb.byARN(arn); t != nil {
			for _, k := range keys {
				delete(t.tags, k)
			}
		}
	}
	return nil, nil
}

func describeThingTags(c *call) (object, error) {
	list := []any{}
	arns := c.in.texts("ResourceArns")
	if len(arns) > 20 {
		return nil, invalid("The number of resource ARNs cannot be more than 20")
	}
	for _, arn := range arns {
		t := c.elb.byARN(arn)
		if t == nil {
			return nil, refuse("LoadBalancerNotFound", "Resource '%s' not found", arn)
		}
		list = append(list, object{"ResourceArn": arn, "Tags": tagList(t.tags, "Key", "Value")})
	}
	return object{"TagDescriptions": list}, nil
}
