package awstest

import (
	"fmt"
	"strings"
	"time"
)

// spec are the tags of a resource as EC2 takes them.
func (h *handler) spec(kindName string) []any {
	list := tagList(tagsOf(h.props), "Key", "Value")
	if len(list) == 0 {
		return nil
	}
	return []any{object{"ResourceType": kindName, "Tag": list}}
}

// made makes a thing of EC2 whose answer has it under a name.
func (h *handler) made(action, kindName, under string, in object) (*record, error) {
	set(in, "TagSpecification", h.spec(kindName))
	out, err := h.do("ec2", action, in)
	if err != nil {
		return nil, err
	}
	if under != "" {
		out, _ = out[under].(object)
	}
	return h.ec2.records[textOf(out[kinds[kindName].idField()])], nil
}

// retagged brings tags of EC2 up to date.
func retagged(h *handler, old object) error {
	now := tagsOf(h.props)
	var gone []any
	for k := range tagsOf(old) {
		if _, ok := now[k]; !ok {
			gone = append(gone, object{"Key": k})
		}
	}
	if len(gone) > 0 {
		if err := h.try("ec2", "DeleteTags", object{"ResourceId": []any{h.r.physical}, "Tag": gone}); err != nil {
			return err
		}
	}
	if len(now) == 0 {
		return nil
	}
	return h.try("ec2", "CreateTags", object{"ResourceId": []any{h.r.physical}, "Tag": tagList(now, "Key", "Value")})
}

// remover deletes a thing of EC2 by its id.
func remover(action, parameter string) func(h *handler) error {
	return func(h *handler) error { return h.try("ec2", action, object{parameter: h.r.physical}) }
}

// networkResources are the types of networks.
var networkResources = map[string]*resourceKind{
	"AWS::EC2::VPC":                         {create: makeVPC, update: updateVPC, remove: remover("DeleteVpc", "VpcId"), read: readVPC, takes: 12 * time.Second},
	"AWS::EC2::Subnet":                      {create: makeSubnet, update: updateSubnet, remove: remover("DeleteSubnet", "SubnetId"), read: readSubnet, takes: 5 * time.Second},
	"AWS::EC2::InternetGateway":             {create: makeInternetGateway, update: retagged, remove: remover("DeleteInternetGateway", "InternetGatewayId"), takes: 16 * time.Second},
	"AWS::EC2::VPCGatewayAttachment":        {create: makeAttachment, remove: removeAttachment},
	"AWS::EC2::RouteTable":                  {create: makeRouteTable, update: retagged, remove: remover("DeleteRouteTable", "RouteTableId"), takes: 11 * time.Second},
	"AWS::EC2::Route":                       {create: makeRoute, update: updateRoute, remove: removeRoute},
	"AWS::EC2::SubnetRouteTableAssociation": {create: makeAssociation, remove: remover("DisassociateRouteTable", "AssociationId")},
	"AWS::EC2::EIP":                         {create: makeAddress, update: retaggedAddress, remove: removeAddress, takes: 15 * time.Second, ref: "PublicIp"},
	"AWS::EC2::NatGateway":                  {create: makeNat, update: retagged, remove: remover("DeleteNatGateway", "NatGatewayId"), ready: natIs("available"), gone: natIs("deleted")},
	"AWS::EC2::VPCEndpoint":                 {create: makeEndpoint, update: retagged, remove: removeEndpoint, takes: 8 * time.Second},
	"AWS::EC2::SecurityGroup":               {create: makeGroup, update: updateGroup, remove: remover("DeleteSecurityGroup", "GroupId"), read: readGroup, takes: 4 * time.Second},
	"AWS::EC2::SecurityGroupIngress":        {create: makeIngress, remove: removeIngress},
}

func makeVPC(h *handler) (string, object, error) {
	vpc, err := h.made("CreateVpc", "vpc", "vpc", h.some("CidrBlock", "InstanceTenancy"))
	if err != nil {
		return "", nil, err
	}
	h.r.physical = vpc.id
	attrs := object{"VpcId": vpc.id, "CidrBlock": vpc.text("cidrBlock")}
	for _, g := range h.where("security-group", "vpcId", vpc.id) {
		attrs["DefaultSecurityGroup"] = g.id
	}
	return vpc.id, attrs, updateVPC(h, nil)
}

func updateVPC(h *handler, old object) error {
	for _, name := range []string{"EnableDnsSupport", "EnableDnsHostnames"} {
		if v, ok := h.props[name]; ok && textOf(v) != textOf(old[name]) {
			if err := h.try("ec2", "ModifyVpcAttribute", object{"VpcId": h.r.physical, name: object{"Value": v}}); err != nil {
				return err
			}
		}
	}
	if old == nil {
		return nil
	}
	return retagged(h, old)
}

