package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// The rules that Parse knows and the schema does not, because a schema judges one
// value at a time, or by its spelling.
var beyondSchema = []struct{ code, pattern, why string }{
	{workload.CodeDuplicateName, `: name: `, "compares APIs"},
	{workload.CodeDuplicateEndpoint, `: networking\.endpoint: `, "compares APIs"},
	{workload.CodeDuplicateHost, `: networking\.host: `, "compares APIs"},
	{workload.CodeTargetNotDeployed, `: apis\[\d+\]\.name: `, "compares APIs"},
	{workload.CodeDuplicateContainer, `\]\.name: `, "compares containers"},
	{workload.CodeComputeConflict, `\.compute: `, "compares containers"},
	{workload.CodeSplitterNotUnique, `: apis\[\d+\]\.name: `, "compares targets"},
	{workload.CodeSplitterWeight, `: apis: `, "adds up"},
	{workload.CodeMinAboveMax, `\.min_replicas: `, "compares fields"},
	{workload.CodeInitAboveMax, `\.init_replicas: `, "compares fields"},
	{workload.CodeInitBelowMin, `\.init_replicas: `, "compares fields"},
	{workload.CodeTargetInFlight, `\.target_in_flight: `, "compares fields"},
	{workload.CodeMustBeDefined, `: async\.webhook\.url: `, "compares fields"},
	{workload.CodeSharesBothZero, `: update_strategy\.`, "compares fields"},
	{workload.CodeShmExceedsMem, `\.compute\.shm: `, "compares fields"},
	{workload.CodeDuplicatedValue, `\]\.(name|mount_path): `, "compares elements"},
	{workload.CodeDisallowedValue, `\.volume_mounts\[\d+\]\.name: is not a volume`, "compares elements"},
	{workload.CodeDisallowedValue, `\.run_as_user: must not be 0 with`, "compares fields"},
	{workload.CodeGreaterOrEqual, `\.compute\.(limits\.)?(cpu|mem): `, "needs the value of a string"},
	{workload.CodeGreaterOrEqual, `\.(empty_dir\.size|max_payload): `, "needs the value of a string"},
	{workload.CodeGreaterOrEqual, `: async\.(timeout|expire_after|retry\..*_delay|keep\.results): `, "needs the value of a string"},
	{workload.CodeGreaterOrEqual, `\.(window|.*_period|target_queue_time): `, "needs the value of a string"},
	{workload.CodeNotMultiple, `\.(window|termination_grace_period): `, "needs the value of a string"},
	{workload.CodeInvalidString, `(\.(window|.*_period|target_queue_time)|: async\.[a-z_.]+): `, "a duration too long to count"},

	{workload.CodeCron, `\.cron: `, "needs the meaning of a string"},
	{workload.CodeTimezone, `\.timezone: `, "needs the zones there are"},
	{workload.CodePeriod, `\.(every|window|jitter|for): `, "needs the value of a string"},
	{workload.CodeGreaterOrEqual, `\.(every|window|jitter|for): `, "needs the value of a string"},
	{workload.CodeInvalidString, `\.(every|window|jitter|for): `, "a duration too long to count"},
	{workload.CodeExactlyOneField, `: schedules\[\d+\]: `, "every: 0s is no period"},
	{workload.CodeMinAboveMax, `\.floors\[\d+\]\.min_replicas: `, "compares fields"},
	{"", `\.job: `, "a submission is judged by its own rules"},

	{workload.CodeDuplicateName, `: networking\.limits\[\d+\]\.name: `, "compares elements"},
	{workload.CodeDisallowedValue, `: networking\.limits\[\d+\]\.(per|burst): `, "compares fields"},
	{workload.CodeMustBeDefined, `: networking\.auth\.jwt: `, "compares fields"},
	{workload.CodeDisallowedValue, `: networking\.auth\.jwt: `, "compares fields"},
	{workload.CodeDisallowedValue, `\.anyone: `, "false is a truth value"},
	{workload.CodeExactlyOneField, `: networking\.limits\[\d+\]: `, "concurrent: 0 is no limit"},
	{workload.CodeLessOrEqual, `: networking\.limits\[\d+\]\.quota: `, "needs the value of a string"},

	// Beyond any schema: what is gone when YAML has become values.
	{workload.CodeDuplicatedValue, `is given twice`, "keys that are given twice"},
	{workload.CodePrimitiveType, `read differently`, "numbers that versions of YAML read differently"},
	{workload.CodePrimitiveType, `with the tag`, "tags"},
	{codeInvalidYAML, `the merge key`, "merges"},
	{workload.CodeMalformed, `more than one YAML document`, "documents"},
}

