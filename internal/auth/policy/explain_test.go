package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	a := newAuthorizer(t, teamPolicy)
	at := func(id, effect string, line int) Reason {
		return Reason{ID: id, Effect: effect, File: a.cfg.File, Line: line, Column: 1}
	}
	for name, tt := range map[string]struct {
		query          auth.Query
		decision       string
		policies, near []Reason
	}{
		"permitted": {
			ask(t, bob, auth.ActionGet, "iris"), "allow",
			[]Reason{at("bob-reads", "permit", 5)}, nil,
		},
		"permitted, and a condition does not hold": {
			ask(t, alice, auth.ActionSubmitJob, "iris RealtimeAPI"), "allow",
			[]Reason{at("alice-iris", "permit", 12)}, nil,
		},
		"nothing is about it": {
			ask(t, bob, auth.ActionDeploy, "iris RealtimeAPI"), "deny", []Reason{}, nil,
		},
		"a condition does not hold": {
			ask(t, alice, auth.ActionSubmitJob, "live AsyncAPI"), "deny",
			[]Reason{}, []Reason{at("alice-jobs", "permit", 15)},
		},
		"forbidden, and a permit applies": {
			ask(t, admin, auth.ActionDelete, "payments"), "deny",
			[]Reason{at("nobody-deletes-payments", "forbid", 31)}, nil,
		},
		"a role of the platform": {
			ask(t, node, auth.ActionGet, "iris"), "deny",
			[]Reason{{ID: IDPlatformRoles, Effect: "forbid"}}, nil,
		},
		"another account": {
			ask(t, "arn:aws:iam::210987654321:root", auth.ActionGet, "iris"), "deny",
			[]Reason{{ID: IDAccount, Effect: "forbid"}}, nil,
		},
	} {
		q := tt.query
		want := Explanation{
			Principal: q.Principal.ARN, Action: string(q.Action), API: q.Resource.API, Kind: q.Resource.Kind, Environment: "prod",
			Decision: tt.decision, Policies: tt.policies, Near: tt.near,
		}
		if got := a.Explain(q); !cmp.Equal(got, want) {
			t.Errorf("%s: Explain() is another (-want +got):\n%s", name, cmp.Diff(want, got))
		}
	}
	x := newAuthorizer(t, "").Explain(ask(t, alice, auth.ActionGet, "iris"))
	if want := []Reason{{ID: IDDefault, Effect: "permit"}}; !cmp.Equal(x.Policies, want) {
		t.Errorf("Explain(default).Policies = %+v, want %+v", x.Policies, want)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	got, err := Check("team.cedar", []byte(`// ours
@note("a \"; b")
@id("jobs")
permit (
  principal in Cortex::Role::"`+admin+`",
  action in [Cortex::Action::"submitJob", Cortex::Action::"get"],
  resource == Cortex::API::"iris"
)
when { principal != Cortex::User::"`+bob+`" }
unless { resource in Cortex::Environment::"dev" };
  forbid (principal, action in Cortex::Action::"cluster:*", resource);
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Summary{File: "team.cedar", Policies: []Outline{
		{
			ID: "jobs", Effect: "permit", Line: 2, Column: 1, Principals: []string{admin, bob}, Actions: []string{"get", "submitJob"},
			Resources: []string{`Cortex::API::"iris"`, `Cortex::Environment::"dev"`}, Conditions: 2,
		},
		{
			ID: "team.cedar:11", Effect: "forbid", Line: 11, Column: 3,
			Principals: []string{}, Actions: []string{"cluster:*"}, Resources: []string{},
		},
	}}
	if !cmp.Equal(got, want) {
		t.Errorf("Check() is another (-want +got):\n%s", cmp.Diff(want, got))
	}
}
