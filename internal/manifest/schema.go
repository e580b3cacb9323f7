package manifest

import (
	"encoding/json"
	"math"
	"sync"

	"cortex.dev/cortex/internal/workload"
)

// object is a JSON object.
type object = map[string]any

// Schema returns the JSON Schema (draft 2020-12) of a cortex.yaml, for editors. It
// refuses whatever Parse refuses, as far as a schema can say it; rules that
// compare values are beyond it.
func Schema() []byte { return schemaText() }

var schemaText = sync.OnceValue(func() []byte {
	defs := object{}
	var kinds, cases []any
	for _, k := range workload.Kinds() {
		kinds = append(kinds, string(k))
		defs[string(k)] = sectionSchema(&specSection)(k)
		cases = append(cases, object{
			"if":   object{"properties": object{"kind": object{"const": string(k)}}, "required": []string{"kind"}},
			"then": object{"$ref": "#/$defs/" + string(k)},
		})
	}
	text, err := json.MarshalIndent(object{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       "cortex.yaml",
		"description": "A list of APIs that cortex deploys.",
		"type":        "array",
		"minItems":    1,
		"items": object{
			"type":     "object",
			"required": []string{"name", "kind"},
			"properties": object{
				"name": object{"type": "string"},
				"kind": object{"enum": kinds, "description": "what the API is"},
			},
			"allOf": cases,
		},
		"$defs": defs,
	}, "", "  ")
	if err != nil {
		panic(err) // built of strings, numbers and lists only
	}
	return append(text, '\n')
})

// sectionSchema describes a map.
func sectionSchema[T any](sec *section[T]) func(workload.Kind) object {
	return func(k workload.Kind) object {
		properties := object{}
		required := []string{}
		for i := range sec.fields {
			f := &sec.fields[i]
			if !f.has(k) {
				continue
			}
			o := f.schema(k)
			o["description"] = f.doc
			if f.nullable {
				o = orNull(o)
			}
			properties[f.key] = o
			if f.required {
				required = append(required, f.key)
			}
		}
		o := object{"type": "object", "additionalProperties": false, "properties": properties}
		if len(required) > 0 {
			o["required"] = required
		}
		if len(sec.oneOf) > 0 {
			o["oneOf"] = exactlyOne(sec.oneOf)
		}
		return o
	}
}

// exactlyOne is the oneOf of an object that has one of these keys.
func exactlyOne(keys []string) (one []any) {
	for _, key := range keys {
		one = append(one, object{"required": []string{key}})
	}
	return one
}

// orNull widens a schema by null, keeping what editors show.
func orNull(o object) object {
	wide := object{"anyOf": []any{o, object{"type": "null"}}}
	for _, key := range []string{"description", "default"} {
		if v, ok := o[key]; ok {
			wide[key] = v
			delete(o, key)
		}
	}
	return wide
}

// listSchema describes a list of at least one map.
func listSchema[T any](sec *section[T]) func(workload.Kind) object {
	return func(k workload.Kind) object {
		item := sectionSchema(sec)(k)
		list := object{"type": "array", "minItems": 1, "items": item}
		if sec.inList != nil {
			sec.inList(k, list, item)
		}
		return list
	}
}

// oneShadow adds that one target may be the shadow.
func oneShadow(_ workload.Kind, list, _ object) {
	shadow := object{"properties": object{"shadow": object{"const": true}}, "required": []string{"shadow"}}
	list["contains"], list["minContains"], list["maxContains"] = shadow, 0, 1
}

// withCommand adds which of image and command a container of kind k needs.
func withCommand(k workload.Kind, _, item object) {
	command := object{"required": []string{"command"}, "properties": object{"command": object{"type": "array", "minItems": 1}}}
	if k == workload.Batch || k == workload.Task {
		item["allOf"] = []any{command}
		return
	}
	item["anyOf"] = []any{object{"required": []string{"image"}}, command}
}

// handlersSchema describes a probe or hook, of which exactly one handler is set.
func handlersSchema[T any](name string, sec *section[T]) func(workload.Kind) object {
	return func(k workload.Kind) object {
		o := sectionSchema(sec)(k)
		o["oneOf"] = exactlyOne(workload.Handlers(k, name))
		return o
	}
}

func fixed(o object) func(workload.Kind) object {
	return func(workload.Kind) object {
		c := object{}
		for k, v := range o {
			c[k] = v
		}
		return c
	}
}

func nameSchema(workload.Kind) object {
	return object{
		"type": "string", "pattern": workload.NamePattern, "maxLength": workload.MaxNameLength,
		"not": object{"pattern": workload.NameNotPattern},
	}
}

func kindSchema(k workload.Kind) object { return object{"const": string(k)} }

func targetNameSchema(workload.Kind) object {
	return object{"type": "string", "minLength": 1}
}