func beyond(p fault.Problem) bool {
	for _, b := range beyondSchema {
		if (p.Code == b.code || b.code == "") && regexp.MustCompile(b.pattern).MatchString(p.String()) {
			return true
		}
	}
	return false
}

func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("cortex.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("cortex.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSchemaAgreesWithTheCatalogue(t *testing.T) {
	t.Parallel()
	schema := compiled(t)
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("Glob() = %v, %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := yaml.Unmarshal(data, &doc); err != nil {
			continue // no schema sees it
		}
		text, err := json.Marshal(doc)
		if err != nil {
			continue // a map whose keys are no strings, or a number JSON has not
		}
		if doc, err = jsonschema.UnmarshalJSON(bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		agree(t, file, schema, doc, data)
	}
}

// agree compares what the schema and Parse say of one document.
func agree(t interface {
	Errorf(string, ...any)
}, name string, schema *jsonschema.Schema, doc any, data []byte,
) {
	refused := schema.Validate(doc)
	_, err := ParseWith("", data, anyEnvFile)
	switch {
	case refused != nil && err == nil:
		t.Errorf("%s: the schema refuses what Parse accepts: %v\n%s", name, refused, data)
	case refused == nil && err != nil:
		for _, p := range fault.From(err).Problems {
			if !beyond(p) {
				t.Errorf("%s: the schema accepts what Parse refuses: [%s] %s\n%s", name, p.Code, p, data)
			}
		}
	}
}

// Any document: a valid one made from the schema itself, with up to three values
// replaced, removed or added at random places.
func TestSchemaAgreesWithParse(t *testing.T) {
	t.Parallel()
	schema := compiled(t)
	var root object
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	var valid, invalid int
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(workload.Kinds()).Draw(t, "kind")
		doc := []any{instance(t, root["$defs"].(object)[string(kind)].(object))}
		for range rapid.IntRange(0, 3).Draw(t, "mutations") {
			doc = mutate(t, doc).([]any)
			if len(doc) == 0 {
				break
			}
		}
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		again, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(again) == nil {
			valid++
		} else {
			invalid++
		}
		agree(t, "document", schema, again, text)
	})
	if valid < 10 || invalid < 10 {
		t.Errorf("%d valid and %d invalid documents were tried, want both kinds", valid, invalid)
	}
}

// Every value of a document of each kind, replaced by every value we can think of.
func TestSchemaAgreesWithParseAtEveryField(t *testing.T) {
	t.Parallel()
	schema := compiled(t)
	for name, text := range fullDocuments {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); err != nil {
				t.Fatal(err)
			}
			if _, err := ParseWith("", []byte(text), anyEnvFile); err != nil {
				t.Fatal(err)
			}
			places(doc, func(was any, set func(any)) {
				for _, other := range othersThan(was) {
					set(other)
					text, err := json.Marshal(doc)
					if err != nil {
						t.Fatal(err)
					}
					// Through JSON once more, so that both see the same numbers.
					seen, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
					if err != nil {
						t.Fatal(err)
					}
					agree(t, name, schema, seen, text)
				}
			})
		})
	}
}

// places calls fn for every value of a document, with what replaces it.
func places(v any, fn func(was any, set func(any))) {
	switch v := v.(type) {
	case object:
		for key, was := range v {
			places(was, fn)
			fn(was, func(other any) { v[key] = other })
			v[key] = was
		}
	case []any:
		for i, was := range v {
			places(was, fn)
			fn(was, func(other any) { v[i] = other })
			v[i] = was
		}
	}
}

