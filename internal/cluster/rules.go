package cluster

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/suggest"
	"cortex.dev/cortex/internal/workload"
)

// Patterns of the strings of a cluster file.
const (
	ClusterNamePattern = `^[a-z0-9]+(-[a-z0-9]+)*$`
	RegionPattern      = `^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$`
	VersionPattern     = `^1\.[0-9]{2}$`
	SubnetPattern      = `^subnet-[0-9a-f]{8,17}$`
	GroupNamePattern   = `^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$`
	TagPattern         = `^[\pL\pN\s_.:/=+@-]*$`
	PolicyPattern      = `^arn:aws[a-z-]*:iam::(aws|[0-9]{12}):policy/[A-Za-z0-9+=,.@_/-]+$`
	CertificatePattern = `^arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[A-Za-z0-9-]+$`
)

var (
	clusterNameShape = regexp.MustCompile(ClusterNamePattern)
	regionShape      = regexp.MustCompile(RegionPattern)
	versionShape     = regexp.MustCompile(VersionPattern)
	subnetShape      = regexp.MustCompile(SubnetPattern)
	groupNameShape   = regexp.MustCompile(GroupNamePattern)
	tagShape         = regexp.MustCompile(TagPattern)
	policyShape      = regexp.MustCompile(PolicyPattern)
	certificateShape = regexp.MustCompile(CertificatePattern)
)

// Limits of a cluster file.
const (
	MinNameLength      = 3
	MaxNameLength      = 54
	MaxGroupNameLength = 26
	MaxGroups          = 100
	MaxNodesAtFirst    = 200 // of all groups together, when a cluster is made
	MaxNodesAtOnce     = 100 // that one `cluster configure` adds
	maxTypes           = 20  // that a managed group takes
	maxZones           = 8
	maxTags            = 40 // AWS takes 50; ours and those of EKS are the rest
	// A role takes 10 policies, and one is the policy that every cluster has.
	maxPolicies = 9
	maxCIDRs    = 1000 // what AWS takes is a quota; this only bounds the work
	// NewestKubernetes is the newest version that this release was tested with.
	NewestKubernetes = "1.36"
)

// bounds are the ranges of numbers by their key paths.
var bounds = map[string]workload.Bounds{
	"min_instances":                       {Max: 10_000},
	"max_instances":                       {Max: 10_000},
	"priority":                            {Min: 1, Max: 100},
	"instance_volume_size":                {Min: 20, Max: 16_384},
	"instance_volume_throughput":          {Min: 125, Max: 1000},
	"spot_config.on_demand_base_capacity": {Max: 10_000},
	"spot_config.on_demand_percentage_above_base_capacity": {Max: 100},
	"spot_config.instance_pools":                           {Min: 1, Max: 20},
}

// knownRegions are for hints only: AWS says which there are.
var knownRegions = strings.Fields("us-east-1 us-east-2 us-west-1 us-west-2 ca-central-1 ca-west-1 mx-central-1 sa-east-1 " +
	"eu-central-1 eu-central-2 eu-west-1 eu-west-2 eu-west-3 eu-north-1 eu-south-1 eu-south-2 " +
	"ap-south-1 ap-south-2 ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7 " +
	"ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-east-1 ap-east-2 " +
	"me-south-1 me-central-1 il-central-1 af-south-1 cn-north-1 cn-northwest-1 us-gov-west-1 us-gov-east-1 eusc-de-east-1")

// checker collects what is wrong.
type checker struct {
	list []workload.Violation
}

func (k *checker) add(v workload.Violation) { k.list = append(k.list, v) }

// number holds a number to its range.
func (k *checker) number(path, key string, n int64) bool {
	v := bounds[key].Check(float64(n))
	if v.Code == "" {
		return true
	}
	v.Path = path
	k.add(v)
	return false
}

// oneOf holds a word to those that are known.
func (k *checker) oneOf(path, word string, known ...string) {
	if !slices.Contains(known, word) {
		k.add(workload.Violation{
			Path: path, Code: workload.CodeDisallowedValue, Message: "is not a value of this key", Found: found(word),
			Allowed: strings.Join(known, ", "), Hint: suggest.Hint(word, known),
		})
	}
}

// shape holds a text to a pattern.
func (k *checker) shape(path, text string, shape *regexp.Regexp, what, such string) bool {
	if shape.MatchString(text) {
		return true
	}
	k.add(workload.Violation{Path: path, Code: workload.CodeInvalidString, Message: "is not " + what, Found: found(text), Allowed: such})
	return false
}

