package migrate

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/workload"
)

//go:embed server.py
var server string

// old is what a file of releases 0.18 to 0.35 says of an API that serves a class.
type old struct {
	Name       string         `yaml:"name"`
	Kind       string         `yaml:"kind"`
	Endpoint   string         `yaml:"endpoint"` // before 0.20
	Predictor  *class         `yaml:"predictor"`
	Handler    *class         `yaml:"handler"`
	Compute    map[string]any `yaml:"compute"`
	Networking struct {
		Endpoint string `yaml:"endpoint"`
	} `yaml:"networking"`
	Autoscaling    map[string]any `yaml:"autoscaling"`
	UpdateStrategy map[string]any `yaml:"update_strategy"`
}

type class struct {
	Type       string            `yaml:"type"`
	Path       string            `yaml:"path"`
	Config     map[string]any    `yaml:"config"`
	Env        map[string]string `yaml:"env"`
	PythonPath string            `yaml:"python_path"`
	Image      string            `yaml:"tensorflow_serving_image"`
	Batching   map[string]any    `yaml:"server_side_batching"`
	Processes  int64             `yaml:"processes_per_replica"`
	Threads    int64             `yaml:"threads_per_process"`
	models     `yaml:",inline"`
}

// draft writes a container for an API that served a class, and returns its element in a
// file of today; nil where none can be drafted.
func (r *Report) draft(in File, a api, all []File) *yaml.Node {
	var o old
	if err := a.node.Decode(&o); err != nil {
		r.find(in, a.node.Line, ToDo, a.name+" cannot be read: "+err.Error(), "correct it")
		return nil
	}
	c := o.Handler
	if c == nil {
		c = o.Predictor
	}
	at := func(state State, text, do string) *yaml.Node {
		r.find(in, a.node.Line, state, a.name+": "+text, do)
		return nil
	}
	switch {
	case o.Kind != "" && o.Kind != "SyncAPI" && o.Kind != "API" && o.Kind != string(workload.Realtime):
		return at(Impossible, "a "+o.Kind+" that serves a class", "make a container of it: docs/async.md, docs/batch.md and docs/tasks.md say what it is asked")
	case c == nil || c.Path == "":
		return at(ToDo, "it has no path of a Python file", "write a container: docs/file.md")
	case !slices.Contains([]string{"", "python", "tensorflow", "onnx"}, c.Type):
		return at(ToDo, "its class is of type "+c.Type+", which no release had", "correct it: python, tensorflow or onnx")
	}
	served, err := c.served()
	if err != nil {
		return at(ToDo, err.Error(), "write a container that loads its models: docs/file.md")
	}
	folder, config := path.Join(path.Dir(in.Path), o.Name), c.Config
	if config == nil {
		config = map[string]any{}
	}
	settings, err := json.Marshal(map[string]any{"type": c.Type, "path": c.Path, "python_path": c.PythonPath, "config": config, "models": served})
	if err != nil {
		return at(ToDo, "its config is no JSON: "+err.Error(), "use keys that are strings")
	}
	r.write(path.Join(folder, "server.py"), []byte(server))
	r.write(path.Join(folder, "settings.json"), append(settings, '\n'))
	r.write(path.Join(folder, "Dockerfile"), []byte(dockerfile(in, folder, c.Type, all)))
	build := fmt.Sprintf("`docker build -t %[2]s -f %[1]s/Dockerfile .`", below(folder), image(o.Name))
	text := "served a class; a container that loads it is drafted"
	if c.Type == "tensorflow" {
		r.write(path.Join(folder, "models.config"), []byte(modelsConfig(served)))
		r.write(path.Join(folder, "Dockerfile.models"), []byte(servingDockerfile(folder, c.Image)))
		build += fmt.Sprintf(" and `docker build -t %[2]s -f %[1]s/Dockerfile.models .`; divide compute between the two containers", below(folder), image(o.Name+"-models"))
		text = "served a class with TensorFlow; a container that loads it is drafted, and one with TensorFlow Serving"
		if c.Batching != nil {
			text += ", without server_side_batching (--enable_batching)"
		}
	}
	do := fmt.Sprintf("read %s, ", below(folder))
	for _, m := range served {
		do += fmt.Sprintf("put %s into %s, ", m.from, below(path.Join(folder, "models", m.into())))
	}
	at(ToDo, text, do+"then "+build)
	return o.element(c)
}

