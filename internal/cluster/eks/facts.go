package eks

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"cortex.dev/cortex/internal/cluster"
)

// maxPages bounds a list of AWS's. What is longer is nothing that a cluster is looked for in.
const maxPages = 500

// Facts reads what a plan of c needs to know of the account. c is valid.
func (a *Account) Facts(ctx context.Context, c *cluster.Config) (*cluster.Facts, error) {
	return a.facts(ctx, c, true)
}

// facts are Facts, with the quotas of the account or without: what is there needs none.
func (a *Account) facts(ctx context.Context, c *cluster.Config, quotas bool) (*cluster.Facts, error) {
	f := a.noFacts()
	var mu sync.Mutex // of f, which several fill
	fill := func(set func()) { mu.Lock(); defer mu.Unlock(); set() }
	err := together(
		func() error { return a.zones(ctx, fill, f) },
		func() error { return a.versions(ctx, fill, f) },
		func() error { return a.instanceTypes(ctx, c, fill, f) },
		func() error { return a.spotPrices(ctx, c, fill, f) },
		func() error { _, err := a.subnets(ctx, c, fill, f); return err },
		func() error { return a.certificate(ctx, c, fill, f) },
		func() error { return a.policies(ctx, c, fill, f) },
		func() error {
			if !quotas {
				return nil
			}
			return a.quotaFacts(ctx, fill, f)
		},
	)
	if err != nil {
		return nil, err
	}
	// Of the one version that the cluster gets: AWS offers a dozen.
	v := c.VersionIn(f)
	if v == nil {
		return f, nil // Build refuses it, in words
	}
	return f, together(
		func() error { return a.addons(ctx, v) },
		func() error { return a.releases(ctx, c, f, v) },
	)
}

// noFacts are facts before anything was read.
func (a *Account) noFacts() *cluster.Facts {
	return &cluster.Facts{
		ReadAt: time.Now().UTC().Format(time.RFC3339), Account: a.ID, Region: a.Region,
		InstanceTypes: map[string]cluster.InstanceType{}, SpotPrices: map[string]float64{}, Certificates: map[string]string{},
	}
}

type filler = func(func())

func (a *Account) zones(ctx context.Context, fill filler, f *cluster.Facts) error {
	out, err := a.ec2.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{
		Filters: []ec2types.Filter{filter("zone-type", "availability-zone"), filter("state", "available")},
	})
	if err != nil {
		return asFault("reading the availability zones of "+a.Region, err)
	}
	fill(func() {
		for _, z := range out.AvailabilityZones {
			f.Zones = append(f.Zones, cluster.Zone{Name: aws.ToString(z.ZoneName), ID: aws.ToString(z.ZoneId)})
		}
	})
	return nil
}

func filter(name string, values ...string) ec2types.Filter {
	return ec2types.Filter{Name: &name, Values: values}
}

func (a *Account) versions(ctx context.Context, fill filler, f *cluster.Facts) error {
	pages := eks.NewDescribeClusterVersionsPaginator(a.eks, &eks.DescribeClusterVersionsInput{})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return asFault("reading the versions of Kubernetes that EKS offers", err)
		}
		fill(func() {
			for _, v := range page.ClusterVersions {
				known := cluster.KubernetesVersion{
					Version: aws.ToString(v.ClusterVersion), Status: string(v.VersionStatus), Addons: map[string]string{}, Releases: map[string]string{}, Images: map[string]string{},
				}
				if v.EndOfStandardSupportDate != nil {
					known.Until = v.EndOfStandardSupportDate.UTC().Format(time.DateOnly)
				}
				f.Versions = append(f.Versions, known)
			}
		})
	}
	return nil
}

