package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/workload"
)

func (k *checker) zones(c *Config) {
	zones := c.AvailabilityZones
	switch {
	case len(zones) > 0 && c.OwnNetwork():
		k.add(workload.Violation{
			Path: "availability_zones", Code: CodeOneOrNone, Message: "must not be given together with subnets",
			Hint: "remove it: each subnet is in a zone", Related: []string{"subnets"},
		})
	case len(zones) == 1:
		k.add(workload.Violation{
			Path: "availability_zones", Code: CodeWrongNumber, Message: "must have two zones at least: EKS wants a cluster to survive the loss of one",
			Found: "1", Hint: "name another zone, or remove the key",
		})
	case len(zones) > maxZones:
		k.add(workload.Violation{Path: "availability_zones", Code: CodeTooMany, Message: "has too many zones", Found: strconv.Itoa(len(zones)), Allowed: fmt.Sprintf("at most %d", maxZones)})
	}
	k.once("availability_zones", zones)
	for i, z := range zones {
		k.zone(at("availability_zones", i), z, c.Region)
	}
}

// zone checks that a zone may be one of the region.
func (k *checker) zone(path, zone, region string) bool {
	if isZone(zone, region) {
		return true
	}
	k.add(workload.Violation{
		Path: path, Code: CodeInvalidZone, Message: "is not an availability zone of " + region, Found: found(zone),
		Allowed: "such as " + region + "a", Related: []string{"region"},
	})
	return false
}

// isZone reports whether a zone is called as the availability zones of a region are.
func isZone(zone, region string) bool {
	letter, ok := strings.CutPrefix(zone, region)
	return ok && len(letter) == 1 && letter[0] >= 'a' && letter[0] <= 'z'
}

func (k *checker) network(c *Config) {
	k.oneOf("subnet_visibility", c.SubnetVisibility, Public, Private)
	k.subnets(c)
	switch {
	case c.NATGateway != NATNone && c.NATGateway != NATSingle && c.NATGateway != NATHighlyAvailable:
		k.oneOf("nat_gateway", c.NATGateway, NATNone, NATSingle, NATHighlyAvailable)
	case c.OwnNetwork() && c.NATGateway != NATNone:
		k.add(workload.Violation{
			Path: "nat_gateway", Code: CodeNATWithSubnets, Message: "must be none where subnets are given: Cortex changes nothing in a network of yours",
			Found: c.NATGateway, Hint: "remove it", Related: []string{"subnets"},
		})
	case !c.OwnNetwork() && c.SubnetVisibility == Private && c.NATGateway == NATNone:
		k.add(workload.Violation{
			Path: "nat_gateway", Code: CodeNATRequired, Message: "must not be none where nodes are in private subnets: they could pull no image",
			Found: c.NATGateway, Allowed: NATSingle + ", " + NATHighlyAvailable, Related: []string{"subnet_visibility", "subnets"},
		})
	}
	if c.VPCCIDR != "" {
		k.vpc(c)
	}
}

func (k *checker) subnets(c *Config) {
	if c.Subnets == nil {
		return
	}
	if n := len(c.Subnets); n < 2 || n > maxZones {
		code, message := CodeTooFew, "must have two subnets at least, in different zones"
		if n > maxZones {
			code, message = CodeTooMany, "has too many subnets: one in each zone"
		}
		k.add(workload.Violation{Path: "subnets", Code: code, Message: message, Found: strconv.Itoa(n), Allowed: fmt.Sprintf("2 to %d", maxZones)})
	}
	zones, ids := map[string]bool{}, map[string]bool{}
	for i, s := range c.Subnets {
		path := at("subnets", i)
		if zones[s.AvailabilityZone] && s.AvailabilityZone != "" {
			k.add(workload.Violation{Path: path + ".availability_zone", Code: CodeZoneTwice, Message: "another subnet is in this zone", Found: found(s.AvailabilityZone), Hint: "name one subnet for each zone"})
		} else if k.zone(path+".availability_zone", s.AvailabilityZone, c.Region) {
			zones[s.AvailabilityZone] = true
		}
		if k.shape(path+".subnet_id", s.SubnetID, subnetShape, "the id of a subnet", "such as subnet-060f3961c876872ae") && ids[s.SubnetID] {
			k.add(workload.Violation{Path: path + ".subnet_id", Code: workload.CodeDuplicatedValue, Message: "is given twice", Found: s.SubnetID})
		}
		ids[s.SubnetID] = true
	}
}

