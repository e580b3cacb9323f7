package awstest

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
)

// version is a version of Kubernetes that EKS offers.
type version struct {
	name, status           string
	released, until, later string // dates: of it, of the end of standard support, of that of extended support
	patch                  string // newest of the images
	addons                 map[string]string
}

// versions are those of the summer of 2026, and one that nobody is ready for.
var versions = []version{
	{"1.34", "EXTENDED_SUPPORT", "2025-10-02", "2026-12-02", "2027-12-02", "6", addons("1.34", "v1.12.4")},
	{"1.35", "STANDARD_SUPPORT", "2026-01-27", "2027-03-27", "2028-03-27", "3", addons("1.35", "v1.13.1")},
	{"1.36", "STANDARD_SUPPORT", "2026-06-02", "2027-08-02", "2028-08-02", "1", addons("1.36", "v1.13.2")},
	{"1.37", "STANDARD_SUPPORT", "2026-10-02", "2027-12-02", "2028-12-02", "0", addons("1.37", "v1.14.0")},
}

func addons(name, dns string) map[string]string {
	return map[string]string{
		"vpc-cni": "v1.21.1-eksbuild.1", "kube-proxy": "v" + name + ".0-eksbuild.2", "eks-pod-identity-agent": "v1.3.10-eksbuild.2", "coredns": dns + "-eksbuild.1",
	}
}

func versionNamed(name string) *version {
	i := slices.IndexFunc(versions, func(v version) bool { return v.name == name })
	if i < 0 {
		return nil
	}
	return &versions[i]
}

// defaultVersion is what EKS takes where nothing is asked for.
func defaultVersion() *version { return versionNamed("1.36") }

// firstImages is the day of the images that there are at first.
const firstImages = "20260714"

// release is the newest of the images of a version.
func (a *Account) release(v *version) string { return v.name + "." + v.patch + "-" + a.eks.imagesOf }

// NewImages has AWS publish images of another day, such as 20260901, of every version.
func (a *Account) NewImages(day string) {
	defer a.locked()()
	a.eks.imagesOf = day
}

// Insight has EKS find something about every cluster that may not go with a version:
// status is WARNING or ERROR.
func (a *Account) Insight(name, status, reason, version string) {
	defer a.locked()()
	a.eks.insights = append(a.eks.insights, insight{name, status, reason, version})
}

type insight struct{ name, status, reason, version string }

func day(text string) time.Time {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return t
}

func describeClusterVersions(c *call) (object, error) {
	wanted, status := c.in.texts("clusterVersions"), c.in.text("versionStatus")
	c.in.ignore("clusterType", "includeAll")
	onlyDefault := c.in.flag("defaultOnly")
	var list []any
	for i := range versions {
		v := &versions[i]
		isDefault := v.name == defaultVersion().name
		if len(wanted) > 0 && !slices.Contains(wanted, v.name) || status != "" && status != v.status || onlyDefault && !isDefault {
			continue
		}
		list = append(list, object{
			"clusterVersion": v.name, "clusterType": "eks", "defaultPlatformVersion": "eks.1", "defaultVersion": isDefault, "releaseDate": day(v.released),
			"endOfStandardSupportDate": day(v.until), "endOfExtendedSupportDate": day(v.later), "versionStatus": v.status,
			"status": strings.ReplaceAll(strings.ToLower(v.status), "_", "-"), "kubernetesPatchVersion": v.name + "." + v.patch,
		})
	}
	part, next, err := c.page(list, "nextToken", "maxResults")
	if err != nil {
		return nil, err
	}
	out := object{"clusterVersions": append([]any{}, part...)}
	set(out, "nextToken", next)
	return out, nil
}

func describeAddonVersions(c *call) (object, error) {
	of, name := c.in.text("kubernetesVersion"), c.in.text("addonName")
	c.in.ignore("owners", "types", "publishers")
	var list []any
	for _, addon := range sorted(versions[0].addons) {
		if name != "" && name != addon {
			continue
		}
		byVersion := map[string][]any{}
		for _, v := range versions {
			if of == "" || of == v.name {
				byVersion[v.addons[addon]] = append(byVersion[v.addons[addon]], object{"clusterVersion": v.name, "platformVersions": []any{"*"}, "defaultVersion": true})
			}
		}
		var known []any
		for _, n := range sorted(byVersion) {
			known = append(known, object{"addonVersion": n, "architecture": []any{"amd64", "arm64"}, "compatibilities": byVersion[n], "requiresConfiguration": false, "requiresIamPermissions": false})
			// An older build is there too, and not the default.
			old := strings.Replace(n, "-eksbuild.", "-eksbuild.0", 1)
			known = append(known, object{"addonVersion": old, "architecture": []any{"amd64", "arm64"}, "requiresConfiguration": false, "requiresIamPermissions": false,
				"compatibilities": []any{object{"clusterVersion": byVersion[n][0].(object)["clusterVersion"], "platformVersions": []any{"*"}, "defaultVersion": false}}})
		}
		list = append(list, object{"addonName": addon, "type": "networking", "owner": "aws", "publisher": "eks", "addonVersions": append([]any{}, known...)})
	}
	part, next, err := c.page(list, "nextToken", "maxResults")
	if err != nil {
		return nil, err
	}
	out := object{"addons": append([]any{}, part...)}
	set(out, "nextToken", next)
	return out, nil
}

