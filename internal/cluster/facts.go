package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"

	"cortex.dev/cortex/internal/fault"
)

// Facts are what a plan needs to know of an account and a region. They are read from
// AWS, or from a file that was written before.
type Facts struct {
	ReadAt   string              `json:"read_at"` // for people; nothing is decided by it
	Account  string              `json:"account"`
	Region   string              `json:"region"`
	Zones    []Zone              `json:"zones"`
	Versions []KubernetesVersion `json:"kubernetes_versions"`
	// InstanceTypes are those that the cluster file names, and SystemType.
	InstanceTypes map[string]InstanceType `json:"instance_types"`
	SpotPrices    map[string]float64      `json:"spot_prices,omitempty"` // dollars an hour
	// Subnets are those of every VPC that has one of the user's.
	Subnets      []SubnetFact      `json:"subnets,omitempty"`
	Certificates map[string]string `json:"certificates,omitempty"` // status by ARN
	Policies     []string          `json:"policies,omitempty"`     // ARNs that there are
	Quotas       []QuotaFact       `json:"quotas,omitempty"`
}

// Zone is an availability zone: its name is the account's own, its id is everybody's.
type Zone struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// KubernetesVersion is a version that EKS offers.
type KubernetesVersion struct {
	Version  string            `json:"version"`
	Status   string            `json:"status"` // STANDARD_SUPPORT, EXTENDED_SUPPORT or UNSUPPORTED
	Until    string            `json:"end_of_standard_support,omitempty"`
	Addons   map[string]string `json:"addons"`   // default version of each
	Releases map[string]string `json:"releases"` // newest of each type of image
	// Images are the ids of those releases, which only mixed groups need.
	Images map[string]string `json:"images,omitempty"`
}

const standardSupport = "STANDARD_SUPPORT"

// InstanceType is what EC2 says of an instance type.
type InstanceType struct {
	VCPUs         int64    `json:"vcpus"`
	MemoryMiB     int64    `json:"memory_mib"`
	Architectures []string `json:"architectures"`
	GPUs          int64    `json:"gpus,omitempty"`
	GPUMaker      string   `json:"gpu_maker,omitempty"`
	NeuronDevices int64    `json:"neuron_devices,omitempty"`
	Interfaces    int64    `json:"network_interfaces"`
	Addresses     int64    `json:"addresses_per_interface"` // IPv4
	Zones         []string `json:"zones,omitempty"`         // where it is offered; nil: in all
}

// SubnetFact is a subnet that exists.
type SubnetFact struct {
	ID              string `json:"id"`
	VPC             string `json:"vpc"`
	VPCCIDR         string `json:"vpc_cidr"`
	Zone            string `json:"zone"`
	Public          bool   `json:"public"`           // has a route to an internet gateway
	PublicAddresses bool   `json:"public_addresses"` // instances get one
	FreeAddresses   int64  `json:"free_addresses"`
}

// QuotaFact is a limit of the account.
type QuotaFact struct {
	Service string   `json:"service"`
	Code    string   `json:"code"`
	Limit   float64  `json:"limit"`
	Used    *float64 `json:"used,omitempty"` // nil: not known
}

// SystemType is the instance type of the nodes on which Cortex itself runs.
const SystemType = "t3.medium"

const (
	// MaxFactsBytes bounds a file of facts.
	MaxFactsBytes = 4 << 20

	arm64 = "arm64"
	x86   = "x86_64"
)

var (
	accountShape = regexp.MustCompile(`^[0-9]{12}$`)
	amiShape     = regexp.MustCompile(`^ami-[0-9a-f]{8,17}$`)
)

