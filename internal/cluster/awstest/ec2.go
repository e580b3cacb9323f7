package awstest

import (
	"fmt"
	"slices"
	"strings"
)

// ec2State is what EC2 knows: records, in the order in which they were made.
type ec2State struct {
	records map[string]*record
	order   []string
}

// record is one thing of EC2, in the form in which EC2 shows it.
type record struct {
	kind, id string
	data     object
	foreign  bool // there without anybody's doing: a default of something else
}

func (r *record) text(name string) string { return textOf(r.data[name]) }

// over reports whether a thing is only remembered: nothing of it is there any more.
func (r *record) over() bool {
	switch r.kind {
	case "instance":
		return r.state() == "terminated"
	case "vpc-peering-connection":
		return r.data["status"].(object)["code"] == "deleted"
	}
	return r.text("state") == "deleted"
}

func (r *record) list(name string) []any {
	list, _ := r.data[name].([]any)
	return list
}

// kind is a kind of EC2's things: how it is called, and what lists of it can be asked for.
type kind struct {
	prefix  string // of ids; "" for what has another
	set     string // the list in answers
	ids     string // the parameter that names some
	unknown string // the code when there is none
	arn     string // in ARNs
	// filters are paths into the data.
	filters map[string]string
}

var kinds = map[string]kind{
	"vpc": {"vpc", "vpcSet", "VpcId", "InvalidVpcID.NotFound", "vpc", map[string]string{
		"vpc-id": "vpcId", "cidr": "cidrBlock", "state": "state", "is-default": "isDefault",
	}},
	"subnet": {"subnet", "subnetSet", "SubnetId", "InvalidSubnetID.NotFound", "subnet", map[string]string{
		"subnet-id": "subnetId", "vpc-id": "vpcId", "state": "state", "availability-zone": "availabilityZone", "cidr-block": "cidrBlock",
	}},
	"internet-gateway": {"igw", "internetGatewaySet", "InternetGatewayId", "InvalidInternetGatewayID.NotFound", "internet-gateway", map[string]string{
		"internet-gateway-id": "internetGatewayId", "attachment.vpc-id": "attachmentSet.vpcId",
	}},
	"route-table": {"rtb", "routeTableSet", "RouteTableId", "InvalidRouteTableID.NotFound", "route-table", map[string]string{
		"route-table-id": "routeTableId", "vpc-id": "vpcId", "association.subnet-id": "associationSet.subnetId", "association.main": "associationSet.main",
		"association.route-table-association-id": "associationSet.routeTableAssociationId", "route.gateway-id": "routeSet.gatewayId",
	}},
	"natgateway": {"nat", "natGatewaySet", "NatGatewayId", "NatGatewayNotFound", "natgateway", map[string]string{
		"nat-gateway-id": "natGatewayId", "vpc-id": "vpcId", "subnet-id": "subnetId", "state": "state",
	}},
	"elastic-ip": {"eipalloc", "addressesSet", "AllocationId", "InvalidAllocationID.NotFound", "elastic-ip", map[string]string{
		"allocation-id": "allocationId", "domain": "domain", "public-ip": "publicIp", "association-id": "associationId", "network-interface-id": "networkInterfaceId",
	}},
	"security-group": {"sg", "securityGroupInfo", "GroupId", "InvalidGroup.NotFound", "security-group", map[string]string{
		"group-id": "groupId", "vpc-id": "vpcId", "group-name": "groupName", "ip-permission.group-id": "ipPermissions.groups.groupId", "description": "groupDescription",
	}},
	"network-interface": {"eni", "networkInterfaceSet", "NetworkInterfaceId", "InvalidNetworkInterfaceID.NotFound", "network-interface", map[string]string{
		"network-interface-id": "networkInterfaceId", "vpc-id": "vpcId", "subnet-id": "subnetId", "status": "status", "description": "description",
		"group-id": "groupSet.groupId", "attachment.instance-id": "attachment.instanceId", "requester-id": "requesterId", "interface-type": "interfaceType",
	}},
	"vpc-endpoint": {"vpce", "vpcEndpointSet", "VpcEndpointId", "InvalidVpcEndpointId.NotFound", "vpc-endpoint", map[string]string{
		"vpc-id": "vpcId", "vpc-endpoint-id": "vpcEndpointId", "service-name": "serviceName", "vpc-endpoint-state": "state",
	}},
	"vpc-peering-connection": {"pcx", "vpcPeeringConnectionSet", "VpcPeeringConnectionId", "InvalidVpcPeeringConnectionID.NotFound", "vpc-peering-connection", map[string]string{
		"requester-vpc-info.vpc-id": "requesterVpcInfo.vpcId", "accepter-vpc-info.vpc-id": "accepterVpcInfo.vpcId", "status-code": "status.code",
	}},
	"launch-template": {"lt", "launchTemplates", "LaunchTemplateId", "InvalidLaunchTemplateId.NotFound", "launch-template", map[string]string{
		"launch-template-name": "launchTemplateName",
	}},
	"instance": {"i", "instancesSet", "InstanceId", "InvalidInstanceID.NotFound", "instance", map[string]string{
		"instance-id": "instanceId", "vpc-id": "vpcId", "subnet-id": "subnetId", "instance-state-name": "instanceState.name", "instance-type": "instanceType",
	}},
	"volume": {"vol", "volumeSet", "VolumeId", "InvalidVolume.NotFound", "volume", map[string]string{
		"volume-id": "volumeId", "status": "status", "attachment.instance-id": "attachmentSet.instanceId",
	}},
}

