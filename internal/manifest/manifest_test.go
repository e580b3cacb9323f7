package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

const iris = `- name: iris
  kind: RealtimeAPI
  pod:
    containers:
      - name: api
        image: iris
`

func TestTextThatCannotBeReadIsOneClearError(t *testing.T) {
	t.Parallel()
	deep := func(open string, n int) string { return iris + "  x: " + strings.Repeat(open, n) }
	for _, tt := range []struct {
		name, text string
		code       string
		position   string // line:column
		want       string // part of the message
	}{
		{"empty", "", workload.CodeNoAPIs, "0:0", "at least one API"},
		{"spaces", "  \n\n", workload.CodeNoAPIs, "0:0", "at least one API"},
		{"three dashes", "---\n", workload.CodeNoAPIs, "0:0", "at least one API"},
		{"number", "42", workload.CodeMalformed, "1:1", "list of APIs"},
		{"html", "<html>\n<body>", workload.CodeMalformed, "1:1", "list of APIs"},
		{"invalid UTF-8", "- name: caf\xe9\n", codeInvalidYAML, "1:12", "not UTF-8: it holds the byte 0xe9"},
		{"cut-off rune", iris + "# \xe2\x82", codeInvalidYAML, "7:3", "not UTF-8"},
		{"UTF-16", "\xff\xfe-\x00 \x00", codeInvalidYAML, "1:1", "UTF-16"},
		{"NUL", iris + "\x00", codeInvalidYAML, "7:1", "control character 0x00"},
		{"a program", "\x7fELF\x02\x01\x01\x00", codeInvalidYAML, "1:1", "control character 0x7f"},
		{"escape", "- name: \x1b[31m\n", codeInvalidYAML, "1:9", "control character 0x1b"},
		{"second document is broken", iris + "---\n[", codeInvalidYAML, "8:1", "not valid YAML"},
		{"third document", iris + "---\n---\n", workload.CodeMalformed, "7:1", "more than one"},
		{"open brackets", deep("[", 9_000), codeInvalidYAML, "7:3", "not valid YAML"},
		{"10,000 brackets", deep("[", 10_001) + strings.Repeat("]", 10_001), codeInvalidYAML, "7:3", "max depth"},
		{"10,000 dashes", strings.Repeat("- ", 10_001) + "a", codeInvalidYAML, "1:1", "max depth"},
		{"10,000 maps", deep("{a: ", 10_001) + strings.Repeat("}", 10_001), codeInvalidYAML, "7:3", "max depth"},
		{"too many APIs", strings.Repeat("- {}\n", workload.MaxAPIs+1), codeTooMany, "0:0", "too many APIs; found 2001; allowed: at most 2000"},
		{"too many values", "[" + strings.Repeat("a,", maxMarks) + "]", codeInvalidYAML, "0:0", "more than 500000 values"},
		{"50 MB", strings.Repeat("#", 50<<20), codeInvalidYAML, "0:0", "too large; found 52428800 bytes; allowed: at most 8388608 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("cortex.yaml", []byte(tt.text))
			var f *fault.Fault
			if !errors.As(err, &f) || f.Kind != fault.Malformed || len(f.Problems) != 1 {
				t.Fatalf("Parse() = %.300v (%T), want one problem of kind malformed", err, err)
			}
			p := f.Problems[0]
			if got := fmt.Sprintf("%d:%d", p.Line, p.Column); got != tt.position || p.Code != tt.code || !strings.Contains(p.String(), tt.want) {
				t.Errorf("Parse() = %s %s %.200s, want %s %s …%s…", p.Code, got, p, tt.code, tt.position, tt.want)
			}
			if len(err.Error()) > 500 {
				t.Errorf("the message has %d bytes, want a readable one", len(err.Error()))
			}
		})
	}
}

func TestByteOrderMarkAndLineEndingsAreTolerated(t *testing.T) {
	t.Parallel()
	text := "\ufeff---\n" + strings.ReplaceAll(iris, "\n", "\r\n")
	file, err := Parse("x", []byte(text))
	if err != nil || len(file.Entries) != 1 || file.Entries[0].Spec.Name != "iris" {
		t.Errorf("Parse() = %+v, %v, want iris", file, err)
	}
}

