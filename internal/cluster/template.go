package cluster

import (
	"bytes"
	"encoding/json"
)

// object is a JSON object. Its keys are written in their order, so that a template has
// the same bytes whenever it is made.
type object = map[string]any

// template is a CloudFormation document.
type template struct {
	description string
	parameters  object
	resources   object
	outputs     object
}

func newTemplate(description string) *template {
	return &template{description: description, parameters: object{}, resources: object{}, outputs: object{}}
}

// resource adds a resource; those in after are made before it, beyond those to which its
// properties refer.
func (t *template) resource(name, kind string, properties object, after ...string) {
	r := object{"Type": kind}
	if len(properties) > 0 {
		r["Properties"] = properties
	}
	switch len(after) {
	case 0:
	case 1:
		r["DependsOn"] = after[0]
	default:
		r["DependsOn"] = after
	}
	t.resources[name] = r
}

func (t *template) parameter(name, kind string) {
	t.parameters[name] = object{"Type": kind}
}

func (t *template) output(name string, value any) {
	t.outputs[name] = object{"Value": value}
}

// Types of parameters.
const (
	typeSubnets = "List<AWS::EC2::Subnet::Id>"
	typeVPC     = "AWS::EC2::VPC::Id"
	typeGroup   = "AWS::EC2::SecurityGroup::Id"
	typeList    = "CommaDelimitedList"
	typeNumber  = "Number"
)

func ref(name string) object { return object{"Ref": name} }

func attribute(resource, name string) object { return object{"Fn::GetAtt": []string{resource, name}} }

// joined is one text of several values, as a parameter of another stack takes a list.
func joined(values []any) object { return object{"Fn::Join": []any{",", values}} }

func refs(names []string) []any {
	all := make([]any, len(names))
	for i, n := range names {
		all[i] = ref(n)
	}
	return all
}

// tagList are tags as most resources want them.
func tagList(tags map[string]string) []any {
	var list []any
	for _, key := range sortedKeys(tags) {
		list = append(list, object{"Key": key, "Value": tags[key]})
	}
	return list
}

func (t *template) bytes() json.RawMessage {
	doc := object{"AWSTemplateFormatVersion": "2010-09-09", "Description": t.description, "Resources": t.resources}
	if len(t.parameters) > 0 {
		doc["Parameters"] = t.parameters
	}
	if len(t.outputs) > 0 {
		doc["Outputs"] = t.outputs
	}
	return encode(doc)
}

// encode writes a value as JSON in one line, its characters as they are.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // it is made of texts, numbers, lists and maps only
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
