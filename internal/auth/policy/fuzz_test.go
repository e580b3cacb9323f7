package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

// FuzzPolicy holds Check to this: no text makes it panic; what it refuses has a
// problem with a position in the text; what it takes is all of the text, with
// different ids, and never lets in who may not come in.
func FuzzPolicy(f *testing.F) {
	files, err := filepath.Glob("testdata/*.bad.cedar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(teamPolicy))
	f.Add([]byte("\x84"))
	f.Add([]byte("/**/permit(principal,action,resource);//\n@a/*;*/@b(\";\")forbid(principal,action,resource)when{\"\\\"\"like\"*\"};"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sum, err := Check("f.cedar", data)
		if err != nil {
			wantPositions(t, err, data)
			return
		}
		list, err := cedar.NewPolicyListFromBytes("", data)
		if err != nil || len(list) != len(sum.Policies) {
			t.Fatalf("Check() = %d policies, Cedar reads %d, %v", len(sum.Policies), len(list), err)
		}
		ids := map[string]bool{}
		for i, p := range sum.Policies {
			if at := list[i].Position(); ids[p.ID] || p.ID == "" || at.Line != p.Line || at.Column != p.Column {
				t.Fatalf("Check() = policy %+v, Cedar has it at %d:%d", p, at.Line, at.Column)
			}
			ids[p.ID] = true
		}
		s, err := load("f.cedar", data)
		if err != nil {
			t.Fatalf("load() = %v after Check() took it", err)
		}
		a := newAuthorizer(t, "")
		a.force.Store(&force{snapshot: s})
		for _, arn := range []string{node, "arn:aws:iam::210987654321:user/alice", "arn:aws-cn:iam::123456789012:root"} {
			if d := a.Authorize(ask(t, arn, auth.ActionGet, "iris")); d.Allowed {
				t.Errorf("Authorize(%s) = %s", arn, verdict(d))
			}
		}
		a.Explain(ask(t, alice, auth.ActionSubmitJob, "iris BatchAPI"))
	})
}

func wantPositions(t *testing.T, err error, data []byte) {
	t.Helper()
	problems := fault.From(err).Problems
	if len(problems) == 0 || len(problems) > maxProblems {
		t.Fatalf("Check() = %d problems: %v", len(problems), err)
	}
	lines := strings.Count(string(data), "\n") + 1
	for _, p := range problems {
		whole := p.Line == 0 && (p.Code == codeEmpty || p.Code == codeTooLarge)
		if p.Code == "" || p.Message == "" || !whole && (p.Line < 1 || p.Column < 1 || p.Line > lines) {
			t.Errorf("Check() = problem %+v of a text with %d lines", p, lines)
		}
	}
}

// pieces are policies of which any choice in any order is a file.
var pieces = []string{
	`@id("a") permit (principal, action, resource) when { principal.name == "alice" };`,
	`@id("b") permit (principal is Cortex::Role, action in Cortex::Action::"cluster:*", resource);`,
	`@id("c") forbid (principal, action == Cortex::Action::"delete", resource) unless { resource has kind };`,
	`@id("d") permit (principal, action in [Cortex::Action::"list", Cortex::Action::"get"], resource == Cortex::API::"iris");`,
	`@id("e") forbid (principal == Cortex::User::"` + alice + `", action, resource is Cortex::API) when { 9223372036854775807 + 1 > 0 };`,
	`@id("f") permit (principal, action, resource) when { resource has kind && resource.kind == "BatchAPI" };`,
	`@id("g") permit (principal, action, resource in Cortex::Environment::"prod") when { principal.type == "root" };`,
}

// The order of policies in a file decides nothing, and a forbid only takes away.
func TestTheOrderOfPoliciesDecidesNothing(t *testing.T) {
	t.Parallel()
	plain := newAuthorizer(t, "")
	decide := func(t *rapid.T, policies []string, q auth.Query) auth.Decision {
		s, err := load("o.cedar", []byte(strings.Join(policies, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		return s.evaluate(q, plain.cfg.Log)
	}
	var queries []auth.Query
	for _, arn := range []string{alice, bob, admin, root} {
		for _, action := range auth.Actions {
			for _, api := range []string{"", "iris", "iris BatchAPI", "other RealtimeAPI"} {
				if q := ask(t, arn, action, api); applies(q) {
					queries = append(queries, q)
				}
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(pieces), 1, len(pieces), rapid.ID[string]).Draw(t, "policies")
		other := rapid.Permutation(some).Draw(t, "order")
		q := rapid.SampledFrom(queries).Draw(t, "query")
		got, want := decide(t, other, q), decide(t, some, q)
		if !cmp.Equal(got, want) {
			t.Errorf("decision in another order = %+v, want %+v", got, want)
		}
		if !slices.IsSorted(got.Policies) {
			t.Errorf("policies of the decision = %v, want them sorted", got.Policies)
		}
		shut := append(slices.Clone(some), `@id("z") forbid (principal, action, resource);`)
		if d := decide(t, shut, q); d.Allowed || !slices.Contains(d.Policies, "z") {
			t.Errorf("decision with a forbid of all = %+v, want a refusal by z", d)
		}
	})
}

// What a hostile file could cost is bounded before Cedar sees it.
func TestBounds(t *testing.T) {
	t.Parallel()
	many := strings.Repeat(permitAll, maxPolicies)
	names := strings.Repeat(`Cortex::User::"`+alice+`",`, 1000)
	for name, tt := range map[string]struct {
		text string
		want string // part of the message; "" where it is fine
	}{
		"too many policies":     {many + permitAll, "at most 10000 policies"},
		"a long list":           {"permit (principal, action, resource) when { principal in [" + names + "] };", ""},
		"too long a list":       {"permit (principal, action, resource) when { principal in [" + names + names + "] };", "at most 8192 words"},
		"too many bytes":        {permitAll + strings.Repeat("/", MaxBytes), "at most 1048576 bytes"},
		"deep brackets":         {"permit (principal, action, resource) when { " + strings.Repeat("(", 20_000), "at most 12 deep"},
		"deep lists":            {"permit (principal, action, resource) when { " + strings.Repeat("[", 20_000), "at most 12 deep"},
		"deep records":          {"permit (principal, action, resource) when " + strings.Repeat("{a:", 20_000), "at most 12 deep"},
		"a chain of nots":       {"permit (principal, action, resource) when { " + strings.Repeat("!", 20_000), "at most 8192 words"},
		"a chain of ifs":        {"permit (principal, action, resource) when { " + strings.Repeat("if ", 20_000), "at most 8192 words"},
		"a chain of attributes": {"permit (principal, action, resource) when { principal has " + strings.Repeat("a.", 20_000), "at most 8192 words"},
		"errors that double": {
			"permit (principal, action, resource) when { " + strings.Repeat("(if ", 10) + "principal.x" +
				strings.Repeat(" then principal else principal) is Cortex::User in resource", 10) + " };", "attribute",
		},
		"many mistakes in one": {
			"permit (principal, action, resource) when { principal in [" + strings.Repeat(`Cortex::User::"x",`, 2) +
				manyNames(2*maxProblems) + "] };", "names no principal",
		},
		"many mistakes": {strings.Repeat("permit (principal, action == Cortex::Action::\"x\", resource);\n", 2*maxProblems), "there is no action"},
	} {
		_, err := Check("b.cedar", []byte(tt.text))
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: Check() = %.200v, want none", name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: Check() = %.200v, want %q in it", name, err, tt.want)
		case err != nil && len(fault.From(err).Problems) > maxProblems:
			t.Errorf("%s: Check() told %d problems, want at most %d", name, len(fault.From(err).Problems), maxProblems)
		}
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Cortex::User::\"u%d\",\n", i)
	}
	return b.String()
}

// An answer that is asked for outlives the generation in which it was put.
func TestTheCacheKeepsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	c := newCache()
	hot, cold := key{arn: "hot"}, key{arn: "cold"}
	c.put(hot, auth.Decision{Allowed: true})
	c.put(cold, auth.Decision{})
	for generation := range 4 {
		for i := range cacheGeneration {
			c.put(key{arn: fmt.Sprintf("%d-%d", generation, i)}, auth.Decision{})
			if i == cacheGeneration/2 {
				c.get(hot)
			}
		}
	}
	if d, ok := c.get(hot); !ok || !d.Allowed {
		t.Errorf("get(asked for) = %+v, %t, want it kept", d, ok)
	}
	if _, ok := c.get(cold); ok {
		t.Error("get(not asked for) = kept, want it forgotten")
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	t.Parallel()
	a := newAuthorizer(t, "")
	hot := ask(t, alice, auth.ActionGet, "hot")
	for i := range 5 * cacheGeneration {
		a.Authorize(ask(t, alice, auth.ActionGet, fmt.Sprintf("api-%d", i)))
		a.Authorize(hot)
	}
	s := a.force.Load().snapshot
	if n := s.cache.size(); n > 2*cacheGeneration || n < cacheGeneration {
		t.Errorf("the cache keeps %d answers, want %d to %d", n, cacheGeneration, 2*cacheGeneration)
	}
	if _, ok := s.cache.get(key{alice, auth.ActionGet, hot.Resource}); !ok {
		t.Error("the cache forgot what is asked for all the time")
	}
	long := ask(t, alice, auth.ActionGet, strings.Repeat("x", maxCachedKey))
	a.Authorize(long)
	if _, ok := s.cache.get(key{alice, auth.ActionGet, long.Resource}); ok {
		t.Error("the cache keeps a name of any length")
	}
}
