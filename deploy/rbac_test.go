package deploy_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// The whole of what each program may do, one right a line: where, what, how. A
// right that is added must be added here, where a reviewer sees it.
var mayDo = map[string][]string{
	"cortex-gateway": {
		"in cortex-apis: apps/deployments: list watch",
		"in cortex-apis: apps/replicasets: list watch",
		"in cortex-apis: cortex.dev/accesskeys: list watch",
		"in cortex-apis: cortex.dev/asyncapis: list watch",
		"in cortex-apis: cortex.dev/batchapis: list watch",
		"in cortex-apis: cortex.dev/realtimeapis: list watch",
		"in cortex-apis: cortex.dev/taskapis: list watch",
		"in cortex-apis: cortex.dev/trafficsplitters: list watch",
		"in cortex-apis: pods: list watch",
	},
	"cortex-operator": {
		"everywhere: authentication.k8s.io/tokenreviews: create",
		"everywhere: nodes: list watch",
		"in cortex-apis: apps/deployments: get list watch create update patch delete",
		"in cortex-apis: apps/replicasets: list watch",
		"in cortex-apis: configmaps: create delete",
		"in cortex-apis: cortex.dev/accesskeys: get list create update delete",
		"in cortex-apis: cortex.dev/asyncapis/finalizers: update",
		"in cortex-apis: cortex.dev/asyncapis/status: update",
		"in cortex-apis: cortex.dev/asyncapis: get list watch create update delete",
		"in cortex-apis: cortex.dev/batchapis/finalizers: update",
		"in cortex-apis: cortex.dev/batchapis/status: update",
		"in cortex-apis: cortex.dev/batchapis: get list watch create update delete",
		"in cortex-apis: cortex.dev/batchjobs/status: update",
		"in cortex-apis: cortex.dev/batchjobs: get list watch",
		"in cortex-apis: cortex.dev/realtimeapis/finalizers: update",
		"in cortex-apis: cortex.dev/realtimeapis/status: update",
		"in cortex-apis: cortex.dev/realtimeapis: get list watch create update delete",
		"in cortex-apis: cortex.dev/revisions: list create patch delete deletecollection",
		"in cortex-apis: cortex.dev/taskapis/finalizers: update",
		"in cortex-apis: cortex.dev/taskapis/status: update",
		"in cortex-apis: cortex.dev/taskapis: get list watch create update delete",
		"in cortex-apis: cortex.dev/taskjobs/status: update",
		"in cortex-apis: cortex.dev/taskjobs: get list watch",
		"in cortex-apis: cortex.dev/trafficsplitters/status: update",
		"in cortex-apis: cortex.dev/trafficsplitters: get list watch create update delete",
		"in cortex-apis: events: list watch create delete deletecollection",
		"in cortex-apis: pods/log: get",
		"in cortex-apis: pods: get list watch create patch delete",
		"in cortex-apis: policy/poddisruptionbudgets: create patch",
		"in cortex-apis: secrets [registry-credentials]: get",
		"in cortex-apis: secrets: get list create patch delete",
		"in cortex: configmaps [cortex-authority]: get update",
		"in cortex: configmaps: create",
		"in cortex: coordination.k8s.io/leases: get list create update delete",
		"in cortex: pods: patch",
		"in cortex: secrets: get create update",
		"in cortex: services [cortex-gateway cortex-operator-lb]: get",
	},
}

