package awstest

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// functions are those that templates may use.
var functions = []string{"Fn::GetAtt", "Fn::Sub", "Fn::Join", "Fn::Select", "Fn::Split", "Fn::Base64"}

func getAtt(o object) (name, attribute string, ok bool) {
	if len(o) != 1 {
		return "", "", false
	}
	switch x := o["Fn::GetAtt"].(type) {
	case string:
		name, attribute, ok = strings.Cut(x, ".")
	case []any:
		if len(x) == 2 {
			return textOf(x[0]), textOf(x[1]), true
		}
	}
	return name, attribute, ok
}

var subName = regexp.MustCompile(`\$\{([^!}][^}]*)\}`)

// referred are the names that a value refers to.
func referred(v any) []string {
	var all []string
	switch x := v.(type) {
	case []any:
		for _, each := range x {
			all = append(all, referred(each)...)
		}
	case object:
		if name, ok := x["Ref"].(string); ok && len(x) == 1 {
			return []string{name}
		}
		if name, _, ok := getAtt(x); ok {
			return []string{name}
		}
		if sub, ok := x["Fn::Sub"]; ok && len(x) == 1 {
			text, given := subParts(sub)
			for _, m := range subName.FindAllStringSubmatch(text, -1) {
				name, _, _ := strings.Cut(m[1], ".")
				if _, own := given[m[1]]; !own {
					all = append(all, name)
				}
			}
			return append(all, referred(given)...)
		}
		for _, key := range sorted(x) {
			all = append(all, referred(x[key])...)
		}
	}
	return all
}

func subParts(v any) (string, object) {
	if list, ok := v.([]any); ok && len(list) == 2 {
		given, _ := list[1].(object)
		return textOf(list[0]), given
	}
	return textOf(v), nil
}

// unknown stands for what is known only once something is made.
type unknown struct{}

// scope is what names mean while a template is carried out.
type scope struct {
	a      *Account
	t      *template
	params map[string]string
	stack  *stack
	// physical returns what Ref of a resource is, and attribute what one of its attributes is.
	physical  func(name string) any
	attribute func(name, attribute string) any
}

func (s *scope) ref(name string) any {
	if p, ok := s.t.parameters[name]; ok {
		if !p.isList() {
			return s.params[name]
		}
		var list []any
		for each := range strings.SplitSeq(s.params[name], ",") {
			if each != "" {
				list = append(list, each)
			}
		}
		return list
	}
	switch name {
	case "AWS::Region":
		return s.a.region
	case "AWS::AccountId":
		return s.a.id
	case "AWS::Partition":
		return s.a.partition
	case "AWS::URLSuffix":
		return s.a.suffix
	case "AWS::StackName":
		return s.stack.name
	case "AWS::StackId":
		return s.stack.id
	case "AWS::NoValue":
		return nil
	}
	return s.physical(name)
}

// resolve replaces functions by what they are.
func (s *scope) resolve(v any) any {
	switch x := v.(type) {
	case []any:
		list := []any{}
		for _, each := range x {
			if r := s.resolve(each); r != nil {
				list = append(list, r)
			}
		}
		return list
	case object:
		if len(x) == 1 {
			for key, below := range x {
				if key == "Ref" {
					return s.ref(textOf(below))
				}
				if slices.Contains(functions, key) {
					return s.function(key, below, x)
				}
			}
		}
		o := object{}
		for key, each := range x {
			set(o, key, s.resolve(each))
			if r, isList := s.resolve(each).([]any); isList && len(r) == 0 {
				o[key] = r
			}
		}
		return o
	}
	return v
}

func (s *scope) function(name string, argument any, whole object) any {
	if name == "Fn::GetAtt" {
		resource, attribute, _ := getAtt(whole)
		return s.attribute(resource, attribute)
	}
	if name == "Fn::Sub" {
		return s.sub(argument)
	}
	if name == "Fn::Base64" {
		text := s.resolve(argument)
		if _, is := text.(unknown); is {
			return text
		}
		return base64.StdEncoding.EncodeToString([]byte(textOf(text)))
	}
	list, _ := s.resolve(argument).([]any)
	if len(list) != 2 || hasUnknown(list) {
		return unknown{}
	}
	switch name {
	case "Fn::Join":
		var parts []string
		many, _ := list[1].([]any)
		for _, each := range many {
			parts = append(parts, textOf(each))
		}
		return strings.Join(parts, textOf(list[0]))
	case "Fn::Split":
		return anys(strings.Split(textOf(list[1]), textOf(list[0])))
	}
	i, err := strconv.Atoi(textOf(list[0])) // Fn::Select
	many, _ := list[1].([]any)
	if err != nil || i < 0 || i >= len(many) {
		return nil
	}
	return many[i]
}

func (s *scope) sub(argument any) any {
	text, given := subParts(argument)
	lost := false
	out := subName.ReplaceAllStringFunc(text, func(m string) string {
		name := m[2 : len(m)-1]
		var v any
		if own, ok := given[name]; ok {
			v = s.resolve(own)
		} else if resource, attribute, ok := strings.Cut(name, "."); ok {
			v = s.attribute(resource, attribute)
		} else {
			v = s.ref(name)
		}
		if _, is := v.(unknown); is {
			lost = true
		}
		return textOf(v)
	})
	if lost {
		return unknown{}
	}
	return out
}

func hasUnknown(v any) bool {
	switch x := v.(type) {
	case unknown:
		return true
	case []any:
		return slices.ContainsFunc(x, hasUnknown)
	case object:
		for _, each := range x {
			if hasUnknown(each) {
				return true
			}
		}
	}
	return false
}
