package cli

import (
	"io"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/fault"
)

// A problem with a table in it stands in its column, among others.
func TestProblemsOfSeveralLines(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	writeProblems(&b, newPainter(io.Discard, func(string) string { return "" }), []fault.Problem{
		{File: "a.yaml", Line: 3, Column: 5, Path: "pod", Message: "too large:\n  cpu\n    4"},
		{File: "a.yaml", Line: 12, Column: 5, Path: "kind", Message: "no"},
	})
	want := "  a.yaml:3:5   pod: too large:\n                 cpu\n                   4\n  a.yaml:12:5  kind: no\n"
	if b.String() != want {
		t.Errorf("writeProblems() =\n%s\nwant\n%s", b.String(), want)
	}
}
