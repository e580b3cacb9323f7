package awstest

import (
	"bytes"
	"encoding/json"
	"slices"
	"sort"
	"strings"
)

// template is a document of CloudFormation, in which every name that is referred to is
// known to exist.
type template struct {
	description string
	parameters  map[string]parameter
	resources   map[string]resource
	outputs     map[string]object
}

type parameter struct {
	kind, otherwise string
	hasDefault      bool
}

type resource struct {
	kind       string
	properties object
	needs      []string // what it refers to, and what it depends on
	retain     bool
}

// maxTemplate is how long a template in a request may be.
const maxTemplate = 51200

// Types of parameters; those with a kind have to name what exists.
var parameterKinds = map[string]string{
	"String": "", "Number": "", "CommaDelimitedList": "", "List<Number>": "", "List<String>": "",
	"AWS::EC2::VPC::Id": "vpc", "AWS::EC2::Subnet::Id": "subnet", "List<AWS::EC2::Subnet::Id>": "subnet",
	"AWS::EC2::SecurityGroup::Id": "security-group", "List<AWS::EC2::SecurityGroup::Id>": "security-group",
}

func invalid(format string, args ...any) error { return refuse("ValidationError", format, args...) }

var sections = []string{
	"AWSTemplateFormatVersion", "Description", "Parameters", "Resources", "Outputs", "Metadata", "Mappings", "Conditions", "Transform", "Rules", "Hooks",
}

// unsupported are sections that the templates of clusters have no use for.
var unsupported = []string{"Mappings", "Conditions", "Transform", "Rules", "Hooks"}

// parseTemplate reads a template, with the refusals that come before anything is made.
func parseTemplate(text string) (*template, error) {
	if len(text) > maxTemplate {
		return nil, invalid("1 validation error detected: Value '%s...' at 'templateBody' failed to satisfy constraint: Member must have length less than or equal to %d", text[:32], maxTemplate)
	}
	doc := object{}
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.UseNumber()
	if err := dec.Decode(&doc); err != nil {
		return nil, invalid("Template format error: JSON not well-formed. (%s)", err)
	}
	var unknown []string
	for _, name := range sorted(doc) {
		if !slices.Contains(sections, name) {
			unknown = append(unknown, name)
		}
		if slices.Contains(unsupported, name) {
			return nil, notSimulated("the section %s of templates", name)
		}
	}
	if len(unknown) > 0 {
		return nil, invalid("Invalid template property or properties [%s]", strings.Join(unknown, ", "))
	}
	t := &template{parameters: map[string]parameter{}, resources: map[string]resource{}, outputs: map[string]object{}}
	t.description, _ = doc["Description"].(string)
	for _, read := range []func(object) error{t.readParameters, t.readResources, t.readOutputs} {
		if err := read(doc); err != nil {
			return nil, err
		}
	}
	return t, t.check()
}

func section(doc object, name string) (map[string]object, error) {
	raw, ok := doc[name].(object)
	if doc[name] != nil && !ok {
		return nil, invalid("Template format error: %s must be an object.", name)
	}
	all := map[string]object{}
	for key, v := range raw {
		if all[key], ok = v.(object); !ok {
			return nil, invalid("Template format error: Any %s member must be an object.", name)
		}
	}
	return all, nil
}

func (t *template) readParameters(doc object) error {
	all, err := section(doc, "Parameters")
	for name, o := range all {
		p := parameter{kind: textOf(o["Type"]), otherwise: textOf(o["Default"]), hasDefault: o["Default"] != nil}
		if _, known := parameterKinds[p.kind]; !known {
			return invalid("Template format error: Unrecognized parameter type: %s. Valid values for Parameter Type are String, Number, CommaDelimitedList, ...", p.kind)
		}
		t.parameters[name] = p
	}
	return err
}

func (t *template) readResources(doc object) error {
	all, err := section(doc, "Resources")
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return invalid("Template format error: At least one Resources member must be defined.")
	}
	for name, o := range all {
		r := resource{kind: textOf(o["Type"]), retain: o["DeletionPolicy"] == "Retain"}
		r.properties, _ = o["Properties"].(object)
		for key := range o {
			if !slices.Contains([]string{"Type", "Properties", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy", "Metadata"}, key) {
				return invalid("Invalid template resource property '%s'", key)
			}
		}
		if r.kind == "" {
			return invalid("Template format error: [/Resources/%s] Every Resources object must contain a Type member.", name)
		}
		switch d := o["DependsOn"].(type) {
		case string:
			r.needs = []string{d}
		case []any:
			for _, each := range d {
				r.needs = append(r.needs, textOf(each))
			}
		}
		r.needs = append(r.needs, referred(r.properties)...)
		t.resources[name] = r
	}
	return nil
}

