package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func TestEnvFileLines(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"":                              "",
		"  # a comment":                 "",
		"A=b":                           "A=b",
		"export A=b":                    "A=b",
		"\texport  A = b c \r":          "A=b c",
		"A=":                            "A=",
		"A=b#c":                         "A=b#c",
		"A=b # c":                       "A=b",
		"A=# c":                         "A=",
		"A=http://x/?a=b&c":             "A=http://x/?a=b&c",
		"A='b # \"c\\n'":                `A=b # "c\n`,
		`A="b # 'c'\n\t\"\\\$x" # more`: "A=b # 'c'\n\t\"\\\\$x",
		"A=b'c'":                        "A=b'c'",
		"A=${B} $B":                     "A=${B} $B",
		"A=$(B)$$":                      "A=$$(B)$$$",
		"A='$$(B)'":                     "A=$$$$(B)",
		"a.b-c=1":                       "a.b-c=1",
		"\ufeffA=b":                     "A=b",
		"A":                             "! the line has no NAME= at its beginning",
		"=b":                            "! the line has no NAME= at its beginning",
		"A B=c":                         "! the line has no NAME= at its beginning",
		"CORTEX_PORT=1":                 "! environment variables must not begin with CORTEX_: the platform sets those",
		"1A=b":                          "! \"1A\" is not the name of an environment variable, which has " + workload.WordsOf(workload.EnvPattern),
		"A='hunter2":                    "! the quote ' of the value is not closed in its line",
		`A="hunter2\"`:                  `! the quote " of the value is not closed in its line`,
		"A='b' hunter2":                 "! there is something after the quote that closes the value",
		"A=hunter2\x00":                 "! the line is not text",
		"A=hunter2\x80":                 "! the line is not text",
	} {
		values, problems := parseEnvFile(line)
		got := ""
		for name, v := range values {
			got = name + "=" + v.Value
		}
		for _, p := range problems {
			got = "! " + p.Message
		}
		if got != want {
			t.Errorf("parseEnvFile(%q) = %q, want %q", line, got, want)
		}
	}
}

func ofFiles(files map[string]string) EnvFiles {
	return func(path string) (string, error) {
		text, ok := files[path]
		if !ok {
			return "", &fs.PathError{Op: "open", Path: path, Err: errors.New("no such file")}
		}
		return text, nil
	}
}

const withEnvFile = "- name: iris\n  kind: RealtimeAPI\n  pod:\n    containers:\n      - name: api\n        image: iris\n        env_file: %s\n        env: {A: of env}\n"

// Env wins over files, later files over earlier ones; what comes of it is env.
func TestEnvFilesAreVariables(t *testing.T) {
	t.Parallel()
	files := ofFiles(map[string]string{".env": "A=1\nB=1\nC=1\n", "more.env": "B=2\nD=$(B)\n"})
	file, err := ParseWith("cortex.yaml", fmt.Appendf(nil, withEnvFile, "[.env, more.env]"), files)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]workload.Variable{"A": {Value: "of env"}, "B": {Value: "2"}, "C": {Value: "1"}, "D": {Value: "$$(B)"}}
	if diff := cmp.Diff(want, file.Entries[0].Spec.Pod.Containers[0].Env); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	one, err := ParseWith("cortex.yaml", fmt.Appendf(nil, withEnvFile, ".env"), files)
	if err != nil || len(one.Entries[0].Spec.Pod.Containers[0].Env) != 3 {
		t.Errorf("ParseWith(one file) = %v, %v", one, err)
	}
}

func TestEnvFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	many := make([]string, workload.MaxEnvFiles+1)
	texts := map[string]string{".env": "A=1\nB\n\nCORTEX_X=1\n", "big": strings.Repeat("#", workload.MaxEnvFileBytes+1)}
	for i := range many {
		many[i] = fmt.Sprintf("f%d", i)
		texts[many[i]] = ""
	}
	files := ofFiles(texts)
	for _, tt := range []struct {
		value string
		files EnvFiles
		want  []string // file:line code
	}{
		{".env", files, []string{".env:2 configreader.env_file_malformed", ".env:4 configreader.env_file_malformed"}},
		{"nothing", files, []string{"cortex.yaml:7 configreader.env_file_not_found"}},
		{"big", files, []string{"cortex.yaml:7 configreader.env_file_not_found"}},
		{".env", nil, []string{"cortex.yaml:7 configreader.env_file_not_found"}},
		{"[" + strings.Join(many, ", ") + "]", files, []string{"cortex.yaml:7 configreader.env_file_not_found"}},
		{`""`, files, []string{"cortex.yaml:7 configreader.cannot_be_empty"}},
		{"{a: b}", files, []string{"cortex.yaml:7 configreader.invalid_primitive_type"}},
		{"[1]", files, []string{"cortex.yaml:7 configreader.invalid_primitive_type"}},
	} {
		_, err := ParseWith("cortex.yaml", fmt.Appendf(nil, withEnvFile, tt.value), tt.files)
		var got []string
		for _, p := range fault.From(err).Problems {
			got = append(got, fmt.Sprintf("%s:%d %s", p.File, p.Line, p.Code))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("env_file: %.40s = %v, problems differ (-want +got):\n%s", tt.value, err, diff)
		}
	}
}

// A small file that is named by many containers costs no more than a large one.
func TestEnvFilesAreBounded(t *testing.T) {
	t.Parallel()
	var vars, apis strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&vars, "V%d=x\n", i)
	}
	for i := range 1000 {
		fmt.Fprintf(&apis, "- {name: a%d, kind: RealtimeAPI, pod: {containers: [{name: a, image: i, env_file: e}]}}\n", i)
	}
	if _, err := ParseWith("cortex.yaml", []byte(apis.String()), ofFiles(map[string]string{"e": vars.String()})); !fault.Is(err, fault.Malformed) {
		t.Errorf("ParseWith(4000 variables, 1000 times) = %v, want a refusal", err)
	}
}

func TestBeside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("A=b"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{".env", filepath.Join(dir, ".env")} {
		if text, err := Beside(dir)(path); text != "A=b" || err != nil {
			t.Errorf("Beside(%s) = %q, %v", path, text, err)
		}
	}
	if _, err := Beside(dir)("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Beside(nothing) = %v", err)
	}
}

func FuzzEnvFile(f *testing.F) {
	for _, seed := range []string{"A=b", "export A='b' # c", `A="\n\"" #`, "A=$$(B)", "\ufeff#\r\nA", "A=\"\\"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		values, problems := parseEnvFile(text)
		for name, v := range values {
			if workload.EnvNameProblem(name) != "" || strings.ContainsAny(v.Value, "\x00") {
				t.Errorf("parseEnvFile(%q) took %q=%q", text, name, v.Value)
			}
		}
		if lines := strings.Count(text, "\n") + 1; len(values)+len(problems) > lines {
			t.Errorf("parseEnvFile(%q) = %d variables and %d problems of %d lines", text, len(values), len(problems), lines)
		}
	})
}