// grants returns what the bindings among the objects give to each subject.
func grants(t *testing.T, all []*unstructured.Unstructured) map[string][]string {
	t.Helper()
	rules := map[string][]rbacv1.PolicyRule{} // "kind namespace/name"
	for _, u := range all {
		if u.GetKind() != "Role" && u.GetKind() != "ClusterRole" {
			continue
		}
		var r rbacv1.Role
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &r); err != nil {
			t.Fatal(err)
		}
		rules[u.GetKind()+" "+u.GetNamespace()+"/"+u.GetName()] = r.Rules
	}
	given := map[string][]string{}
	bound := map[string]bool{}
	for _, u := range all {
		if u.GetKind() != "RoleBinding" && u.GetKind() != "ClusterRoleBinding" {
			continue
		}
		var b rbacv1.RoleBinding
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &b); err != nil {
			t.Fatal(err)
		}
		where, from := "everywhere", b.RoleRef.Kind+" "
		if u.GetKind() == "RoleBinding" {
			where = "in " + b.Namespace
			if b.RoleRef.Kind == "Role" {
				from += b.Namespace
			}
		}
		from += "/" + b.RoleRef.Name
		found, ok := rules[from]
		if !ok {
			t.Errorf("%s %s refers to %s, which the chart does not have", u.GetKind(), u.GetName(), from)
		}
		bound[from] = true
		for _, s := range b.Subjects {
			if s.Kind != "ServiceAccount" {
				t.Errorf("%s %s gives rights to a %s, want only service accounts", u.GetKind(), u.GetName(), s.Kind)
			}
			for _, r := range found {
				given[s.Name] = append(given[s.Name], sentences(where, r)...)
			}
		}
	}
	for name := range rules {
		if !bound[name] {
			t.Errorf("%s is bound to nobody", name)
		}
	}
	for name := range given {
		slices.Sort(given[name])
	}
	return given
}

func sentences(where string, r rbacv1.PolicyRule) []string {
	var all []string
	for _, g := range r.APIGroups {
		for _, resource := range r.Resources {
			if g != "" {
				resource = g + "/" + resource
			}
			if len(r.ResourceNames) > 0 {
				resource += fmt.Sprintf(" %v", r.ResourceNames)
			}
			all = append(all, where+": "+resource+": "+strings.Join(r.Verbs, " "))
		}
	}
	for _, url := range r.NonResourceURLs {
		all = append(all, where+": "+url+": "+strings.Join(r.Verbs, " "))
	}
	return all
}

func TestRights(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(mayDo, grants(t, objects(t, mustRender(t, "cortex", "")))); diff != "" {
		t.Errorf("the programs may do something else (-want +got):\n%s", diff)
	}
}

// Where items are kept somewhere, whoever goes there may read the credentials, and nothing
// more: those of the operator it may make already.
func TestRightsForItems(t *testing.T) {
	t.Parallel()
	for values, more := range map[string]map[string][]string{
		`items: {servers: 3}`: {
			"cortex-gateway": {"in cortex: secrets [cortex-ledger]: get"},
			"cortex-ledger":  {"in cortex: secrets [cortex-ledger]: get"},
		},
		`items: {url: "nats://nats:4222", secretName: nats}`: {
			"cortex-gateway": {"in cortex: secrets [nats]: get"},
		},
		`items: {url: "s3://items/a", region: eu-west-1}`: {},
	} {
		want := maps.Clone(mayDo)
		for account, rights := range more {
			want[account] = slices.Sorted(slices.Values(slices.Concat(mayDo[account], rights)))
		}
		if diff := cmp.Diff(want, grants(t, objects(t, mustRender(t, "cortex", values)))); diff != "" {
			t.Errorf("with %s the programs may do something else (-want +got):\n%s", values, diff)
		}
	}
}

// What sends metrics to CloudWatch finds the pods to read from, and what sends logs asks nothing.
func TestRightsForCloudWatch(t *testing.T) {
	t.Parallel()
	want := maps.Clone(mayDo)
	want["cortex-cloudwatch"] = []string{"in cortex-apis: pods: get list watch", "in cortex: pods: get list watch"}
	if diff := cmp.Diff(want, grants(t, objects(t, mustRender(t, "cortex", "logs: {cloudwatch: {group: iris}}\nmetrics: {cloudwatch: {group: iris}}")))); diff != "" {
		t.Errorf("the programs may do something else (-want +got):\n%s", diff)
	}
}

// What empties nodes has pods of APIs leave, and nobody else's; Kubernetes has no right to one
// node only.
func TestRightsOfTheDrainer(t *testing.T) {
	t.Parallel()
	want := maps.Clone(mayDo)
	want["cortex-drainer"] = []string{"everywhere: nodes: patch", "in cortex-apis: pods/eviction: create", "in cortex-apis: pods: list delete"}
	if diff := cmp.Diff(want, grants(t, objects(t, mustRender(t, "cortex", "drainer: {nodeSelector: {a: b}}")))); diff != "" {
		t.Errorf("the programs may do something else (-want +got):\n%s", diff)
	}
}

