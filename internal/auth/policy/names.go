package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// The checks here find what the validator of Cedar lets pass and what never
// matches: a principal by a name that is not canonical, a kind that does not exist,
// `has` of an attribute that nothing has. A forbid with one of them would look as
// if it protected.

// scopeNames checks the principal and the resource of a scope.
func scopeNames(p *ast.Policy, s statement) []fault.Problem {
	var uids []cedar.EntityUID
	for _, scope := range []ast.IsScopeNode{p.Principal, p.Resource} {
		switch n := scope.(type) {
		case ast.ScopeTypeEq:
			uids = append(uids, n.Entity)
		case ast.ScopeTypeIn:
			uids = append(uids, n.Entity)
		case ast.ScopeTypeIsIn:
			uids = append(uids, n.Entity)
		}
	}
	var problems []fault.Problem
	for _, uid := range uids {
		problems = append(problems, principalName(uid, s)...)
	}
	return problems
}

// conditionNames checks one condition.
func conditionNames(body ast.IsNode, s statement) []fault.Problem {
	var problems []fault.Problem
	compare := func(attribute, value ast.IsNode) {
		problems = append(problems, attributeValue(attribute, value, s)...)
	}
	ast.Inspect(ast.NewNode(body), func(n ast.IsNode) bool {
		switch n := n.(type) {
		case ast.NodeValue:
			if uid, ok := n.Value.(cedar.EntityUID); ok {
				problems = append(problems, principalName(uid, s)...)
			}
		case ast.NodeTypeHas:
			problems = append(problems, attributeAsked(n.Arg, string(n.Value), s)...)
		case ast.NodeTypeHasTag, ast.NodeTypeGetTag:
			problems = append(problems, problemAt(s[0], codeAttribute, "nothing has tags here"))
		case ast.NodeTypeIs:
			problems = append(problems, typeAsked(n.EntityType, s)...)
		case ast.NodeTypeIsIn:
			problems = append(problems, typeAsked(n.EntityType, s)...)
		case ast.NodeTypeEquals:
			compare(n.Left, n.Right)
			compare(n.Right, n.Left)
		case ast.NodeTypeNotEquals:
			compare(n.Left, n.Right)
			compare(n.Right, n.Left)
		case ast.NodeTypeContains:
			if set, ok := n.Left.(ast.NodeTypeSet); ok {
				for _, value := range set.Elements {
					compare(n.Right, value)
				}
			}
		}
		return true
	})
	return problems
}

// principalName returns why no principal is ever called uid.
func principalName(uid cedar.EntityUID, s statement) []fault.Problem {
	if uid.Type != typeUser && uid.Type != typeRole {
		return nil
	}
	at := s.entity(string(uid.Type), string(uid.ID))
	p, err := auth.ParseARN(string(uid.ID))
	if err != nil {
		problem := problemAt(at, codeNeverMatch, "%q names no principal: %s", string(uid.ID), err)
		problem.Hint = `as in Cortex::User::"arn:aws:iam::123456789012:user/alice"`
		return []fault.Problem{problem}
	}
	want := newQuestion(auth.Query{Principal: p}).principal
	if want == uid {
		return nil
	}
	problem := problemAt(at, codeNeverMatch, "no principal is called %s", uid)
	problem.Hint = fmt.Sprintf("did you mean %s?", want)
	return []fault.Problem{problem}
}

// attributeValue returns why an attribute never has a value.
func attributeValue(attribute, value ast.IsNode, s statement) []fault.Problem {
	access, ok := attribute.(ast.NodeTypeAccess)
	if !ok {
		return nil
	}
	of, ok := access.Arg.(ast.NodeTypeVariable)
	literal, isValue := value.(ast.NodeValue)
	if !ok || !isValue {
		return nil
	}
	text, ok := literal.Value.(cedar.String)
	var known []string
	switch string(of.Name) + "." + string(access.Value) {
	case "resource.kind":
		for _, k := range workload.Kinds() {
			known = append(known, string(k))
		}
	case "principal.type":
		known = []string{string(auth.User), string(auth.Role), string(auth.Root), string(auth.Federated)}
	}
	if !ok || known == nil || slices.Contains(known, string(text)) {
		return nil
	}
	problem := problemAt(s.literal(string(text)), codeNeverMatch, "%s.%s is never %q", of.Name, access.Value, string(text))
	if problem.Hint = didYouMean(string(text), known...); problem.Hint == "" {
		problem.Allowed = strings.Join(known, ", ")
	}
	return []fault.Problem{problem}
}

// attributeAsked returns why nothing has an attribute that a condition asks for.
func attributeAsked(of ast.IsNode, name string, s statement) []fault.Problem {
	variable, ok := of.(ast.NodeTypeVariable)
	if !ok {
		return nil
	}
	at, _ := s.attributeOr(name)
	var t cedar.EntityType
	switch variable.Name {
	case "context":
		return []fault.Problem{contextProblem(at, name)}
	case "principal":
		t = typeUser
	case "resource":
		t = typeAPI
	default:
		return []fault.Problem{problemAt(at, codeAttribute, "an action has no attributes")}
	}
	if slices.Contains(attributesOf(t), name) {
		return nil
	}
	return []fault.Problem{unknownAttributeProblem(at, t, name)}
}

func typeAsked(t cedar.EntityType, s statement) []fault.Problem {
	if _, known := theSchema().Entities[t]; known {
		return nil
	}
	return []fault.Problem{unknownTypeProblem(string(t), s)}
}

// impossible reports whether the types alone say that the conditions of a valid
// policy never hold together. The validator tells by what it does not look at: the
// branch behind a condition that is false for every principal, action and resource.
func impossible(p *ast.Policy) bool {
	if len(p.Conditions) == 0 {
		return false
	}
	all := ast.True()
	for _, c := range p.Conditions {
		body := ast.NewNode(c.Body)
		if c.Condition == ast.ConditionUnless {
			body = ast.Not(body)
		}
		all = all.And(body)
	}
	mistake := ast.String("").LessThan(ast.Long(0))
	probe := *p
	probe.Conditions = []ast.ConditionType{{Condition: ast.ConditionWhen, Body: ast.IfThenElse(all, mistake, ast.True()).AsIsNode()}}
	return validator().Policy("", &probe) == nil
}