// addons reads the default version of each add-on of a version of Kubernetes.
func (a *Account) addons(ctx context.Context, v *cluster.KubernetesVersion) error {
	for _, name := range cluster.Addons() {
		pages := eks.NewDescribeAddonVersionsPaginator(a.eks, &eks.DescribeAddonVersionsInput{AddonName: &name, KubernetesVersion: &v.Version})
		for n := 0; pages.HasMorePages() && n < maxPages; n++ {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return asFault("reading the versions of the add-on "+name, err)
			}
			for _, addon := range page.Addons {
				for _, version := range addon.AddonVersions {
					for _, c := range version.Compatibilities {
						if aws.ToString(c.ClusterVersion) == v.Version && c.DefaultVersion {
							v.Addons[name] = aws.ToString(version.AddonVersion)
						}
					}
				}
			}
		}
	}
	return nil
}

// releasePaths are where AWS keeps the newest release of a type of image.
var releasePaths = map[string]string{
	"AL2023_x86_64_STANDARD": "x86_64/standard", "AL2023_ARM_64_STANDARD": "arm64/standard",
	"AL2023_x86_64_NVIDIA": "x86_64/nvidia", "AL2023_ARM_64_NVIDIA": "arm64/nvidia", "AL2023_x86_64_NEURON": "x86_64/neuron",
}

// What there is of the newest image of a type.
const releaseName, idName = "release_version", "image_id"

func (a *Account) releases(ctx context.Context, c *cluster.Config, f *cluster.Facts, v *cluster.KubernetesVersion) error {
	byPath := map[string]string{}
	var names []string
	for _, t := range c.AllTypes() {
		image := f.InstanceTypes[t].Image()
		if image == "" {
			continue
		}
		path := "/aws/service/eks/optimized-ami/" + v.Version + "/amazon-linux-2023/" + releasePaths[image] + "/recommended/"
		for _, name := range []string{releaseName, idName} {
			if byPath[path+name] == "" && (name == releaseName || c.Mixes()) {
				byPath[path+name] = image
				names = append(names, path+name)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	// There are five types of images, of each two names at most: one call takes ten.
	out, err := a.ssm.GetParameters(ctx, &ssm.GetParametersInput{Names: names})
	if err != nil {
		return asFault("reading the releases of the images of nodes", err)
	}
	for _, p := range out.Parameters {
		name := aws.ToString(p.Name)
		if strings.HasSuffix(name, idName) {
			v.Images[byPath[name]] = aws.ToString(p.Value)
			continue
		}
		v.Releases[byPath[name]] = aws.ToString(p.Value)
	}
	return nil
}

func (a *Account) instanceTypes(ctx context.Context, c *cluster.Config, fill filler, f *cluster.Facts) error {
	offered, err := a.offerings(ctx, c.AllTypes())
	if err != nil {
		return err
	}
	// A filter, because one name that there is not would be an error about all.
	pages := ec2.NewDescribeInstanceTypesPaginator(a.ec2, &ec2.DescribeInstanceTypesInput{Filters: []ec2types.Filter{filter("instance-type", c.AllTypes()...)}})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return asFault("reading what instance types are like", err)
		}
		fill(func() {
			for _, t := range page.InstanceTypes {
				name := string(t.InstanceType)
				if zones := offered[name]; len(zones) > 0 {
					f.InstanceTypes[name] = instanceType(t, zones)
				}
			}
		})
	}
	return nil
}

// offerings are the zones in which each type is offered.
func (a *Account) offerings(ctx context.Context, types []string) (map[string][]string, error) {
	offered := map[string][]string{}
	pages := ec2.NewDescribeInstanceTypeOfferingsPaginator(a.ec2, &ec2.DescribeInstanceTypeOfferingsInput{
		LocationType: ec2types.LocationTypeAvailabilityZone, Filters: []ec2types.Filter{filter("instance-type", types...)},
	})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("reading where instance types are offered", err)
		}
		for _, o := range page.InstanceTypeOfferings {
			offered[string(o.InstanceType)] = append(offered[string(o.InstanceType)], aws.ToString(o.Location))
		}
	}
	for _, zones := range offered {
		slices.Sort(zones)
	}
	return offered, nil
}