func readVPC(h *handler) object {
	vpc := h.ec2.records[h.r.physical]
	if vpc == nil {
		return nil
	}
	return object{"CidrBlock": vpc.data["cidrBlock"], "EnableDnsSupport": vpc.data["enableDnsSupport"], "EnableDnsHostnames": vpc.data["enableDnsHostnames"]}
}

func makeSubnet(h *handler) (string, object, error) {
	subnet, err := h.made("CreateSubnet", "subnet", "subnet", h.some("VpcId", "CidrBlock", "AvailabilityZone"))
	if err != nil {
		return "", nil, err
	}
	h.r.physical = subnet.id
	return subnet.id, object{"SubnetId": subnet.id}, updateSubnet(h, nil)
}

func updateSubnet(h *handler, old object) error {
	if v, was := h.text("MapPublicIpOnLaunch"), textOf(old["MapPublicIpOnLaunch"]); v != was && v+was != "false" {
		in := object{"SubnetId": h.r.physical, "MapPublicIpOnLaunch": object{"Value": v == "true"}}
		if err := h.try("ec2", "ModifySubnetAttribute", in); err != nil {
			return err
		}
	}
	if old == nil {
		return nil
	}
	return retagged(h, old)
}

func readSubnet(h *handler) object {
	subnet := h.ec2.records[h.r.physical]
	if subnet == nil {
		return nil
	}
	return object{"MapPublicIpOnLaunch": subnet.data["mapPublicIpOnLaunch"], "CidrBlock": subnet.data["cidrBlock"]}
}

func makeInternetGateway(h *handler) (string, object, error) {
	g, err := h.made("CreateInternetGateway", "internet-gateway", "internetGateway", object{})
	if err != nil {
		return "", nil, err
	}
	return g.id, object{"InternetGatewayId": g.id}, nil
}

func makeAttachment(h *handler) (string, object, error) {
	err := h.try("ec2", "AttachInternetGateway", h.some("InternetGatewayId", "VpcId"))
	return "IGW|" + h.text("VpcId"), object{"AttachmentType": "IGW"}, err
}

func removeAttachment(h *handler) error {
	err := h.try("ec2", "DetachInternetGateway", h.some("InternetGatewayId", "VpcId"))
	if codeOf(err) == "Gateway.NotAttached" {
		return nil
	}
	return err
}

func makeRouteTable(h *handler) (string, object, error) {
	t, err := h.made("CreateRouteTable", "route-table", "routeTable", h.some("VpcId"))
	if err != nil {
		return "", nil, err
	}
	return t.id, object{"RouteTableId": t.id}, nil
}

func makeRoute(h *handler) (string, object, error) {
	cidr := h.text("DestinationCidrBlock")
	err := h.try("ec2", "CreateRoute", h.some("RouteTableId", "DestinationCidrBlock", "GatewayId", "NatGatewayId"))
	return h.text("RouteTableId") + "|" + cidr, object{"CidrBlock": cidr}, err
}

// updateRoute points a route elsewhere.
func updateRoute(h *handler, _ object) error {
	if err := removeRoute(h); err != nil {
		return err
	}
	return h.try("ec2", "CreateRoute", h.some("RouteTableId", "DestinationCidrBlock", "GatewayId", "NatGatewayId"))
}

func removeRoute(h *handler) error {
	table, cidr, _ := strings.Cut(h.r.physical, "|")
	return h.try("ec2", "DeleteRoute", object{"RouteTableId": table, "DestinationCidrBlock": cidr})
}

func makeAssociation(h *handler) (string, object, error) {
	out, err := h.do("ec2", "AssociateRouteTable", h.some("RouteTableId", "SubnetId"))
	id := textOf(out["associationId"])
	return id, object{"Id": id}, err
}

func makeAddress(h *handler) (string, object, error) {
	in := h.some("Domain")
	set(in, "TagSpecification", h.spec("elastic-ip"))
	out, err := h.do("ec2", "AllocateAddress", in)
	if err != nil {
		return "", nil, err
	}
	ip := textOf(out["publicIp"])
	return ip, object{"PublicIp": ip, "AllocationId": out["allocationId"]}, nil
}

func retaggedAddress(h *handler, old object) error {
	g := *h.r
	g.physical = textOf(h.r.attrs["AllocationId"])
	other := *h
	other.r = &g
	return retagged(&other, old)
}

func removeAddress(h *handler) error {
	return h.try("ec2", "ReleaseAddress", object{"AllocationId": h.r.attrs["AllocationId"]})
}

func makeNat(h *handler) (string, object, error) {
	nat, err := h.made("CreateNatGateway", "natgateway", "natGateway", h.some("SubnetId", "AllocationId", "ConnectivityType"))
	if err != nil {
		return "", nil, err
	}
	return nat.id, object{"NatGatewayId": nat.id}, nil
}