// idField is what a thing's own id is called: InternetGatewayId is internetGatewayId.
func (k kind) idField() string { return strings.ToLower(k.ids[:1]) + k.ids[1:] }

// add makes a thing. Its id is put into its data, its tags are those that the request asks for.
func (a *Account) add(kindName string, data object, tags map[string]string) *record {
	k := kinds[kindName]
	r := &record{kind: kindName, id: a.newID(k.prefix), data: data}
	data[k.idField()] = r.id
	data["tagSet"] = tagList(tags, "key", "value")
	a.ec2.records[r.id] = r
	a.ec2.order = append(a.ec2.order, r.id)
	return r
}

func (a *Account) drop(r *record) {
	delete(a.ec2.records, r.id)
	a.ec2.order = slices.DeleteFunc(a.ec2.order, func(id string) bool { return id == r.id })
}

// all are the things of a kind that a test holds for, oldest first.
func (a *Account) all(kindName string, holds func(r *record) bool) []*record {
	var list []*record
	for _, id := range a.ec2.order {
		if r := a.ec2.records[id]; r.kind == kindName && (holds == nil || holds(r)) {
			list = append(list, r)
		}
	}
	return list
}

// where are the things of a kind with a value at a path.
func (a *Account) where(kindName, path, value string) []*record {
	return a.all(kindName, func(r *record) bool { return slices.Contains(valuesAt(r.data, strings.Split(path, ".")), value) })
}

// find returns the thing that a parameter names.
func (c *call) find(kindName, parameter string) (*record, error) {
	return c.byID(kindName, c.in.text(parameter))
}

func (a *Account) byID(kindName, id string) (*record, error) {
	r := a.ec2.records[id]
	if r == nil || r.kind != kindName {
		return nil, refuse(kinds[kindName].unknown, "The %s ID '%s' does not exist", kinds[kindName].spoken(kindName), id)
	}
	return r, nil
}

// spoken is what a kind is called in messages.
func (k kind) spoken(name string) string {
	switch name {
	case "security-group", "subnet", "vpc":
		return strings.ReplaceAll(name, "-", " ")
	case "elastic-ip":
		return "allocation"
	case "route-table":
		return "routeTable"
	case "internet-gateway":
		return "internetGateway"
	case "network-interface":
		return "networkInterface"
	}
	return name
}

// valuesAt are the texts at a path, over all elements of lists on the way.
func valuesAt(v any, path []string) []string {
	switch x := v.(type) {
	case object:
		if len(path) > 0 {
			return valuesAt(x[path[0]], path[1:])
		}
	case []any:
		var all []string
		for _, each := range x {
			all = append(all, valuesAt(each, path)...)
		}
		return all
	case nil:
	default:
		if len(path) == 0 {
			return []string{textOf(x)}
		}
	}
	return nil
}

// describe is the operation that lists a kind: by ids and filters, in pages.
func describe(kindName string) func(c *call) (object, error) {
	return func(c *call) (object, error) {
		found, err := c.matching(kindName)
		if err != nil {
			return nil, err
		}
		var list []any
		for _, r := range found {
			list = append(list, without(r.data, vpcAttributes...))
		}
		return c.paged(kinds[kindName].set, list)
	}
}

// paged is a list of EC2, cut where the caller's token says.
func (c *call) paged(name string, list []any) (object, error) {
	part, next, err := c.page(list, "NextToken", "MaxResults")
	if err != nil {
		return nil, err
	}
	out := object{name: append([]any{}, part...)}
	set(out, "nextToken", next)
	return out, nil
}

