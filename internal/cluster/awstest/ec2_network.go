package awstest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Quotas that EC2 holds an account to, by their codes.
const (
	quotaVPCs      = "L-F678F1CE"
	quotaAddresses = "L-0263D0A3"
)

// What EC2 takes its time for.
const (
	natTakes     = 110 * time.Second
	natGoneTakes = 60 * time.Second
	natShown     = time.Hour // a deleted gateway is still listed
)

func createVpc(c *call) (object, error) {
	cidr, err := netip.ParsePrefix(c.in.text("CidrBlock"))
	if err != nil || cidr.Masked() != cidr || cidr.Bits() < 16 || cidr.Bits() > 28 {
		return nil, refuse("InvalidVpc.Range", "The CIDR '%s' is invalid.", c.in.text("CidrBlock"))
	}
	if tenancy := c.in.or("InstanceTenancy", "default"); tenancy != "default" {
		return nil, notSimulated("the tenancy %s", tenancy)
	}
	if len(c.all("vpc", nil)) >= c.quota("vpc", quotaVPCs) {
		return nil, refuse("VpcLimitExceeded", "The maximum number of VPCs has been reached.")
	}
	tags, err := c.newTags("vpc")
	if err != nil {
		return nil, err
	}
	vpc := c.add("vpc", object{
		"state": "available", "cidrBlock": cidr.String(), "dhcpOptionsId": "dopt-0a1b2c3d", "instanceTenancy": "default", "isDefault": false, "ownerId": c.id,
		"cidrBlockAssociationSet": []any{object{"cidrBlock": cidr.String(), "associationId": c.newID("vpc-cidr-assoc"), "cidrBlockState": object{"state": "associated"}}},
		"enableDnsSupport":        true, "enableDnsHostnames": false,
	}, tags)
	c.made["vpc"]++
	main := c.add("route-table", object{
		"vpcId": vpc.id, "ownerId": c.id, "routeSet": []any{localRoute(cidr)}, "propagatingVgwSet": []any{},
	}, nil)
	main.foreign = true
	main.data["associationSet"] = []any{object{
		"routeTableAssociationId": c.newID("rtbassoc"), "routeTableId": main.id, "main": true, "associationState": object{"state": "associated"},
	}}
	c.newGroup("default", "default VPC security group", vpc.id, nil).foreign = true
	return object{"vpc": without(vpc.data, vpcAttributes...)}, nil
}

// vpcAttributes are what only DescribeVpcAttribute tells.
var vpcAttributes = []string{"enableDnsSupport", "enableDnsHostnames"}

func localRoute(cidr netip.Prefix) object {
	return object{"destinationCidrBlock": cidr.String(), "gatewayId": "local", "state": "active", "origin": "CreateRouteTable"}
}

func modifyVpcAttribute(c *call) (object, error) {
	vpc, err := c.find("vpc", "VpcId")
	if err != nil {
		return nil, err
	}
	for parameter, field := range map[string]string{"EnableDnsSupport": "enableDnsSupport", "EnableDnsHostnames": "enableDnsHostnames"} {
		if c.in.has(parameter) {
			vpc.data[field] = c.in.object(parameter).flag("Value")
		}
	}
	return object{"return": true}, nil
}

func describeVpcAttribute(c *call) (object, error) {
	vpc, err := c.find("vpc", "VpcId")
	if err != nil {
		return nil, err
	}
	name := c.in.text("Attribute")
	return object{"vpcId": vpc.id, name: object{"value": vpc.data[name]}}, nil
}

// vpcHolders are the kinds that keep a VPC from being deleted.
var vpcHolders = []string{"subnet", "security-group", "route-table", "network-interface", "natgateway", "vpc-endpoint", "instance"}

func deleteVpc(c *call) (object, error) {
	vpc, err := c.find("vpc", "VpcId")
	if err != nil {
		return nil, err
	}
	for _, holder := range vpcHolders {
		for _, r := range c.where(holder, "vpcId", vpc.id) {
			if !r.foreign && !r.over() {
				return nil, inUse("vpc", vpc.id)
			}
		}
	}
	if len(c.where("internet-gateway", "attachmentSet.vpcId", vpc.id)) > 0 || len(c.peerings(vpc.id)) > 0 {
		return nil, inUse("vpc", vpc.id)
	}
	for _, holder := range vpcHolders {
		for _, r := range c.where(holder, "vpcId", vpc.id) {
			c.drop(r)
		}
	}
	c.drop(vpc)
	return object{"return": true}, nil
}

