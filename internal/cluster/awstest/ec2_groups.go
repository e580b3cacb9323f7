package awstest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const quotaGroupRules = "L-0EA8095F"

func (a *Account) newGroup(name, description, vpc string, tags map[string]string) *record {
	g := a.add("security-group", object{
		"groupName": name, "groupDescription": description, "vpcId": vpc, "ownerId": a.id, "ipPermissions": []any{},
		"ipPermissionsEgress": []any{object{"ipProtocol": "-1", "ipRanges": []any{object{"cidrIp": "0.0.0.0/0"}}, "ipv6Ranges": []any{}, "groups": []any{}, "prefixListIds": []any{}}},
	}, tags)
	g.data["securityGroupArn"] = a.arn("ec2", "security-group/"+g.id)
	return g
}

func createSecurityGroup(c *call) (object, error) {
	vpc, err := c.find("vpc", "VpcId")
	if err != nil {
		return nil, err
	}
	name, description := c.in.text("GroupName"), c.in.text("GroupDescription")
	for _, other := range c.where("security-group", "vpcId", vpc.id) {
		if other.text("groupName") == name {
			return nil, refuse("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", name, vpc.id)
		}
	}
	tags, err := c.newTags("security-group")
	if err != nil {
		return nil, err
	}
	g := c.newGroup(name, description, vpc.id, tags)
	c.made["security-group"]++
	return object{"return": true, "groupId": g.id, "securityGroupArn": g.data["securityGroupArn"], "tagSet": g.data["tagSet"]}, nil
}

func deleteSecurityGroup(c *call) (object, error) {
	g, err := c.find("security-group", "GroupId")
	if err != nil {
		return nil, err
	}
	if g.text("groupName") == "default" {
		return nil, refuse("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", g.id)
	}
	used := len(c.where("network-interface", "groupSet.groupId", g.id)) > 0
	for _, other := range c.where("security-group", "ipPermissions.groups.groupId", g.id) {
		used = used || other != g
	}
	if used {
		return nil, refuse("DependencyViolation", "resource %s has a dependent object", g.id)
	}
	c.drop(g)
	return object{"return": true, "groupId": g.id}, nil
}

// permission is one rule of a group: the way in for one source.
type permission struct {
	protocol, from, to string
	field, key, source string // such as ipRanges, cidrIp, 0.0.0.0/0
	description        string
}

func (p permission) data() object {
	o := object{"ipProtocol": p.protocol, "ipRanges": []any{}, "ipv6Ranges": []any{}, "groups": []any{}, "prefixListIds": []any{}}
	set(o, "fromPort", p.from)
	set(o, "toPort", p.to)
	source := object{p.key: p.source}
	set(source, "description", p.description)
	o[p.field] = []any{source}
	return o
}

// permissions are the rules that a request names.
func (c *call) permissions() ([]permission, error) {
	var all []permission
	for _, p := range c.in.objects("IpPermissions") {
		rule := permission{protocol: p.text("IpProtocol"), from: p.text("FromPort"), to: p.text("ToPort")}
		for _, kind := range []struct{ list, in, field, key string }{
			{"IpRanges", "CidrIp", "ipRanges", "cidrIp"}, {"Ipv6Ranges", "CidrIpv6", "ipv6Ranges", "cidrIpv6"}, {"Groups", "GroupId", "groups", "groupId"},
		} {
			for _, s := range p.objects(kind.list) {
				r := rule
				r.field, r.key, r.source, r.description = kind.field, kind.key, s.text(kind.in), s.text("Description")
				s.ignore("UserId")
				if kind.key != "groupId" {
					if _, err := netip.ParsePrefix(r.source); err != nil {
						return nil, refuse("InvalidParameterValue", "CIDR block %s is malformed", r.source)
					}
				} else if _, err := c.byID("security-group", r.source); err != nil {
					return nil, err
				}
				all = append(all, r)
			}
		}
	}
	return all, nil
}

func authorizeIngress(c *call) (object, error) {
	g, err := c.find("security-group", "GroupId")
	if err != nil {
		return nil, err
	}
	rules, err := c.permissions()
	if err != nil {
		return nil, err
	}
	have := g.list("ipPermissions")
	if len(have)+len(rules) > c.quota("vpc", quotaGroupRules) {
		return nil, refuse("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.")
	}
	for _, r := range rules {
		if slices.ContainsFunc(have, func(v any) bool { return sameRule(v, r) }) {
			return nil, refuse("InvalidPermission.Duplicate", "the specified rule \"peer: %s, %s, from port: %s, to port: %s, ALLOW\" already exists", r.source, strings.ToUpper(r.protocol), r.from, r.to)
		}
		have = append(slices.Clone(have), r.data())
		c.made["security-group-rule"]++
	}
	g.data["ipPermissions"] = have
	return object{"return": true, "securityGroupRuleSet": []any{object{"securityGroupRuleId": c.newID("sgr"), "groupId": g.id, "isEgress": false}}}, nil
}

func sameRule(v any, r permission) bool {
	return fmt.Sprint(stripped(v)) == fmt.Sprint(stripped(r.data()))
}