func containerNameSchema(workload.Kind) object {
	return object{
		"type": "string", "pattern": workload.NamePattern, "maxLength": workload.MaxContainerNameLength,
		"not": object{"enum": workload.ReservedContainerNames()},
	}
}

func imageSchema(workload.Kind) object {
	return object{"type": "string", "minLength": 1, "maxLength": workload.MaxImageLength, "pattern": workload.ImagePattern}
}

func endpointSchema(workload.Kind) object {
	return object{
		"type": "string", "minLength": 1, "maxLength": workload.MaxEndpointLength, "pattern": workload.EndpointPattern,
		"not": object{"pattern": workload.EndpointNotPattern},
	}
}

func hostSchema(workload.Kind) object {
	return object{"type": "string", "maxLength": workload.MaxHostLength, "pattern": workload.HostPattern}
}

func probePathSchema(workload.Kind) object {
	return object{
		"type": "string", "pattern": workload.EndpointPattern, "default": "/",
		"not": object{"pattern": workload.PathNotPattern},
	}
}

func nodeGroupsSchema(workload.Kind) object {
	return object{
		"type": "array", "minItems": 1,
		"items": object{"type": "string", "pattern": workload.NodeGroupPattern},
	}
}

// stringSchema describes a text that can be passed to a process.
func stringSchema() object {
	return object{"type": "string", "pattern": `^[^\x00]*$`}
}

func wordsSchema(workload.Kind) object {
	return object{"type": "array", "minItems": 1, "items": stringSchema()}
}

// orEmpty widens the schema of a list by the empty one, which says the same as an absent one.
func orEmpty(schema func(workload.Kind) object) func(workload.Kind) object {
	return func(k workload.Kind) object {
		o := schema(k)
		delete(o, "minItems")
		return o
	}
}

// commandSchema describes words of which the first names an executable.
func commandSchema(k workload.Kind) object {
	o, executable := wordsSchema(k), stringSchema()
	executable["minLength"] = 1
	o["prefixItems"] = []any{executable}
	return o
}

func envSchema(k workload.Kind) object {
	var reserved []any
	for _, prefix := range workload.ReservedEnvPrefixes() {
		reserved = append(reserved, object{"pattern": "^" + prefix})
	}
	return object{
		"type": "object", "default": object{},
		"propertyNames": object{"pattern": workload.EnvPattern, "not": object{"anyOf": reserved}},
		"additionalProperties": object{
			"type": []any{"string", "object"}, "pattern": stringSchema()["pattern"],
			"properties": sectionSchema(&variableSection)(k)["properties"], "required": []string{"secret"}, "additionalProperties": false,
		},
	}
}

func envFileSchema(workload.Kind) object {
	return object{"type": []any{"string", "array"}, "minLength": 1, "maxItems": workload.MaxEnvFiles, "items": object{"type": "string", "minLength": 1}}
}

// withBounds adds the bounds of the numeric field at a path.
func withBounds(o object, k workload.Kind, path string) object {
	b := workload.BoundsOf(k, path)
	put := func(key, openKey string, v float64, open bool) {
		switch {
		case math.IsInf(v, 0):
		case open:
			o[openKey] = v
		default:
			o[key] = v
		}
	}
	put("minimum", "exclusiveMinimum", b.Min, b.MinOpen)
	put("maximum", "exclusiveMaximum", b.Max, b.MaxOpen)
	if len(b.Reserved) > 0 {
		o["not"] = object{"enum": b.Reserved}
	}
	return o
}

func numeric(kind, path string, def any) func(workload.Kind) object {
	return func(k workload.Kind) object {
		o := withBounds(object{"type": kind}, k, path)
		if def != nil {
			o["default"] = def
		}
		return o
	}
}

func wholeSchema(path string, def any) func(workload.Kind) object {
	return numeric("integer", path, def)
}

func realSchema(path string, def any) func(workload.Kind) object {
	return numeric("number", path, def)
}

func durationSchema(def string) func(workload.Kind) object {
	o := object{"type": "string", "pattern": workload.DurationPattern}
	if def != "" {
		o["default"] = def
	}
	return fixed(o)
}

// quantitySchema describes an amount. The least is told for numbers; a pattern
// cannot say it of strings.
func quantitySchema(path string, def *workload.Quantity) func(workload.Kind) object {
	return func(workload.Kind) object {
		least := workload.LeastOf(path)
		o := object{
			"type": []any{"string", "number"}, "minimum": float64(least.Milli()) / 1000,
			"pattern": workload.QuantityPattern, "maxLength": workload.MaxQuantityLength,
		}
		if def != nil {
			o["default"] = def.String()
		}
		return o
	}
}

func shareSchema(workload.Kind) object {
	return object{
		"type": []any{"string", "integer"}, "minimum": 0, "maximum": 999_999_999,
		"pattern": workload.SharePattern, "default": workload.DefaultShare,
	}
}
