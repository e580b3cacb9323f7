package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

// check returns what is wrong with one policy that can be read.
func check(p *cedar.Policy, s statement) []fault.Problem {
	tree := (*ast.Policy)(p.AST())
	problems := validate1(tree, s)
	parts := s.conditions()
	problems = append(problems, scopeNames(tree, parts[0])...)
	for i, c := range tree.Conditions {
		part := s
		if i+1 < len(parts) {
			part = parts[i+1]
		}
		problems = append(problems, conditionNames(c.Body, part)...)
	}
	if len(problems) == 0 && impossible(tree) {
		problem := problemAt(s[0], codeNeverMatch, "the conditions of this policy can never hold")
		problem.Hint = "remove it, or make it a comment"
		problems = append(problems, problem)
	}
	return problems
}

// validate1 holds a policy to the schema. When it fails, each condition is asked
// for alone, since Cedar does not say where in a policy a mistake is.
func validate1(tree *ast.Policy, s statement) []fault.Problem {
	if validator().Policy("", tree) == nil {
		return nil
	}
	parts := s.conditions()
	bare := *tree
	bare.Conditions = nil
	problems := told(validator().Policy("", &bare), parts[0], tree)
	whole := len(problems) == 0
	for i, c := range tree.Conditions {
		if i+1 >= len(parts) {
			break
		}
		one := *tree
		one.Principal, one.Action, one.Resource = scopeOf(tree, whole)
		one.Conditions = []ast.ConditionType{c}
		problems = append(problems, told(validator().Policy("", &one), parts[i+1], tree)...)
	}
	if len(problems) == 0 {
		problems = told(validator().Policy("", tree), s, tree)
	}
	return problems
}

// scopeOf is the scope of a policy, or no scope at all when that is wrong already,
// so that a condition is not blamed for it.
func scopeOf(p *ast.Policy, sound bool) (ast.IsPrincipalScopeNode, ast.IsActionScopeNode, ast.IsResourceScopeNode) {
	if sound {
		return p.Principal, p.Action, p.Resource
	}
	return ast.ScopeTypeAll{}, ast.ScopeTypeAll{}, ast.ScopeTypeAll{}
}

// What the validator says, in the words of the reference implementation of Cedar.
var (
	unknownAction    = auth.Pattern("(?s)^unrecognized action `(.*)::\"(.*)\"`$")
	unknownType      = auth.Pattern("(?s)^unrecognized entity type `(.*)`$")
	unknownAttribute = auth.Pattern("(?s)^attribute `(.*)` on entity types? `(.*)` not found$")
	noContext        = auth.Pattern("(?s)^attribute `(.*)` in context for .* not found$")
	mayBeMissing     = auth.Pattern("(?s)^unable to guarantee safety of access to optional attribute `(.*)` on entity type `(.*)`$")
	internalType     = auth.Pattern(`__cedar::internal::(?:Any|Open)?(\w+)(?:\{\})?`)
)

const inapplicable = "unable to find an applicable action given the policy scope constraints"

// told tells every error of the validator about the part of a policy, once.
func told(err error, s statement, p *ast.Policy) []fault.Problem {
	messages := map[string]bool{}
	for _, e := range flat(err) {
		messages[e.Error()] = true
	}
	if len(messages) > 1 {
		delete(messages, inapplicable) // what follows from the others
	}
	var problems []fault.Problem
	missing := map[string]bool{}
	for _, m := range slices.Sorted(maps.Keys(messages)) {
		if a := mayBeMissing().FindStringSubmatch(m); a != nil {
			missing[a[1]] = true
		}
	}
	for _, m := range slices.Sorted(maps.Keys(messages)) {
		a := unknownAttribute().FindStringSubmatch(m)
		if a != nil && missing[a[1]] {
			continue // `has` is the remedy of both
		}
		next := one(m, s, p)
		same := func(p fault.Problem) bool {
			return p.Line == next.Line && p.Column == next.Column && p.Code == next.Code
		}
		if (a != nil || next.Code == codeContext) && slices.ContainsFunc(problems, same) {
			continue // the same of another type, or of another action
		}
		problems = append(problems, next)
	}
	return problems
}

func flat(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flat(e)...)
	}
	return all
}

