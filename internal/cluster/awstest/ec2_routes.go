package awstest

import (
	"net/netip"
	"slices"
)

func createRouteTable(c *call) (object, error) {
	vpc, err := c.find("vpc", "VpcId")
	if err != nil {
		return nil, err
	}
	tags, err := c.newTags("route-table")
	if err != nil {
		return nil, err
	}
	t := c.add("route-table", object{
		"vpcId": vpc.id, "ownerId": c.id, "associationSet": []any{}, "propagatingVgwSet": []any{},
		"routeSet": []any{localRoute(netip.MustParsePrefix(vpc.text("cidrBlock")))},
	}, tags)
	c.made["route-table"]++
	return object{"routeTable": t.data}, nil
}

func deleteRouteTable(c *call) (object, error) {
	t, err := c.find("route-table", "RouteTableId")
	if err != nil {
		return nil, err
	}
	if len(t.list("associationSet")) > 0 || len(c.where("vpc-endpoint", "routeTableIdSet", t.id)) > 0 {
		return nil, inUse("routeTable", t.id)
	}
	c.drop(t)
	return object{"return": true}, nil
}

func createRoute(c *call) (object, error) {
	t, err := c.find("route-table", "RouteTableId")
	if err != nil {
		return nil, err
	}
	cidr, err := netip.ParsePrefix(c.in.text("DestinationCidrBlock"))
	if err != nil {
		return nil, refuse("InvalidParameterValue", "Value (%s) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block.", c.in.text("DestinationCidrBlock"))
	}
	if slices.Contains(valuesAt(t.data, []string{"routeSet", "destinationCidrBlock"}), cidr.String()) {
		return nil, refuse("RouteAlreadyExists", "The route identified by %s already exists.", cidr)
	}
	route := object{"destinationCidrBlock": cidr.String(), "state": "active", "origin": "CreateRoute"}
	switch {
	case c.in.has("GatewayId"):
		g, err := c.find("internet-gateway", "GatewayId")
		if err != nil {
			return nil, err
		}
		if !slices.Contains(valuesAt(g.data, []string{"attachmentSet", "vpcId"}), t.text("vpcId")) {
			return nil, refuse("InvalidParameterValue", "route table %s and network gateway %s belong to different networks", t.id, g.id)
		}
		route["gatewayId"] = g.id
	case c.in.has("NatGatewayId"):
		n, err := c.find("natgateway", "NatGatewayId")
		if err != nil {
			return nil, err
		}
		route["natGatewayId"] = n.id
	default:
		return nil, refuse("MissingParameter", "The request must contain exactly one of gatewayId, natGatewayId")
	}
	t.data["routeSet"] = append(t.list("routeSet"), route)
	c.made["route"]++
	return object{"return": true}, nil
}

func deleteRoute(c *call) (object, error) {
	t, err := c.find("route-table", "RouteTableId")
	if err != nil {
		return nil, err
	}
	cidr := c.in.text("DestinationCidrBlock")
	if !slices.Contains(valuesAt(t.data, []string{"routeSet", "destinationCidrBlock"}), cidr) {
		return nil, refuse("InvalidRoute.NotFound", "no route with destination-cidr-block %s in route table %s", cidr, t.id)
	}
	t.without("routeSet", "destinationCidrBlock", cidr)
	return object{"return": true}, nil
}

func associateRouteTable(c *call) (object, error) {
	t, err := c.find("route-table", "RouteTableId")
	if err != nil {
		return nil, err
	}
	subnet, err := c.find("subnet", "SubnetId")
	if err != nil {
		return nil, err
	}
	if len(c.where("route-table", "associationSet.subnetId", subnet.id)) > 0 {
		return nil, refuse("Resource.AlreadyAssociated", "the specified association for route table %s conflicts with an existing association", t.id)
	}
	id := c.newID("rtbassoc")
	t.data["associationSet"] = append(t.list("associationSet"), object{
		"routeTableAssociationId": id, "routeTableId": t.id, "subnetId": subnet.id, "main": false, "associationState": object{"state": "associated"},
	})
	return object{"associationId": id, "associationState": object{"state": "associated"}}, nil
}

