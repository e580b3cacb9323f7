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
	containers  = "pod.containers[]"
	environment = containers + ".env"
	targets     = "apis"
)

// shapes are patterns whose breach is told in words.
var shapes = map[string]string{
	workload.NamePattern:     "must be " + workload.WordsOf(workload.NamePattern),
	workload.EndpointPattern: "must be " + workload.WordsOf(workload.EndpointPattern),
	workload.HostPattern:     "must be " + workload.WordsOf(workload.HostPattern),
	workload.ImagePattern:    "is not the name of an image, " + workload.WordsOf(workload.ImagePattern),
}

// unlike are patterns that must not match, in words.
var unlike = map[string]string{
	workload.EndpointNotPattern: "must name a path below /, without two slashes in a row and without a segment . or ..",
	workload.PathNotPattern:     "must not contain two slashes in a row",
}

// resourceName are the rules of the name, which is a resource's and not its spec's.
func resourceName(k workload.Kind) []v1.ValidationRule {
	const field = ".metadata.name"
	rules := []v1.ValidationRule{
		{Rule: "self.metadata.name.matches(" + quote(workload.NamePattern) + ")", FieldPath: field, Message: shapes[workload.NamePattern]},
		{Rule: "!self.metadata.name.startsWith('b-')", FieldPath: field, Message: `must not begin with "b-": names of job queues begin with it`},
	}
	if k == workload.Splitter { // as ValidateSet says of files
		rules = append(rules, v1.ValidationRule{
			Rule: "!self.spec.apis.exists(target, target.name == self.metadata.name)", FieldPath: ".spec.apis", Message: "a TrafficSplitter cannot be its own target",
		})
	}
	return rules
}

// rules returns what must hold across the fields of the value at a path.
func rules(k workload.Kind, path string) []v1.ValidationRule {
	var list []v1.ValidationRule
	for _, r := range workload.Rules() {
		if r.At == path && r.CEL.Expr != "" && slices.Contains(r.Kinds, k) {
			list = append(list, v1.ValidationRule{Rule: r.CEL.Expr, Message: r.CEL.Message, FieldPath: r.CEL.Field})
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
	maxVolumes      = 20
	maxLabels       = 64
	maxEnvFrom      = 100
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
	case slices.Contains([]string{"pod.volumes", "pod.tolerations", containers + ".volume_mounts"}, path):
		out.MaxItems = ptr(int64(maxVolumes))
	case slices.Contains([]string{"pod.labels", "pod.annotations", "pod.node_selector", containers + ".compute.devices"}, path):
		out.MaxProperties = ptr(int64(maxLabels))
	case path == containers+".env_from":
		out.MaxItems = ptr(int64(maxEnvFrom))
	case strings.HasPrefix(path, containers+".env_from[]."), strings.HasPrefix(path, containers+".security_context.capabilities.") && strings.HasSuffix(path, "[]"),
		path == "pod.tolerations[].effect", path == "pod.tolerations[].value", path == "pod.labels{}", path == "pod.node_selector{}":
		out.MaxLength = orElse(out.MaxLength, ptr(int64(workload.MaxObjectNameLength)))
	case path == "networking.limits":
		out.MaxItems = ptr(int64(workload.MaxLimits))
	case slices.Contains([]string{"networking.auth.accept", "networking.auth.forward", "networking.auth.allow", "networking.auth.allow[].paths", "networking.auth.allow[].methods"}, path):
		out.MaxItems = ptr(int64(workload.MaxAllowed))
	case path == "schedules":
		out.MaxItems = ptr(int64(workload.MaxSchedules))
	case path == "autoscaling.floors":
		out.MaxItems = ptr(int64(workload.MaxFloors))
	case path == "schedules[].payload.text":
		out.MaxLength = ptr(int64(workload.MaxPayloadBytes))
	case path == "schedules[].payload.file":
		out.MaxLength = ptr(int64(workload.MaxMountPathLength))
	case path == "node_groups":
		out.MaxItems = ptr(int64(maxNodeGroups))
	case strings.HasSuffix(path, ".http_get.path"):
		out.MaxLength = ptr(int64(workload.MaxEndpointLength))
	case out.Pattern == workload.DurationPattern:
		out.MaxLength = ptr(int64(maxDurationText))
	}
}