func one(message string, s statement, p *ast.Policy) fault.Problem {
	if m := unknownAction().FindStringSubmatch(message); m != nil {
		problem := problemAt(s.entity(m[1], m[2]), codeAction, "there is no action %s::%q", m[1], m[2])
		if problem.Hint = suggestAction(m[2]); problem.Hint == "" {
			problem.Allowed = actionNames()
		}
		return problem
	}
	if m := unknownType().FindStringSubmatch(message); m != nil {
		return unknownTypeProblem(m[1], s)
	}
	if m := unknownAttribute().FindStringSubmatch(message); m != nil {
		at, _ := s.attributeOr(m[1])
		return unknownAttributeProblem(at, cedar.EntityType(m[2]), m[1])
	}
	if m := noContext().FindStringSubmatch(message); m != nil {
		at, _ := s.attributeOr(m[1])
		return contextProblem(at, m[1])
	}
	if m := mayBeMissing().FindStringSubmatch(message); m != nil {
		at, _ := s.attributeOr(m[1])
		problem := problemAt(at, codeMissing, "an API has no %s while it is not deployed", m[1])
		problem.Hint = fmt.Sprintf("ask first: resource has %s && resource.%s == …", m[1], m[1])
		return problem
	}
	if message == inapplicable {
		problem := problemAt(s[0], codeNeverMatch, "no action of this policy is ever done to such a resource by such a principal")
		problem.Hint = inapplicableHint(p)
		return problem
	}
	problem := problemAt(s[0], codeType, "%s", internalType().ReplaceAllString(message, "$1"))
	if strings.Contains(message, string(typeUser)) && strings.Contains(message, string(typeRole)) {
		problem.Hint = "a list has users or roles: principal in [users…] || principal in [roles…]"
	}
	return problem
}

// attributeOr is attribute, or the begin of s.
func (s statement) attributeOr(name string) (token, bool) {
	name = name[strings.LastIndexByte(name, '.')+1:]
	if t, ok := s.attribute(name); ok {
		return t, true
	}
	return s[0], false
}

func contextProblem(at token, name string) fault.Problem {
	problem := problemAt(at, codeContext, "there is no context.%s: nothing but the principal, the action and the resource decides", name)
	problem.Hint = "the name of a session is chosen by whoever assumes a role, so no policy sees it"
	return problem
}

func unknownAttributeProblem(at token, t cedar.EntityType, name string) fault.Problem {
	problem := problemAt(at, codeAttribute, "a %s has no attribute %q", what(t), name)
	known := attributesOf(t)
	if problem.Hint = didYouMean(name, known...); problem.Hint == "" {
		problem.Allowed = strings.Join(known, ", ")
	}
	return problem
}

// what a type is called in a policy.
func what(t cedar.EntityType) string {
	switch t {
	case typeUser, typeRole:
		return "principal"
	case typeAPI, typeEnvironment:
		return "resource"
	}
	return string(t)
}

func unknownTypeProblem(typ string, s statement) fault.Problem {
	problem := problemAt(s.entity(typ, ""), codeEntity, "there is no entity type %s", typ)
	known := []string{string(typeAction), string(typeUser), string(typeRole), string(typeAPI), string(typeEnvironment)}
	short := typ[strings.LastIndexByte(typ, ':')+1:]
	for _, k := range known {
		name := strings.ToLower(strings.TrimPrefix(k, "Cortex::"))
		if near := strings.ToLower(short); name == near || len(near) > 2 && strings.HasPrefix(name, near) {
			problem.Hint = fmt.Sprintf("did you mean %s?", k)
			return problem
		}
	}
	if near := nearest(typ, known...); near != "" {
		problem.Hint = fmt.Sprintf("did you mean %s?", near)
		return problem
	}
	problem.Allowed = strings.Join(known, ", ")
	return problem
}

func inapplicableHint(p *ast.Policy) string {
	group := cedar.NewEntityUID(typeAction, groupCluster)
	named, all := actionsOf(p), []string{}
	for _, a := range named {
		if a == group {
			if _, equal := p.Action.(ast.ScopeTypeEq); equal {
				return "every one of a group is written with in: action in " + group.String()
			}
		}
		all = append(all, string(a.ID))
	}
	if slices.ContainsFunc(all, func(id string) bool { return strings.HasPrefix(id, clusterPrefix) }) {
		return "cluster:… is done to an environment: resource is " + string(typeEnvironment)
	}
	return fmt.Sprintf("a principal is a %s or a %s, a resource a %s or a %s", typeUser, typeRole, typeAPI, typeEnvironment)
}

func actionsOf(p *ast.Policy) []cedar.EntityUID {
	switch s := p.Action.(type) {
	case ast.ScopeTypeEq:
		return []cedar.EntityUID{s.Entity}
	case ast.ScopeTypeIn:
		return []cedar.EntityUID{s.Entity}
	case ast.ScopeTypeInSet:
		return s.Entities
	}
	return nil
}

func attributesOf(t cedar.EntityType) []string {
	var names []string
	for name := range theSchema().Entities[t].Shape {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names
}

func actionNames() string {
	var names []string
	for _, a := range auth.Actions {
		names = append(names, string(a))
	}
	return strings.Join(append(names, groupCluster), ", ")
}

func suggestAction(id string) string {
	names := []string{groupCluster}
	for _, a := range auth.Actions {
		names = append(names, string(a))
	}
	if near := nearest(id, names...); near != "" {
		return fmt.Sprintf(`did you mean %s::%q?`, typeAction, near)
	}
	return ""
}