func disassociateRouteTable(c *call) (object, error) {
	id := c.in.text("AssociationId")
	tables := c.where("route-table", "associationSet.routeTableAssociationId", id)
	if len(tables) == 0 {
		return nil, refuse("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", id)
	}
	tables[0].without("associationSet", "routeTableAssociationId", id)
	return object{"return": true}, nil
}

// routesOf is the route table of a subnet: its own, or the main one of its VPC.
func (a *Account) routesOf(subnet *record) *record {
	if own := a.where("route-table", "associationSet.subnetId", subnet.id); len(own) > 0 {
		return own[0]
	}
	for _, t := range a.where("route-table", "vpcId", subnet.text("vpcId")) {
		if slices.Contains(valuesAt(t.data, []string{"associationSet", "main"}), "true") {
			return t
		}
	}
	return nil
}

// wayOut says how a subnet gets out: igw, nat or "".
func (a *Account) wayOut(subnet *record) string {
	for _, v := range a.routesOf(subnet).list("routeSet") {
		route := v.(object)
		if route["destinationCidrBlock"] != "0.0.0.0/0" {
			continue
		}
		if route["gatewayId"] != nil {
			return "igw"
		}
		// A NAT gateway routes only where its own subnet has a way out.
		if nat := a.ec2.records[textOf(route["natGatewayId"])]; nat != nil && nat.text("state") == "available" {
			if home := a.ec2.records[nat.text("subnetId")]; home != nil && a.wayOut(home) == "igw" {
				return "nat"
			}
		}
	}
	return ""
}

func createNatGateway(c *call) (object, error) {
	subnet, err := c.find("subnet", "SubnetId")
	if err != nil {
		return nil, err
	}
	address, err := c.find("elastic-ip", "AllocationId")
	if err != nil {
		return nil, err
	}
	if address.text("associationId") != "" {
		return nil, refuse("Resource.AlreadyAssociated", "resource %s is already associated with associate-id %s", address.id, address.text("associationId"))
	}
	c.in.ignore("ClientToken")
	if kind := c.in.or("ConnectivityType", "public"); kind != "public" {
		return nil, notSimulated("NAT gateways that are %s", kind)
	}
	tags, err := c.newTags("natgateway")
	if err != nil {
		return nil, err
	}
	nat := c.add("natgateway", object{
		"vpcId": subnet.text("vpcId"), "subnetId": subnet.id, "state": "pending", "createTime": stamp(c.clock.now), "connectivityType": "public",
	}, tags)
	eni := c.newInterface(subnet, "Interface for NAT Gateway "+nat.id, "nat_gateway", nil)
	eni.data["requesterManaged"] = true
	address.data["associationId"] = c.newID("eipassoc")
	address.data["networkInterfaceId"] = eni.id
	eni.data["association"] = object{"publicIp": address.text("publicIp"), "allocationId": address.id, "ipOwnerId": c.id}
	nat.data["natGatewayAddressSet"] = []any{object{
		"allocationId": address.id, "networkInterfaceId": eni.id, "publicIp": address.text("publicIp"), "privateIp": eni.text("privateIpAddress"), "isPrimary": true, "status": "succeeded",
	}}
	c.clock.after(natTakes, func() {
		if nat.text("state") == "pending" {
			nat.data["state"] = "available"
		}
	})
	c.made["natgateway"]++
	return object{"natGateway": nat.data}, nil
}

func deleteNatGateway(c *call) (object, error) {
	nat, err := c.find("natgateway", "NatGatewayId")
	if err != nil {
		return nil, err
	}
	if nat.text("state") == "deleted" || nat.text("state") == "deleting" {
		return object{"natGatewayId": nat.id}, nil
	}
	nat.data["state"] = "deleting"
	c.clock.after(natGoneTakes, func() {
		nat.data["state"] = "deleted"
		nat.data["deleteTime"] = stamp(c.clock.now)
		c.dropInterface(valuesAt(nat.data, []string{"natGatewayAddressSet", "networkInterfaceId"})[0])
		c.clock.after(natShown, func() { c.drop(nat) })
	})
	return object{"natGatewayId": nat.id}, nil
}