func instanceType(t ec2types.InstanceTypeInfo, zones []string) cluster.InstanceType {
	i := cluster.InstanceType{Zones: zones}
	if t.VCpuInfo != nil {
		i.VCPUs = int64(aws.ToInt32(t.VCpuInfo.DefaultVCpus))
	}
	if t.MemoryInfo != nil {
		i.MemoryMiB = aws.ToInt64(t.MemoryInfo.SizeInMiB)
	}
	if t.ProcessorInfo != nil {
		for _, arch := range t.ProcessorInfo.SupportedArchitectures {
			i.Architectures = append(i.Architectures, string(arch))
		}
	}
	if t.GpuInfo != nil {
		for _, gpu := range t.GpuInfo.Gpus {
			i.GPUs += int64(aws.ToInt32(gpu.Count))
			i.GPUMaker = strings.ToUpper(aws.ToString(gpu.Manufacturer))
		}
	}
	if t.NeuronInfo != nil {
		for _, d := range t.NeuronInfo.NeuronDevices {
			i.NeuronDevices += int64(aws.ToInt32(d.Count))
		}
	}
	if t.NetworkInfo != nil {
		i.Interfaces, i.Addresses = int64(aws.ToInt32(t.NetworkInfo.MaximumNetworkInterfaces)), int64(aws.ToInt32(t.NetworkInfo.Ipv4AddressesPerInterface))
	}
	return i
}

// spotPrices reads what the types of spot groups cost now, at most of all zones.
func (a *Account) spotPrices(ctx context.Context, c *cluster.Config, fill filler, f *cluster.Facts) error {
	var types []ec2types.InstanceType
	for _, name := range c.SpotTypes() {
		types = append(types, ec2types.InstanceType(name))
	}
	if len(types) == 0 {
		return nil
	}
	now := time.Now()
	pages := ec2.NewDescribeSpotPriceHistoryPaginator(a.ec2, &ec2.DescribeSpotPriceHistoryInput{
		InstanceTypes: types, ProductDescriptions: []string{"Linux/UNIX"}, StartTime: &now, EndTime: &now,
	})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if is(err, "InvalidParameterValue", "InvalidInstanceType") {
			return nil // a type that there is not, which Build refuses by name
		}
		if err != nil {
			return asFault("reading the prices of spot instances", err)
		}
		fill(func() {
			for _, p := range page.SpotPriceHistory {
				if price, err := strconv.ParseFloat(aws.ToString(p.SpotPrice), 64); err == nil && price > f.SpotPrices[string(p.InstanceType)] {
					f.SpotPrices[string(p.InstanceType)] = price
				}
			}
		})
	}
	return nil
}

func (a *Account) certificate(ctx context.Context, c *cluster.Config, fill filler, f *cluster.Facts) error {
	if c.SSLCertificateARN == "" {
		return nil
	}
	out, err := a.acm.DescribeCertificate(ctx, &acm.DescribeCertificateInput{CertificateArn: &c.SSLCertificateARN})
	switch {
	case is(err, "ResourceNotFoundException", "ValidationException", "InvalidArnException"):
		return nil // Build refuses it, by its key
	case err != nil:
		return asFault("reading the certificate of ssl_certificate_arn", err)
	}
	fill(func() { f.Certificates[c.SSLCertificateARN] = string(out.Certificate.Status) })
	return nil
}

func (a *Account) policies(ctx context.Context, c *cluster.Config, fill filler, f *cluster.Facts) error {
	for _, arn := range c.Policies() {
		_, err := a.iam.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &arn})
		if is(err, noSuchEntity, "InvalidInput") {
			continue // Build refuses it, by its key
		}
		if err != nil {
			return asFault(fmt.Sprintf("reading the policy %s of iam_policy_arns", arn), err)
		}
		fill(func() { f.Policies = append(f.Policies, arn) })
	}
	return nil
}
