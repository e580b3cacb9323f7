package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/suggest"
	"cortex.dev/cortex/internal/workload"
)

// The checks here are of the words that are ours: actions, types, attributes, kinds
// and principals. They find what the validator of Cedar lets pass and what never
// matches: a principal by a name that is not canonical, a kind that does not exist,
// `has` of an attribute that nothing has. A forbid with one of them would look as
// if it protected.

func names(p *ast.Policy, s statement) []fault.Problem {
	var problems []fault.Problem
	for _, scope := range []ast.IsScopeNode{p.Principal, p.Action, p.Resource} {
		switch n := scope.(type) {
		case ast.ScopeTypeEq:
			problems = append(problems, entityName(n.Entity, s)...)
			if n.Entity == cedar.NewEntityUID(typeAction, groupCluster) {
				problem := problemAt(s.find(groupCluster), codeNeverMatch, "%s is a group of actions, and none of them", n.Entity)
				problem.Hint = "write action in " + n.Entity.String()
				problems = append(problems, problem)
			}
		case ast.ScopeTypeIn:
			problems = append(problems, entityName(n.Entity, s)...)
		case ast.ScopeTypeInSet:
			for _, uid := range n.Entities {
				problems = append(problems, entityName(uid, s)...)
			}
		case ast.ScopeTypeIs:
			problems = append(problems, typeName(n.Type, s)...)
		case ast.ScopeTypeIsIn:
			problems = append(problems, typeName(n.Type, s)...)
			problems = append(problems, entityName(n.Entity, s)...)
		}
	}
	for _, c := range p.Conditions {
		problems = append(problems, conditionNames(c.Body, s)...)
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
				problems = append(problems, entityName(uid, s)...)
			}
		case ast.NodeTypeAccess:
			problems = append(problems, attributeName(n.Arg, string(n.Value), s)...)
		case ast.NodeTypeHas:
			problems = append(problems, attributeName(n.Arg, string(n.Value), s)...)
		case ast.NodeTypeHasTag, ast.NodeTypeGetTag:
			problems = append(problems, problemAt(s[0], codeAttribute, "nothing has tags here"))
		case ast.NodeTypeIs:
			problems = append(problems, typeName(n.EntityType, s)...)
		case ast.NodeTypeIsIn:
			problems = append(problems, typeName(n.EntityType, s)...)
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

// entityName returns why nothing is ever called uid.
func entityName(uid cedar.EntityUID, s statement) []fault.Problem {
	switch uid.Type {
	case typeUser, typeRole:
		return principalName(uid, s)
	case typeAction:
		return actionName(uid, s)
	case typeAPI:
		return apiName(string(uid.ID), s)
	case typeSecret:
		return secretName(string(uid.ID), s)
	case typeVolume:
		return volumeName(string(uid.ID), s)
	}
	return typeName(uid.Type, s)
}

// actionName returns why there is no such action.
func actionName(uid cedar.EntityUID, s statement) []fault.Problem {
	known := []string{}
	for _, a := range auth.Actions {
		known = append(known, string(a))
	}
	known = append(known, groupCluster)
	if slices.Contains(known, string(uid.ID)) {
		return nil
	}
	problem := problemAt(s.find(string(uid.ID)), codeAction, "there is no action %s", uid)
	if near := nearest(string(uid.ID), known); near != "" {
		problem.Hint = fmt.Sprintf("did you mean %s::%q?", typeAction, near)
	} else {
		problem.Allowed = strings.Join(known, ", ")
	}
	return []fault.Problem{problem}
}

// principalName returns why no principal is ever called uid.
func principalName(uid cedar.EntityUID, s statement) []fault.Problem {
	at := s.find(string(uid.ID))
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

// apiName returns why no API can have a name.
func apiName(name string, s statement) []fault.Problem {
	if workload.IsName(name) {
		return nil
	}
	problem := problemAt(s.find(name), codeNeverMatch, "no API can be called %q: names are %s, %s", name, workload.WordsOf(workload.NamePattern), workload.WordsOf(workload.NameNotPattern))
	if strings.Contains(name, "*") {
		problem.Hint = `there are no patterns: list the names, as in resource in [Cortex::API::"a", Cortex::API::"b"]`
	} else if lower := strings.ToLower(name); lower != name && workload.IsName(lower) {
		problem.Hint = fmt.Sprintf("did you mean %q?", lower)
	}
	return []fault.Problem{problem}
}

// secretName returns why no secret can have a name. Those that others keep on Kubernetes,
// to which files refer too, have dots in their names.
func secretName(name string, s statement) []fault.Problem {
	if name != "" && workload.ShapeOf("pod.volumes[].secret").Fits(name) {
		return nil
	}
	problem := problemAt(s.find(name), codeNeverMatch, "no secret can be called %q: names are %s", name, workload.WordsOf(workload.ObjectPattern))
	if strings.Contains(name, "*") {
		problem.Hint = `there are no patterns: list the names, as in resource in [Cortex::Secret::"a", Cortex::Secret::"b"]`
	}
	return []fault.Problem{problem}
}

// volumeName returns why no volume can have a name, and no folder of a machine a path.
func volumeName(name string, s statement) []fault.Problem {
	if name != "" && (workload.IsVolumeName(name) || strings.HasPrefix(name, "/") && !strings.Contains(name, "*") && workload.ShapeOf("pod.volumes[].host_path").Fits(name)) {
		return nil
	}
	problem := problemAt(s.find(name), codeNeverMatch, "no volume can be called %q: names are %s; or it is the path of a folder of the machine", name, workload.WordsOf(workload.ObjectPattern))
	if strings.Contains(name, "*") {
		problem.Hint = `there are no patterns: list the names, as in resource in [Cortex::Volume::"models", Cortex::Volume::"/srv/weights"]`
	}
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
	problem := problemAt(s.find(string(text)), codeNeverMatch, "%s.%s is never %q", of.Name, access.Value, string(text))
	if problem.Hint = didYouMean(string(text), known); problem.Hint == "" {
		problem.Allowed = strings.Join(known, ", ")
	}
	return []fault.Problem{problem}
}

// attributeName returns why nothing has an attribute.
func attributeName(of ast.IsNode, name string, s statement) []fault.Problem {
	variable, ok := of.(ast.NodeTypeVariable)
	if !ok {
		return nil
	}
	at := s.find(name)
	var known []string
	switch variable.Name {
	case "context":
		return []fault.Problem{contextProblem(at, name)}
	case "principal":
		known = attributesOf(typeUser)
	case "resource":
		known = attributesOf(typeAPI)
	default:
		return []fault.Problem{problemAt(at, codeAttribute, "an action has no attributes")}
	}
	if slices.Contains(known, name) {
		return nil
	}
	problem := problemAt(at, codeAttribute, "a %s has no attribute %q", variable.Name, name)
	if problem.Hint = didYouMean(name, known); problem.Hint == "" {
		problem.Allowed = strings.Join(known, ", ")
	}
	return []fault.Problem{problem}
}

func typeName(t cedar.EntityType, s statement) []fault.Problem {
	if _, known := theSchema().Entities[t]; known || t == typeAction {
		return nil
	}
	return []fault.Problem{unknownTypeProblem(string(t), s)}
}

// nearest returns the one of known that was probably meant, or "". Names of types begin
// with the same word, and are near to each other in a third of their letters.
func nearest(text string, known []string) string {
	near := suggest.Nearest(text, known)
	if suggest.Distance(text, near) > 2 {
		return ""
	}
	return near
}

func didYouMean(text string, known []string) string {
	if near := nearest(text, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}
