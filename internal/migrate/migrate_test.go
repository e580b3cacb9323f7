package migrate

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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
			"every kind runs", "a/cortex.yaml", iris + batch,
			[]string{"a/cortex.yaml:1 done: iris", "a/cortex.yaml:4 done: nightly (BatchAPI) runs as it is"}, nil,
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
		{
			"TensorFlow gets a second container", "cortex.yaml",
			strings.ReplaceAll(strings.ReplaceAll(served, "python,", "tensorflow, model_path: s3://bucket/iris/1,"), "mem: 2Gi", "mem: 2Gi, gpu: 1"),
			[]string{"cortex.yaml:1 to do: text: served a class with TensorFlow"},
			map[string]string{
				"migrated/cortex.yaml":            "image: text-models:migrated",
				"migrated/text/Dockerfile.models": "FROM tensorflow/serving:2.3.0\nCOPY migrated/text/models /models\n",
				"migrated/text/models.config":     `config { name: "default" base_path: "/models/default"`,
				"migrated/text/settings.json":     `"type":"tensorflow"`,
			},
		},
		{
			"ONNX is loaded by the server", "cortex.yaml",
			strings.ReplaceAll(served, "python,", "onnx, models: {paths: [{name: a, path: s3://bucket/a.onnx}, {name: b, path: s3://bucket/b.onnx}]},"),
			[]string{"cortex.yaml:1 to do: text: served a class;"},
			map[string]string{
				"migrated/text/Dockerfile":    "RUN pip install --no-cache-dir numpy onnxruntime\nCOPY migrated/text/models /models\n",
				"migrated/text/settings.json": `{"name":"b","file":"b/model.onnx","signature_key":""}`,
			},
		},
		{"models of a folder are not drafted", "cortex.yaml", strings.ReplaceAll(served, "python,", "onnx, models: {dir: s3://bucket/all},"), []string{"text: its models are all those of a folder"}, nil},
		{"a class without its model is not either", "cortex.yaml", strings.ReplaceAll(served, "python,", "onnx,"), []string{"text: it names no model"}, nil},
		{"nor one with a model of a strange name", "cortex.yaml", strings.ReplaceAll(served, "python,", `tensorflow, models: [{name: "../x", model_path: s3://b}],`), []string{`text: a model is called "../x"`}, nil},
		{"nor a type that no release had", "cortex.yaml", strings.ReplaceAll(served, "python,", "torch,"), []string{"text: its class is of type torch"}, nil},
		{
			"a cluster file becomes values", "cluster.yaml", "cluster_name: prod\nregion: us-west-2\ninstance_type: m5.large\napi_load_balancer_scheme: internal\n",
			[]string{"cluster.yaml:1 to do: a cluster file: a cluster that 0.42 has made is not taken over", "cluster.yaml:3 to do: instance_type: is a key of releases 0.20 to 0.30"},
			map[string]string{"migrated/cluster.values.yaml": "scheme: internal"},
		},
		{"a job", "job.json", `{"workers": 1, "item_list": {"items": [1], "batch_size": 1}}`, []string{"job.json:1 done: a job"}, nil},
		{"a job of items in S3", "job.json", `{"workers": 1, "file_path_lister": {"s3_paths": ["s3://bucket/items"], "batch_size": 1}}`, []string{"job.json:1 to do: a job"}, nil},
		{
			"environments", "cli.yaml", "environments:\n- {name: local, provider: local}\n- name: prod\n  operator_endpoint: https://x\n",
			[]string{"cli.yaml:2 done: environment local", "cli.yaml:3 to do: environment prod"}, nil,
		},
		{
			"a script", "deploy.sh", "#!/bin/sh\n# cortex cluster up\ncortex cluster up cluster.yaml\ncortex  deploy\ncortex deploy --no-wait\ncortex get\n",
			[]string{"deploy.sh:3 to do: a cluster of 0.42 goes on with the program that has made it", "deploy.sh:4 to do: deploy waits"}, nil,
		},
		{"a script for another cloud", "gcp.sh", "cortex cluster-gcp up\ncortex cluster scale --node-group a\n", []string{"gcp.sh:1 impossible yet: clusters are made on AWS only", "gcp.sh:2 to do: this command is gone"}, nil},
		{"a script in Python", "run.py", "import cortex\nenvs = cortex.env_list()[\"environments\"]\n", []string{"run.py:2 to do: env_list returns the list itself"}, nil},
		{"the configuration of a CI", ".github/ci.yml", "jobs:\n  a:\n    - run: cortex env configure p --provider aws\n", []string{"ci.yml:3 to do: an environment elsewhere takes no provider"}, nil},
		{"a list of another program", "hosts.yaml", "- name: a\n  kind: Deployment\n", nil, nil},
		{"what leads elsewhere is written below the folder", "../x.yaml", "name: iris\nkind: RealtimeAPI\npod: {containers: [{name: api, image: i}]}\n", []string{"iris"}, map[string]string{"migrated/x.yaml": "iris"}},
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
	at := drafted(t, served, map[string]string{"predictor.py": "class PythonPredictor:\n    def __init__(self, config):\n        self.greeting = config['greeting']\n" +
		"    def predict(self, payload, query_params):\n        return {'said': self.greeting + ' ' + payload['name'], 'q': query_params.get('q')}\n"})
	if got := post(t, at+"/?q=1", `{"name": "Ada"}`); got != `{"said": "hello Ada", "q": "1"}` {
		t.Errorf("the answer is %s", got)
	}
}