// forbidden says why a right may never be given, or "".
func forbidden(clusterWide bool, r rbacv1.PolicyRule) string {
	for _, all := range [][]string{r.APIGroups, r.Resources, r.Verbs, r.NonResourceURLs} {
		for _, s := range all {
			if strings.Contains(s, "*") {
				return "a wildcard"
			}
		}
	}
	for _, verb := range []string{"escalate", "bind", "impersonate"} {
		if slices.Contains(r.Verbs, verb) {
			return verb
		}
	}
	for _, resource := range r.Resources {
		switch {
		case clusterWide && slices.Contains([]string{"secrets", "pods", "pods/exec", "configmaps", "serviceaccounts/token"}, resource):
			return resource + " of every namespace"
		case slices.Contains([]string{"pods/exec", "pods/attach", "serviceaccounts/token", "roles", "rolebindings", "clusterroles", "clusterrolebindings"}, resource):
			return resource
		}
	}
	return ""
}

// No set of values makes the programs mighty.
func TestRightsThatNobodyGets(t *testing.T) {
	t.Parallel()
	for name, values := range valueSets(t) {
		for _, u := range objects(t, mustRender(t, "cortex", values)) {
			switch u.GetKind() {
			case "Role", "ClusterRole":
				var r rbacv1.Role
				if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &r); err != nil {
					t.Fatal(err)
				}
				for _, rule := range r.Rules {
					if why := forbidden(u.GetKind() == "ClusterRole", rule); why != "" {
						t.Errorf("%s: %s %s gives %s: %v", name, u.GetKind(), u.GetName(), why, rule)
					}
				}
				// Those of APIs are set there; none can be watched or replaced in one go.
				if u.GetKind() == "Role" && u.GetNamespace() != "cortex" && slices.ContainsFunc(r.Rules, func(p rbacv1.PolicyRule) bool {
					return slices.Contains(p.Resources, "secrets") && !slices.Equal(p.ResourceNames, []string{"registry-credentials"}) &&
						(u.GetName() != "cortex-operator" || slices.Contains(p.Verbs, "watch") || slices.Contains(p.Verbs, "deletecollection"))
				}) {
					t.Errorf("%s: Role %s gives secrets outside the namespace of the installation", name, u.GetName())
				}
			case "RoleBinding", "ClusterRoleBinding":
				role, _, _ := unstructured.NestedString(u.Object, "roleRef", "name")
				if !strings.HasPrefix(role, "cortex-") {
					t.Errorf("%s: %s %s binds %s, want only roles of this chart", name, u.GetKind(), u.GetName(), role)
				}
			}
		}
	}
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		wide bool
		rule rbacv1.PolicyRule
		want string
	}{
		{"fine", false, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}, ""},
		{"all verbs", false, rbacv1.PolicyRule{Verbs: []string{"*"}}, "a wildcard"},
		{"all resources", false, rbacv1.PolicyRule{Resources: []string{"pods/*"}}, "a wildcard"},
		{"all groups", false, rbacv1.PolicyRule{APIGroups: []string{"*"}}, "a wildcard"},
		{"all secrets", true, rbacv1.PolicyRule{Resources: []string{"secrets"}, Verbs: []string{"get"}}, "secrets of every namespace"},
		{"somebody else", false, rbacv1.PolicyRule{Resources: []string{"users"}, Verbs: []string{"impersonate"}}, "impersonate"},
		{"more than oneself", false, rbacv1.PolicyRule{Resources: []string{"roles"}, Verbs: []string{"get", "escalate"}}, "escalate"},
		{"into a pod", false, rbacv1.PolicyRule{Resources: []string{"pods/exec"}, Verbs: []string{"create"}}, "pods/exec"},
	} {
		if got := forbidden(tt.wide, tt.rule); got != tt.want {
			t.Errorf("%s: forbidden(%v, %v) = %q, want %q", tt.name, tt.wide, tt.rule, got, tt.want)
		}
	}
}
