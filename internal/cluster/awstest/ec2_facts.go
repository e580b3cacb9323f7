package awstest

import (
	_ "embed"
	"strconv"
	"strings"
	"time"
)

// instanceTypes has a line for each type: vCPUs, MiB, architecture, GPUs, their maker,
// Neuron devices, network interfaces and addresses of each, spot price.
//
//go:embed data/instances.txt
var instanceTypes string

type instanceType struct {
	name, arch, gpuMaker                   string
	vcpus, memory, gpus, neuron, enis, ips int
	spot                                   string
}

var types = parseTypes()

func parseTypes() map[string]instanceType {
	all := map[string]instanceType{}
	for line := range strings.Lines(instanceTypes) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		n := func(i int) int {
			v, err := strconv.Atoi(f[i])
			if err != nil {
				panic("awstest: data/instances.txt: " + line)
			}
			return v
		}
		all[f[0]] = instanceType{name: f[0], vcpus: n(1), memory: n(2), arch: f[3], gpus: n(4), gpuMaker: f[5], neuron: n(6), enis: n(7), ips: n(8), spot: f[9]}
	}
	return all
}

func (t instanceType) view() object {
	o := object{
		"instanceType": t.name, "currentGeneration": true, "supportedUsageClasses": []any{"on-demand", "spot"}, "hypervisor": "nitro",
		"vCpuInfo": object{"defaultVCpus": t.vcpus}, "memoryInfo": object{"sizeInMiB": t.memory},
		"processorInfo": object{"supportedArchitectures": []any{t.arch}},
		"networkInfo":   object{"maximumNetworkInterfaces": t.enis, "ipv4AddressesPerInterface": t.ips, "ipv6Supported": true},
	}
	if t.gpus > 0 {
		o["gpuInfo"] = object{"gpus": []any{object{"name": "GPU", "manufacturer": t.gpuMaker, "count": t.gpus}}}
	}
	if t.neuron > 0 {
		o["neuronInfo"] = object{"neuronDevices": []any{object{"name": "Neuron", "count": t.neuron}}}
	}
	return o
}

func describeInstanceTypes(c *call) (object, error) {
	names := c.in.texts("InstanceType")
	var unknown []string
	for _, n := range names {
		if _, ok := types[n]; !ok {
			unknown = append(unknown, n)
		}
	}
	if len(unknown) > 0 {
		return nil, refuse("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", strings.Join(unknown, ", "))
	}
	if len(names) == 0 {
		names = sorted(types)
	}
	filters, err := c.filters(map[string]string{"instance-type": "instanceType"})
	if err != nil {
		return nil, err
	}
	var list []any
	for _, n := range names {
		view := types[n].view()
		if allHold(filters, view) {
			list = append(list, view)
		}
	}
	return c.paged("instanceTypeSet", list)
}

// offered reports whether a zone has a type: the last of four lacks what has GPUs.
func (a *Account) offered(t instanceType, z zone) bool {
	return t.gpus == 0 && t.neuron == 0 || len(a.zones) < 4 || z != a.zones[3]
}

func describeOfferings(c *call) (object, error) {
	filters, err := c.filters(map[string]string{"instance-type": "instanceType", "location": "location"})
	if err != nil {
		return nil, err
	}
	by := c.in.or("LocationType", "region")
	var list []any
	for _, name := range sorted(types) {
		for _, z := range c.zones {
			location := map[string]string{"availability-zone": z.name, "availability-zone-id": z.id}[by]
			if location == "" || !c.offered(types[name], z) {
				continue
			}
			view := object{"instanceType": name, "locationType": by, "location": location}
			if allHold(filters, view) {
				list = append(list, view)
			}
		}
	}
	return c.paged("instanceTypeOfferingSet", list)
}

func describeSpotPrices(c *call) (object, error) {
	c.in.ignore("StartTime", "EndTime")
	filters, err := c.filters(map[string]string{"instance-type": "instanceType", "availability-zone": "availabilityZone", "product-description": "productDescription"})
	if err != nil {
		return nil, err
	}
	names := c.in.texts("InstanceType")
	if len(names) == 0 {
		names = sorted(types)
	}
	products := c.in.texts("ProductDescription")
	if len(products) == 0 {
		products = []string{"Linux/UNIX"}
	}
	var list []any
	for _, n := range names {
		for _, z := range c.zones {
			t, ok := types[n]
			if !ok || t.spot == "-" || !c.offered(t, z) {
				continue
			}
			view := object{"instanceType": n, "availabilityZone": z.name, "productDescription": products[0], "spotPrice": t.spot, "timestamp": c.clock.now.Add(-time.Hour).UTC()}
			if allHold(filters, view) {
				list = append(list, view)
			}
		}
	}
	return c.paged("spotPriceHistorySet", list)
}

func describeZones(c *call) (object, error) {
	c.in.ignore("AllAvailabilityZones")
	filters, err := c.filters(map[string]string{
		"zone-type": "zoneType", "state": "zoneState", "zone-name": "zoneName", "opt-in-status": "optInStatus", "region-name": "regionName", "zone-id": "zoneId",
	})
	if err != nil {
		return nil, err
	}
	names := append(c.in.texts("ZoneName"), c.in.texts("ZoneId")...)
	var list []any
	for _, z := range c.zones {
		view := object{
			"zoneName": z.name, "zoneId": z.id, "zoneState": "available", "regionName": c.region, "zoneType": "availability-zone", "optInStatus": "opt-in-not-required",
			"groupName": c.region, "networkBorderGroup": c.region, "messageSet": []any{},
		}
		keep := len(names) == 0
		for _, n := range names {
			keep = keep || n == z.name || n == z.id
		}
		if keep && allHold(filters, view) {
			list = append(list, view)
		}
	}
	return object{"availabilityZoneInfo": append([]any{}, list...)}, nil
}

func describeRegions(c *call) (object, error) {
	c.in.ignore("AllRegions", "RegionName")
	return object{"regionInfo": []any{object{"regionName": c.region, "regionEndpoint": "ec2." + c.region + "." + c.suffix, "optInStatus": "opt-in-not-required"}}}, nil
}