// stripped is a rule without its description, which is no part of what it is.
func stripped(v any) any {
	switch x := v.(type) {
	case object:
		o := object{}
		for k, each := range x {
			if k != "description" {
				o[k] = stripped(each)
			}
		}
		return o
	case []any:
		var list []any
		for _, each := range x {
			list = append(list, stripped(each))
		}
		return list
	}
	return v
}

func revokeIngress(c *call) (object, error) {
	g, err := c.find("security-group", "GroupId")
	if err != nil {
		return nil, err
	}
	rules, err := c.permissions()
	if err != nil {
		return nil, err
	}
	have := slices.Clone(g.list("ipPermissions"))
	for _, r := range rules {
		at := slices.IndexFunc(have, func(v any) bool { return sameRule(v, r) })
		if at < 0 {
			return nil, refuse("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
		}
		have = slices.Delete(have, at, at+1)
	}
	g.data["ipPermissions"] = have
	return object{"return": true}, nil
}

// newInterface makes a network interface in a subnet.
func (a *Account) newInterface(subnet *record, description, kind string, groups []string) *record {
	free := subnet.data["availableIpAddressCount"].(int)
	subnet.data["availableIpAddressCount"] = free - 1
	base := netip.MustParsePrefix(subnet.text("cidrBlock")).Addr().As4()
	ip := netip.AddrFrom4([4]byte{base[0], base[1], base[2] + byte(free>>8&0x0f), byte(4 + free%250)})
	var set []any
	for _, g := range groups {
		set = append(set, object{"groupId": g, "groupName": a.ec2.records[g].text("groupName")})
	}
	return a.add("network-interface", object{
		"subnetId": subnet.id, "vpcId": subnet.text("vpcId"), "availabilityZone": subnet.text("availabilityZone"), "description": description, "ownerId": a.id,
		"status": "in-use", "interfaceType": kind, "privateIpAddress": ip.String(), "requesterManaged": false, "groupSet": append([]any{}, set...), "sourceDestCheck": true,
	}, nil)
}

// dropInterface takes a network interface away: its address is free again.
func (a *Account) dropInterface(id string) {
	eni := a.ec2.records[id]
	if eni == nil {
		return
	}
	if subnet := a.ec2.records[eni.text("subnetId")]; subnet != nil {
		subnet.data["availableIpAddressCount"] = subnet.data["availableIpAddressCount"].(int) + 1
	}
	for _, e := range a.where("elastic-ip", "networkInterfaceId", id) {
		delete(e.data, "associationId")
		delete(e.data, "networkInterfaceId")
	}
	a.drop(eni)
}

func createInterface(c *call) (object, error) {
	subnet, err := c.find("subnet", "SubnetId")
	if err != nil {
		return nil, err
	}
	c.in.ignore("ClientToken")
	tags, err := c.newTags("network-interface")
	if err != nil {
		return nil, err
	}
	groups := c.in.texts("SecurityGroupId")
	for _, g := range groups {
		if _, err := c.byID("security-group", g); err != nil {
			return nil, err
		}
	}
	eni := c.newInterface(subnet, c.in.text("Description"), "interface", groups)
	eni.data["status"] = "available"
	eni.retag(tags)
	return object{"networkInterface": eni.data}, nil
}

func deleteInterface(c *call) (object, error) {
	eni, err := c.find("network-interface", "NetworkInterfaceId")
	if err != nil {
		return nil, err
	}
	if eni.text("status") != "available" {
		return nil, refuse("InvalidParameterValue", "Network interface '%s' is currently in use.", eni.id)
	}
	c.dropInterface(eni.id)
	return object{"return": true}, nil
}

func createEndpoint(c *call) (object, error) {
	vpc, err := c.find("vpc", "VpcId")
	if err != nil {
		return nil, err
	}
	name, kind := c.in.text("ServiceName"), c.in.or("VpcEndpointType", "Gateway")
	if want := "com.amazonaws." + c.region + ".s3"; name != want || kind != "Gateway" {
		return nil, refuse("InvalidServiceName", "The Vpc Endpoint Service '%s' does not exist", name)
	}
	tables := c.in.texts("RouteTableId")
	for _, id := range tables {
		if _, err := c.byID("route-table", id); err != nil {
			return nil, err
		}
	}
	tags, err := c.newTags("vpc-endpoint")
	if err != nil {
		return nil, err
	}
	e := c.add("vpc-endpoint", object{
		"vpcId": vpc.id, "serviceName": name, "vpcEndpointType": kind, "state": "available", "ownerId": c.id, "routeTableIdSet": anys(tables), "creationTimestamp": stamp(c.clock.now),
	}, tags)
	c.made["vpc-endpoint"]++
	return object{"vpcEndpoint": e.data}, nil
}

func deleteEndpoints(c *call) (object, error) {
	for _, id := range c.in.texts("VpcEndpointId") {
		e, err := c.byID("vpc-endpoint", id)
		if err != nil {
			return nil, err
		}
		c.drop(e)
	}
	return object{"unsuccessful": []any{}}, nil
}
