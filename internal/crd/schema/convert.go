package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"cortex.dev/cortex/internal/workload"
)

// converter turns the manifest's JSON Schema into a structural one. What structural
// schemas cannot say becomes a rule in CEL, with a sentence for whoever breaks it.
type converter struct {
	kind workload.Kind
	err  error
}

func (c *converter) fail(path, format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("at %q: "+format, append([]any{path}, args...)...)
	}
}

// convert converts the schema of the value at a key path of a spec, in which lists
// are marked by [] and have no index.
func (c *converter) convert(path string, s object) v1.JSONSchemaProps {
	in := &section{object: maps.Clone(s), c: c, path: path}
	out := v1.JSONSchemaProps{}
	if either, ok := in.take("anyOf").([]any); ok && s["type"] == nil {
		// A schema or null, as the manifest writes it.
		out = c.convert(path, either[0].(object))
		out.Nullable = true
	} else if ok {
		in.object["anyOf"] = either
	}
	in.describe(&out)
	switch kind := in.take("type").(type) {
	case nil:
	case string:
		out.Type = kind
	case []any:
		c.union(path, kind, &out, in)
	}
	in.objects(&out)
	in.lists(&out)
	in.scalars(&out)
	if left := slices.Sorted(maps.Keys(in.object)); len(left) > 0 {
		c.fail(path, "no structural schema is known for %s", strings.Join(left, ", "))
	}
	if out.Pattern == workload.DurationPattern {
		out.XValidations = append(out.XValidations, period(workload.PeriodOf(path))...)
	}
	out.XValidations = append(out.XValidations, rules(c.kind, path)...)
	bound(path, &out)
	return out
}

// union converts a value of several types.
func (c *converter) union(path string, kinds []any, out *v1.JSONSchemaProps, in *section) {
	switch fmt.Sprint(kinds) {
	case "[string integer]":
		out.XIntOrString = true
	case "[string number]":
		// No structural type is a string or a fraction, and a cpu of 0.5 is what
		// people write. Untyped, the patterns and bounds still judge strings and
		// numbers; objects and lists can only be empty, so no key gets in unseen.
		// The operator refuses those.
		out.XPreserveUnknownFields = ptr(true)
		out.MaxProperties, out.MaxItems = ptr(int64(0)), ptr(int64(0))
	case "[string object]":
		// A variable: nothing structural is a string or an object either. The pattern
		// judges strings; of an object the operator judges what is in it.
		out.XPreserveUnknownFields = ptr(true)
		out.MaxProperties, out.MaxItems = ptr(int64(1)), ptr(int64(0))
		for _, key := range []string{"properties", "required", "additionalProperties"} {
			in.take(key)
		}
	default:
		c.fail(path, "no structural schema is known for the types %v", kinds)
	}
}

// section is a schema that is being taken apart.
type section struct {
	object
	c    *converter
	path string
}

// take removes a keyword and returns its value.
func (in *section) take(key string) any {
	v := in.object[key]
	delete(in.object, key)
	return v
}

// describe takes the text for readers. Defaults are told and not set: one that the
// API server wrote into the spec would stay when its reason, such as
// max_concurrency, changes.
func (in *section) describe(out *v1.JSONSchemaProps) {
	if text, ok := in.take("description").(string); ok {
		out.Description = text
	}
	switch v := in.take("default").(type) {
	case nil, bool, object:
	default:
		if text, err := json.Marshal(v); err == nil {
			out.Description += " (default: " + strings.Trim(string(text), `"`) + ")"
		}
	}
}

func (in *section) objects(out *v1.JSONSchemaProps) {
	c := in.c
	if properties, ok := in.take("properties").(object); ok {
		out.Properties = map[string]v1.JSONSchemaProps{}
		for key, p := range properties {
			if in.path == containers && key == "env_file" {
				continue // a resource has no files beside it
			}
			out.Properties[key] = c.convert(join(in.path, key), p.(object))
		}
	}
	switch more := in.take("additionalProperties").(type) {
	case nil: // structural schemas are closed by themselves
	case bool:
		if more { // a map of whatever there can be
			out.XPreserveUnknownFields = ptr(true)
		}
	case object:
		value := c.convert(in.path+"{}", more)
		out.AdditionalProperties = &v1.JSONSchemaPropsOrBool{Allows: true, Schema: &value}
	}
	if required, ok := in.take("required").([]any); ok {
		for _, key := range required {
			out.Required = append(out.Required, key.(string))
		}
	}
	if one, ok := in.take("oneOf").([]any); ok {
		out.XValidations = append(out.XValidations, exactlyOne(one))
	}
	if in.path == containers {
		// Which of image and command there must be: Kubernetes asks for an image
		// always, and for the command there is a rule.
		in.take("anyOf")
		in.take("allOf")
		out.Required = append(out.Required, "image")
	}
	switch names, ok := in.take("propertyNames").(object); {
	case ok && in.path == environment:
		// Its values have no type that CEL knows, so it cannot look at the names either;
		// the operator judges them.
	case ok:
		out.XValidations = append(out.XValidations, c.keys(in.path, names)...)
	}
}

