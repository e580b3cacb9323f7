// Package programtest holds the programs of Cortex on Kubernetes to what they promise of
// their command lines: everything that is wrong is said at once, in sentences, with a hint;
// the help names flags that there are; and no text makes them panic.
//
// It is for tests only. What the flags of a program mean is not its to know.
package programtest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/kube/program"
)

// Program is one of them.
type Program struct {
	Parse func(args []string, getenv func(string) string) error
	Main  func(ctx context.Context, args []string, streams program.Streams, getenv func(string) string, version string) int
	Usage string
	Pod   string // that it runs in, in the namespace cortex
}

// Env is what a pod tells its program.
func (p Program) Env(name string) string {
	return map[string]string{"POD_NAME": p.Pod, "POD_NAMESPACE": "cortex"}[name]
}

// NoEnv is what a program is told that is in no pod.
func NoEnv(string) string { return "" }

// Wrong is a command line with something wrong about it.
type Wrong struct {
	Name     string
	Args     []string
	Env      func(string) string // nil: that of a pod
	Problems int                 // how many there are
	Want     []string            // each is in the message
}

// Refuses runs a test for each of all; right goes before the arguments of each.
func (p Program) Refuses(t *testing.T, right []string, all []Wrong) {
	t.Helper()
	for _, tt := range all {
		t.Run(tt.Name, func(t *testing.T) {
			t.Parallel()
			env, args := tt.Env, slices.Concat(right, tt.Args)
			if env == nil {
				env = p.Env
			}
			err := p.Parse(args, env)
			if !fault.Is(err, fault.Usage) || fault.From(err).Hint == "" {
				t.Fatalf("parsing %q = %v, want a fault of usage with a hint", args, err)
			}
			if n := strings.Count(err.Error(), "\n"); n != tt.Problems {
				t.Errorf("parsing %q says %d things, want %d:\n%v", args, n, tt.Problems, err)
			}
			for _, want := range tt.Want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("parsing %q = %v, want %q in it", args, err, want)
				}
			}
		})
	}
}

// Helps asks for the help, in a pod or not. Main has client-go write to the log of the
// process: a test whose clients are looked at must not run at once.
func (p Program) Helps(t *testing.T) {
	t.Helper()
	var out, log strings.Builder
	if code := p.Main(t.Context(), []string{"--help"}, program.Streams{Out: &out, Err: &log}, NoEnv, "test"); code != fault.ExitDone || out.String() != p.Usage {
		t.Errorf("Main(--help) = %d %q %q, want 0 and the usage", code, &out, &log)
	}
	named := 0
	for word := range strings.FieldsSeq(p.Usage) {
		name, ok := strings.CutPrefix(strings.TrimRight(word, ",.;:)"), "--")
		if !ok {
			continue
		}
		named++
		if err := p.Parse([]string{"--" + name + "=x"}, p.Env); err != nil && strings.Contains(err.Error(), "not defined") {
			t.Errorf("the help names --%s, which there is not: %v", name, err)
		}
	}
	if named == 0 {
		t.Error("the help names no flag")
	}
}

// Fuzz parses whatever there is: arguments with zero bytes between them.
func (p Program) Fuzz(f *testing.F, seed string) {
	f.Helper()
	f.Add(seed)
	f.Fuzz(func(_ *testing.T, line string) {
		_ = p.Parse(slices.DeleteFunc(strings.Split(line, "\x00"), func(s string) bool { return len(s) > 100 }), p.Env) // that it returns is enough
	})
}
