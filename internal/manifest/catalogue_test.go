package manifest

import (
	"encoding/json"
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

// A *.bad.yaml begins with one comment per problem, in the order in which they
// are told: its code, and its text without the name of the file.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) < 100 {
		t.Fatalf("Glob() = %d files, %v; want the catalogue", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bad.yaml"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				data = rewritten(t, file, data)
			}
			want, _ := header(data)
			if got := told(t, data); !cmp.Equal(got, want) {
				t.Errorf("Parse() told other problems than the file expects (-want +got):\n%s", cmp.Diff(want, got))
			}
		})
	}
}

const mark = "#! "

// header splits a bad file into what it expects and the rest.
func header(data []byte) (want []string, rest string) {
	rest = string(data)
	for strings.HasPrefix(rest, mark) {
		line, after, _ := strings.Cut(rest, "\n")
		want, rest = append(want, strings.TrimPrefix(line, mark)), after
	}
	return want, rest
}

// told returns the problems of a text, one line each.
func told(t *testing.T, data []byte) []string {
	t.Helper()
	file, err := Parse("", data)
	if err == nil {
		t.Fatalf("Parse() accepted it: %+v", file)
	}
	var f *fault.Fault
	if !errors.As(err, &f) {
		t.Fatalf("Parse() = %T, want a fault", err)
	}
	var lines []string
	for _, p := range f.Problems {
		lines = append(lines, fmt.Sprintf("%s %d:%d: %s", p.Code, p.Line, p.Column, p))
	}
	return lines
}

func rewritten(t *testing.T, file string, data []byte) []byte {
	t.Helper()
	_, rest := header(data)
	n := len(told(t, []byte(rest)))
	text := strings.Repeat(mark+"\n", n) + rest
	data = []byte(mark + strings.Join(told(t, []byte(text)), "\n"+mark) + "\n" + rest)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return data
}

// A *.good.yaml has beside it the specs it stands for, with all defaults.
func TestGoodFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.good.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("Glob() = %d files, %v; want the catalogue", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".good.yaml"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := Parse(file, data)
			if err != nil {
				t.Fatal(err)
			}
			var specs, submitted []any
			for _, e := range parsed.Entries {
				specs = append(specs, e.Spec)
				submitted = append(submitted, e.Submitted)
			}
			got, err := json.MarshalIndent(map[string]any{"specs": specs, "submitted": submitted}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".json"
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
				t.Errorf("Parse() (-want +got):\n%s", diff)
			}
		})
	}
}
