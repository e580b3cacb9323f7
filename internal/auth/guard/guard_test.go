package guard_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/audit"
	"cortex.dev/cortex/internal/auth/guard"
	"cortex.dev/cortex/internal/auth/policy"
	"cortex.dev/cortex/internal/fault"
)

// byPolicy is a guard before the environment prod with policies of a file, without the
// proof of identities that the worlds of this package have.
func byPolicy(t *testing.T, cedar string) *guard.Guard {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.cedar")
	if err := os.WriteFile(file, []byte(cedar), 0o600); err != nil {
		t.Fatal(err)
	}
	rules, err := policy.New(policy.Config{Account: ownAccount, Partition: "aws", Environment: "prod", File: file})
	if err != nil {
		t.Fatal(err)
	}
	lines, err := audit.Open(audit.Config{Path: filepath.Join(t.TempDir(), "audit.log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lines.Close() })
	return guard.New(guard.Config{Policy: rules, Audit: lines, Environment: "prod"})
}

// audited are the lines of the audit, with what matters here.
func audited(t *testing.T, g *guard.Guard) (lines []string) {
	t.Helper()
	if err := g.Audit(t.Context(), auth.AuditQuery{}, func(e auth.Entry) error {
		lines = append(lines, e.Decision+" "+e.Resource+" ["+strings.Join(e.Policies, " ")+"]")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return lines
}

// A caller who may see some APIs gets those, and one line that says so; whoever may see
// none is refused as for the environment.
func TestVisible(t *testing.T) {
	t.Parallel()
	who, err := auth.ParseARN("arn:aws:iam::" + ownAccount + ":user/alice")
	if err != nil {
		t.Fatal(err)
	}
	ctx := auth.WithCaller(t.Context(), auth.Caller{Principal: who})
	all := []auth.Resource{{API: "ocr"}, {API: "iris"}, {API: "rose"}}
	for _, tt := range []struct {
		name, policy string
		want         []bool
		lines        []string
		forbidden    bool
	}{
		{
			name: "some", want: []bool{false, true, true}, lines: []string{"allow environment prod [iris]"},
			policy: `@id("iris") permit (principal, action, resource == Cortex::API::"iris");
			@id("rose") permit (principal, action, resource == Cortex::API::"rose");`,
		},
		{
			name: "none", want: []bool{false, false, false}, lines: []string{"deny environment prod []"}, forbidden: true,
			policy: `@id("other") permit (principal, action, resource == Cortex::API::"other");`,
		},
		{
			name: "all of this environment", want: []bool{true, true, true}, lines: []string{"allow environment prod [here]"},
			policy: `@id("here") permit (principal, action, resource in Cortex::Environment::"prod");`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := byPolicy(t, tt.policy)
			got, err := g.Visible(ctx, auth.ActionList, slices.Clone(all))
			if forbidden := fault.Is(err, fault.Forbidden); forbidden != tt.forbidden || err != nil && !forbidden {
				t.Errorf("Visible() = %v, want forbidden %t", err, tt.forbidden)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Visible() (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.lines, audited(t, g)); diff != "" {
				t.Errorf("the audit (-want +got):\n%s", diff)
			}
		})
	}
}

// A file is one question: it is refused in one sentence and one line, whatever it has.
func TestPermitAll(t *testing.T) {
	t.Parallel()
	who, err := auth.ParseARN("arn:aws:iam::" + ownAccount + ":user/alice")
	if err != nil {
		t.Fatal(err)
	}
	ctx := auth.WithCaller(t.Context(), auth.Caller{Principal: who})
	const mine = `@id("mine") permit (principal, action, resource) when { resource has kind && resource.kind == "RealtimeAPI" };`
	many := make([]auth.Resource, 2000)
	for i := range many {
		many[i] = auth.Resource{API: fmt.Sprintf("a%d", i), Kind: "TaskAPI"}
	}
	for _, tt := range []struct {
		name  string
		all   []auth.Resource
		says  string // of a refusal
		lines []string
	}{
		{"all", []auth.Resource{{API: "a", Kind: "RealtimeAPI"}, {API: "b", Kind: "RealtimeAPI"}}, "", []string{"allow a [mine]", "allow b [mine]"}},
		{"one not", []auth.Resource{{API: "a", Kind: "RealtimeAPI"}, {API: "b", Kind: "TaskAPI"}}, "may not deploy b", []string{"deny b []"}},
		{"five of five", many[:5], "may not deploy a0, a1, a2, a3, a4", []string{"deny a0, a1, a2, a3, a4 []"}},
		{"very many", many, "may not deploy a0, a1, a2, a3, a4 and 1995 more", []string{"deny a0, a1, a2, a3, a4 and 1995 more []"}},
	} {
		g := byPolicy(t, mine)
		err := g.PermitAll(ctx, auth.ActionDeploy, tt.all)
		if tt.says == "" && err != nil || tt.says != "" && (!fault.Is(err, fault.Forbidden) || !strings.HasSuffix(fault.From(err).Message, tt.says)) {
			t.Errorf("%s: PermitAll() = %v, want %q", tt.name, err, tt.says)
		}
		if diff := cmp.Diff(tt.lines, audited(t, g)); diff != "" {
			t.Errorf("%s: the audit (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestRefusalsNameThePolicy(t *testing.T) {
	t.Parallel()
	who, err := auth.ParseARN("arn:aws:iam::" + ownAccount + ":user/alice")
	if err != nil {
		t.Fatal(err)
	}
	ctx := auth.WithCaller(t.Context(), auth.Caller{Principal: who})
	g := byPolicy(t, `@id("all") permit (principal, action == Cortex::Action::"get", resource);
		@id("iris-stays") forbid (principal, action == Cortex::Action::"delete", resource == Cortex::API::"iris");`)
	for _, tt := range []struct {
		action auth.Action
		want   string
	}{
		{auth.ActionDelete, "forbidden by policy iris-stays"},
		{auth.ActionDeploy, "no policy permits the action deploy; in force is "},
	} {
		err := g.Permit(ctx, tt.action, auth.Resource{API: "iris"})
		if f := fault.From(err); !fault.Is(err, fault.Forbidden) || !strings.HasPrefix(f.Hint, tt.want) {
			t.Errorf("Permit(%s) = %+v, want forbidden with the hint %q", tt.action, f, tt.want)
		}
	}
	if err := g.Permit(ctx, auth.ActionGet, auth.Resource{API: "iris"}); err != nil {
		t.Errorf("Permit(get) = %v", err)
	}
}

// Whoever did not pass Identify may do nothing, whatever the policy permits.
func TestWithoutACallerNothingIsPermitted(t *testing.T) {
	t.Parallel()
	g := byPolicy(t, `@id("all") permit (principal, action, resource);`)
	if err := g.Permit(t.Context(), auth.ActionGet, auth.Resource{API: "iris"}); !errors.Is(err, auth.ErrNotProven) {
		t.Errorf("Permit() = %v, want %v", err, auth.ErrNotProven)
	}
	if seen, err := g.Visible(t.Context(), auth.ActionList, []auth.Resource{{API: "iris"}}); !errors.Is(err, auth.ErrNotProven) {
		t.Errorf("Visible() = %v, %v, want %v", seen, err, auth.ErrNotProven)
	}
	if _, err := g.WhoAmI(t.Context()); !errors.Is(err, auth.ErrNotProven) {
		t.Errorf("WhoAmI() = %v, want %v", err, auth.ErrNotProven)
	}
	if g.May(t.Context(), auth.ActionGet, auth.Resource{API: "iris"}) {
		t.Error("May() = true")
	}
}
