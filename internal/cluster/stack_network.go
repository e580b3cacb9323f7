package cluster

import (
	"net/netip"
	"strings"
)

// letterOf is what tells the resources of a zone apart: us-west-2a has A.
func letterOf(zone string) string { return strings.ToUpper(zone[len(zone)-1:]) }

// Tags by which controllers of load balancers find subnets, for Services of the user's.
const (
	tagPublicRole  = "kubernetes.io/role/elb"
	tagPrivateRole = "kubernetes.io/role/internal-elb"
)

// networkStack is a VPC with a subnet in each zone, or two where nodes are private.
func (b *builder) networkStack() *template {
	t := newTemplate("Cortex: network of cluster " + b.c.ClusterName)
	private := b.c.SubnetVisibility == Private
	t.resource("VPC", "AWS::EC2::VPC", object{"CidrBlock": b.vpcCIDR().String(), "EnableDnsSupport": true, "EnableDnsHostnames": true})
	t.resource("InternetGateway", "AWS::EC2::InternetGateway", nil)
	t.resource("GatewayAttachment", "AWS::EC2::VPCGatewayAttachment", object{"VpcId": ref("VPC"), "InternetGatewayId": ref("InternetGateway")})
	t.resource("PublicRoutes", "AWS::EC2::RouteTable", object{"VpcId": ref("VPC")})
	t.resource("PublicDefault", "AWS::EC2::Route", object{
		"RouteTableId": ref("PublicRoutes"), "DestinationCidrBlock": anywhere, "GatewayId": ref("InternetGateway"),
	}, "GatewayAttachment")

	ranges := split(b.vpcCIDR(), 2*len(b.zones))
	publicTags := map[string]string{tagPublicRole: "1"}
	if !private {
		publicTags[tagPrivateRole] = "1" // there are no others
	}
	var publics, privates []string
	tables := []string{"PublicRoutes"}
	for i, zone := range b.zones {
		z := letterOf(zone)
		subnet := "PublicSubnet" + z
		publics = append(publics, subnet)
		t.resource(subnet, "AWS::EC2::Subnet", object{
			"VpcId": ref("VPC"), "AvailabilityZone": zone, "CidrBlock": ranges[i].String(), "MapPublicIpOnLaunch": true, "Tags": tagList(publicTags),
		})
		t.resource("PublicAssociation"+z, "AWS::EC2::SubnetRouteTableAssociation", object{"SubnetId": ref(subnet), "RouteTableId": ref("PublicRoutes")})
		if !private {
			continue
		}
		subnet, table := "PrivateSubnet"+z, "PrivateRoutes"+z
		privates, tables = append(privates, subnet), append(tables, table)
		t.resource(subnet, "AWS::EC2::Subnet", object{
			"VpcId": ref("VPC"), "AvailabilityZone": zone, "CidrBlock": ranges[len(b.zones)+i].String(), "Tags": tagList(map[string]string{tagPrivateRole: "1"}),
		})
		t.resource(table, "AWS::EC2::RouteTable", object{"VpcId": ref("VPC")})
		t.resource("PrivateAssociation"+z, "AWS::EC2::SubnetRouteTableAssociation", object{"SubnetId": ref(subnet), "RouteTableId": ref(table)})
		t.resource("PrivateDefault"+z, "AWS::EC2::Route", object{
			"RouteTableId": ref(table), "DestinationCidrBlock": anywhere, "NatGatewayId": ref(b.natFor(z)),
		})
	}
	for _, zone := range b.natZones() {
		b.nat(t, letterOf(zone))
	}
	t.output("Vpc", ref("VPC"))
	t.output(outPublic, joined(refs(publics)))
	if private {
		t.output(outPrivate, joined(refs(privates)))
	}
	t.output("RouteTables", joined(refs(tables)))
	return t
}

const anywhere = "0.0.0.0/0"

// nat adds a NAT gateway. It can route only where its subnet has a way out, and an
// address can be given back only while the internet gateway is there: without these
// dependencies it is made too early, and a deletion gets stuck.
func (b *builder) nat(t *template, letter string) {
	name := b.natFor(letter)
	address := strings.Replace(name, "NatGateway", "NatAddress", 1)
	t.resource(address, "AWS::EC2::EIP", object{"Domain": "vpc"}, "GatewayAttachment")
	t.resource(name, "AWS::EC2::NatGateway", object{
		"AllocationId": attribute(address, "AllocationId"), "SubnetId": ref("PublicSubnet" + letter),
	}, "PublicAssociation"+letter, "PublicDefault")
}

// natFor is the NAT gateway of private subnets in a zone.
func (b *builder) natFor(letter string) string {
	if b.c.NATGateway == NATHighlyAvailable {
		return "NatGateway" + letter
	}
	return "NatGateway"
}

// natZones are the zones that have a NAT gateway.
func (b *builder) natZones() []string {
	switch {
	case b.c.SubnetVisibility != Private || b.c.OwnNetwork() || b.c.NATGateway == NATNone:
		return nil
	case b.c.NATGateway == NATHighlyAvailable:
		return b.zones
	}
	return b.zones[:1]
}

// endpointsStack keeps traffic to S3 away from the NAT gateways, for free. It is apart
// because the published minimum policy lacks what its handler may ask for.
func (b *builder) endpointsStack() *template {
	t := newTemplate("Cortex: S3 within the network of cluster " + b.c.ClusterName)
	t.parameter("Vpc", typeVPC)
	t.parameter("RouteTables", typeList)
	t.resource("S3", "AWS::EC2::VPCEndpoint", object{
		"VpcId": ref("Vpc"), "ServiceName": object{"Fn::Sub": "com.amazonaws.${AWS::Region}.s3"}, "VpcEndpointType": "Gateway", "RouteTableIds": ref("RouteTables"),
	})
	return t
}

// vpcCIDR is the range of a network that Cortex makes.
func (b *builder) vpcCIDR() netip.Prefix {
	return netip.MustParsePrefix(b.c.Range()) // Validate has read it
}

// split divides a range into at least 8 equal ones, at least n.
func split(p netip.Prefix, n int) []netip.Prefix {
	bits := 3
	for 1<<bits < n {
		bits++
	}
	base := p.Addr().As4()
	start := uint32(base[0])<<24 | uint32(base[1])<<16 | uint32(base[2])<<8 | uint32(base[3])
	size := uint32(1) << (32 - p.Bits() - bits)
	parts := make([]netip.Prefix, n)
	for i := range parts {
		a := start + uint32(i)*size
		parts[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), p.Bits()+bits)
	}
	return parts
}
