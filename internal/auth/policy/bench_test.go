package policy

import (
	"fmt"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/auth"
)

// hundred is a file with a policy for each of a hundred users.
func hundred() string {
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, "permit (principal == Cortex::User::\"arn:aws:iam::123456789012:user/u%d\", action in "+
			"[Cortex::Action::\"list\", Cortex::Action::\"get\"], resource) when { resource has kind && resource.kind == \"BatchAPI\" };\n", i)
	}
	return b.String()
}

// BenchmarkAuthorize decides one query: by the default policy, by a hundred
// policies from memory, and by a hundred policies that are all evaluated.
func BenchmarkAuthorize(b *testing.B) {
	q := ask(b, "arn:aws:iam::123456789012:user/u99", auth.ActionGet, "iris BatchAPI")
	for name, text := range map[string]string{"default": "", "cached": hundred()} {
		b.Run(name, func(b *testing.B) {
			a := newAuthorizer(b, text)
			b.ReportAllocs()
			for b.Loop() {
				if !a.Authorize(q).Allowed {
					b.Fatal("denied")
				}
			}
		})
	}
	for name, text := range map[string]string{"default-uncached": "", "uncached": hundred()} {
		b.Run(name, func(b *testing.B) {
			a := newAuthorizer(b, text)
			s := a.force.Load().snapshot
			b.ReportAllocs()
			for b.Loop() {
				if !s.evaluate(q, a.cfg.Log).Allowed {
					b.Fatal("denied")
				}
			}
		})
	}
}

// BenchmarkLoad reads a file with a hundred policies.
func BenchmarkLoad(b *testing.B) {
	data := []byte(hundred())
	for b.Loop() {
		if _, err := load("b.cedar", data); err != nil {
			b.Fatal(err)
		}
	}
}
