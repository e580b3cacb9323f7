package schema

import (
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"cortex.dev/cortex/internal/workload"
)

// Key paths that are named here.
const (
	ofResource  = "^" // the resource itself, above spec
	containers  = "pod.containers[]"
	environment = containers + ".env"
	targets     = "apis"
)

// shapes are patterns whose breach is told in words.
var shapes = map[string]string{
	workload.NamePattern:     "must be lower-case letters, digits and dashes, beginning with a letter and not ending with a dash",
	workload.EndpointPattern: "must be letters, digits, and the characters / - _ .",
	workload.ImagePattern:    "is not the name of an image, such as quay.io/team/iris:1.0",
}

// unlike are patterns that must not match, in words.
var unlike = map[string]string{
	`//|^/$`: "must name a path below / and must not contain two slashes in a row",
	`//`:     "must not contain two slashes in a row",
}

// rule compares values, which a schema alone cannot.
type rule struct {
	path  string // of the value that is self
	kinds []workload.Kind
	expr  string // what must hold
	field string // the key below self that the message is about
	text  string
}

var (
	all    = workload.Kinds()
	jobs   = []workload.Kind{workload.Batch, workload.Task}
	scaled = []workload.Kind{workload.Realtime, workload.Async}
	split  = []workload.Kind{workload.Splitter}
	pods   = []workload.Kind{workload.Batch, workload.Task, workload.Realtime, workload.Async}
)

// or is a number of self, or what is meant where it is absent.
func or(key string, def any) string {
	return fmt.Sprintf("(has(self.%s) ? self.%s : %v)", key, key, def)
}

func table() []rule {
	a := workload.NewAutoscaling(0)
	least, most := or("min_replicas", a.MinReplicas), or("max_replicas", a.MaxReplicas)
	concurrency := "(has(self.pod.max_concurrency) ? self.pod.max_concurrency : " + fmt.Sprint(workload.DefaultMaxConcurrency) + ")"
	queue := "(has(self.pod.max_queue_length) ? self.pod.max_queue_length : " + fmt.Sprint(workload.DefaultMaxQueueLength) + ")"
	requests := func(device string) string {
		return "self.containers.exists(c, has(c.compute) && has(c.compute." + device + ") && c.compute." + device + " > 0)"
	}
	zero := func(key string) string { return "has(self." + key + ") && string(self." + key + ").matches('^0+%?$')" }
	var reserved []string
	for _, prefix := range workload.ReservedEnvPrefixes() {
		reserved = append(reserved, "key.startsWith("+quote(prefix)+")")
	}
	return []rule{
		{ofResource, all, "self.metadata.name.matches(" + quote(workload.NamePattern) + ")", ".metadata.name", shapes[workload.NamePattern]},
		{ofResource, all, "!self.metadata.name.startsWith('b-')", ".metadata.name", `must not begin with "b-": names of job queues begin with it`},
		{ofResource, split, "!self.spec.apis.exists(target, target.name == self.metadata.name)", ".spec.apis", "a TrafficSplitter cannot be its own target"},

		{"autoscaling", scaled, least + " <= " + most, ".min_replicas", "must not be greater than max_replicas"},
		{"autoscaling", scaled, "!has(self.init_replicas) || self.init_replicas <= " + most, ".init_replicas", "must not be greater than max_replicas"},
		{"autoscaling", scaled, "!has(self.init_replicas) || self.init_replicas >= " + least, ".init_replicas", "must not be less than min_replicas"},
		{
			"", []workload.Kind{workload.Realtime},
			"!has(self.autoscaling) || !has(self.autoscaling.target_in_flight) || self.autoscaling.target_in_flight <= double(" + concurrency + " + " + queue + ")",
			".autoscaling.target_in_flight", "must be at most max_concurrency + max_queue_length: a replica never has more requests in flight than that",
		},
		{
			"update_strategy", scaled, "!(" + zero("max_surge") + " && " + zero("max_unavailable") + ")",
			".max_unavailable", "max_surge and max_unavailable must not both be zero: an update could never make a step",
		},

		{"pod", pods, "!(" + requests("gpu") + " && " + requests("inf") + ")", ".containers", "gpu and inf must not both be requested in one pod: no node has both"},
		{containers, jobs, "has(self.command)", ".command", "must be specified for jobs"},
		{environment, pods, "self.all(key, !(" + strings.Join(reserved, " || ") + "))", "", "must not begin with " + strings.Join(workload.ReservedEnvPrefixes(), " or ") + ": the platform sets those"},
		{environment, pods, "self.all(key, key.matches(" + quote(workload.EnvPattern) + "))", "", "names of environment variables are letters, digits, and the characters _ - ., not beginning with a digit"},

		{targets, split, "self.filter(target, !(has(target.shadow) && target.shadow)).map(target, target.weight).sum() == 100", "", "the weights of the targets that are not the shadow must add up to 100"},
		{targets, split, "self.filter(target, has(target.shadow) && target.shadow).size() <= 1", "", "at most one target may be the shadow"},
	}
}

// rules returns what must hold for the value at a path.
func rules(k workload.Kind, path string) []v1.ValidationRule {
	var list []v1.ValidationRule
	for _, r := range table() {
		if r.path == path && slices.Contains(r.kinds, k) {
			list = append(list, v1.ValidationRule{Rule: r.expr, Message: r.text, FieldPath: r.field})
		}
	}
	return list
}

// period says the range of a duration, whose value no pattern can bound.
func period(p workload.Period) []v1.ValidationRule {
	text := func(d time.Duration) string { return workload.Duration(d).String() }
	rules := []v1.ValidationRule{{Rule: "duration(self) >= duration(" + quote(text(p.Min)) + ")", Message: "must be at least " + text(p.Min)}}
	if p.Step == 0 {
		return rules
	}
	// CEL has no remainder of durations; a step is whole seconds.
	return append(rules, v1.ValidationRule{
		Rule:    fmt.Sprintf("duration(self).getSeconds() %% %d == 0 && duration(self).getMilliseconds() %% 1000 == 0", int64(p.Step/time.Second)),
		Message: "must be a multiple of " + text(p.Step),
	})
}

// The manifest bounds a file as a whole. The API server asks for a bound of each
// list and text that a rule looks through; these are far beyond what a pod can be.
const (
	maxContainers   = 64
	maxTargets      = 100
	maxVariables    = 1000
	maxNodeGroups   = 100
	maxDurationText = 100
)

// bound adds the bounds that the manifest does not have.
func bound(path string, out *v1.JSONSchemaProps) {
	switch {
	case path == strings.TrimSuffix(containers, "[]"):
		out.MaxItems = ptr(int64(maxContainers))
	case path == targets:
		out.MaxItems = ptr(int64(maxTargets))
	case path == targets+"[].name":
		out.MaxLength = ptr(int64(workload.MaxNameLength)) // no API has a longer one
	case path == environment:
		out.MaxProperties = ptr(int64(maxVariables))
	case path == "node_groups":
		out.MaxItems = ptr(int64(maxNodeGroups))
	case strings.HasSuffix(path, ".http_get.path"):
		out.MaxLength = ptr(int64(workload.MaxEndpointLength))
	case out.Pattern == workload.DurationPattern:
		out.MaxLength = ptr(int64(maxDurationText))
	}
}