func (a *Account) peerings(vpc string) []*record {
	return a.all("vpc-peering-connection", func(r *record) bool {
		ends := append(valuesAt(r.data, []string{"requesterVpcInfo", "vpcId"}), valuesAt(r.data, []string{"accepterVpcInfo", "vpcId"})...)
		return !r.over() && slices.Contains(ends, vpc)
	})
}

func createPeering(c *call) (object, error) {
	from, err := c.find("vpc", "VpcId")
	if err != nil {
		return nil, err
	}
	to, err := c.find("vpc", "PeerVpcId")
	if err != nil {
		return nil, err
	}
	end := func(r *record) object {
		return object{"vpcId": r.id, "cidrBlock": r.text("cidrBlock"), "ownerId": c.id, "region": c.region}
	}
	p := c.add("vpc-peering-connection", object{
		"requesterVpcInfo": end(from), "accepterVpcInfo": end(to), "status": object{"code": "active", "message": "Active"},
	}, nil)
	return object{"vpcPeeringConnection": p.data}, nil
}

func deletePeering(c *call) (object, error) {
	p, err := c.find("vpc-peering-connection", "VpcPeeringConnectionId")
	if err != nil {
		return nil, err
	}
	p.data["status"] = object{"code": "deleted", "message": "Deleted by " + c.id}
	return object{"return": true}, nil
}

func createSubnet(c *call) (object, error) {
	vpc, err := c.find("vpc", "VpcId")
	if err != nil {
		return nil, err
	}
	cidr, err := netip.ParsePrefix(c.in.text("CidrBlock"))
	within := netip.MustParsePrefix(vpc.text("cidrBlock"))
	if err != nil || cidr.Masked() != cidr || cidr.Bits() < within.Bits() || cidr.Bits() > 28 || !within.Contains(cidr.Addr()) {
		return nil, refuse("InvalidSubnet.Range", "The CIDR '%s' is invalid.", c.in.text("CidrBlock"))
	}
	for _, other := range c.where("subnet", "vpcId", vpc.id) {
		if netip.MustParsePrefix(other.text("cidrBlock")).Overlaps(cidr) {
			return nil, refuse("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", cidr)
		}
	}
	z, ok := c.zone(c.in.or("AvailabilityZone", c.zones[0].name))
	if !ok {
		return nil, refuse("InvalidParameterValue", "Value (%s) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: %s.", c.in.text("AvailabilityZone"), c.zoneNames())
	}
	tags, err := c.newTags("subnet")
	if err != nil {
		return nil, err
	}
	subnet := c.add("subnet", object{
		"vpcId": vpc.id, "state": "available", "cidrBlock": cidr.String(), "availabilityZone": z.name, "availabilityZoneId": z.id, "ownerId": c.id,
		"availableIpAddressCount": 1<<(32-cidr.Bits()) - 5, "defaultForAz": false, "mapPublicIpOnLaunch": false, "assignIpv6AddressOnCreation": false,
		"ipv6CidrBlockAssociationSet": []any{},
	}, tags)
	subnet.data["subnetArn"] = c.arn("ec2", "subnet/"+subnet.id)
	c.made["subnet"]++
	return object{"subnet": subnet.data}, nil
}

func (a *Account) zoneNames() string {
	var names []string
	for _, z := range a.zones {
		names = append(names, z.name)
	}
	return strings.Join(names, ", ")
}

func modifySubnetAttribute(c *call) (object, error) {
	subnet, err := c.find("subnet", "SubnetId")
	if err != nil {
		return nil, err
	}
	if c.in.has("MapPublicIpOnLaunch") {
		subnet.data["mapPublicIpOnLaunch"] = c.in.object("MapPublicIpOnLaunch").flag("Value")
	}
	return object{"return": true}, nil
}