// once refuses what stands in a list twice.
func (k *checker) once(path string, list []string) {
	seen := map[string]bool{}
	for i, s := range list {
		if seen[s] {
			k.add(workload.Violation{Path: at(path, i), Code: workload.CodeDuplicatedValue, Message: "is given twice", Found: found(s), Hint: "remove one of the two"})
		}
		seen[s] = true
	}
}

func at(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// found shows a text of the file, of a bounded length.
func found(text string) string {
	const most = 60
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strconv.Quote(text)
}

// Validate returns every rule that c breaks and that needs no knowledge of the account.
// Check has the others.
func (c *Config) Validate() []workload.Violation {
	k := &checker{}
	k.name(c.ClusterName)
	k.region(c.Region)
	if v := c.KubernetesVersion; v != "" && k.shape("kubernetes_version", v, versionShape, "a version of Kubernetes", "such as "+NewestKubernetes) && v > NewestKubernetes {
		k.add(workload.Violation{
			Path: "kubernetes_version", Code: CodeNotPossible, Found: v,
			Message: "is newer than " + NewestKubernetes + ", the newest that this release of Cortex was tested with",
			Hint:    "remove the key to get the newest that is possible",
		})
	}
	k.tags(c)
	k.zones(c)
	k.network(c)
	k.balancers(c)
	k.policies(c)
	if c.ClusterCredentials != "" {
		k.oneOf("cluster_credentials", c.ClusterCredentials, CredentialsInherit, CredentialsRole)
		if c.ClusterCredentials == CredentialsInherit {
			k.add(workload.Violation{
				Path: "cluster_credentials", Code: CodeNotPossible, Message: "cannot be used: nothing in a cluster is given a key any more, which everybody who administers it could read",
				Found: CredentialsInherit, Allowed: CredentialsRole, Hint: "APIs may do what iam_policy_arns says",
			})
		}
	}
	k.images(c)
	k.groups(c)
	return k.list
}

func (k *checker) name(name string) {
	v := workload.Violation{Path: "cluster_name", Found: found(name), Allowed: fmt.Sprintf("%d to %d characters", MinNameLength, MaxNameLength)}
	switch {
	case len(name) < MinNameLength:
		v.Code, v.Message = CodeTooShort, "is too short"
	case len(name) > MaxNameLength:
		v.Code, v.Message = workload.CodeTooLong, "is too long"
		v.Hint = "the name of the bucket begins with it"
	case !clusterNameShape.MatchString(name):
		v.Code, v.Message = CodeClusterName, "is not a name for a cluster"
		v.Allowed = "lower-case letters, digits and single dashes between them"
	default:
		return
	}
	k.add(v)
}

func (k *checker) region(region string) {
	v := workload.Violation{Path: "region", Code: CodeInvalidRegion, Found: found(region), Allowed: "such as us-west-2"}
	switch {
	case region == "":
		v.Code, v.Message, v.Found = workload.CodeMustBeDefined, `"region" must be defined`, ""
	case !regionShape.MatchString(region):
		v.Message, v.Hint = "is not the name of an AWS region", suggest.Hint(region, knownRegions)
	case slices.ContainsFunc(secretRegions, func(p string) bool { return strings.HasPrefix(region, p) }):
		v.Message, v.Allowed = "is in a partition of AWS that Cortex was never made for", ""
	default:
		return
	}
	k.add(v)
}

// refusedTags are the beginnings of keys that AWS, Kubernetes and eksctl keep for
// themselves.
var refusedTags = []string{"kubernetes.io/", "k8s.io/", "eksctl.", "alpha.eksctl.", "beta.eksctl.", "aws:"}

const tagsOfCortex = "cortex.dev/"

func (k *checker) tags(c *Config) {
	if len(c.Tags) > maxTags {
		k.add(workload.Violation{Path: "tags", Code: CodeTooMany, Message: "has too many tags", Found: strconv.Itoa(len(c.Tags)), Allowed: fmt.Sprintf("at most %d", maxTags)})
		return
	}
	for _, key := range sortedKeys(c.Tags) {
		path := "tags." + key
		k.tagText(path, key, "key", 127, true)
		k.tagText(path, c.Tags[key], "value", 255, false)
		lower := strings.ToLower(key)
		for _, p := range refusedTags {
			if strings.HasPrefix(lower, p) && (p == "aws:" || strings.HasPrefix(key, p)) {
				k.add(workload.Violation{Path: path, OfKey: true, Code: CodePrefix, Message: "a tag must not begin with " + p, Found: found(key), Hint: "its owner uses such tags itself"})
			}
		}
		switch {
		case key == TagClusterName && c.Tags[key] != c.ClusterName:
			k.add(workload.Violation{
				Path: path, Code: CodeDefaultTag, Message: "must be the name of the cluster", Found: found(c.Tags[key]), Allowed: c.ClusterName,
				Hint: "remove it: everything gets this tag", Related: []string{"cluster_name"},
			})
		case key != TagClusterName && strings.HasPrefix(key, tagsOfCortex):
			k.add(workload.Violation{Path: path, OfKey: true, Code: CodePrefix, Message: "a tag must not begin with " + tagsOfCortex, Found: found(key), Hint: "Cortex uses such tags itself"})
		}
	}
}

func (k *checker) tagText(path, text, what string, longest int, ofKey bool) {
	v := workload.Violation{Path: path, OfKey: ofKey, Found: found(text), Allowed: fmt.Sprintf("1 to %d characters", longest)}
	switch {
	case text == "":
		v.Code, v.Message = CodeTooShort, "the "+what+" of a tag must not be empty"
	case len(text) > longest:
		v.Code, v.Message = workload.CodeTooLong, "the "+what+" of this tag is too long"
	case strings.TrimLeft(text, " \t") != text:
		v.Code, v.Message, v.Allowed = CodeLeadingSpace, "the "+what+" of a tag must not begin with a space", ""
	case strings.TrimRight(text, " \t") != text:
		v.Code, v.Message, v.Allowed = CodeTrailingSpace, "the "+what+" of a tag must not end with a space", ""
	case !tagShape.MatchString(text):
		v.Code, v.Message, v.Allowed = CodeInvalidTag, "the "+what+" of this tag has a character that AWS does not take", "letters, digits, spaces and _ . : / = + - @"
	default:
		return
	}
	k.add(v)
}

func (k *checker) policies(c *Config) {
	if n := len(c.IAMPolicyARNs); n > maxPolicies {
		k.add(workload.Violation{
			Path: "iam_policy_arns", Code: CodeTooMany, Message: "has too many policies: a role takes 10, and one is the cluster's own",
			Found: strconv.Itoa(n), Allowed: fmt.Sprintf("at most %d", maxPolicies), Hint: "put several into one policy",
		})
	}
	k.once("iam_policy_arns", c.IAMPolicyARNs)
	for i, arn := range c.IAMPolicyARNs {
		path := at("iam_policy_arns", i)
		if !k.shape(path, arn, policyShape, "the ARN of a policy", "such as "+DefaultPolicyARN(c.Region)) {
			continue
		}
		if parts := strings.Split(arn, ":"); parts[1] != PartitionOf(c.Region) {
			k.add(workload.Violation{
				Path: path, Code: CodePolicyNotFound, Message: "is a policy of another partition of AWS", Found: parts[1], Allowed: PartitionOf(c.Region),
				Hint: "write arn:" + PartitionOf(c.Region) + ":…", Related: []string{"region"},
			})
		}
	}
}

var imageShape = regexp.MustCompile(workload.ImagePattern)

// oldRegistries are where the images of cortex 0.42 and before are.
var oldRegistries = []string{"quay.io/cortexlabs/", "quay.io/cortexlabsdev/", "cortexlabs/", "cortexlabsdev/", "docker.io/cortexlabs/"}

func (k *checker) images(c *Config) {
	for _, name := range sortedKeys(c.Images) {
		path, image := "image_"+name, c.Images[name]
		switch {
		case image == "" || len(image) > workload.MaxImageLength || !imageShape.MatchString(image):
			k.add(workload.Violation{Path: path, Code: workload.CodeInvalidImage, Message: "is not the name of an image", Found: found(image), Allowed: workload.WordsOf(workload.ImagePattern)})
		case slices.ContainsFunc(oldRegistries, func(r string) bool { return strings.HasPrefix(image, r) }):
			k.add(workload.Violation{
				Path: path, Code: CodeImageVersion, Message: "is an image of cortex 0.42 or before, which does not fit this release", Found: found(image),
				Hint: "remove the key",
			})
		}
	}
}
