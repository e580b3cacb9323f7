package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

// Strings in which the patterns differ.
var someStrings = []string{
	"", "a", "iris", "api-2", "Iris", "b-iris", "-a", "a-", "@a", "a@", "proxy", "dequeuer", "/", "//", "/a", "a/b/", "/a//b", "/a//",
	"/A_b.c-d", "a b", "25%", "100%", "101%", "0%", "007%", "0", "1", "999999999", "9999999999", "1.5", "200m", "20m", "19m", "1Gi", "1GB", "20Mi",
	".5", "5.", "1e3", "-1", "60s", "90s", "5m", "1h30m", "0", "-1s", "10", "1 s", "1.5h", "9999999h", "99999999999h", "quay.io/team/iris:1.0",
	"localhost:5000/a@sha256:" + strings.Repeat("a", 64), "a:", "http://a", "CORTEX_A", "KUBEXIT_A", "A", "A.B", "1A", "A=B", "null", "true", "~",
	"iris.example.com", "skip", "last", "@daily", "Europe/Berlin", "text/plain",
	"keys", "jwt", "RS256", "https://login.example.com", "name", "subject", "caller", "address", "GET", "10/s", "1/h", "5/1d", "5/h", "5/32d", "/healthz", "503", "timeout", "always", "never", "finish", "cancel", "failed", "https://example.com/hook", "ftp://x", "NoSchedule", "KILL", "ALL", "example.com/team", "example.com/gpu", "nvidia.com/gpu", "apiName", "cortex.dev/x", "/models", "/mnt/x", "/a/../b", "shm-1", "a..b",
	"8080", "a\nb", "a\x00b", "é", "RealtimeAPI", "BatchAPI", "TrafficSplitter", strings.Repeat("a", 42), strings.Repeat("a", 43),
	strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 1001),
}

var someNumbers = []any{
	0, 1, 2, 10, 99, 100, 101, 8080, 8888, 15000, 30000, 30001, 65535, 65536, 2147483647, 2147483648, -1, 0.5, 0.02, 0.01, 0.75, 1.5, 400, 500, 8080.0, 1e3, 1e6, 3e7, 1e20,
}

// instance makes a value that a schema describes.
func instance(t *rapid.T, s object) any {
	if c, ok := s["const"]; ok {
		return c
	}
	if any, ok := s["anyOf"].([]any); ok && s["type"] == nil {
		return instance(t, rapid.SampledFrom(any).Draw(t, "variant").(object))
	}
	types, ok := s["type"].([]any)
	if !ok {
		types = []any{s["type"]}
	}
	switch rapid.SampledFrom(types).Draw(t, "type") {
	case "object":
		return instanceObject(t, s)
	case "array":
		n := rapid.IntRange(1, 2).Draw(t, "length")
		list := make([]any, n)
		for i := range list {
			item := s["items"].(object)
			if prefix, ok := s["prefixItems"].([]any); ok && i == 0 {
				item = prefix[0].(object)
			}
			list[i] = instance(t, item)
		}
		return list
	case "boolean":
		return rapid.Bool().Draw(t, "bool")
	case "null":
		return nil
	case "string":
		return rapid.SampledFrom(matching(someStrings, s)).Draw(t, "string")
	case "number", "integer":
		return rapid.SampledFrom(matching(someNumbers, s)).Draw(t, "number")
	}
	panic(fmt.Sprintf("a schema without a type: %v", s))
}

func instanceObject(t *rapid.T, s object) any {
	o := object{}
	properties, _ := s["properties"].(object)
	required, _ := s["required"].([]any)
	if one, ok := s["oneOf"].([]any); ok { // a probe: one handler
		handler := rapid.SampledFrom(one).Draw(t, "handler").(object)["required"].([]any)[0]
		required = append(slices.Clone(required), handler)
		properties = shallow(properties)
		for _, other := range one {
			if h := other.(object)["required"].([]any)[0]; h != handler {
				delete(properties, h.(string))
			}
		}
	}
	if properties["image"] != nil {
		required = append(slices.Clone(required), "image", "command")
	}
	for _, key := range slices.Sorted(keysOf(properties)) {
		if slices.Contains(required, any(key)) || rapid.IntRange(0, 2).Draw(t, key) == 0 {
			o[key] = instance(t, properties[key].(object))
		}
	}
	if more, ok := s["additionalProperties"].(object); ok {
		for range rapid.IntRange(0, 2).Draw(t, "more") {
			o[rapid.SampledFrom([]string{"A", "B", "LOG_LEVEL", "example.com/gpu"}).Draw(t, "key")] = instance(t, more)
		}
	}
	return o
}

func keysOf(o object) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range o {
			if !yield(k) {
				return
			}
		}
	}
}

func shallow(o object) object {
	c := object{}
	for k, v := range o {
		c[k] = v
	}
	return c
}

// matching returns the values that a schema accepts.
func matching[T any](values []T, s object) []T {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		panic(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("value.json", doc); err != nil {
		panic(err)
	}
	schema := c.MustCompile("value.json")
	var accepted []T
	for _, v := range values {
		if schema.Validate(any(v)) == nil {
			accepted = append(accepted, v)
		}
	}
	return accepted
}

// mutate changes one value of a document.
func mutate(t *rapid.T, v any) any {
	if rapid.IntRange(0, 3).Draw(t, "here") == 0 {
		return odd(t, v)
	}
	switch v := v.(type) {
	case object:
		if len(v) == 0 {
			return odd(t, v)
		}
		o := shallow(v)
		key := rapid.SampledFrom(slices.Sorted(keysOf(o))).Draw(t, "key")
		o[key] = mutate(t, o[key])
		return o
	case []any:
		if len(v) == 0 {
			return odd(t, v)
		}
		l := slices.Clone(v)
		i := rapid.IntRange(0, len(l)-1).Draw(t, "index")
		l[i] = mutate(t, l[i])
		return l
	}
	return odd(t, v)
}

// odd returns something else in the place of v.
func odd(t *rapid.T, v any) any {
	switch v := v.(type) {
	case object:
		o := shallow(v)
		if len(o) > 0 && rapid.Bool().Draw(t, "remove") {
			delete(o, rapid.SampledFrom(slices.Sorted(keysOf(o))).Draw(t, "removed"))
			return o
		}
		key := rapid.SampledFrom([]string{
			"name", "kind", "pod", "port", "apis", "autoscaling", "exec", "http_get", "pre_stop", "readiness_probe", "max_concurrency",
			"shadow", "colour", "CORTEX_A", "1A", "",
		}).Draw(t, "added")
		o[key] = rapid.SampledFrom([]any{nil, 1, "a", true, object{}, []any{}, object{"port": 80}}).Draw(t, "value")
		return o
	case []any:
		switch rapid.IntRange(0, 2).Draw(t, "list") {
		case 0:
			return []any{}
		case 1:
			return append(slices.Clone(v), nil)
		}
		return append(slices.Clone(v), v...)
	case string:
		return rapid.SampledFrom(someStrings).Draw(t, "string")
	case nil, bool:
	default:
		return rapid.SampledFrom(someNumbers).Draw(t, "number")
	}
	return rapid.SampledFrom([]any{nil, 1, "a", true, false, object{}, []any{}}).Draw(t, "other")
}
