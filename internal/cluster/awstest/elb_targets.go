package awstest

import (
	"slices"
	"strings"
	"time"
)

func createTargetGroup(c *call) (object, error) {
	name := c.in.text("Name")
	vpc, err := c.byID("vpc", c.in.text("VpcId"))
	if err != nil {
		return nil, invalid("The VPC ID '%s' is not found", c.in.text("VpcId"))
	}
	if len(name) > 32 || name == "" {
		return nil, invalid("Target group name '%s' cannot be longer than '32' characters", name)
	}
	id := c.letters(hexDigits, 16)
	g := &elbThing{kind: "targetgroup", arn: c.arn("elasticloadbalancing", "targetgroup/"+name+"/"+id), tags: c.in.tags("Tags"), created: c.clock.now, attributes: map[string]string{
		"preserve_client_ip.enabled": "true", "deregistration_delay.timeout_seconds": "300", "proxy_protocol_v2.enabled": "false", "deregistration_delay.connection_termination.enabled": "false",
	}}
	g.view = object{
		"TargetGroupArn": g.arn, "TargetGroupName": name, "Protocol": c.in.text("Protocol"), "Port": c.in.number("Port", 0), "VpcId": vpc.id, "TargetType": c.in.or("TargetType", "instance"),
		"HealthCheckProtocol": c.in.or("HealthCheckProtocol", "TCP"), "HealthCheckPort": "traffic-port", "HealthCheckEnabled": true, "HealthCheckIntervalSeconds": 30, "HealthCheckTimeoutSeconds": 10,
		"HealthyThresholdCount": 5, "UnhealthyThresholdCount": 2, "LoadBalancerArns": []any{}, "IpAddressType": "ipv4",
	}
	c.elb.things = append(c.elb.things, g)
	c.made["target-group"]++
	return object{"TargetGroups": []any{g.view}}, nil
}

func deleteTargetGroup(c *call) (object, error) {
	g := c.elb.find("targetgroup", c.in.text("TargetGroupArn"))
	if g == nil {
		return nil, nil
	}
	for _, l := range c.elb.of("listener") {
		if slices.Contains(valuesAt(l.view, []string{"DefaultActions", "TargetGroupArn"}), g.arn) {
			return nil, refuse("ResourceInUse", "Target group '%s' is currently in use by a listener or a rule", g.arn)
		}
	}
	for _, name := range sorted(c.asg.groups) {
		a := c.asg.groups[name]
		a.targets = slices.DeleteFunc(a.targets, func(arn string) bool { return arn == g.arn })
	}
	c.elb.drop(g)
	return nil, nil
}

// describeTargetHealth tells of the instances of the groups that the target group is
// attached to.
func describeTargetHealth(c *call) (object, error) {
	g, err := c.thing("targetgroup", "TargetGroupArn")
	if err != nil {
		return nil, err
	}
	c.in.ignore("Include")
	var list []any
	for _, name := range sorted(c.asg.groups) {
		group := c.asg.groups[name]
		if !slices.Contains(group.targets, g.arn) {
			continue
		}
		for _, id := range group.instances {
			health := object{"State": "initial", "Reason": "Elb.RegistrationInProgress", "Description": "Target registration is in progress"}
			linked, _ := g.view["LoadBalancerArns"].([]any)
			switch since := c.clock.now.Sub(c.ec2.records[id].data["launchTime"].(time.Time)); {
			case len(linked) == 0:
				health = object{"State": "unused", "Reason": "Target.NotInUse", "Description": "Target group is not configured to receive traffic from the load balancer"}
			case since <= instanceTakes+nodeJoins+targetTakes:
			case !c.o.Outside.answers(group.tags["eks:cluster-name"].value, g.port()):
				health = object{"State": "unhealthy", "Reason": "Target.FailedHealthChecks", "Description": "Health checks failed"}
			default:
				health = object{"State": "healthy"}
			}
			list = append(list, object{"Target": object{"Id": id, "Port": g.view["Port"]}, "HealthCheckPort": textOf(g.view["Port"]), "TargetHealth": health})
		}
	}
	return object{"TargetHealthDescriptions": append([]any{}, list...)}, nil
}

// listens checks what a listener is to do, and reads it.
func (c *call) listens(view object) error {
	if p := c.in.text("Protocol"); p != "" {
		view["Protocol"] = p
	}
	if p := c.in.number("Port", 0); p > 0 {
		view["Port"] = p
	}
	if c.in.has("Certificates") {
		var list []any
		for _, cert := range c.in.objects("Certificates") {
			arn := cert.text("CertificateArn")
			if o := c.acm.certificates[arn]; o == nil || o["Status"] != "ISSUED" {
				return refuse("CertificateNotFound", "Certificate ARN '%s' is not valid", arn)
			}
			list = append(list, object{"CertificateArn": arn})
		}
		view["Certificates"] = list
	}
	set(view, "SslPolicy", c.in.text("SslPolicy"))
	if view["Protocol"] == "TLS" && view["Certificates"] == nil {
		return refuse("ValidationError", "A certificate must be specified for TLS listeners")
	}
	if !c.in.has("DefaultActions") {
		return nil
	}
	var actions []any
	for _, a := range c.in.objects("DefaultActions") {
		g := c.elb.find("targetgroup", a.text("TargetGroupArn"))
		if g == nil {
			return refuse("TargetGroupNotFound", "One or more target groups not found")
		}
		actions = append(actions, object{"Type": a.text("Type"), "TargetGroupArn": g.arn, "Order": 1})
		g.unlink(textOf(view["LoadBalancerArn"]))
		list, _ := g.view["LoadBalancerArns"].([]any)
		g.view["LoadBalancerArns"] = append(list, view["LoadBalancerArn"])
	}
	view["DefaultActions"] = actions
	return nil
}

func createListener(c *call) (object, error) {
	b, err := c.thing("loadbalancer", "LoadBalancerArn")
	if err != nil {
		return nil, err
	}
	port := c.in.number("Port", 0)
	for _, other := range c.elb.of("listener") {
		if other.view["LoadBalancerArn"] == b.arn && other.view["Port"] == port {
			return nil, refuse("DuplicateListener", "A listener already exists on this port for this load balancer '%s'", b.arn)
		}
	}
	l := &elbThing{kind: "listener", tags: c.in.tags("Tags"), attributes: map[string]string{}, created: c.clock.now}
	l.arn = strings.Replace(b.arn, ":loadbalancer/", ":listener/", 1) + "/" + c.letters(hexDigits, 16)
	l.view = object{"ListenerArn": l.arn, "LoadBalancerArn": b.arn}
	if err := c.listens(l.view); err != nil {
		return nil, err
	}
	c.elb.things = append(c.elb.things, l)
	c.made["listener"]++
	return object{"Listeners": []any{l.view}}, nil
}

func modifyListener(c *call) (object, error) {
	l, err := c.thing("listener", "ListenerArn")
	if err != nil {
		return nil, err
	}
	if err := c.listens(l.view); err != nil {
		return nil, err
	}
	return object{"Listeners": []any{l.view}}, nil
}

func deleteListener(c *call) (object, error) {
	l, err := c.thing("listener", "ListenerArn")
	if err != nil {
		return nil, err
	}
	for _, arn := range valuesAt(l.view, []string{"DefaultActions", "TargetGroupArn"}) {
		if g := c.elb.find("targetgroup", arn); g != nil {
			g.unlink(textOf(l.view["LoadBalancerArn"]))
		}
	}
	c.elb.drop(l)
	return nil, nil
}
