package guard_test

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/audit"
	"cortex.dev/cortex/internal/auth/guard"
	"cortex.dev/cortex/internal/fault"
)

// everybody permits everything to everybody, whoever nobody is included.
type everybody struct{}

func (everybody) Authorize(auth.Query) auth.Decision { return auth.Decision{Allowed: true} }
func (everybody) Describe() string                   { return "everybody" }

// witnessed is a guard without the proof of identities, and how its audit is read.
func witnessed(t *testing.T, cfg guard.Config) (*guard.Guard, func() []auth.Entry) {
	t.Helper()
	lines, err := audit.Open(audit.Config{Path: filepath.Join(t.TempDir(), "audit.log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lines.Close() })
	cfg.Audit, cfg.Environment = lines, "prod"
	g := guard.New(cfg)
	return g, func() (all []auth.Entry) {
		if err := g.Audit(context.Background(), auth.AuditQuery{}, func(e auth.Entry) error {
			all = append(all, e)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return all
	}
}

// Nothing is permitted to a request whose caller is not known, whatever the policy says,
// and nothing is written in anybody's name.
func TestNobodyMayNothing(t *testing.T) {
	t.Parallel()
	g, entries := witnessed(t, guard.Config{Policy: everybody{}})
	ctx, iris := t.Context(), auth.Resource{API: "iris"}
	if g.May(ctx, auth.ActionGet, iris) {
		t.Error("May: permitted")
	}
	if err := g.Permit(ctx, auth.ActionGet, iris); !errors.Is(err, auth.ErrNotProven) {
		t.Errorf("Permit: %v, want %v", err, auth.ErrNotProven)
	}
	if seen, err := g.Visible(ctx, auth.ActionGet, []auth.Resource{iris}); !errors.Is(err, auth.ErrNotProven) || seen != nil {
		t.Errorf("Visible: %v, %v, want %v", seen, err, auth.ErrNotProven)
	}
	if _, err := g.WhoAmI(ctx); !errors.Is(err, auth.ErrNotProven) {
		t.Errorf("WhoAmI: %v, want %v", err, auth.ErrNotProven)
	}
	g.Conclude(ctx, auth.Conclusion{Action: auth.ActionDeploy, Resource: iris, Operation: "deploy", Outcome: auth.OutcomeDone})
	if got := entries(); len(got) != 0 {
		t.Errorf("the audit has %v", got)
	}
}

// What became of a change is a line of its own, in the name of who made it, with the time
// and the place from which it came.
func TestConclude(t *testing.T) {
	t.Parallel()
	who, err := auth.ParseARN("arn:aws:iam::" + ownAccount + ":user/alice")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	g, entries := witnessed(t, guard.Config{Policy: everybody{}, Now: func() time.Time { return now }})
	ctx := func(source netip.Addr) context.Context {
		return auth.WithCaller(t.Context(), auth.Caller{Principal: who, Origin: auth.Origin{Source: source, RequestID: "r1"}})
	}
	conclusion := auth.Conclusion{
		Action: auth.ActionDeploy, Resource: auth.Resource{API: "iris"}, Operation: "deploy",
		Outcome: auth.OutcomeFailed, Version: "v3", Code: "operator.some_code",
	}
	g.Conclude(ctx(netip.MustParseAddr("::ffff:10.0.0.7")), conclusion)
	g.Conclude(ctx(netip.Addr{}), conclusion) // a caller without an address

	first := auth.Entry{
		Time: now, RequestID: "r1", Principal: who.ARN, Action: auth.ActionDeploy, Resource: "iris", Decision: auth.Allow,
		Source: "10.0.0.7", Operation: "deploy", Outcome: auth.OutcomeFailed, Version: "v3", Code: "operator.some_code",
	}
	second := first
	second.Source = ""
	if diff := cmp.Diff([]auth.Entry{first, second}, entries()); diff != "" {
		t.Errorf("the audit differs (-want +got):\n%s", diff)
	}
}

// named refuses everything, each by the policy that is called like the API.
type named struct{ everybody }

func (named) Authorize(q auth.Query) auth.Decision {
	return auth.Decision{Policies: []string{"no-" + q.Resource.API}}
}

// Of several refusals the error names every API, and the policy of the first.
func TestTheFirstRefusalIsExplained(t *testing.T) {
	t.Parallel()
	who, err := auth.ParseARN("arn:aws:iam::" + ownAccount + ":user/alice")
	if err != nil {
		t.Fatal(err)
	}
	g, _ := witnessed(t, guard.Config{Policy: named{}})
	err = g.PermitAll(auth.WithCaller(t.Context(), auth.Caller{Principal: who}), auth.ActionDeploy, []auth.Resource{{API: "iris"}, {API: "onnx"}})
	f := fault.From(err)
	if !strings.HasSuffix(f.Message, "may not deploy iris, onnx") || f.Hint != "forbidden by policy no-iris" {
		t.Errorf("PermitAll() = %v (hint %q)", err, f.Hint)
	}
}
