package awstest

import "time"

// elbResources are the types of load balancing.
var elbResources = map[string]*resourceKind{
	"AWS::ElasticLoadBalancingV2::LoadBalancer": {create: makeBalancer, update: updateBalancer, remove: removeThing("DeleteLoadBalancer", "LoadBalancerArn"), ready: balancerReady, read: readThing},
	"AWS::ElasticLoadBalancingV2::TargetGroup":  {create: makeTargets, update: updateTargets, remove: removeThing("DeleteTargetGroup", "TargetGroupArn"), read: readThing, takes: 6 * time.Second},
	"AWS::ElasticLoadBalancingV2::Listener":     {create: makeListener, update: updateListener, remove: removeThing("DeleteListener", "ListenerArn"), read: readThing, takes: 3 * time.Second},
}

func removeThing(action, parameter string) func(h *handler) error {
	return func(h *handler) error { return h.try("elasticloadbalancing", action, object{parameter: h.r.physical}) }
}

// named gives what has no name one such as CloudFormation gives: at most 32 characters.
func (h *handler) named(in object) {
	if in["Name"] == nil {
		in["Name"] = h.stack.name[:min(len(h.stack.name), 6)] + "-" + h.r.logical[:min(len(h.r.logical), 6)] + "-" + h.letters(idLetters[:26], 12)
	}
}

func (h *handler) withTags(in object) object {
	set(in, "Tags", tagList(tagsOf(h.props), "Key", "Value"))
	return in
}

func (h *handler) retaggedELB(old object) error {
	now, was := tagsOf(h.props), tagsOf(old)
	var gone []any
	for k := range was {
		if _, ok := now[k]; !ok {
			gone = append(gone, k)
		}
	}
	arns := []any{h.r.physical}
	if len(gone) > 0 {
		if err := h.try("elasticloadbalancing", "RemoveTags", object{"ResourceArns": arns, "TagKeys": gone}); err != nil {
			return err
		}
	}
	if len(now) == 0 || mustJSON(now) == mustJSON(was) {
		return nil
	}
	return h.try("elasticloadbalancing", "AddTags", object{"ResourceArns": arns, "Tags": tagList(now, "Key", "Value")})
}

func makeBalancer(h *handler) (string, object, error) {
	in := h.withTags(h.some("Name", "Type", "Scheme", "Subnets", "SecurityGroups"))
	h.named(in)
	out, err := h.do("elasticloadbalancing", "CreateLoadBalancer", in)
	if err != nil {
		return "", nil, err
	}
	view := out["LoadBalancers"].([]any)[0].(object)
	h.r.physical = textOf(view["LoadBalancerArn"])
	attrs := object{"LoadBalancerArn": view["LoadBalancerArn"], "DNSName": view["DNSName"], "LoadBalancerName": view["LoadBalancerName"], "CanonicalHostedZoneID": view["CanonicalHostedZoneId"]}
	return h.r.physical, attrs, h.balancerAttributes(nil)
}

func (h *handler) balancerAttributes(old object) error {
	if h.props["LoadBalancerAttributes"] == nil || mustJSON(old["LoadBalancerAttributes"]) == mustJSON(h.props["LoadBalancerAttributes"]) {
		return nil
	}
	return h.try("elasticloadbalancing", "ModifyLoadBalancerAttributes", object{"LoadBalancerArn": h.r.physical, "Attributes": h.props["LoadBalancerAttributes"]})
}

func balancerReady(h *handler) (bool, error) {
	b := h.elb.find("loadbalancer", h.r.physical)
	return b != nil && b.view["State"].(object)["Code"] == "active", nil
}

func updateBalancer(h *handler, old object) error {
	if err := h.retaggedELB(old); err != nil {
		return err
	}
	for _, name := range []string{"Subnets", "SecurityGroups"} {
		if mustJSON(old[name]) != mustJSON(h.props[name]) {
			return notSimulated("changes of %s of load balancers", name)
		}
	}
	return h.balancerAttributes(old)
}

func makeTargets(h *handler) (string, object, error) {
	in := h.withTags(h.some("Name", "VpcId", "Protocol", "Port", "TargetType", "HealthCheckProtocol"))
	h.named(in)
	out, err := h.do("elasticloadbalancing", "CreateTargetGroup", in)
	if err != nil {
		return "", nil, err
	}
	view := out["TargetGroups"].([]any)[0].(object)
	h.r.physical = textOf(view["TargetGroupArn"])
	return h.r.physical, object{"TargetGroupArn": h.r.physical, "TargetGroupName": view["TargetGroupName"], "LoadBalancerArns": []any{}}, h.targetAttributes(nil)
}

func (h *handler) targetAttributes(old object) error {
	if h.props["TargetGroupAttributes"] == nil || mustJSON(old["TargetGroupAttributes"]) == mustJSON(h.props["TargetGroupAttributes"]) {
		return nil
	}
	return h.try("elasticloadbalancing", "ModifyTargetGroupAttributes", object{"TargetGroupArn": h.r.physical, "Attributes": h.props["TargetGroupAttributes"]})
}

func updateTargets(h *handler, old object) error {
	if err := h.retaggedELB(old); err != nil {
		return err
	}
	return h.targetAttributes(old)
}

func makeListener(h *handler) (string, object, error) {
	out, err := h.do("elasticloadbalancing", "CreateListener", h.some("LoadBalancerArn", "Port", "Protocol", "DefaultActions", "Certificates", "SslPolicy"))
	if err != nil {
		return "", nil, err
	}
	arn := textOf(out["Listeners"].([]any)[0].(object)["ListenerArn"])
	return arn, object{"ListenerArn": arn}, nil
}

func updateListener(h *handler, _ object) error {
	in := h.some("Port", "Protocol", "DefaultActions", "Certificates", "SslPolicy")
	in["ListenerArn"] = h.r.physical
	return h.try("elasticloadbalancing", "ModifyListener", in)
}

// readThing tells that something of load balancing is there, and what of it can be told.
func readThing(h *handler) object {
	t := h.elb.byARN(h.r.physical)
	if t == nil {
		return nil
	}
	now := object{}
	for _, name := range []string{"Port", "Protocol", "Scheme", "TargetType"} {
		set(now, name, t.view[name])
	}
	return now
}
