package migrate

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/manifest"
)

const (
	iris   = "- name: iris\n  kind: RealtimeAPI # mine\n  pod: {containers: [{name: api, image: quay.io/team/iris}]}\n"
	batch  = "- name: nightly\n  kind: BatchAPI\n  pod: {containers: [{name: api, image: i, command: [run]}]}\n"
	wrong  = "- name: rose\n  kind: RealtimeAPI\n  prot: 1\n  pod: {containers: [{name: api, image: i}]}\n"
	served = `- name: text
  kind: RealtimeAPI
  predictor: {type: python, path: predictor.py, config: {greeting: hello}, env: {A: b}, processes_per_replica: 2}
  compute: {cpu: 1, mem: 2Gi}
  networking: {endpoint: /words, local_port: 8889}
  autoscaling: {max_replicas: 3, target_replica_concurrency: 4, max_replica_concurrency: 64}
`
)

// told are the findings of one file, as file:line state text.
func told(r *Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s:%d %s: %s\n", f.Path, f.Line, f.State, f.Text)
	}
	return b.String()
}

func written(r *Report) map[string]string {
	files := map[string]string{}
	for _, f := range r.Out {
		files[f.Path] = string(f.Data)
	}
	return files
}

func TestPlan(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, path, text string
		told             []string
		out              map[string]string // what each file must hold
	}{
		{"an API that runs needs nothing", "cortex.yaml", iris, []string{"cortex.yaml:1 done: iris (RealtimeAPI) runs as it is"}, nil},
		{
			"what runs is split from what does not", "a/cortex.yaml", iris + batch,
			[]string{"a/cortex.yaml:1 done: iris", "a/cortex.yaml:4 impossible yet: nightly (BatchAPI)"},
			map[string]string{"migrated/a/cortex.yaml": "# mine", "migrated/a/cortex.later.yaml": "name: nightly"},
		},
		{"what is wrong has its line", "cortex.yaml", iris + wrong, []string{":1 done: iris", `cortex.yaml:6 to do: rose (RealtimeAPI): prot: the key "prot" is not supported`}, nil},
		{
			"a single map becomes a list", "export/iris.yaml", "name: iris\nkind: RealtimeAPI\npod: {containers: [{name: api, image: i}]}\n",
			[]string{"export/iris.yaml:1 done"},
			map[string]string{"migrated/export/iris.yaml": "- name: iris"},
		},
		{
			"a class gets a container", "cortex.yaml", served, []string{"cortex.yaml:1 to do: text: served a class"},
			map[string]string{
				"migrated/cortex.yaml":        "target_in_flight: 4",
				"migrated/text/Dockerfile":    "COPY migrated/text/server.py",
				"migrated/text/server.py":     "PythonPredictor",
				"migrated/text/settings.json": `"greeting":"hello"`,
			},
		},
		{"a model server is not drafted", "cortex.yaml", strings.ReplaceAll(served, "python,", "tensorflow,"), []string{"text: predictors of type tensorflow"}, nil},
		{
			"a cluster file becomes values", "cluster.yaml", "cluster_name: prod\nregion: us-west-2\ninstance_type: m5.large\napi_load_balancer_scheme: internal\n",
			[]string{"cluster.yaml:1 impossible yet: a cluster file", "cluster.yaml:3 to do: instance_type: is a key of releases 0.20 to 0.30"},
			map[string]string{"migrated/cluster.values.yaml": "scheme: internal"},
		},
		{"a job", "job.json", `{"workers": 1, "item_list": {"items": [1], "batch_size": 1}}`, []string{"job.json:1 impossible yet: a job"}, nil},
		{
			"environments", "cli.yaml", "environments:\n- {name: local, provider: local}\n- name: prod\n  operator_endpoint: https://x\n",
			[]string{"cli.yaml:2 done: environment local", "cli.yaml:3 to do: environment prod"}, nil,
		},
		{
			"a script", "deploy.sh", "#!/bin/sh\n# cortex cluster up\ncortex cluster up cluster.yaml\ncortex  deploy\ncortex deploy --no-wait\ncortex get\n",
			[]string{"deploy.sh:3 impossible yet: no command makes", "deploy.sh:4 to do: deploy waits"}, nil,
		},
		{"a script in Python", "run.py", "import cortex\nenvs = cortex.env_list()[\"environments\"]\n", []string{"run.py:2 to do: env_list returns the list itself"}, nil},
		{"the configuration of a CI", ".github/ci.yml", "jobs:\n  a:\n    - run: cortex env configure p --provider aws\n", []string{"ci.yml:3 to do: an environment elsewhere takes no provider"}, nil},
		{"a list of another program", "hosts.yaml", "- name: a\n  kind: Deployment\n", nil, nil},
		{"what leads elsewhere is written below the folder", "../x.yaml", batch, []string{"nightly"}, map[string]string{"migrated/x.later.yaml": "nightly"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := Plan([]File{{tt.path, []byte(tt.text)}})
			for _, want := range tt.told {
				if !strings.Contains(told(r), want) {
					t.Errorf("Plan() told\n%s, want %q", told(r), want)
				}
			}
			if len(r.Findings) < len(tt.told) || len(tt.told) == 0 && len(r.Findings) > 0 {
				t.Errorf("Plan() told\n%s, want %d findings", told(r), len(tt.told))
			}
			out := written(r)
			for name, want := range tt.out {
				if !strings.Contains(out[name], want) {
					t.Errorf("%s = %q, want %q in it", name, out[name], want)
				}
			}
			if tt.out == nil && len(out) > 0 && !strings.Contains(tt.name, "model server") {
				t.Errorf("Plan() writes %v, want nothing", out)
			}
			for name, text := range out {
				if strings.HasSuffix(name, "yaml") && !strings.Contains(name, "values") {
					if _, err := manifest.Parse(name, []byte(text)); err != nil {
						t.Errorf("%s is no file of APIs: %v\n%s", name, err, text)
					}
				}
			}
		})
	}
}