// othersThan returns values of every type, and all we have of the type of v.
func othersThan(v any) []any {
	others := []any{nil, true, object{}, []any{}, []any{"a"}, object{"port": 80}, "", "8080", "a", "1Gi", "50%", "@a", 0, 1, 25, -1, 1.5, 8080.0}
	switch v.(type) {
	case string:
		for _, s := range someStrings {
			others = append(others, s)
		}
	case json.Number:
		others = append(others, someNumbers...)
	}
	return others
}

// Documents of each kind in which together every field of its schema stands. They
// are small, because each value costs a reading of the whole.
var fullDocuments = map[string]string{
	"RealtimeAPI": `[{"name": "a", "kind": "RealtimeAPI", "node_groups": ["g"], "networking": {"endpoint": "/e", "host": "e.example"},
		"pod": {"port": 80, "max_concurrency": 2, "max_queue_length": 3, "termination_grace_period": "90s", "on_client_gone": "cancel", "service_account": "a",
			"node_selector": {"a": "b"}, "tolerations": [{"key": "a", "value": "b", "effect": "NoExecute"}], "labels": {"a": "b"}, "annotations": {"a": "b"},
			"security_context": {"fs_group": 1}, "containers": [{"name": "c", "image": "i"}]},
		"update_strategy": {"max_surge": "1%", "max_unavailable": 1}}]`,
	"access": `[{"name": "a", "kind": "RealtimeAPI", "pod": {"containers": [{"name": "c", "image": "i"}]}, "networking": {
		"auth": {"accept": ["keys", "jwt"], "jwt": {"issuer": "https://a.b", "audience": "a", "keys": "https://a.b/c", "algorithms": ["RS256"], "require": {"scope": "x"}}, "allow": [{"paths": ["/a"], "methods": ["GET"], "anyone": true}], "forward": ["name"]},
		"limits": [{"name": "a", "per": "caller", "rate": "1/s", "burst": 2}, {"name": "b", "concurrent": 1}, {"name": "c", "quota": "5/1d"}]}}]`,
	"volumes": `[{"name": "a", "kind": "RealtimeAPI", "pod": {
		"volumes": [{"name": "v", "secret": "s"}, {"name": "w", "config_map": "s"}, {"name": "x", "persistent_volume_claim": "s"}, {"name": "y", "empty_dir": {"size": "1Gi", "memory": true}}, {"name": "z", "host_path": "/srv"}],
		"containers": [{"name": "c", "image": "i", "volume_mounts": [{"name": "v", "mount_path": "/a", "read_only": true}]}]}}]`,
	"security": `[{"name": "a", "kind": "RealtimeAPI", "pod": {"containers": [{"name": "c", "image": "i",
		"env_from": [{"name": "A", "secret": "s", "key": "k"}, {"name": "B", "config_map": "s", "key": "k"}],
		"security_context": {"run_as_user": 1, "run_as_group": 1, "run_as_non_root": true, "read_only_root_filesystem": true, "capabilities": {"add": ["KILL"], "drop": ["ALL"]}},
		"compute": {"cpu": 1, "mem": "1Gi", "limits": {"cpu": 2, "mem": "2Gi"}, "devices": {"a.b/c": 1}, "resource_claim_templates": ["t"]}}]}}]`,
	"container": `[{"name": "a", "kind": "RealtimeAPI", "pod": {"containers": [
		{"name": "c", "image": "i", "env": {"A": "b", "B": {"secret": "s"}}, "env_file": [".env"], "command": ["x", "y"], "args": ["z"],
		 "compute": {"cpu": 1, "mem": "1Gi", "gpu": 1, "inf": 0, "shm": "1Mi"}}]}}]`,
	"probe": `[{"name": "a", "kind": "RealtimeAPI", "pod": {"containers": [{"name": "c", "image": "i",
		"readiness_probe": {"http_get": {"path": "/", "port": 80}, "initial_delay_seconds": 1, "timeout_seconds": 1,
			"period_seconds": 1, "success_threshold": 1, "failure_threshold": 1},
		"liveness_probe": {"tcp_socket": {"port": 80}}, "pre_stop": {"http_get": {"port": 80}}}]}}]`,
	"exec": `[{"name": "a", "kind": "RealtimeAPI", "pod": {"containers": [{"name": "c", "command": ["x"],
		"liveness_probe": {"exec": {"command": ["x", "y"]}}, "pre_stop": {"exec": {"command": ["x"]}}}]}}]`,
	"autoscaling": `[{"name": "a", "kind": "RealtimeAPI", "pod": {"containers": [{"name": "c", "image": "i"}]},
		"stopped": true, "autoscaling": {"min_replicas": 1, "max_replicas": 9, "init_replicas": 2, "target_in_flight": 1.5, "window": "20s",
			"downscale_stabilization_period": "1s", "upscale_stabilization_period": "1s", "max_downscale_factor": 0.5,
			"max_upscale_factor": 2, "downscale_tolerance": 0.1, "upscale_tolerance": 0.1,
			"floors": [{"cron": "0 8 * * 1-5", "for": "10h", "timezone": "Europe/Berlin", "min_replicas": 2}]}}]`,
	"schedules": `[{"name": "a", "kind": "AsyncAPI", "pod": {"containers": [{"name": "c", "image": "i"}]}, "schedules": [
		{"name": "n", "cron": "@daily", "timezone": "Europe/Berlin", "overlap": "queue", "catch_up": {"window": "2h", "runs": "all"}, "jitter": "1m",
			"pause_after_failures": 3, "suspend": true, "payload": {"json": {"a": [1]}, "content_type": "text/plain"}},
		{"name": "o", "every": "1m", "payload": {"text": "a"}}, {"name": "p", "every": "1m", "payload": {"file": "a"}}]}]`,
	"schedules of jobs": `[{"name": "a", "kind": "TaskAPI", "pod": {"containers": [{"name": "c", "image": "i", "command": ["x"]}]}, "schedules": [
		{"name": "n", "cron": "@daily", "job": {"config": {"a": 1}}}]}]`,
	"AsyncAPI": `[{"name": "a", "kind": "AsyncAPI", "async": {"max_queue_length": 5, "max_payload": "2Gi", "timeout": "1h", "expire_after": "2h",
		"retry": {"attempts": 3, "min_delay": "1s", "max_delay": "1m", "on": [500, "timeout"]}, "redeliver": 0, "keep": {"results": "24h", "payloads": "never"},
		"concurrency": {"per_caller": 2}, "webhook": {"url": "https://example.com/hook", "events": ["failed"], "secret": "hook", "allow_callers_url": true}}, "autoscaling": {"target_queue_time": "30s"}, "pod": {"max_concurrency": 2, "containers": [
		{"name": "c", "image": "i", "readiness_probe": {"tcp_socket": {"port": 80}}}]}}]`,
	"BatchAPI": `[{"name": "a", "kind": "BatchAPI", "pod": {"port": 80, "containers": [
		{"name": "c", "image": "i", "command": ["x"], "readiness_probe": {"http_get": {"port": 80}}}]}}]`,
	"TaskAPI": `[{"name": "a", "kind": "TaskAPI", "pod": {"containers": [
		{"name": "c", "command": ["x"], "liveness_probe": {"http_get": {"port": 80}}}]}}]`,
	"TrafficSplitter": `[{"name": "a", "kind": "TrafficSplitter", "networking": {"endpoint": "/e", "host": "e.example"}, "apis": [
		{"name": "x", "weight": 100, "shadow": false}, {"name": "y", "weight": 5, "shadow": true}]}]`,
}