func natIs(state string) func(h *handler) (bool, error) {
	return func(h *handler) (bool, error) {
		nat := h.ec2.records[h.r.physical]
		return nat == nil || nat.text("state") == state, nil
	}
}

func makeEndpoint(h *handler) (string, object, error) {
	in := h.some("VpcId", "ServiceName", "VpcEndpointType")
	set(in, "RouteTableId", h.props["RouteTableIds"])
	e, err := h.made("CreateVpcEndpoint", "vpc-endpoint", "vpcEndpoint", in)
	if err != nil {
		return "", nil, err
	}
	return e.id, object{"Id": e.id}, nil
}

func removeEndpoint(h *handler) error {
	return h.try("ec2", "DeleteVpcEndpoints", object{"VpcEndpointId": []any{h.r.physical}})
}

func makeGroup(h *handler) (string, object, error) {
	in := h.some("VpcId", "GroupName", "GroupDescription")
	if in["GroupName"] == nil {
		in["GroupName"] = h.stack.name + "-" + h.r.logical + "-" + h.letters(idLetters, 12)
	}
	g, err := h.made("CreateSecurityGroup", "security-group", "", in)
	if err != nil {
		return "", nil, err
	}
	h.r.physical = g.id
	return g.id, object{"GroupId": g.id, "Id": g.id}, h.rules("AuthorizeSecurityGroupIngress", missingRules(h.props, nil))
}

// missingRules are the rules of a that b has not.
func missingRules(a, b object) []any {
	var list []any
	have := map[string]bool{}
	there, _ := b["SecurityGroupIngress"].([]any)
	for _, r := range there {
		have[mustJSON(r)] = true
	}
	wanted, _ := a["SecurityGroupIngress"].([]any)
	for _, r := range wanted {
		if !have[mustJSON(r)] {
			list = append(list, r)
		}
	}
	return list
}

// rules authorizes or revokes rules of the group.
func (h *handler) rules(action string, list []any) error {
	var permissions []any
	for _, each := range list {
		permissions = append(permissions, ingress(each.(object)))
	}
	if len(permissions) == 0 {
		return nil
	}
	return h.try("ec2", action, object{"GroupId": h.r.physical, "IpPermissions": permissions})
}

// ingress is a rule of a template as EC2 takes it.
func ingress(o object) object {
	p := object{"IpProtocol": o["IpProtocol"]}
	set(p, "FromPort", textOf(o["FromPort"]))
	set(p, "ToPort", textOf(o["ToPort"]))
	for _, source := range []struct{ in, list, key string }{
		{"CidrIp", "IpRanges", "CidrIp"}, {"CidrIpv6", "Ipv6Ranges", "CidrIpv6"}, {"SourceSecurityGroupId", "Groups", "GroupId"},
	} {
		if v := textOf(o[source.in]); v != "" {
			entry := object{source.key: v}
			set(entry, "Description", textOf(o["Description"]))
			p[source.list] = []any{entry}
		}
	}
	return p
}

func updateGroup(h *handler, old object) error {
	if err := h.rules("RevokeSecurityGroupIngress", missingRules(old, h.props)); err != nil {
		return err
	}
	if err := h.rules("AuthorizeSecurityGroupIngress", missingRules(h.props, old)); err != nil {
		return err
	}
	return retagged(h, old)
}

// readGroup tells how many rules there are, by what they let in.
func readGroup(h *handler) object {
	g := h.ec2.records[h.r.physical]
	if g == nil {
		return nil
	}
	var list []any
	for _, v := range g.list("ipPermissions") {
		p := v.(object)
		rule := object{"IpProtocol": p["ipProtocol"]}
		set(rule, "FromPort", p["fromPort"])
		set(rule, "ToPort", p["toPort"])
		for _, source := range []struct{ list, key, name string }{
			{"ipRanges", "cidrIp", "CidrIp"}, {"ipv6Ranges", "cidrIpv6", "CidrIpv6"}, {"groups", "groupId", "SourceSecurityGroupId"},
		} {
			for _, s := range valuesAt(p, []string{source.list, source.key}) {
				rule[source.name] = s
			}
		}
		list = append(list, rule)
	}
	return object{"SecurityGroupIngress": append([]any{}, list...), "GroupDescription": g.data["groupDescription"]}
}

func makeIngress(h *handler) (string, object, error) {
	in := object{"GroupId": h.text("GroupId"), "IpPermissions": []any{ingress(h.props)}}
	err := h.try("ec2", "AuthorizeSecurityGroupIngress", in)
	id := fmt.Sprintf("%s|%s|%s|%s", h.text("GroupId"), h.text("IpProtocol"), h.text("FromPort"), h.text("ToPort"))
	return id, object{"Id": id}, err
}

func removeIngress(h *handler) error {
	return h.try("ec2", "RevokeSecurityGroupIngress", object{"GroupId": h.text("GroupId"), "IpPermissions": []any{ingress(h.props)}})
}