func (k *checker) vpc(c *Config) {
	v := workload.Violation{Path: "vpc_cidr", Found: found(c.VPCCIDR), Code: workload.CodeInvalidString, Allowed: "such as " + defaultVPC}
	prefix, err := netip.ParsePrefix(c.VPCCIDR)
	switch {
	case c.OwnNetwork():
		v.Code, v.Message, v.Allowed, v.Related = CodeOneOrNone, "must not be given together with subnets", "", []string{"subnets"}
		v.Hint = "remove it: the network is there already"
	case err != nil || !prefix.Addr().Is4():
		v.Message = "is not a range of IPv4 addresses"
	case prefix.Bits() < 16 || prefix.Bits() > 24:
		v.Code, v.Message, v.Allowed = CodeSubnetMask, "has a size that is not possible", "/16 to /24"
	case prefix.Masked() != prefix:
		v.Message, v.Hint = "has bits set behind its mask", "write "+prefix.Masked().String()
	case !routable(prefix):
		v.Message = "is not a range of private addresses, which EKS wants"
		v.Allowed = "within 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"
	default:
		return
	}
	k.add(v)
}

// privateRanges are those that a VPC of a cluster may have.
var privateRanges = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"),
}

func routable(p netip.Prefix) bool {
	return slices.ContainsFunc(privateRanges, func(r netip.Prefix) bool { return r.Contains(p.Addr()) && r.Bits() <= p.Bits() })
}

var servicesIn172, servicesIn10 = netip.MustParsePrefix("172.20.0.0/16"), netip.MustParsePrefix("10.100.0.0/16")

// serviceRange returns the addresses of Services for a VPC, by the rule of EKS: not in
// the great range in which the VPC is.
func serviceRange(vpc netip.Prefix) netip.Prefix {
	if privateRanges[0].Overlaps(vpc) {
		return servicesIn172
	}
	return servicesIn10
}

func (k *checker) balancers(c *Config) {
	if c.APILoadBalancerType == BalancerELB {
		k.add(workload.Violation{
			Path: "api_load_balancer_type", Code: CodeNotPossible, Found: BalancerELB, Allowed: BalancerNLB,
			Message: "classic load balancers are not made: they pass neither HTTP/2 nor client addresses on", Hint: "remove the key to get a network load balancer",
		})
	} else {
		k.oneOf("api_load_balancer_type", c.APILoadBalancerType, BalancerNLB)
	}
	k.oneOf("api_load_balancer_scheme", c.APILoadBalancerScheme, InternetFacing, Internal)
	k.oneOf("operator_load_balancer_scheme", c.OperatorLoadBalancerScheme, InternetFacing, Internal)
	k.cidrs("api_load_balancer_cidr_white_list", c.APICIDRs)
	k.cidrs("operator_load_balancer_cidr_white_list", c.OperatorCIDRs)
	if arn := c.SSLCertificateARN; arn != "" && k.shape("ssl_certificate_arn", arn, certificateShape, "the ARN of a certificate of AWS Certificate Manager",
		"such as arn:aws:acm:us-west-2:123456789012:certificate/8d1f…") {
		if parts := strings.Split(arn, ":"); parts[1] != PartitionOf(c.Region) || parts[3] != c.Region {
			k.add(workload.Violation{
				Path: "ssl_certificate_arn", Code: CodeCertificateNotFound, Message: "is a certificate of another region; a load balancer takes those of " + c.Region + " only",
				Found: parts[3], Related: []string{"region"},
			})
		}
	}
}

func (k *checker) cidrs(path string, list []string) {
	switch {
	case list == nil:
		return
	case len(list) == 0:
		k.add(workload.Violation{
			Path: path, Code: workload.CodeCannotBeEmpty, Message: "must not be an empty list: nobody could tell whether it lets everybody in or nobody",
			Hint: "remove the key to let everybody in",
		})
	case len(list) > maxCIDRs:
		k.add(workload.Violation{Path: path, Code: CodeTooMany, Message: "has too many ranges", Found: strconv.Itoa(len(list)), Allowed: fmt.Sprintf("at most %d", maxCIDRs)})
		return
	}
	seen := map[netip.Prefix]bool{}
	for i, text := range list {
		p, err := netip.ParsePrefix(text)
		v := workload.Violation{Path: at(path, i), Found: found(text)}
		switch {
		case err != nil:
			v.Code, v.Message, v.Allowed = workload.CodeInvalidString, "is not a range of addresses", "such as 203.0.113.0/24"
			if a, err := netip.ParseAddr(text); err == nil {
				v.Hint = fmt.Sprintf("write %s/%d for one address", a, a.BitLen())
			}
		case seen[p.Masked()]:
			v.Code, v.Message = workload.CodeDuplicatedValue, "is given twice"
		default:
			seen[p.Masked()] = true
			continue
		}
		k.add(v)
	}
}