// An alias may stand for a list of aliases, which may stand for …: a small text
// that describes a huge one, here in the shape of a file that would be valid.
func TestAliasesThatExplodeAreRefused(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("- name: iris\n  kind: RealtimeAPI\n  pod:\n    containers:\n")
	b.WriteString("      - &c\n        name: api\n        image: iris\n        args: [" + strings.Repeat("a, ", 2000) + "a]\n")
	b.WriteString(strings.Repeat("      - *c\n", 2000))
	_, err := Parse("cortex.yaml", []byte(b.String()))
	if !fault.Is(err, fault.Malformed) || !strings.Contains(err.Error(), "aliases expand to more than") {
		t.Errorf("Parse() = %.200v, want it refused for its aliases", err)
	}

	long := "- &c {name: api, image: iris, env: {A: " + strings.Repeat("a", 1<<18) + "}}\n"
	text := "- name: iris\n  kind: RealtimeAPI\n  pod:\n    containers:\n    " + long + strings.Repeat("    - *c\n", 10_000)
	_, err = Parse("cortex.yaml", []byte(text))
	if !fault.Is(err, fault.Malformed) || !strings.Contains(err.Error(), "aliases expand to more than") {
		t.Errorf("Parse() = %.200v, want it refused for the length of what its aliases repeat", err)
	}
}

func TestManyProblemsAreToldUpToABound(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(iris + "        env:\n")
	const n = 5_000
	for i := range n {
		fmt.Fprintf(&b, "          CORTEX_%d: a\n          N%d: 1\n", i, i)
	}
	for i := range n {
		fmt.Fprintf(&b, "  unknown%d: 1\n", i)
	}
	_, err := Parse("cortex.yaml", []byte(b.String()))
	f := fault.From(err)
	if len(f.Problems) != maxProblems+1 || !strings.Contains(f.Problems[maxProblems].Message, fmt.Sprintf("and %d more problems", 3*n-maxProblems)) {
		t.Errorf("Parse() told %d problems, the last %q; want %d and the number of the rest",
			len(f.Problems), f.Problems[len(f.Problems)-1].Message, maxProblems+1)
	}
	if len(err.Error()) > maxProblems*500 {
		t.Errorf("the message has %d bytes", len(err.Error()))
	}
}

func TestProblemsOfOneFileAreToldTogetherInItsOrder(t *testing.T) {
	t.Parallel()
	_, err := Parse("x.yaml", []byte("- name: a\n  kind: Nothing\n- 3\n- kind: TaskAPI\n"))
	var lines []string
	for _, p := range fault.From(err).Problems {
		lines = append(lines, fmt.Sprintf("%d %s %s", p.Line, p.API, p.Path))
	}
	want := "2 resource at index 0 kind|3 resource at index 1 |4 resource at index 2 name|4 resource at index 2 pod"
	if got := strings.Join(lines, "|"); got != want {
		t.Errorf("Parse() told %s\nwant       %s", got, want)
	}
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("Parse() = %v, want kind invalid", fault.From(err).Kind)
	}
}

func TestEntryProblemPointsIntoTheFile(t *testing.T) {
	t.Parallel()
	text := `- name: iris
  kind: RealtimeAPI
  pod: &pod
    containers:
      - name: api
        image: iris
        env: {A.B: x, A: y}
  networking: {endpoint: /x}
- name: rose
  kind: RealtimeAPI
  pod: *pod
`
	file, err := Parse("cortex.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		entry int
		path  string
		want  string
	}{
		{0, "networking.endpoint", "8:26"},
		{0, "networking", "8:3"},
		{0, "pod.containers[0].image", "6:16"},
		{0, "pod.containers[0].env.A.B", "7:20"},
		{0, "pod.containers[0].env.A", "7:26"},
		{0, "pod.containers[0].compute.cpu", "5:9"}, // not in the file: its container
		{0, "pod.containers[7].image", "4:5"},
		{0, "pod.containers[x", "4:5"},
		{0, "autoscaling.min_replicas", "1:3"},
		{0, "", "1:3"},
		{1, "pod.containers[0].image", "6:16"}, // through the alias
		{1, "networking.endpoint", "9:3"},
	} {
		p := file.Entries[tt.entry].Problem(tt.path, "spec.code", "no %s", "way")
		if got := fmt.Sprintf("%d:%d", p.Line, p.Column); got != tt.want {
			t.Errorf("Problem(%q) is at %s, want %s", tt.path, got, tt.want)
		}
		if p.File != "cortex.yaml" || p.Message != "no way" || p.Code != "spec.code" || p.Path != tt.path {
			t.Errorf("Problem(%q) = %+v", tt.path, p)
		}
	}
	if got := file.Entries[1].Problem("name", "c", "m").API; got != "rose (RealtimeAPI)" {
		t.Errorf("Problem().API = %q, want rose (RealtimeAPI)", got)
	}
	if p := (Entry{}).Problem("name", "c", "m"); p.Line != 0 {
		t.Errorf("Problem() of nothing = %+v, want no position", p)
	}
}