// A field that stands in no full document would be compared by chance only.
func TestFullDocumentsHaveEveryField(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, text := range fullDocuments {
		all.WriteString(text)
	}
	var keys []string
	for _, k := range workload.Kinds() {
		keys = append(keys, names(specSection.fields, k)...)
		keys = append(keys, names(podSection.fields, k)...)
		keys = append(keys, names(containerSection.fields, k)...)
	}
	keys = append(keys, names(computeSection.fields, workload.Realtime)...)
	keys = append(keys, names(autoscalingSection.fields, workload.Realtime)...)
	keys = append(keys, names(scheduleSection.fields, workload.Async)...)
	keys = append(keys, names(scheduleSection.fields, workload.Task)...)
	keys = append(keys, names(catchUpSection.fields, workload.Async)...)
	keys = append(keys, names(payloadSection.fields, workload.Async)...)
	keys = append(keys, names(floorSection.fields, workload.Async)...)
	keys = append(keys, names(tolerationSection.fields, workload.Realtime)...)
	keys = append(keys, names(podSecuritySection.fields, workload.Realtime)...)
	keys = append(keys, names(volumeSection.fields, workload.Realtime)...)
	keys = append(keys, names(emptyDirSection.fields, workload.Realtime)...)
	keys = append(keys, names(variableSection.fields, workload.Realtime)...)
	keys = append(keys, names(envFromSection.fields, workload.Realtime)...)
	keys = append(keys, names(securitySection.fields, workload.Realtime)...)
	keys = append(keys, names(capabilitiesSection.fields, workload.Realtime)...)
	keys = append(keys, names(mountSection.fields, workload.Realtime)...)
	keys = append(keys, names(limitsSection.fields, workload.Realtime)...)
	keys = append(keys, names(updateSection.fields, workload.Realtime)...)
	keys = append(keys, names(networkingSection.fields, workload.Realtime)...)
	keys = append(keys, names(authSection.fields, workload.Realtime)...)
	keys = append(keys, names(jwtSection.fields, workload.Realtime)...)
	keys = append(keys, names(allowedSection.fields, workload.Realtime)...)
	keys = append(keys, names(limitSection.fields, workload.Realtime)...)
	keys = append(keys, names(targetSection.fields, workload.Splitter)...)
	keys = append(keys, names(probeSection("readiness_probe").fields, workload.Realtime)...)
	for _, key := range keys {
		if !strings.Contains(all.String(), `"`+key+`"`) {
			t.Errorf("no full document has %q", key)
		}
	}
}

