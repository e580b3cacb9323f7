package awstest

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	problem "github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// resourceSchemas are AWS's own schemas of the resource types, without their texts. See
// data/README.md.
//
//go:embed data/resources.json
var resourceSchemas []byte

// schema is what AWS publishes of a resource type.
type schema struct {
	Properties           object
	Definitions          object
	ReadOnlyProperties   []string
	CreateOnlyProperties []string
	Handlers             map[string]struct {
		Permissions []string
	}
	compiled *jsonschema.Schema
}

var schemas = readSchemas()

func readSchemas() map[string]*schema {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(resourceSchemas, &raw); err != nil {
		panic(err)
	}
	all := map[string]*schema{}
	for name, text := range raw {
		s := &schema{}
		if err := json.Unmarshal(text, s); err != nil {
			panic(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			panic(err)
		}
		// What is needed of the document; the rest is not JSON schema.
		own := object{"$schema": "http://json-schema.org/draft-07/schema#", "additionalProperties": false}
		for _, key := range []string{"properties", "definitions", "required", "oneOf", "anyOf", "allOf"} {
			if v, ok := doc.(object)[key]; ok {
				own[key] = v
			}
		}
		c := jsonschema.NewCompiler()
		url := "mem:///" + strings.ReplaceAll(name, "::", "-")
		if err := c.AddResource(url, own); err != nil {
			panic(err)
		}
		s.compiled = c.MustCompile(url)
		all[name] = s
	}
	return all
}

// attributes are what Fn::GetAtt may ask for.
func (s *schema) attributes() []string {
	if s == nil {
		return nil
	}
	var all []string
	for _, p := range s.ReadOnlyProperties {
		all = append(all, strings.ReplaceAll(strings.TrimPrefix(p, "/properties/"), "/", "."))
	}
	return all
}

// createOnly reports whether a change of a property, or of one below it, wants a new resource.
func (s *schema) createOnly(path string) bool {
	return slices.ContainsFunc(s.CreateOnlyProperties, func(p string) bool {
		return strings.TrimPrefix(p, "/properties/") == path
	})
}

// taggable reports whether the tags of a stack go to resources of the type, and in which
// form: a map, or a list of keys and values.
func (s *schema) taggable() (asMap, ok bool) {
	tags, ok := s.Properties["Tags"].(object)
	return ok && tags["type"] == "object", ok
}

// validate checks properties, in the form that a template gives them: CloudFormation
// takes "true" for true and 1 for "1". It returns them as the type wants them.
func (s *schema) validate(name string, properties object) (object, error) {
	for _, p := range s.ReadOnlyProperties {
		if _, ok := properties[strings.TrimPrefix(p, "/properties/")]; ok {
			return nil, invalid("Encountered unsupported property %s", strings.TrimPrefix(p, "/properties/"))
		}
	}
	coerced, _ := s.coerce(object{"properties": s.Properties}, properties).(object)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(mustJSON(coerced)))
	if err != nil {
		return nil, err
	}
	if err := s.compiled.Validate(doc); err != nil {
		return nil, invalid("Properties validation failed for resource %s with message:\n%s", name, complaint(err))
	}
	return coerced, nil
}

func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (s *schema) coerce(of object, v any) any {
	for range 8 {
		ref, ok := of["$ref"].(string)
		if !ok {
			break
		}
		of, _ = s.Definitions[strings.TrimPrefix(ref, "#/definitions/")].(object)
	}
	switch x := v.(type) {
	case object:
		properties, _ := of["properties"].(object)
		out := object{}
		for key, each := range x {
			below, _ := properties[key].(object)
			out[key] = s.coerce(below, each)
		}
		return out
	case []any:
		items, _ := of["items"].(object)
		out := make([]any, len(x))
		for i, each := range x {
			out[i] = s.coerce(items, each)
		}
		return out
	}
	text := textOf(v)
	switch of["type"] {
	case "boolean":
		if text == "true" || text == "false" {
			return text == "true"
		}
	case "integer", "number":
		if json.Valid([]byte(text)) && text != "" && text != "true" && text != "false" {
			return json.Number(text)
		}
	case "string":
		if text != "" {
			return text
		}
	}
	return v
}

// complaint is the first thing that is wrong, in the words of CloudFormation.
func complaint(err error) string {
	var v *jsonschema.ValidationError
	if !errors.As(err, &v) {
		return err.Error()
	}
	for len(v.Causes) > 0 {
		v = v.Causes[0]
	}
	where := "#"
	for _, part := range v.InstanceLocation {
		where += "/" + part
	}
	switch k := v.ErrorKind.(type) {
	case *problem.AdditionalProperties:
		return fmt.Sprintf("%s: extraneous key [%s] is not permitted", where, k.Properties[0])
	case *problem.Required:
		return fmt.Sprintf("%s: required key [%s] not found", where, k.Missing[0])
	case *problem.Enum:
		return fmt.Sprintf("%s: %v is not a valid enum value", where, k.Got)
	case *problem.Type:
		return fmt.Sprintf("%s: expected type: %s, found: %s", where, k.Want[0], k.Got)
	case *problem.Pattern:
		return fmt.Sprintf("%s: failed validation constraint for keyword [pattern]", where)
	}
	return where + ": " + v.Error()
}