// ParseFacts reads facts that were written as JSON, strictly. Every error is a fault
// that says what is wrong in which file.
func ParseFacts(file string, data []byte) (*Facts, error) {
	unreadable := func(format string, args ...any) error {
		return fault.New(fault.Malformed, CodeFactsUnreadable, "%s: %w", file, fmt.Errorf(format, args...)).
			WithHint("a file of facts is JSON as docs/aws.md describes it")
	}
	if len(data) > MaxFactsBytes {
		return nil, unreadable("the file is too large: %d bytes, at most %d", len(data), MaxFactsBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	f := &Facts{}
	if err := dec.Decode(f); err != nil {
		return nil, unreadable("is not what facts look like: %w", err)
	}
	if dec.More() {
		return nil, unreadable("holds something after the facts")
	}
	if err := f.check(); err != nil {
		return nil, unreadable("%w", err)
	}
	return f, nil
}

// check returns the first thing in facts that cannot be.
func (f *Facts) check() error {
	switch {
	case !accountShape.MatchString(f.Account):
		return fmt.Errorf("account is %s, want 12 digits", found(f.Account))
	case !regionShape.MatchString(f.Region):
		return fmt.Errorf("region is %s, want one such as us-west-2", found(f.Region))
	case len(f.Zones) == 0:
		return fmt.Errorf("zones is empty")
	case len(f.Versions) == 0:
		return fmt.Errorf("kubernetes_versions is empty")
	}
	seen := map[string]bool{}
	for _, z := range f.Zones {
		// Resources are called after the letter of their zone.
		if !isZone(z.Name, f.Region) || z.ID == "" || seen[z.Name] {
			return fmt.Errorf("zones has %s with the id %s; want each once, such as %sa, and no local zones", found(z.Name), found(z.ID), f.Region)
		}
		seen[z.Name] = true
	}
	for _, v := range f.Versions {
		if !versionShape.MatchString(v.Version) {
			return fmt.Errorf("kubernetes_versions has %s, want one such as %s", found(v.Version), NewestKubernetes)
		}
		for _, kind := range sortedKeys(v.Images) {
			if id := v.Images[kind]; !amiShape.MatchString(id) {
				return fmt.Errorf("images of %s has %s for %s, want an id such as ami-0123456789abcdef0", v.Version, found(id), kind)
			}
		}
	}
	for _, name := range sortedKeys(f.InstanceTypes) {
		t := f.InstanceTypes[name]
		if t.VCPUs < 1 || t.VCPUs > 1<<16 || t.MemoryMiB < 1 || t.MemoryMiB > 1<<30 || t.GPUs < 0 || t.GPUs > 1<<10 || t.NeuronDevices < 0 || t.NeuronDevices > 1<<10 ||
			t.Interfaces < 1 || t.Interfaces > 1<<10 || t.Addresses < 1 || t.Addresses > 1<<10 {
			return fmt.Errorf("instance_types: %s has a number that cannot be: %+v", name, t)
		}
		if !slices.Contains(t.Architectures, arm64) && !slices.Contains(t.Architectures, x86) {
			return fmt.Errorf("instance_types: %s is neither of %s nor of %s: %v", name, x86, arm64, t.Architectures)
		}
	}
	for _, name := range sortedKeys(f.SpotPrices) {
		if p := f.SpotPrices[name]; !(p > 0 && p < 1e5) {
			return fmt.Errorf("spot_prices: %s costs %g dollars", name, p)
		}
	}
	for _, s := range f.Subnets {
		if _, err := netip.ParsePrefix(s.VPCCIDR); err != nil || !subnetShape.MatchString(s.ID) || s.VPC == "" || s.Zone == "" {
			return fmt.Errorf("subnets: %s lacks an id, a VPC, its CIDR or a zone", found(s.ID))
		}
	}
	for _, q := range f.Quotas {
		if q.Service == "" || q.Code == "" || !(q.Limit >= 0 && q.Limit < 1e15) || q.Used != nil && !(*q.Used >= 0 && *q.Used < 1e15) {
			return fmt.Errorf("quotas: %s/%s has no code, or a number that cannot be", q.Service, q.Code)
		}
	}
	return nil
}

func (f *Facts) version(name string) *KubernetesVersion {
	for i := range f.Versions {
		if f.Versions[i].Version == name {
			return &f.Versions[i]
		}
	}
	return nil
}

// newest is the version that a cluster gets whose file names none, or nil.
func (f *Facts) newest() *KubernetesVersion {
	var best *KubernetesVersion
	for i := range f.Versions {
		if v := &f.Versions[i]; v.Status == standardSupport && v.Version <= NewestKubernetes && (best == nil || v.Version > best.Version) {
			best = v
		}
	}
	return best
}

func (f *Facts) subnet(id string) *SubnetFact {
	for i := range f.Subnets {
		if f.Subnets[i].ID == id {
			return &f.Subnets[i]
		}
	}
	return nil
}

func (f *Facts) quota(service, code string) *QuotaFact {
	for i := range f.Quotas {
		if f.Quotas[i].Service == service && f.Quotas[i].Code == code {
			return &f.Quotas[i]
		}
	}
	return nil
}

// offered reports whether a type is offered in a zone.
func (t InstanceType) offered(zone string) bool {
	return t.Zones == nil || slices.Contains(t.Zones, zone)
}

// architecture is that of the images of a type.
func (t InstanceType) architecture() string {
	if slices.Contains(t.Architectures, x86) {
		return x86
	}
	return arm64
}

const nvidia = "NVIDIA"

// Image is the type of EKS's images for a type, or "" where there is none.
func (t InstanceType) Image() string {
	arm := t.architecture() == arm64
	switch {
	case t.GPUs > 0 && t.GPUMaker != nvidia:
		return ""
	case t.GPUs > 0 && arm:
		return "AL2023_ARM_64_NVIDIA"
	case t.GPUs > 0:
		return "AL2023_x86_64_NVIDIA"
	case t.NeuronDevices > 0 && arm:
		return ""
	case t.NeuronDevices > 0:
		return "AL2023_x86_64_NEURON"
	case arm:
		return "AL2023_ARM_64_STANDARD"
	}
	return "AL2023_x86_64_STANDARD"
}

// Size is what of a node is for pods.
type Size struct {
	CPU string `json:"cpu"`
	Mem string `json:"mem"`
	GPU int64  `json:"gpu,omitempty"`
	Inf int64  `json:"inf,omitempty"`
}

// values are the size as the chart takes it, which knows no types of Go.
func (s Size) values() object {
	v := object{"cpu": s.CPU, "mem": s.Mem}
	if s.GPU > 0 {
		v["gpu"] = s.GPU
	}
	if s.Inf > 0 {
		v["inf"] = s.Inf
	}
	return v
}

// allocatable estimates what a node of a type offers, so that a deploy can be judged
// before there is one. What the hypervisor keeps is not told: 7.5 % is what Karpenter
// assumes. The rest is how the images of EKS set the kubelet up.
func (t InstanceType) allocatable() Size {
	pods := t.Interfaces*(t.Addresses-1) + 2
	reserved := 255 + 11*pods + 100 // MiB: for the kubelet by pods, and before it evicts
	memory := int64(math.Floor(float64(t.MemoryMiB)*0.925)) - reserved
	cpu := t.VCPUs * 1000
	for i, core := range []int64{60, 10, 5, 5} { // thousandths of the first four cores
		if int64(i) < t.VCPUs {
			cpu -= core
		}
	}
	if t.VCPUs > 4 {
		cpu -= (t.VCPUs - 4) * 5 / 2
	}
	return Size{CPU: fmt.Sprintf("%dm", cpu), Mem: fmt.Sprintf("%dMi", max(memory, 0)), GPU: t.GPUs, Inf: t.NeuronDevices}
}