// keys are the rules of the keys of a map, for which a structural schema has no place.
func (c *converter) keys(path string, names object) (rules []v1.ValidationRule) {
	all := func(cond, message string) {
		rules = append(rules, v1.ValidationRule{Rule: "self.all(key, " + cond + ")", Message: message})
	}
	for keyword, v := range names {
		if p, ok := v.(string); ok && keyword == "pattern" {
			all("key.matches("+quote(p)+")", "a key must be "+workload.WordsOf(p))
		} else if not, ok := v.(object); ok && keyword == "not" && not["pattern"] != nil {
			p := not["pattern"].(string)
			all("!key.matches("+quote(p)+")", "a key must be "+workload.WordsOf(p))
		} else if n, ok := v.(float64); ok && keyword == "maxLength" {
			all(fmt.Sprintf("key.size() <= %.0f", n), fmt.Sprintf("a key must be no longer than %.0f characters", n))
		} else if keyword != "type" {
			c.fail(path, "no rule is known for %s of keys", keyword)
		}
	}
	slices.SortFunc(rules, func(a, b v1.ValidationRule) int { return strings.Compare(a.Rule, b.Rule) })
	return rules
}

// exactlyOne is the rule that one of several keys is given.
func exactlyOne(one []any) v1.ValidationRule {
	var keys, given []string
	for _, each := range one {
		key := each.(object)["required"].([]any)[0].(string)
		keys = append(keys, key)
		given = append(given, "has(self."+key+")")
	}
	words := strings.Join(keys[:len(keys)-1], ", ") + " or " + keys[len(keys)-1]
	return v1.ValidationRule{
		Rule:    "[" + strings.Join(given, ", ") + "].filter(given, given).size() == 1",
		Message: "exactly one of " + words + " must be specified",
	}
}

func (in *section) lists(out *v1.JSONSchemaProps) {
	if n, ok := in.take("minItems").(float64); ok {
		out.MinItems = ptr(int64(n))
	}
	if unique, _ := in.take("uniqueItems").(bool); unique {
		out.XListType = ptr("set")
	}
	items, ok := in.take("items").(object)
	if !ok {
		return
	}
	item := in.c.convert(in.path+"[]", items)
	out.Items = &v1.JSONSchemaPropsOrArray{Schema: &item}
	if _, named := item.Properties["name"]; named {
		// No two of one name; and who applies one does not replace the others.
		out.XListType, out.XListMapKeys = ptr("map"), []string{"name"}
	}
	if first, ok := in.take("prefixItems").([]any); ok {
		if len(first) != 1 || first[0].(object)["minLength"] != 1.0 {
			in.c.fail(in.path, "the first item has rules that are not known")
		}
		out.XValidations = append(out.XValidations, v1.ValidationRule{
			Rule: "self.size() == 0 || self[0] != ''", Message: "must not begin with an empty string: it names the executable",
		})
	}
	if in.object["contains"] != nil && in.path == targets {
		for _, key := range []string{"contains", "minContains", "maxContains"} {
			in.take(key) // a rule
		}
	}
}

func (in *section) scalars(out *v1.JSONSchemaProps) {
	whole := func(key string) *int64 {
		if n, ok := in.take(key).(float64); ok {
			return ptr(int64(n))
		}
		return nil
	}
	limit := func(closed, open string) (*float64, bool) {
		if v, ok := in.take(open).(float64); ok {
			return &v, true
		}
		if v, ok := in.take(closed).(float64); ok {
			return &v, false
		}
		return nil, false
	}
	out.MinLength, out.MaxLength = orElse(whole("minLength"), out.MinLength), orElse(whole("maxLength"), out.MaxLength)
	if v, open := limit("minimum", "exclusiveMinimum"); v != nil {
		out.Minimum, out.ExclusiveMinimum = v, open
	}
	if v, open := limit("maximum", "exclusiveMaximum"); v != nil {
		out.Maximum, out.ExclusiveMaximum = v, open
	}
	if p, ok := in.take("pattern").(string); ok {
		in.pattern(p, out)
	}
	if not, ok := in.take("not").(object); ok {
		in.not(not, out)
	}
}

// pattern says what a string looks like. Where the pattern says nothing to a reader
// it is a rule with a sentence.
func (in *section) pattern(p string, out *v1.JSONSchemaProps) {
	words, ok := shapes[p]
	if !ok || out.Type != "string" {
		out.Pattern = p
		return
	}
	out.XValidations = append(out.XValidations, v1.ValidationRule{Rule: "self.matches(" + quote(p) + ")", Message: words})
}

// not says what a value is not.
func (in *section) not(not object, out *v1.JSONSchemaProps) {
	p, isPattern := not["pattern"].(string)
	values, isEnum := not["enum"].([]any)
	switch {
	case len(not) != 1:
		in.c.fail(in.path, "not is known with one keyword only")
	case isEnum:
		text, err := json.Marshal(values)
		if err != nil {
			in.c.fail(in.path, "%v", err)
		}
		var words []string
		for _, v := range values {
			words = append(words, fmt.Sprint(v))
		}
		out.XValidations = append(out.XValidations, v1.ValidationRule{
			Rule:    "!(self in " + string(text) + ")",
			Message: strings.Join(words, " and ") + " are reserved by the platform",
		})
	case isPattern && workload.WordsOf(p) != "" && unlike[p] == "":
		out.XValidations = append(out.XValidations, v1.ValidationRule{Rule: "!self.matches(" + quote(p) + ")", Message: "must be " + workload.WordsOf(p)})
	case isPattern && unlike[p] != "":
		out.XValidations = append(out.XValidations, v1.ValidationRule{Rule: "!self.matches(" + quote(p) + ")", Message: unlike[p]})
	default:
		in.c.fail(in.path, "no rule is known for not %v", not)
	}
}

func orElse[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// quote writes a CEL string.
func quote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}