func deleteSubnet(c *call) (object, error) {
	subnet, err := c.find("subnet", "SubnetId")
	if err != nil {
		return nil, err
	}
	if len(c.where("network-interface", "subnetId", subnet.id)) > 0 {
		return nil, inUse("subnet", subnet.id)
	}
	for _, table := range c.where("route-table", "associationSet.subnetId", subnet.id) {
		table.without("associationSet", "subnetId", subnet.id)
	}
	c.drop(subnet)
	return object{"return": true}, nil
}

// without takes the elements out of a list that have a value.
func (r *record) without(list, field, value string) {
	r.data[list] = slices.DeleteFunc(slices.Clone(r.list(list)), func(v any) bool { return v.(object)[field] == value })
}

func createInternetGateway(c *call) (object, error) {
	tags, err := c.newTags("internet-gateway")
	if err != nil {
		return nil, err
	}
	g := c.add("internet-gateway", object{"attachmentSet": []any{}, "ownerId": c.id}, tags)
	c.made["internet-gateway"]++
	return object{"internetGateway": g.data}, nil
}

func attachInternetGateway(c *call) (object, error) {
	g, err := c.find("internet-gateway", "InternetGatewayId")
	if err != nil {
		return nil, err
	}
	vpc, err := c.find("vpc", "VpcId")
	if err != nil {
		return nil, err
	}
	if len(g.list("attachmentSet")) > 0 || len(c.where("internet-gateway", "attachmentSet.vpcId", vpc.id)) > 0 {
		return nil, refuse("Resource.AlreadyAssociated", "resource %s is already attached to network %s", g.id, vpc.id)
	}
	g.data["attachmentSet"] = []any{object{"vpcId": vpc.id, "state": "available"}}
	return object{"return": true}, nil
}

func detachInternetGateway(c *call) (object, error) {
	g, err := c.find("internet-gateway", "InternetGatewayId")
	if err != nil {
		return nil, err
	}
	vpc := c.in.text("VpcId")
	if !slices.Contains(valuesAt(g.data, []string{"attachmentSet", "vpcId"}), vpc) {
		return nil, refuse("Gateway.NotAttached", "resource %s is not attached to network %s", g.id, vpc)
	}
	mapped := c.all("network-interface", func(r *record) bool { return r.text("vpcId") == vpc && r.data["association"] != nil })
	if len(mapped) > 0 {
		return nil, refuse("DependencyViolation", "Network %s has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.", vpc)
	}
	g.data["attachmentSet"] = []any{}
	return object{"return": true}, nil
}

func deleteInternetGateway(c *call) (object, error) {
	g, err := c.find("internet-gateway", "InternetGatewayId")
	if err != nil {
		return nil, err
	}
	if len(g.list("attachmentSet")) > 0 {
		return nil, inUse("internetGateway", g.id)
	}
	c.drop(g)
	return object{"return": true}, nil
}

func allocateAddress(c *call) (object, error) {
	c.in.ignore("Domain")
	if len(c.all("elastic-ip", nil)) >= c.quota("ec2", quotaAddresses) {
		return nil, refuse("AddressLimitExceeded", "The maximum number of addresses has been reached.")
	}
	tags, err := c.newTags("elastic-ip")
	if err != nil {
		return nil, err
	}
	e := c.add("elastic-ip", object{"publicIp": c.publicAddress(), "domain": "vpc", "publicIpv4Pool": "amazon", "networkBorderGroup": c.region}, tags)
	c.made["elastic-ip"]++
	return object{"publicIp": e.text("publicIp"), "allocationId": e.id, "domain": "vpc", "publicIpv4Pool": "amazon", "networkBorderGroup": c.region}, nil
}

// publicAddress is an address of those that are reserved for documentation.
func (a *Account) publicAddress() string {
	return fmt.Sprintf("198.51.%d.%d", 100, 1+a.random.IntN(254))
}

func releaseAddress(c *call) (object, error) {
	e, err := c.find("elastic-ip", "AllocationId")
	if err != nil {
		return nil, err
	}
	if e.text("associationId") != "" {
		return nil, refuse("InvalidIPAddress.InUse", "Address %s is in use.", e.text("publicIp"))
	}
	c.drop(e)
	return object{"return": true}, nil
}
