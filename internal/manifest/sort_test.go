package manifest

import (
	"strings"
	"testing"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func TestSortOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Sort{
		"region: us-west-2\n":                                                      Cluster,
		"\ufeffcluster_name: iris\n":                                               Cluster,
		"instance_type: m5.large\n":                                                Cluster, // as releases 0.20 to 0.30 had it
		"region: us-west-2\nregoin: x\n":                                           Cluster,
		"cluster_name: [iris\nregion: us-west-2\n":                                 Cluster, // does not parse, and is meant as one
		"name: iris\nregion: us-west-2\n":                                          Unknown,
		"- name: iris\n  kind: RealtimeAPI\n":                                      APIs,
		"- [a\n":                                                                   Unknown,
		"name: iris\nkind: RealtimeAPI\n":                                          OneAPI,
		"kind: NoSuchAPI\nname: iris\nregion: x\n":                                 OneAPI,
		`{"workers": 2, "item_list": {"items": [1], "batch_size": 1}}`:             Job,
		"file_path_lister: {s3_paths: [s3://b]}\n":                                 Job,
		"config: {a: b}\ntimeout: 60\n":                                            Job, // of a TaskAPI
		"apiVersion: cortex.dev/v1\nkind: RealtimeAPI\nmetadata: {name: a}\n":      Object,
		"apiVersion: v1\nkind: Service\n---\napiVersion: v1\nkind: Secret\n":       Object,
		"default_environment: a\nenvironments:\n- {name: a, operator_endpoint: x}": Environments,
		"":              Unknown,
		"{}":            Unknown,
		"hello\n":       Unknown,
		"unknown: true": Unknown,
	} {
		if got := SortOf([]byte(text)); got != want {
			t.Errorf("SortOf(%q) = %v, want %v", text, got, want)
		}
	}
}

// As cortex cluster export of 0.42 wrote it: one map, which 0.42 itself could not read.
func TestOneAPIIsReadAsAListOfIt(t *testing.T) {
	t.Parallel()
	text := "name: iris\nkind: RealtimeAPI\npod:\n  containers:\n  - image: iris\n    name: api\n"
	file, err := Parse("iris.yaml", []byte(text))
	if err != nil || len(file.Entries) != 1 || file.Entries[0].Spec.Name != "iris" {
		t.Fatalf("Parse() = %+v, %v, want iris", file, err)
	}
	if w := file.Warnings; len(w) != 1 || w[0].File != "iris.yaml" || !strings.Contains(w[0].String(), "begin it with a dash") {
		t.Errorf("Parse() warns %v, want how to write it", w)
	}
	if p := file.Entries[0].Problem("pod.containers[0].image", "c", "m"); p.Line != 5 || p.Column != 12 {
		t.Errorf("Problem() is at %d:%d, want 5:12", p.Line, p.Column)
	}
	if _, err := Parse("x", []byte(text+"unknown: 1\n")); fault.From(err).Problems[0].Code != workload.CodeUnsupportedKey {
		t.Errorf("Parse() = %v, want the unknown key refused", err)
	}
	if file, err := Parse("x", []byte(iris)); err != nil || len(file.Warnings) != 0 {
		t.Errorf("Parse() of a list = %+v, %v, want no warning", file, err)
	}
}

// Whoever gives a file of another sort is told what it is and which command takes it.
func TestFilesOfOtherSortsAreNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]string{
		"region: us-west-2\n":                                                {"a cluster file", "cortex cluster plan"},
		`{"workers": 1, "delimited_files": {}}`:                              {"a job", "submitted"},
		"apiVersion: v1\nkind: Service\n":                                    {"an object of Kubernetes", "kubectl apply"},
		"apiVersion: v1\nkind: Service\n---\napiVersion: v1\nkind: Secret\n": {"an object of Kubernetes", "kubectl apply"},
		"environments: []\n":                                                 {"a file of environments", "cli.yaml"},
		"iris: {kind: RealtimeAPI}\n":                                        {"a map", "begin every API with a dash"},
	} {
		_, err := Parse("x", []byte(text))
		f := fault.From(err)
		if f.Code != workload.CodeMalformed || len(f.Problems) != 1 || f.Problems[0].Found != want[0] || !strings.Contains(f.Problems[0].Hint, want[1]) {
			t.Errorf("Parse(%q) = %v, want it called %s and a hint with %q", text, err, want[0], want[1])
		}
	}
}

// What is written for a newer YAML is read: none of the differences is in our files.
func TestDirectiveOfYAML12(t *testing.T) {
	t.Parallel()
	for _, before := range []string{"%YAML 1.2\n---\n", "# made by a tool\n\n%YAML 1.2 # newest\n---\n", "\ufeff%YAML 1.2\r\n---\r\n", "%YAML 1.1\n---\n"} {
		file, err := Parse("x", []byte(before+iris))
		if err != nil || file.Entries[0].Spec.Name != "iris" {
			t.Errorf("Parse(%q…) = %v, want iris", before, err)
		}
	}
	_, err := Parse("x", []byte("%YAML 2.0\n---\n"+iris))
	if f := fault.From(err); f.Code != codeInvalidYAML || !strings.Contains(f.Problems[0].Hint, "%YAML") {
		t.Errorf("Parse() of another version = %v, want to remove the line", err)
	}
	if file, err := Parse("x", []byte(iris+"        env: {A: \"%YAML 1.2\"}\n")); err != nil || file.Entries[0].Spec.Pod.Containers[0].Env["A"].Value != "%YAML 1.2" {
		t.Errorf("Parse() = %v, want the text of a value left alone", err)
	}
}
