package policy

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"
)

// update rewrites what testdata expects. Read the difference before you commit it:
// those are the words that users read.
var update = flag.Bool("update", false, "rewrite the expectations in testdata")

const mark = "//! "

// A *.bad.cedar begins with one comment per problem, in the order in which they are
// told: its code, and its text without the name of the file.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.bad.cedar")
	if err != nil || len(files) < 60 {
		t.Fatalf("Glob() = %d files, %v; want the catalogue", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bad.cedar"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want, body := header(data)
			if *update {
				data = rewritten(t, file, body)
				want, _ = header(data)
			}
			got := tell(t, file, data)
			if len(want) == 0 || !cmp.Equal(got, want) {
				t.Errorf("Check() told other problems than the file expects (-want +got):\n%s", cmp.Diff(want, got))
			}
		})
	}
}

// header splits a bad file into what it expects and the rest.
func header(data []byte) (want []string, rest string) {
	rest = string(data)
	for strings.HasPrefix(rest, mark) {
		line, after, _ := strings.Cut(rest, "\n")
		want, rest = append(want, strings.TrimPrefix(line, mark)), after
	}
	return want, rest
}

// tell returns the problems of a text, one line each.
func tell(t *testing.T, file string, data []byte) []string {
	t.Helper()
	sum, err := Check(file, data)
	if err == nil {
		t.Fatalf("Check() accepted it: %+v", sum)
	}
	var f *fault.Fault
	if !errors.As(err, &f) || f.Kind != fault.Invalid {
		t.Fatalf("Check() = %T %v, want a fault of kind invalid", err, err)
	}
	var lines []string
	for _, p := range f.Problems {
		if p.File != file {
			t.Errorf("Check() = problem of file %q, want %q", p.File, file)
		}
		p.File = ""
		lines = append(lines, fmt.Sprintf("%s %d:%d: %s", p.Code, p.Line, p.Column, p))
	}
	return lines
}

func rewritten(t *testing.T, file, body string) []byte {
	t.Helper()
	n := len(tell(t, file, []byte(body)))
	blank := strings.Repeat(mark+"\n", n)
	text := mark + strings.Join(tell(t, file, []byte(blank+body)), "\n"+mark) + "\n" + body
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []byte(text)
}