// insightsOf are what EKS has found about a cluster: its own checks, about the version after,
// and what a test has it find.
func (c *call) insightsOf(k *eksCluster) []insight {
	next := "1." + strconv.Itoa(minor(k.version())+1)
	all := []insight{{"Deprecated APIs removed in Kubernetes v" + next, "PASSING", "No deprecated API usage detected within the last 30 days.", next}}
	skew := insight{"Kubelet version skew", "PASSING", "Node kubelet versions match the cluster control plane version.", next}
	for _, n := range k.nodegroups {
		if textOf(n.view["version"]) != k.version() {
			skew.status, skew.reason = "WARNING", "Node kubelet versions are behind the cluster control plane version."
		}
	}
	all = append(all, skew, insight{"kube-proxy version skew", "PASSING", "kube-proxy versions match the cluster control plane version.", next})
	return append(all, c.eks.insights...)
}

func listInsights(c *call) (object, error) {
	k, err := c.cluster()
	if err != nil {
		return nil, err
	}
	filter := c.in.object("filter")
	categories, versions, statuses := filter.texts("categories"), filter.texts("kubernetesVersions"), filter.texts("statuses")
	fits := func(wanted []string, has string) bool { return len(wanted) == 0 || slices.Contains(wanted, has) }
	var list []any
	for i, found := range c.insightsOf(k) {
		if !fits(categories, "UPGRADE_READINESS") || !fits(versions, found.version) || !fits(statuses, found.status) {
			continue
		}
		list = append(list, object{
			"id": "insight-" + strconv.Itoa(i), "name": found.name, "category": "UPGRADE_READINESS", "kubernetesVersion": found.version,
			"lastRefreshTime": stamp(c.clock.now), "lastTransitionTime": stamp(c.clock.now), "description": found.name,
			"insightStatus": object{"status": found.status, "reason": found.reason},
		})
	}
	part, next, err := c.page(list, "nextToken", "maxResults")
	if err != nil {
		return nil, err
	}
	out := object{"insights": append([]any{}, part...)}
	set(out, "nextToken", next)
	return out, nil
}

// ssmService has the parameters by which AWS says what its newest images are.
var ssmService = &service{
	name: "ssm", target: "AmazonSSM", protocol: jsonTarget{"1.1"}, errors: wordsJSON,
	operations: []operation{
		{name: "GetParameters", do: getParameters, on: onParameters},
		{name: "GetParameter", do: getParameter, on: onParameters},
	},
}

func onParameters(c *call) []string {
	var list []string
	for _, name := range append(c.in.texts("Names"), c.in.texts("Name")...) {
		list = append(list, "arn:"+c.partition+":ssm:"+c.region+"::parameter"+name)
	}
	return list
}

// images are the kinds of images that there are of each version.
var images = []string{"x86_64/standard", "arm64/standard", "x86_64/nvidia", "arm64/nvidia", "x86_64/neuron"}

// imageID is the id of the newest image of a kind.
func (a *Account) imageID(v *version, image string) string {
	sum := sha256.Sum256([]byte(a.region + image + a.release(v)))
	return "ami-0" + hex.EncodeToString(sum[:8])
}

func (c *call) imageParameter(name string) object {
	rest, ok := strings.CutPrefix(name, "/aws/service/eks/optimized-ami/")
	if !ok {
		return nil
	}
	of, rest, _ := strings.Cut(rest, "/amazon-linux-2023/")
	image, field, _ := strings.Cut(rest, "/recommended/")
	v := versionNamed(of)
	if v == nil || !slices.Contains(images, image) {
		return nil
	}
	value := ""
	switch field {
	case "release_version":
		value = c.release(v)
	case "image_id":
		value = c.imageID(v, image)
		c.eks.images[value] = handedImage{v.name, image} // there it stays when it is not the newest any more
	default:
		return nil
	}
	return object{"Name": name, "Type": "String", "Value": value, "Version": 1, "ARN": "arn:" + c.partition + ":ssm:" + c.region + "::parameter" + name, "DataType": "text"}
}

func getParameters(c *call) (object, error) {
	c.in.ignore("WithDecryption")
	names := c.in.texts("Names")
	if len(names) > 10 {
		return nil, refuse("ValidationException", "1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length less than or equal to 10")
	}
	found, unknown := []any{}, []any{}
	for _, name := range names {
		if p := c.imageParameter(name); p != nil {
			found = append(found, p)
		} else {
			unknown = append(unknown, name)
		}
	}
	return object{"Parameters": found, "InvalidParameters": unknown}, nil
}

func getParameter(c *call) (object, error) {
	c.in.ignore("WithDecryption")
	p := c.imageParameter(c.in.text("Name"))
	if p == nil {
		return nil, refuse("ParameterNotFound", "")
	}
	return object{"Parameter": p}, nil
}