// Every example of the page about coming from 0.42 goes through, and none is said to be
// wrong.
func TestExamplesOfThePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "migrating.md"))
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for i, block := range strings.Split(string(page), "```") {
		text, isYAML := strings.CutPrefix(block, "yaml")
		if i%2 == 0 || !isYAML {
			continue
		}
		_, text, _ = strings.Cut(text, "\n")
		examples++
		r := Plan([]File{{"cortex.yaml", []byte(text)}})
		if len(r.Findings) == 0 || strings.Contains(text, "predictor:") != strings.Contains(told(r), "served a class") || strings.Contains(told(r), "not supported") {
			t.Errorf("Plan() of\n%stold\n%s", text, told(r))
		}
	}
	if examples < 2 {
		t.Errorf("the page has %d examples, want one of 0.42 and one of a release before 0.36", examples)
	}
}

// The drafted server loads the class and answers.
func TestDraftedServer(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("this machine has no python3")
	}
	dir := t.TempDir()
	class := "class PythonPredictor:\n    def __init__(self, config):\n        self.greeting = config['greeting']\n" +
		"    def predict(self, payload, query_params):\n        return {'said': self.greeting + ' ' + payload['name'], 'q': query_params.get('q')}\n"
	for name, text := range written(Plan([]File{{"cortex.yaml", []byte(served)}})) {
		if path.Dir(name) == "migrated/text" {
			write(t, filepath.Join(dir, path.Base(name)), text)
		}
	}
	write(t, filepath.Join(dir, "predictor.py"), class)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(free.Addr().(*net.TCPAddr).Port)
	free.Close()
	cmd := exec.CommandContext(t.Context(), python, filepath.Join(dir, "server.py"))
	cmd.Env = append(os.Environ(), "CORTEX_PROJECT="+dir, "CORTEX_PORT="+port)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-tick.C {
		resp, err := http.Get("http://127.0.0.1:" + port + "/healthz")
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	resp, err := http.Post("http://127.0.0.1:"+port+"/?q=1", "application/json", strings.NewReader(`{"name": "Ada"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != `{"said": "hello Ada", "q": "1"}` {
		t.Errorf("the answer is %s, %v", got, err)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
