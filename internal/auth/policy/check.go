package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"cortex.dev/cortex/internal/fault"
)

// check returns what is wrong with one policy that can be read. Names that are ours
// come first, since of these we know what was meant; for the rest Cedar's validator
// speaks, which does not say where in a policy a mistake is.
func check(p *cedar.Policy, s statement) []fault.Problem {
	tree := (*ast.Policy)(p.AST())
	if problems := names(tree, s); len(problems) > 0 {
		return problems
	}
	if err := validator().Policy("", tree); err != nil {
		return schemaProblems(err, s)
	}
	if impossible(tree) {
		problem := problemAt(s[0], codeNeverMatch, "the conditions of this policy can never hold")
		problem.Hint = "remove it, or make it a comment"
		return []fault.Problem{problem}
	}
	return nil
}

// schemaProblems are the errors of Cedar's validator in its own words. It repeats
// itself for each type that a principal or a resource can have.
func schemaProblems(err error, s statement) []fault.Problem {
	lines := strings.Split(strings.ReplaceAll(err.Error(), "__cedar::internal::", ""), "\n")
	slices.Sort(lines)
	var problems []fault.Problem
	for _, line := range slices.Compact(lines) {
		problem := problemAt(s[0], codeType, "%s", line)
		problem.Hint = "cortex policy schema prints what applies to what; an attribute with ? needs has before it: resource has kind && …"
		problems = append(problems, problem)
	}
	return problems
}

// impossible reports whether the types alone say that the conditions of a valid
// policy never hold together. The validator shows it by what it does not look at: the
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

func contextProblem(at token, name string) fault.Problem {
	problem := problemAt(at, codeContext, "there is no context.%s: nothing but the principal, the action and the resource decides", name)
	problem.Hint = "the name of a session is chosen by whoever assumes a role, so no policy sees it"
	return problem
}

func attributesOf(t cedar.EntityType) []string {
	var names []string
	for name := range theSchema().Entities[t].Shape {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names
}

func unknownTypeProblem(typ string, s statement) fault.Problem {
	short := typ[strings.LastIndexByte(typ, ':')+1:]
	problem := problemAt(s.find(short), codeEntity, "there is no entity type %s", typ)
	known := []string{string(typeAction), string(typeUser), string(typeRole), string(typeAPI), string(typeSecret), string(typeVolume), string(typeEnvironment)}
	for _, k := range known {
		name := strings.ToLower(strings.TrimPrefix(k, "Cortex::"))
		if near := strings.ToLower(short); name == near || len(near) > 2 && strings.HasPrefix(name, near) {
			problem.Hint = fmt.Sprintf("did you mean %s?", k)
			return problem
		}
	}
	if near := nearest(typ, known); near != "" {
		problem.Hint = fmt.Sprintf("did you mean %s?", near)
		return problem
	}
	problem.Allowed = strings.Join(known, ", ")
	return problem
}
