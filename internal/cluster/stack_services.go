package cluster

import (
	"net/netip"
	"strconv"
)

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// Ports of the nodes on which the operator and the gateways listen.
const (
	operatorPort = 30443
	gatewayPort  = 30080
)

// balancer is a network load balancer in front of the system nodes.
type balancer struct {
	prefix, scheme string
	cidrs          []string
	nodePort       int
	listeners      []listener
}

type listener struct {
	port        int
	certificate string // with one, TLS ends at the balancer
}

func (b *builder) balancers() []balancer {
	apis := []listener{{port: 80}}
	if b.c.SSLCertificateARN != "" {
		apis = append(apis, listener{443, b.c.SSLCertificateARN})
	}
	return []balancer{
		// The operator shows a certificate of its own, which clients pin.
		{"Operator", b.c.OperatorLoadBalancerScheme, b.c.OperatorCIDRs, operatorPort, []listener{{port: 443}}},
		{"Apis", b.c.APILoadBalancerScheme, b.c.APICIDRs, gatewayPort, apis},
	}
}

// subnetsParameter is that of the subnets for a scheme.
func subnetsParameter(scheme string) string {
	if scheme == Internal {
		return "InternalSubnets"
	}
	return "PublicSubnets"
}

// servicesStack is DNS within the cluster and the ways into it. No program in the
// cluster makes a load balancer, so that none outlives it.
func (b *builder) servicesStack() *template {
	t := newTemplate("Cortex: DNS and load balancers of cluster " + b.c.ClusterName)
	t.parameter("Vpc", typeVPC)
	t.parameter("NodeGroup", typeGroup)
	dns := b.addon(addonAfterNodes)
	dns["ConfigurationValues"] = string(encode(object{
		"nodeSelector": object{labelSystem: "true"},
		"tolerations":  []any{object{"key": labelSystem, "operator": "Exists"}},
	}))
	t.resource("CoreDns", "AWS::EKS::Addon", dns)
	var targets []string
	for _, lb := range b.balancers() {
		t.parameter(subnetsParameter(lb.scheme), typeSubnets)
		b.balancer(t, lb)
		targets = append(targets, lb.prefix+"Targets")
		t.output(lb.prefix+"Host", attribute(lb.prefix+"Balancer", "DNSName"))
	}
	t.output("TargetGroups", joined(refs(targets)))
	return t
}

func (b *builder) balancer(t *template, lb balancer) {
	group, itself, targets := lb.prefix+"Group", lb.prefix+"Balancer", lb.prefix+"Targets"
	// A network load balancer without a security group from the beginning never gets one.
	t.resource(group, "AWS::EC2::SecurityGroup", object{
		"GroupDescription": "Cortex: who may reach the load balancer " + lb.prefix, "VpcId": ref("Vpc"), "SecurityGroupIngress": rules(lb),
	})
	t.resource(itself, "AWS::ElasticLoadBalancingV2::LoadBalancer", object{
		"Type": "network", "Scheme": lb.scheme, "Subnets": ref(subnetsParameter(lb.scheme)), "SecurityGroups": []any{ref(group)},
		"LoadBalancerAttributes": []any{attributePair("load_balancing.cross_zone.enabled", "true")},
	})
	// Inside a network a client may be on the very node that is its target; with its own
	// address kept the answer would never find its way back.
	keep := strconv.FormatBool(lb.scheme == InternetFacing)
	t.resource(targets, "AWS::ElasticLoadBalancingV2::TargetGroup", object{
		"VpcId": ref("Vpc"), "Protocol": "TCP", "Port": lb.nodePort, "TargetType": "instance", "HealthCheckProtocol": "TCP",
		"TargetGroupAttributes": []any{attributePair("preserve_client_ip.enabled", keep), attributePair("deregistration_delay.timeout_seconds", "60")},
	})
	for _, l := range lb.listeners {
		properties := object{
			"LoadBalancerArn": ref(itself), "Port": l.port, "Protocol": "TCP",
			"DefaultActions": []any{object{"Type": "forward", "TargetGroupArn": ref(targets)}},
		}
		if l.certificate != "" {
			properties["Protocol"] = "TLS"
			properties["Certificates"] = []any{object{"CertificateArn": l.certificate}}
			properties["SslPolicy"] = "ELBSecurityPolicy-TLS13-1-2-2021-06"
		}
		t.resource(lb.prefix+"Listener"+strconv.Itoa(l.port), "AWS::ElasticLoadBalancingV2::Listener", properties)
	}
	t.resource(lb.prefix+"ToNodes", "AWS::EC2::SecurityGroupIngress", object{
		"GroupId": ref("NodeGroup"), "IpProtocol": "tcp", "FromPort": lb.nodePort, "ToPort": lb.nodePort, "SourceSecurityGroupId": ref(group),
	})
}

func attributePair(key, value string) object { return object{"Key": key, "Value": value} }

// rules let the white list in, or everybody, on each port.
func rules(lb balancer) (all []any) {
	cidrs := lb.cidrs
	if len(cidrs) == 0 {
		cidrs = []string{anywhere}
	}
	for _, l := range lb.listeners {
		for _, text := range cidrs {
			rule := object{"IpProtocol": "tcp", "FromPort": l.port, "ToPort": l.port}
			p, err := netip.ParsePrefix(text)
			if err != nil {
				continue // Validate has refused it
			}
			if p.Addr().Is4() {
				rule["CidrIp"] = p.Masked().String()
			} else {
				rule["CidrIpv6"] = p.Masked().String()
			}
			all = append(all, rule)
		}
	}
	return all
}
