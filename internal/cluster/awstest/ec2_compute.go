package awstest

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Launch templates, instances and volumes. Nobody here starts instances: groups do.

func createLaunchTemplate(c *call) (object, error) {
	name := c.in.or("LaunchTemplateName", "lt-"+c.letters(idLetters, 12))
	if len(c.where("launch-template", "launchTemplateName", name)) > 0 {
		return nil, refuse("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
	}
	tags, err := c.newTags("launch-template")
	if err != nil {
		return nil, err
	}
	c.in.ignore("ClientToken")
	t := c.add("launch-template", object{
		"launchTemplateName": name, "createTime": stamp(c.clock.now), "createdBy": c.who.arn, "defaultVersionNumber": 1, "latestVersionNumber": 1,
	}, tags)
	t.data["versions"] = []any{c.templateVersion(t, 1)}
	c.made["launch-template"]++
	return object{"launchTemplate": without(t.data, "versions")}, nil
}

// templateVersion is a version of a template with the data of the request, as it came.
func (c *call) templateVersion(t *record, n int) object {
	return object{
		"launchTemplateId": t.id, "launchTemplateName": t.text("launchTemplateName"), "versionNumber": n, "defaultVersion": n == 1,
		"createTime": stamp(c.clock.now), "createdBy": c.who.arn, "launchTemplateData": c.in.whole("LaunchTemplateData"),
	}
}

func without(o object, names ...string) object {
	out := object{}
	for k, v := range o {
		if !slices.Contains(names, k) {
			out[k] = v
		}
	}
	return out
}

func createLaunchTemplateVersion(c *call) (object, error) {
	t, err := c.find("launch-template", "LaunchTemplateId")
	if err != nil {
		return nil, err
	}
	n := t.data["latestVersionNumber"].(int) + 1
	t.data["latestVersionNumber"] = n
	t.data["versions"] = append(t.list("versions"), c.templateVersion(t, n))
	return object{"launchTemplateVersion": object{"launchTemplateId": t.id, "versionNumber": n}}, nil
}

func deleteLaunchTemplate(c *call) (object, error) {
	t, err := c.find("launch-template", "LaunchTemplateId")
	if err != nil {
		return nil, err
	}
	c.drop(t)
	return object{"launchTemplate": without(t.data, "versions")}, nil
}

func describeLaunchTemplates(c *call) (object, error) {
	found, err := c.matching("launch-template")
	if err != nil {
		return nil, err
	}
	var list []any
	for _, t := range found {
		list = append(list, without(t.data, "versions"))
	}
	return c.paged("launchTemplates", list)
}

func describeLaunchTemplateVersions(c *call) (object, error) {
	t, err := c.find("launch-template", "LaunchTemplateId")
	if err != nil {
		return nil, err
	}
	wanted := c.in.texts("LaunchTemplateVersion")
	var list []any
	for _, v := range t.list("versions") {
		version := v.(object)
		n := strconv.Itoa(version["versionNumber"].(int))
		latest := version["versionNumber"] == t.data["latestVersionNumber"]
		if len(wanted) == 0 || slices.Contains(wanted, n) || slices.Contains(wanted, "$Latest") && latest || slices.Contains(wanted, "$Default") && n == "1" {
			list = append(list, without(version, "launchTemplateData"))
		}
	}
	return c.paged("launchTemplateVersionSet", list)
}

// How long instances take.
const (
	instanceTakes     = 35 * time.Second
	instanceGoneTakes = 40 * time.Second
	instanceShown     = time.Hour
)

// launch starts an instance in a subnet; it is an error where there is none to be had.
func (a *Account) launch(typeName string, subnet *record, groups []string, tags map[string]string) (*record, error) {
	if slices.Contains(a.o.Scarce, typeName) {
		return nil, refuse("InsufficientInstanceCapacity", "Could not launch On-Demand Instances. InsufficientInstanceCapacity - We currently do not have sufficient %s capacity in the Availability Zone you requested (%s). Launching EC2 instance failed.", typeName, subnet.text("availabilityZone"))
	}
	if subnet.data["availableIpAddressCount"].(int) < 1 {
		return nil, refuse("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet '%s' to satisfy the requested number of instances.", subnet.id)
	}
	i := a.add("instance", object{
		"instanceType": typeName, "subnetId": subnet.id, "vpcId": subnet.text("vpcId"), "instanceState": object{"code": 0, "name": "pending"}, "launchTime": stamp(a.clock.now),
		"placement": object{"availabilityZone": subnet.text("availabilityZone")},
	}, tags)
	a.made["instance"]++
	eni := a.newInterface(subnet, "", "interface", groups)
	eni.retag(tags)
	eni.data["attachment"] = object{"instanceId": i.id, "deviceIndex": 0, "status": "attached"}
	if subnet.data["mapPublicIpOnLaunch"] == true {
		eni.data["association"] = object{"publicIp": a.publicAddress(), "ipOwnerId": "amazon"}
		i.data["ipAddress"] = eni.data["association"].(object)["publicIp"]
	}
	i.data["privateIpAddress"] = eni.text("privateIpAddress")
	i.data["privateDnsName"] = "ip-" + strings.ReplaceAll(eni.text("privateIpAddress"), ".", "-") + "." + a.region + ".compute.internal"
	v := a.add("volume", object{
		"size": 20, "volumeType": "gp3", "status": "in-use", "availabilityZone": subnet.text("availabilityZone"), "createTime": stamp(a.clock.now), "encrypted": true,
		"attachmentSet": []any{object{"instanceId": i.id, "device": "/dev/xvda", "status": "attached", "deleteOnTermination": true}},
	}, tags)
	v.foreign = true // it goes with its instance
	a.clock.after(instanceTakes, func() {
		if i.state() == "pending" {
			i.data["instanceState"] = object{"code": 16, "name": "running"}
		}
	})
	return i, nil
}

func (r *record) state() string { return textOf(r.data["instanceState"].(object)["name"]) }

// terminate ends an instance. What the CNI has made for its pods stays behind for a
// while, available, as it does when nodes end in a hurry.
func (a *Account) terminate(i *record) {
	if s := i.state(); s == "terminated" || s == "shutting-down" {
		return
	}
	i.data["instanceState"] = object{"code": 32, "name": "shutting-down"}
	a.clock.after(instanceGoneTakes, func() {
		i.data["instanceState"] = object{"code": 48, "name": "terminated"}
		for _, eni := range a.where("network-interface", "attachment.instanceId", i.id) {
			a.dropInterface(eni.id)
		}
		for _, v := range a.where("volume", "attachmentSet.instanceId", i.id) {
			a.drop(v)
		}
		a.clock.after(instanceShown, func() { a.drop(i) })
	})
}

func describeInstances(c *call) (object, error) {
	found, err := c.matching("instance")
	if err != nil {
		return nil, err
	}
	var list []any
	for _, i := range found {
		list = append(list, object{"reservationId": "r-" + i.id[2:], "ownerId": c.id, "groupSet": []any{}, "instancesSet": []any{i.data}})
	}
	return c.paged("reservationSet", list)
}

func createVolume(c *call) (object, error) {
	tags, err := c.newTags("volume")
	if err != nil {
		return nil, err
	}
	c.in.ignore("ClientToken")
	v := c.add("volume", object{
		"size": c.in.number("Size", 1), "volumeType": c.in.or("VolumeType", "gp3"), "status": "available", "availabilityZone": c.in.text("AvailabilityZone"),
		"createTime": stamp(c.clock.now), "encrypted": c.in.flag("Encrypted"), "attachmentSet": []any{},
	}, tags)
	return v.data, nil
}

func deleteVolume(c *call) (object, error) {
	v, err := c.find("volume", "VolumeId")
	if err != nil {
		return nil, err
	}
	if v.text("status") != "available" {
		return nil, refuse("VolumeInUse", "Volume %s is currently attached to %s", v.id, strings.Join(valuesAt(v.data, []string{"attachmentSet", "instanceId"}), ", "))
	}
	c.drop(v)
	return object{"return": true}, nil
}