func TestSchemaTellsEditorsWhatAFieldIs(t *testing.T) {
	t.Parallel()
	var root object
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	if root["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("$schema = %v", root["$schema"])
	}
	var visit func(path string, v any)
	visit = func(path string, v any) {
		switch v := v.(type) {
		case object:
			for key, p := range v {
				if properties, ok := p.(object); ok && key == "properties" && strings.HasPrefix(path, "/$defs") && !strings.Contains(path, "allOf") &&
					!strings.Contains(path, "anyOf/1") && !strings.HasSuffix(path, "contains") {
					for name, each := range properties {
						if d, _ := each.(object)["description"].(string); d == "" {
							t.Errorf("%s/%s has no description", path, name)
						}
					}
				}
				visit(path+"/"+key, p)
			}
		case []any:
			for i, e := range v {
				visit(fmt.Sprintf("%s/%d", path, i), e)
			}
		}
	}
	visit("", root)
	for _, tt := range []struct{ path, want string }{
		{"$defs/RealtimeAPI/properties/pod/properties/port/default", "8080"},
		{"$defs/AsyncAPI/properties/pod/properties/max_concurrency/maximum", "100"},
		{"$defs/RealtimeAPI/properties/autoscaling/properties/max_upscale_factor/exclusiveMinimum", "1"},
		{"$defs/RealtimeAPI/properties/autoscaling/properties/window/default", "60s"},
		{"$defs/BatchAPI/properties/autoscaling", "<nil>"},
		{"$defs/TaskAPI/properties/pod/properties/port", "<nil>"},
		{"$defs/TrafficSplitter/properties/pod", "<nil>"},
	} {
		var v any = root
		for key := range strings.SplitSeq(tt.path, "/") {
			o, _ := v.(object)
			v = o[key]
		}
		if got := fmt.Sprint(v); got != tt.want {
			t.Errorf("%s = %s, want %s", tt.path, got, tt.want)
		}
	}
}

// anyEnvFile is there by every name: what a schema accepts may name some.
func anyEnvFile(string) (string, error) { return "FROM_FILE=1", nil }