func (t *template) readOutputs(doc object) error {
	all, err := section(doc, "Outputs")
	for name, o := range all {
		if o["Value"] == nil {
			return invalid("Template format error: Output %s is malformed. The Value field of every Outputs member must be specified.", name)
		}
		if o["Export"] != nil {
			return notSimulated("exports of outputs")
		}
		t.outputs[name] = o
	}
	return err
}

// check holds every name against what there is.
func (t *template) check() error {
	var types []string
	for _, name := range sorted(t.resources) {
		if kind := t.resources[name].kind; resourceKinds[kind] == nil {
			types = append(types, kind)
		}
	}
	for _, kind := range types {
		if strings.HasPrefix(kind, "AWS::IAM::") {
			return refuse("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_NAMED_IAM]")
		}
	}
	if len(types) > 0 {
		return invalid("Template format error: Unrecognized resource types: [%s]", strings.Join(types, ", "))
	}
	for _, name := range sorted(t.resources) {
		r := t.resources[name]
		if err := t.known(r.needs, "Resources"); err != nil {
			return err
		}
		if err := t.attributes(r.properties); err != nil {
			return err
		}
		r.needs = slices.DeleteFunc(r.needs, func(n string) bool { _, ok := t.resources[n]; return !ok })
		sort.Strings(r.needs)
		r.needs = slices.Compact(r.needs)
		t.resources[name] = r
	}
	for _, name := range sorted(t.outputs) {
		if err := t.known(referred(t.outputs[name]), "Outputs"); err != nil {
			return err
		}
		if err := t.attributes(t.outputs[name]); err != nil {
			return err
		}
	}
	return t.cycles()
}

func (t *template) known(names []string, where string) error {
	for _, n := range names {
		_, isResource := t.resources[n]
		_, isParameter := t.parameters[n]
		if !isResource && !isParameter && !strings.HasPrefix(n, "AWS::") {
			return invalid("Template format error: Unresolved resource dependencies [%s] in the %s block of the template", n, where)
		}
	}
	return nil
}

// attributes holds every Fn::GetAtt against the attributes of the type.
func (t *template) attributes(v any) error {
	switch x := v.(type) {
	case []any:
		for _, each := range x {
			if err := t.attributes(each); err != nil {
				return err
			}
		}
	case object:
		if name, attribute, ok := getAtt(x); ok {
			kind := t.resources[name].kind
			if !slices.Contains(schemas[kind].attributes(), attribute) {
				return invalid("Template error: resource %s does not support attribute type %s in Fn::GetAtt", name, attribute)
			}
		}
		for _, key := range sorted(x) {
			if strings.HasPrefix(key, "Fn::") && !slices.Contains(functions, key) {
				return notSimulated("%s", key)
			}
			if err := t.attributes(x[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *template) cycles() error {
	left := map[string][]string{}
	for name, r := range t.resources {
		left[name] = r.needs
	}
	for len(left) > 0 {
		var free []string
		for name, needs := range left {
			if !slices.ContainsFunc(needs, func(n string) bool { _, ok := left[n]; return ok }) {
				free = append(free, name)
			}
		}
		if len(free) == 0 {
			return invalid("Circular dependency between resources: [%s]", strings.Join(sorted(left), ", "))
		}
		for _, name := range free {
			delete(left, name)
		}
	}
	return nil
}

// values checks what parameters are given, and fills in defaults.
func (t *template) values(a *Account, given map[string]string) (map[string]string, error) {
	var missing, extra []string
	for _, name := range sorted(given) {
		if _, ok := t.parameters[name]; !ok {
			extra = append(extra, name)
		}
	}
	out := map[string]string{}
	for _, name := range sorted(t.parameters) {
		p := t.parameters[name]
		value, ok := given[name]
		if !ok && p.hasDefault {
			value, ok = p.otherwise, true
		}
		if !ok {
			missing = append(missing, name)
			continue
		}
		out[name] = value
		kind := parameterKinds[p.kind]
		for each := range strings.SplitSeq(value, ",") {
			if kind == "" {
				break
			}
			if _, err := a.byID(kind, each); err != nil {
				return nil, invalid("Parameter validation failed: parameter value %s for parameter name %s does not exist", each, name)
			}
		}
		if p.kind == "Number" && !json.Valid([]byte(value)) {
			return nil, invalid("Parameter '%s' must be a number.", name)
		}
	}
	if len(missing) > 0 {
		return nil, invalid("Parameters: [%s] must have values", strings.Join(missing, ", "))
	}
	if len(extra) > 0 {
		return nil, invalid("Parameters: [%s] do not exist in the template", strings.Join(extra, ", "))
	}
	return out, nil
}

func (p parameter) isList() bool {
	return p.kind == "CommaDelimitedList" || strings.HasPrefix(p.kind, "List<")
}