// matching are the things that ids and filters of a request leave.
func (c *call) matching(kindName string) ([]*record, error) {
	k := kinds[kindName]
	ids := c.in.texts(k.ids)
	for _, id := range ids {
		if _, err := c.byID(kindName, id); err != nil {
			return nil, err
		}
	}
	filters, err := c.filters(k.filters)
	if err != nil {
		return nil, err
	}
	return c.all(kindName, func(r *record) bool {
		if len(ids) > 0 && !slices.Contains(ids, r.id) {
			return false
		}
		return allHold(filters, r.data)
	}), nil
}

// filter is a name and the values of which one has to match.
type filter struct {
	path   []string
	tag    string // the tag whose value it is
	values []string
}

func (c *call) filters(known map[string]string) ([]filter, error) {
	var all []filter
	for _, f := range slices.Concat(c.in.objects("Filter"), c.in.objects("Filters")) {
		name := f.text("Name")
		values := append(f.texts("Value"), f.texts("Values")...)
		path, ok := known[name]
		tag, isTag := strings.CutPrefix(name, "tag:")
		switch {
		case isTag:
			all = append(all, filter{tag: tag, values: values})
		case name == "tag-key":
			all = append(all, filter{path: []string{"tagSet", "key"}, values: values})
		case ok:
			all = append(all, filter{path: strings.Split(path, "."), values: values})
		default:
			return nil, refuse("InvalidParameterValue", "The filter '%s' is invalid", name)
		}
	}
	return all, nil
}

func allHold(filters []filter, data object) bool {
	return !slices.ContainsFunc(filters, func(f filter) bool { return !f.holds(data) })
}

func (f filter) holds(data object) bool {
	got := valuesAt(data, f.path)
	if f.path == nil {
		got = nil
		if v, ok := tagOf(data, f.tag); ok {
			got = []string{v}
		}
	}
	return slices.ContainsFunc(got, func(g string) bool { return anyLike(f.values, g, false) })
}

func tagOf(data object, key string) (string, bool) {
	list, _ := data["tagSet"].([]any)
	for _, t := range list {
		if tag := t.(object); tag["key"] == key {
			return textOf(tag["value"]), true
		}
	}
	return "", false
}

// newTags are the tags that a request asks for what it makes.
func (c *call) newTags(kindName string) (map[string]string, error) {
	tags := map[string]string{}
	for _, s := range c.in.objects("TagSpecification") {
		if got := s.text("ResourceType"); got != kindName {
			return nil, refuse("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", got)
		}
		for k, v := range s.tags("Tag") {
			tags[k] = v
		}
	}
	return tags, nil
}

func createTags(c *call) (object, error) {
	tags := c.in.tags("Tag")
	for _, id := range c.in.texts("ResourceId") {
		r := c.ec2.records[id]
		if r == nil {
			return nil, refuse("InvalidID", "The ID '%s' is not valid", id)
		}
		r.retag(tags)
	}
	return object{"return": true}, nil
}

func (r *record) retag(tags map[string]string) {
	merged := map[string]string{}
	for _, t := range r.list("tagSet") {
		merged[textOf(t.(object)["key"])] = textOf(t.(object)["value"])
	}
	for k, v := range tags {
		merged[k] = v
	}
	r.data["tagSet"] = tagList(merged, "key", "value")
}

func deleteTags(c *call) (object, error) {
	gone := c.in.tags("Tag")
	for _, id := range c.in.texts("ResourceId") {
		if r := c.ec2.records[id]; r != nil {
			r.data["tagSet"] = slices.DeleteFunc(slices.Clone(r.list("tagSet")), func(t any) bool {
				_, ok := gone[textOf(t.(object)["key"])]
				return ok
			})
		}
	}
	return object{"return": true}, nil
}

// onKind is the ARN of the thing that a parameter names, or of any of its kind.
func onKind(kindName, parameter string) func(c *call) []string {
	return func(c *call) []string {
		id := "*"
		if parameter != "" {
			id = c.in.or(parameter, "*")
		}
		if r := c.ec2.records[id]; r != nil {
			for _, t := range r.list("tagSet") {
				if c.context == nil {
					c.context = map[string]string{}
				}
				c.context["aws:ResourceTag/"+textOf(t.(object)["key"])] = textOf(t.(object)["value"])
			}
		}
		return []string{c.arn("ec2", fmt.Sprintf("%s/%s", kinds[kindName].arn, id))}
	}
}

// inUse is the refusal to delete what something depends on.
func inUse(what, id string) error {
	return refuse("DependencyViolation", "The %s '%s' has dependencies and cannot be deleted.", what, id)
}
