package awstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// policy is a document of IAM, read strictly: what this package would not evaluate as
// IAM does is not loaded.
type policy struct {
	text       string
	statements []statement
}

type statement struct {
	allow               bool
	actions, notActions []string
	resources           []string
	notResources        []string
	conditions          []condition
	principals          map[string][]string // of trust policies
}

// condition holds when key, by an operator, is one of the values.
type condition struct {
	operator string
	ifExists bool
	key      string
	values   []string
}

// operators are those that conditions may have. A key that is not there holds for none
// of them but the negative ones and those with IfExists.
var operators = map[string]func(got string, want string) bool{
	"StringEquals":    func(got, want string) bool { return got == want },
	"StringNotEquals": func(got, want string) bool { return got != want },
	"StringLike":      func(got, want string) bool { return like(want, got) },
	"StringNotLike":   func(got, want string) bool { return !like(want, got) },
	"ArnEquals":       func(got, want string) bool { return like(want, got) },
	"ArnLike":         func(got, want string) bool { return like(want, got) },
	"Bool":            strings.EqualFold,
	"Null":            nil, // about whether the key is there
}

// oneOrMore is a text or a list of texts.
type oneOrMore []string

func (o *oneOrMore) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(o))
	}
	var one any
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*o = oneOrMore{textOf(one)}
	return nil
}

type statements []rawStatement

func (s *statements) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return strict(b, (*[]rawStatement)(s))
	}
	var one rawStatement
	err := strict(b, &one)
	*s = statements{one}
	return err
}

type rawStatement struct {
	Sid, Effect                              string
	Action, NotAction, Resource, NotResource oneOrMore
	Principal                                json.RawMessage
	Condition                                map[string]map[string]oneOrMore
}

func strict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// parsePolicy reads a document; trust says that it is one of a role, which has principals
// and no resources.
func parsePolicy(text string, trust bool) (*policy, error) {
	var raw struct {
		Version, ID string
		Statement   statements
	}
	if err := strict([]byte(text), &raw); err != nil {
		return nil, fmt.Errorf("the policy cannot be read: %w", err)
	}
	if len(raw.Statement) == 0 {
		return nil, fmt.Errorf("the policy has no statement")
	}
	p := &policy{text: text}
	for _, r := range raw.Statement {
		s, err := r.read(trust)
		if err != nil {
			return nil, err
		}
		p.statements = append(p.statements, s)
	}
	return p, nil
}

func (r rawStatement) read(trust bool) (s statement, err error) {
	s = statement{allow: r.Effect == "Allow", actions: r.Action, notActions: r.NotAction, resources: r.Resource, notResources: r.NotResource}
	switch {
	case r.Effect != "Allow" && r.Effect != "Deny":
		return s, fmt.Errorf("the effect %q is neither Allow nor Deny", r.Effect)
	case (len(r.Action) == 0) == (len(r.NotAction) == 0):
		return s, fmt.Errorf("a statement wants either Action or NotAction")
	case !trust && (len(r.Resource) == 0) == (len(r.NotResource) == 0):
		return s, fmt.Errorf("a statement wants either Resource or NotResource")
	case trust && len(r.Principal) == 0:
		return s, fmt.Errorf("a statement of a trust policy wants a Principal")
	}
	if trust {
		s.principals = map[string][]string{}
		var byKind map[string]oneOrMore
		if err := json.Unmarshal(r.Principal, &byKind); err != nil {
			return s, fmt.Errorf("the principal cannot be read: %w", err)
		}
		for kind, names := range byKind {
			s.principals[kind] = names
		}
	}
	for _, action := range slices.Concat(r.Action, r.NotAction) {
		if action != "*" && !strings.Contains(action, ":") {
			return s, fmt.Errorf("the action %q has no service", action)
		}
	}
	for name, keys := range r.Condition {
		operator, ifExists := strings.CutSuffix(name, "IfExists")
		if _, known := operators[operator]; !known {
			return s, fmt.Errorf("awstest does not know the condition operator %s", name)
		}
		for key, values := range keys {
			s.conditions = append(s.conditions, condition{operator, ifExists, strings.ToLower(key), values})
		}
	}
	return s, nil
}

// like matches a pattern in which * is anything and ? one character.
func like(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i] && pattern[p] != '*'):
			p, i = p+1, i+1
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

func anyLike(patterns []string, s string, fold bool) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if fold { // actions have no case
			return like(strings.ToLower(p), strings.ToLower(s))
		}
		return like(p, s)
	})
}

func (s *statement) matches(action, resource string, context map[string]string) bool {
	if len(s.actions) > 0 != anyLike(append(s.actions, s.notActions...), action, true) {
		return false
	}
	if len(s.resources) > 0 && !anyLike(s.resources, resource, false) || len(s.notResources) > 0 && anyLike(s.notResources, resource, false) {
		return false
	}
	return !slices.ContainsFunc(s.conditions, func(c condition) bool { return !c.holds(context) })
}

func (c condition) holds(context map[string]string) bool {
	got, there := context[c.key]
	if c.operator == "Null" {
		return slices.Contains(c.values, fmt.Sprint(!there))
	}
	negative := strings.Contains(c.operator, "Not")
	if !there {
		return c.ifExists || negative
	}
	test := operators[c.operator]
	if negative {
		return !slices.ContainsFunc(c.values, func(v string) bool { return !test(got, v) })
	}
	return slices.ContainsFunc(c.values, func(v string) bool { return test(got, v) })
}

// permitted asks the policies of a principal, in the way of IAM: a Deny first, then an
// Allow, else no.
func (a *Account) permitted(who *principal, action, resource string, context map[string]string) error {
	if who.root {
		return nil
	}
	lower := map[string]string{}
	for k, v := range context {
		lower[strings.ToLower(k)] = v
	}
	allowed := false
	for _, p := range who.policies {
		for i := range p.statements {
			s := &p.statements[i]
			if !s.matches(action, resource, lower) {
				continue
			}
			if !s.allow {
				return refuseAs(403, "AccessDenied", "User: %s is not authorized to perform: %s on resource: %s with an explicit deny in an identity-based policy", who.arn, action, resource)
			}
			allowed = true
		}
	}
	if !allowed {
		return refuseAs(403, "AccessDenied", "User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action", who.arn, action, resource, action)
	}
	return nil
}

// CheckPolicy says why a policy would not be taken for that of a user.
func CheckPolicy(text string) error {
	_, err := parsePolicy(text, false)
	return err
}
