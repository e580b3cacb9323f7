package manifest

import (
	"fmt"
	"regexp"
	"strings"

	"cortex.dev/cortex/internal/suggest"
	"cortex.dev/cortex/internal/workload"
)

// placeOf says in which section of a kind a key belongs that stands elsewhere, or
// "".
func placeOf(key string, k workload.Kind) string {
	for _, p := range []struct {
		place string
		keys  []string
	}{
		{"the top level of the API", names(specSection.fields, k)},
		{"pod", names(podSection.fields, k)},
		{"pod.containers[]", names(containerSection.fields, k)},
		{"pod.containers[].compute", names(computeSection.fields, k)},
		{"networking", names(networkingSection.fields, k)},
		{"autoscaling", names(autoscalingSection.fields, k)},
		{"update_strategy", names(updateSection.fields, k)},
		{"async", names(asyncSection.fields, k)},
		{"async.retry", names(retrySection.fields, k)},
		{"async.webhook", names(webhookSection.fields, k)},
	} {
		if p.place != "the top level of the API" && !hasPlace(p.place, k) {
			continue
		}
		for _, each := range p.keys {
			if each == key && key != "name" {
				return p.place
			}
		}
	}
	return ""
}

func hasPlace(place string, k workload.Kind) bool {
	top, _, _ := strings.Cut(place, ".")
	i := fieldOf(specSection.fields, top)
	return specSection.fields[i].has(k)
}

// A key of an earlier release, and what replaces it.
type old struct {
	hint     string
	replaces []string // keys of the same section that its user need not be asked for
}

const containersInstead = "APIs are containers since release 0.36: put the server in an image, or on one machine a command, " +
	"under pod.containers"

// The keys that releases 0.18 to 0.35 had (REFERENCE section 13), by key path
// without indices.
var oldKeys = map[string]old{
	"predictor":       {"predictors are gone; " + containersInstead, []string{"pod"}},
	"handler":         {"handlers are gone; " + containersInstead, []string{"pod"}},
	"definition":      {"task definitions are gone; " + containersInstead, []string{"pod"}},
	"python":          {"predictors are gone; " + containersInstead, []string{"pod"}},
	"tensorflow":      {"predictors are gone; " + containersInstead, []string{"pod"}},
	"onnx":            {"predictors are gone; " + containersInstead, []string{"pod"}},
	"tracker":         {"remove it: metrics are on the /metrics page of the operator", nil},
	"monitoring":      {"remove it: metrics are on the /metrics page of the operator, and a model's own belong in its server", nil},
	"compute":         {"move it into each container: pod.containers[].compute", nil},
	"endpoint":        {"it belongs in networking", nil},
	"local_port":      {"remove it: on one machine all APIs share one port, http://localhost:8888/<endpoint>", nil},
	"api_gateway":     {"remove it: every API is reached through the gateway of its environment", nil},
	"pod.compute":     {"move it into each container: pod.containers[].compute", nil},
	"pod.image":       {"move it into a container: pod.containers[].image", nil},
	"pod.command":     {"move it into a container: pod.containers[].command", nil},
	"node_selector":   {"it is called node_groups", nil},
	"compute.mem_req": {"it is called mem", nil},

	"autoscaling.max_replica_concurrency":    {"it is called pod.max_queue_length", nil},
	"autoscaling.target_replica_concurrency": {"it is called target_in_flight", []string{"target_in_flight"}},
	"autoscaling.target_queue_length":        {"it is called target_in_flight", []string{"target_in_flight"}},
	"autoscaling.workers_per_replica":        {"it is called pod.max_concurrency", nil},
	"autoscaling.threads_per_worker":         {"it is called pod.max_concurrency", nil},
	"autoscaling.threads_per_process":        {"it is called pod.max_concurrency", nil},
	"autoscaling.processes_per_replica":      {"it is called pod.max_concurrency", nil},
	"autoscaling.max_concurrency":            {"it belongs in pod", nil},
	"networking.local_port":                  {"remove it: on one machine all APIs share one port, http://localhost:8888/<endpoint>", nil},
	"networking.api_gateway":                 {"remove it: every API is reached through the gateway of its environment", nil},
	"pod.containers[].shm_size":              {"it is called compute.shm", nil},
	"pod.containers[].compute.memory":        {"it is called mem", []string{"mem"}},

	// Of no release, but of the design, and of other tools.
	"async.revision": {"remove it: an item is executed by the version that serves when its turn comes; to keep it for the one that accepted it, replicas of old versions would have to stay for as long as anything waits", nil},
}

var indices = regexp.MustCompile(`\[[0-9]+\]`)

// oldKey returns what to say of a key of an earlier release, and the keys it
// stands for; an empty hint for all others.
func oldKey(path string) (hint string, replaces []string) {
	o := oldKeys[indices.ReplaceAllString(path, "[]")]
	return o.hint, o.replaces
}

// The kinds of earlier releases.
var oldKinds = map[string]workload.Kind{
	"SyncAPI":     workload.Realtime,
	"API":         workload.Realtime,
	"APISplitter": workload.Splitter,
}

// kindHint says which kind was probably meant, or "".
func kindHint(found string) string {
	if k, ok := oldKinds[found]; ok {
		return fmt.Sprintf("it is called %s", k)
	}
	var kinds []string
	for _, k := range workload.Kinds() {
		if strings.EqualFold(found, strings.TrimSuffix(string(k), "API")) {
			return fmt.Sprintf("did you mean %q?", k)
		}
		kinds = append(kinds, string(k))
	}
	return suggest.Hint(found, kinds)
}
