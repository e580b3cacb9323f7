package httpapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"cortex.dev/cortex/internal/workload"
)

const definitions = "#/$defs/"

// JSONSchema returns the JSON Schema (2020-12) of values of one of the types, as
// encoding/json writes them, made from the types as the OpenAPI document is. Members that it
// does not name may be added by later versions. Amounts is for types that write themselves
// as numbers.
func JSONSchema(title, about string, of []reflect.Type, amounts ...reflect.Type) ([]byte, error) {
	reg := huma.NewMapRegistry(definitions, huma.DefaultSchemaNamer)
	reg.RegisterTypeAlias(reflect.TypeFor[workload.Quantity](), reflect.TypeFor[string]())
	reg.RegisterTypeAlias(reflect.TypeFor[workload.Variable](), reflect.TypeFor[variable]())
	reg.RegisterTypeAlias(reflect.TypeFor[workload.JSONText](), reflect.TypeFor[map[string]any]())
	for _, t := range amounts {
		reg.RegisterTypeAlias(t, reflect.TypeFor[float64]())
	}
	var all []*huma.Schema
	for _, t := range of {
		s := reg.Schema(t, true, title)
		s.Nullable = false // a list is a list, even when it is empty
		all = append(all, s)
	}
	admitNulls(reg, definitions)
	for name, s := range reg.Map() {
		s.Required = slices.DeleteFunc(s.Required, func(member string) bool {
			return ofNilPointer(reg.TypeFromRef(definitions+name), member)
		})
	}
	root := map[string]any{"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, "description": about, "$defs": reg.Map()}
	if len(all) == 1 {
		root["allOf"] = all // beside $ref a schema may say more, but not every reader knows
	} else {
		root["anyOf"] = all
	}
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the schema of %s: %w", title, err)
	}
	return append(data, '\n'), nil
}

// ofNilPointer reports whether a member of t is promoted from a struct that may be absent.
func ofNilPointer(t reflect.Type, member string) bool {
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == member && len(f.Index) > 1 && t.Field(f.Index[0]).Type.Kind() == reflect.Pointer {
			return true
		}
	}
	return false
}