func image(name string) string { return name + ":migrated" }

// dockerfile is that of a class, with what its project installs.
func dockerfile(in File, folder, kind string, all []File) string {
	var b strings.Builder
	b.WriteString("# Drafted by cortex migrate. Build it in the folder that was migrated.\nFROM python:3.11-slim\nWORKDIR /app\n")
	project := path.Dir(in.Path)
	fmt.Fprintf(&b, "COPY %s /app\n", project)
	has := func(name string) bool {
		return slices.ContainsFunc(all, func(f File) bool { return f.Path == path.Join(project, name) })
	}
	if has("dependencies.sh") {
		b.WriteString("RUN sh dependencies.sh\n")
	}
	if has("requirements.txt") {
		b.WriteString("RUN pip install --no-cache-dir -r requirements.txt\n")
	}
	if has("conda-packages.txt") {
		b.WriteString("# conda-packages.txt has to be installed by other means: this image has pip only.\n")
	}
	if kind == "onnx" {
		b.WriteString("RUN pip install --no-cache-dir numpy onnxruntime\n")
		fmt.Fprintf(&b, "COPY %s/models /models\n", below(folder))
	}
	fmt.Fprintf(&b, "COPY %[1]s/server.py %[1]s/settings.json /cortex-server/\n", below(folder))
	b.WriteString("CMD [\"python\", \"-u\", \"/cortex-server/server.py\"]\n")
	return b.String()
}

// renamed are keys of autoscaling that stay, by the names that they had.
var renamed = map[string]string{
	"target_replica_concurrency": "target_in_flight", "target_in_flight": "target_in_flight",
	"min_replicas": "min_replicas", "max_replicas": "max_replicas", "init_replicas": "init_replicas", "window": "window",
	"downscale_stabilization_period": "downscale_stabilization_period", "upscale_stabilization_period": "upscale_stabilization_period",
	"max_downscale_factor": "max_downscale_factor", "max_upscale_factor": "max_upscale_factor",
	"downscale_tolerance": "downscale_tolerance", "upscale_tolerance": "upscale_tolerance",
}

// element is o as a file of today has it.
func (o old) element(c *class) *yaml.Node {
	number := func(n int64, key string) int64 {
		if v, ok := o.Autoscaling[key].(int); ok && n == 0 { // before 0.20 they stood there
			n = int64(v)
		}
		return max(n, 1)
	}
	concurrency := number(c.Processes, "workers_per_replica") * number(c.Threads, "threads_per_worker")
	container := map[string]any{
		"name": "api", "image": image(o.Name),
		"readiness_probe": map[string]any{"http_get": map[string]any{"path": "/healthz", "port": workload.DefaultPort}},
	}
	if len(c.Env) > 0 {
		container["env"] = c.Env
	}
	compute := map[string]any{}
	serving := map[string]any{"name": "models", "image": image(o.Name + "-models")}
	for _, key := range []string{"cpu", "mem", "gpu", "inf"} {
		v, ok := o.Compute[key]
		switch {
		case !ok:
		case c.Type == "tensorflow" && key != "cpu" && key != "mem": // the models are there
			serving["compute"] = map[string]any{key: v}
		default:
			compute[key] = v
		}
	}
	if len(compute) > 0 {
		container["compute"] = compute
	}
	containers := []any{container}
	if c.Type == "tensorflow" {
		containers = append(containers, serving)
	}
	pod := map[string]any{"max_concurrency": concurrency, "containers": containers}
	if v, ok := o.Autoscaling["max_replica_concurrency"].(int); ok {
		pod["max_queue_length"] = min(max(int64(v)-concurrency, 1), 30000)
	}
	e := map[string]any{"name": o.Name, "kind": string(workload.Realtime), "pod": pod}
	autoscaling := map[string]any{}
	for was, is := range renamed {
		if v, ok := o.Autoscaling[was]; ok {
			autoscaling[is] = v
		}
	}
	for key, section := range map[string]map[string]any{"autoscaling": autoscaling, "update_strategy": o.UpdateStrategy} {
		if len(section) > 0 {
			e[key] = section
		}
	}
	if endpoint := o.Endpoint + o.Networking.Endpoint; endpoint != "" { // one release had one of them
		e["networking"] = map[string]any{"endpoint": endpoint}
	}
	n := &yaml.Node{}
	if err := n.Encode(e); err != nil {
		panic(err) // it was read from YAML
	}
	return n
}