func TestSpecsOfOneFileShareNothing(t *testing.T) {
	t.Parallel()
	file, err := Parse("x", []byte(iris+"        env: &e {A: a}\n"+strings.ReplaceAll(iris, "iris", "rose")+"        env: *e\n"))
	if err != nil {
		t.Fatal(err)
	}
	file.Entries[0].Spec.Pod.Containers[0].Env["A"] = workload.Variable{Value: "changed"}
	if got := file.Entries[1].Spec.Pod.Containers[0].Env["A"]; got.Value != "a" {
		t.Errorf("changing one API changed another: A = %q, want a", got)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, size int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bytes.Repeat([]byte("#"), size), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if data, err := Read(write("small", 3)); err != nil || string(data) != "###" {
		t.Errorf("Read() = %q, %v, want ###", data, err)
	}
	if data, err := Read(write("largest", workload.MaxConfigBytes)); err != nil || len(data) != workload.MaxConfigBytes {
		t.Errorf("Read() = %d bytes, %v, want all %d", len(data), err, workload.MaxConfigBytes)
	}
	for _, tt := range []struct {
		name, path string
		kind       fault.Kind
		want       string
	}{
		{"missing", filepath.Join(dir, "none"), fault.NotFound, "there is no such file"},
		{"directory", dir, fault.Invalid, "is a directory"},
		{"too large", write("large", workload.MaxConfigBytes+5), fault.Malformed, "too large; found 8388613 bytes"},
		{"endless", "/dev/zero", fault.Malformed, "too large"},
		{"below a file", filepath.Join(dir, "small", "x"), fault.Invalid, "cannot be read: not a directory"},
		{"NUL in the path", "a\x00b", fault.Invalid, "cannot be read"},
	} {
		if _, err := Read(tt.path); !fault.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Read(%q) = %v, want %s …%s…", tt.name, tt.path, err, tt.kind, tt.want)
		}
	}
	if _, err := Read(dir); !strings.Contains(fault.From(err).Hint, dir+"/cortex.yaml") {
		t.Errorf("Read() hints %q, want the file in the directory", fault.From(err).Hint)
	}
}

func TestUnreadableFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret.yaml")
	if err := os.WriteFile(path, []byte(iris), 0o000); err != nil {
		t.Fatal(err)
	}
	if f, err := os.Open(path); err == nil {
		_ = f.Close()
		t.Skip("this user may read every file, so no file is unreadable")
	}
	if _, err := Read(path); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("Read() = %v, want permission denied", err)
	}
}

func TestSubmittedIsJSON(t *testing.T) {
	t.Parallel()
	if _, err := Parse("x", []byte(iris+"        compute: {mem: 0x10000000}\n")); err == nil {
		t.Error("Parse() accepted a quantity in hexadecimal digits")
	}
	file, err := Parse("x", []byte(iris+"        compute: {cpu: 0.5, shm: null}\n        env: {D: 2020-01-01}\n  autoscaling: {max_replicas: 0x10}\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(file.Entries[0].Submitted)
	want := `{"autoscaling":{"max_replicas":16},"kind":"RealtimeAPI","name":"iris","pod":{"containers":[` +
		`{"compute":{"cpu":0.5,"shm":null},"env":{"D":"2020-01-01"},"image":"iris","name":"api"}]}}`
	if string(got) != want || err != nil {
		t.Errorf("Submitted = %s, %v\nwant        %s", got, err, want)
	}
}