// A class for TensorFlow gets the client that it had: it waits for TensorFlow Serving, and
// its predict returns the outputs by their names, also where there is one.
func TestDraftedServerForTensorFlow(t *testing.T) {
	t.Parallel()
	starting := true
	serving := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.Method + " " + r.URL.Path {
		case "GET /v1/models/iris/metadata":
			if starting {
				starting = false
				http.Error(w, "loading", http.StatusServiceUnavailable)
				return
			}
			io.WriteString(w, `{"metadata": {"signature_def": {"signature_def": {"__saved_model_init_op": {}, "predict": {"outputs": {"class_ids": {}}}}}}}`)
		case "POST /v1/models/iris:predict":
			if string(body) != `{"signature_name": "predict", "inputs": {"x": [[1, 2]]}}` {
				http.Error(w, "wrong: "+string(body), http.StatusBadRequest)
				return
			}
			io.WriteString(w, `{"outputs": [[2]]}`)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(serving.Close)
	config := strings.ReplaceAll(served, "python,", "tensorflow, models: [{name: iris, model_path: s3://bucket/iris}],")
	at := drafted(t, config, map[string]string{"predictor.py": "class TensorFlowPredictor:\n    def __init__(self, tensorflow_client, config):\n        self.client = tensorflow_client\n" +
		"    def predict(self, payload):\n        return self.client.predict({'x': [payload]})['class_ids'][0][0]\n"}, "TENSORFLOW_SERVING="+serving.URL)
	if got := post(t, at, `[1, 2]`); got != "2" {
		t.Errorf("the answer is %s, want that of TensorFlow Serving", got)
	}
}

// A class for ONNX gets the client that it had, with the models in memory.
func TestDraftedServerForONNX(t *testing.T) {
	t.Parallel()
	config := strings.ReplaceAll(served, "python,", "onnx, models: {paths: [{name: iris, path: s3://bucket/iris.onnx}, {name: other, path: s3://bucket/other.onnx}]},")
	at := drafted(t, config, map[string]string{
		"predictor.py": "class ONNXPredictor:\n    def __init__(self, onnx_client, config):\n        self.client = onnx_client\n" +
			"    def predict(self, payload):\n        return self.client.predict(payload, payload['model'] if 'model' in payload else 'iris')\n",
		// What the server asks of the two libraries, which are not on every machine.
		"numpy.py": "class array(list):\n    ndim = 1\n    def reshape(self, shape):\n        return [list(self), shape]\n" +
			"def asarray(values, dtype=None):\n    return array([dtype] + list(values))\n",
		"onnxruntime.py": "import types\ndef get_available_providers():\n    return ['CPU']\n" +
			"class InferenceSession:\n    def __init__(self, path, providers):\n        self.path = path\n" +
			"    def get_inputs(self):\n        return [types.SimpleNamespace(name='x', type='tensor(float)', shape=['batch', 2])]\n" +
			"    def run(self, outputs, feed):\n        return [self.path, feed]\n",
	}, "CORTEX_MODELS=/m")
	if got := post(t, at, `{"x": [1, 2]}`); got != `["/m/iris/model.onnx", {"x": [["float32", 1, 2], [-1, 2]]}]` {
		t.Errorf("the answer is %s, want what the model was fed", got)
	}
}

// drafted starts the server that is drafted for the API text of config, among files, and
// returns where it answers.
func drafted(t *testing.T, config string, files map[string]string, env ...string) string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("this machine has no python3")
	}
	dir := t.TempDir()
	for name, text := range written(Plan([]File{{"cortex.yaml", []byte(config)}})) {
		if path.Dir(name) == "migrated/text" {
			write(t, filepath.Join(dir, path.Base(name)), text)
		}
	}
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(free.Addr().(*net.TCPAddr).Port)
	free.Close()
	cmd := exec.CommandContext(t.Context(), python, filepath.Join(dir, "server.py"))
	cmd.Env = append(append(os.Environ(), "CORTEX_PROJECT="+dir, "CORTEX_PORT="+port), env...)
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
	return "http://127.0.0.1:" + port
}

func post(t *testing.T, url, body string) string {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
