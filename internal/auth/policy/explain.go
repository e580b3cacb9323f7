package policy

import (
	"maps"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"cortex.dev/cortex/internal/auth"
)

// Summary is what a file that is valid says, in short.
type Summary struct {
	File     string    `json:"file"`
	Policies []Outline `json:"policies"`
}

// Outline is one policy. Of each kind of thing that it does not name, it is about
// all, as far as its conditions go.
type Outline struct {
	ID         string   `json:"id"`
	Effect     string   `json:"effect"` // permit, forbid
	Line       int      `json:"line,omitempty"`
	Column     int      `json:"column,omitempty"`
	Principals []string `json:"principals"` // ARNs
	Actions    []string `json:"actions"`
	Resources  []string `json:"resources"` // as Cedar writes them: Cortex::API::"iris"
	Conditions int      `json:"conditions"`
}

// Check reads data as the policy file named file, or returns one fault with every
// problem of it.
func Check(file string, data []byte) (Summary, error) {
	s, err := load(file, data)
	if err != nil {
		return Summary{}, err
	}
	sum := Summary{File: file, Policies: make([]Outline, len(s.policies))}
	for i, e := range s.policies {
		sum.Policies[i] = outline(e)
	}
	return sum, nil
}

func outline(e entry) Outline {
	p := (*ast.Policy)(e.policy.AST())
	names := map[cedar.EntityUID]bool{}
	for _, scope := range []ast.IsScopeNode{p.Principal, p.Action, p.Resource} {
		switch n := scope.(type) {
		case ast.ScopeTypeEq:
			names[n.Entity] = true
		case ast.ScopeTypeIn:
			names[n.Entity] = true
		case ast.ScopeTypeIsIn:
			names[n.Entity] = true
		case ast.ScopeTypeInSet:
			for _, uid := range n.Entities {
				names[uid] = true
			}
		}
	}
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			if v, ok := n.(ast.NodeValue); ok {
				if uid, ok := v.Value.(cedar.EntityUID); ok {
					names[uid] = true
				}
			}
			return true
		})
	}
	o := Outline{
		ID: string(e.id), Effect: effect(e.policy), Line: e.line, Column: e.column, Conditions: len(p.Conditions),
		Principals: []string{}, Actions: []string{}, Resources: []string{},
	}
	for uid := range maps.Keys(names) {
		switch uid.Type {
		case typeAction:
			o.Actions = append(o.Actions, string(uid.ID))
		case typeUser, typeRole:
			o.Principals = append(o.Principals, string(uid.ID))
		default:
			o.Resources = append(o.Resources, uid.String())
		}
	}
	slices.Sort(o.Principals)
	slices.Sort(o.Actions)
	slices.Sort(o.Resources)
	return o
}

func effect(p *cedar.Policy) string {
	if p.Effect() == cedar.Forbid {
		return "forbid"
	}
	return "permit"
}

// Explanation is a decision with its reasons.
type Explanation struct {
	Principal   string   `json:"principal"` // canonical ARN
	Action      string   `json:"action"`
	API         string   `json:"api,omitempty"`
	Secret      string   `json:"secret,omitempty"`
	Volume      string   `json:"volume,omitempty"`
	Kind        string   `json:"kind,omitempty"`
	Environment string   `json:"environment"`
	Decision    string   `json:"decision"` // allow, deny
	Policies    []Reason `json:"policies"` // that decided; none permits nothing
	Near        []Reason `json:"near,omitempty"`
}

// Reason is a policy that decided; or in Near a permit that is about such a
// principal, action and resource, and whose conditions did not hold.
type Reason struct {
	ID     string `json:"id"`
	Effect string `json:"effect"`
	File   string `json:"file,omitempty"` // empty for what is ours
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Error  string `json:"error,omitempty"` // why it could not be evaluated
}

// Explain decides like Authorize and says why. It counts nothing.
func (a *Authorizer) Explain(q auth.Query) Explanation {
	q, d, done := a.before(q)
	x := Explanation{
		Principal: q.Principal.ARN, Action: string(q.Action), API: q.Resource.API, Secret: q.Resource.Secret, Volume: q.Resource.Volume, Kind: q.Resource.Kind,
		Environment: q.Resource.Environment, Decision: auth.Deny, Policies: []Reason{},
	}
	if done {
		for _, id := range d.Policies {
			x.Policies = append(x.Policies, Reason{ID: id, Effect: "forbid"})
		}
		return x
	}
	s := a.force.Load().snapshot
	if d = s.evaluate(q, a.cfg.Log); d.Allowed {
		x.Decision = auth.Allow
	}
	w := newQuestion(q)
	for _, e := range s.policies {
		switch {
		case slices.Contains(d.Policies, string(e.id)):
			x.Policies = append(x.Policies, s.reason(e))
		case !d.Allowed && e.policy.Effect() == cedar.Permit && inScope(e, w):
			alone, diagnostic := cedar.Authorize(only(e.id, e.policy), w, w.request())
			if alone == cedar.Allow {
				continue // it applies, and a forbid does too
			}
			r := s.reason(e)
			if len(diagnostic.Errors) > 0 {
				r.Error = diagnostic.Errors[0].Message
			}
			x.Near = append(x.Near, r)
		}
	}
	return x
}

func (s *snapshot) reason(e entry) Reason {
	r := Reason{ID: string(e.id), Effect: effect(e.policy), Line: e.line, Column: e.column}
	if e.line > 0 {
		r.File = s.file
	}
	return r
}

// inScope reports whether a permit would apply without its conditions.
func inScope(e entry, w *question) bool {
	bare := *e.policy.AST()
	bare.Conditions = nil
	decision, _ := cedar.Authorize(only(e.id, cedar.NewPolicyFromAST(&bare)), w, w.request())
	return decision == cedar.Allow
}

func only(id cedar.PolicyID, p *cedar.Policy) cedar.PolicyMap { return cedar.PolicyMap{id: p} }
