package sketch_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/sketch"
	"cortex.dev/cortex/internal/workload"
)

// parsed is the one API of a file, which must pass every rule.
func parsed(t *testing.T, s sketch.Sketch) workload.Spec {
	t.Helper()
	text := s.YAML("Made by a test.\nOf two lines.")
	f, err := manifest.Parse("cortex.yaml", []byte(text))
	if err != nil {
		t.Fatalf("Parse() = %v of:\n%s", err, text)
	}
	if len(f.Entries) != 1 {
		t.Errorf("%d APIs, warnings %v of:\n%s", len(f.Entries), f.Warnings, text)
	}
	return f.Entries[0].Spec
}

func TestLook(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, file, text string
		found            string
		image            string
		command          []string
		port             int32
		env              map[string]string
	}{
		{"a Dockerfile with a port", "Dockerfile", "FROM x\n  expose 9000/tcp 9001\n", "Dockerfile (EXPOSE)", "my-folder:dev", nil, 9000, nil},
		{"a port that cannot be", "Dockerfile", "EXPOSE 99999\n", "Dockerfile (EXPOSE)", "my-folder:dev", nil, 8080, nil},
		{"a Dockerfile without", "Dockerfile", "FROM x\n", "Dockerfile", "my-folder:dev", nil, 8080, nil},
		{"FastAPI", "main.py", "import fastapi\nserver = fastapi.FastAPI(title='x')\n", "main.py (FastAPI)", "", []string{"python3", "-m", "uvicorn", "main:server", "--port", "$(CORTEX_PORT)"}, 8080, nil},
		{"FastAPI with a type", "app.py", "app: FastAPI = FastAPI()\n", "app.py (FastAPI)", "", []string{"python3", "-m", "uvicorn", "app:app", "--port", "$(CORTEX_PORT)"}, 8080, nil},
		{"Flask", "app.py", "app = Flask(__name__)\n", "app.py (Flask)", "", []string{"python3", "-m", "flask", "--app", "app:app", "run", "--port", "$(CORTEX_PORT)"}, 8080, nil},
		{"a server of one's own", "serve.py", "int(os.environ[\"CORTEX_PORT\"])", "serve.py (listens on CORTEX_PORT)", "", []string{"python3", "serve.py"}, 8080, nil},
		{"that knows PORT", "serve.py", "os.environ.get('PORT', 80)", "serve.py (listens on PORT)", "", []string{"python3", "serve.py"}, 8080, map[string]string{"PORT": "$(CORTEX_PORT)"}},
		{"node", "package.json", `{"scripts": {"start": "node x.js"}}`, "package.json (npm start)", "", []string{"npm", "start"}, 8080, map[string]string{"PORT": "$(CORTEX_PORT)"}},
		{"pages", "index.html", "<p>", "index.html", "", []string{"python3", "-m", "http.server", "$(CORTEX_PORT)"}, 8080, nil},
		{"a program of which nothing is known", "main.py", "print(1)", "", "", nil, 0, nil},
		{"nothing", "README.md", "Flask(", "", "", nil, 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, ok, err := sketch.Look(fstest.MapFS{tt.file: {Data: []byte(tt.text)}}, "My Folder")
			if err != nil || ok != (tt.found != "") || s.Found != tt.found {
				t.Fatalf("Look() = %q, %v, %v, want %q", s.Found, ok, err, tt.found)
			}
			if !ok {
				return
			}
			spec := parsed(t, s)
			c := spec.Pod.Containers[0]
			if spec.Name != "my-folder" || c.Image != tt.image || *spec.Pod.Port != tt.port || !slices.Equal(c.Command, tt.command) || !maps.EqualFunc(c.Env, tt.env, isValue) {
				t.Errorf("it is %s: image %q, port %d, command %q, env %v", spec.Name, c.Image, *spec.Pod.Port, c.Command, c.Env)
			}
		})
	}
}

// Whatever words somebody types, the file has just those.
func FuzzYAML(f *testing.F) {
	for _, s := range []string{"true", "1e3", "-", "--", "a: b", "#", "", "ä\n\t\"'", "$(X)", "@x", "0x1F", "~", "1_000", "12:30", "2026-01-01", "=", "<<", "- a", "[", "<b>&", "\u2028", ".5", "app:app", "a:", ":a", "\x7f", "\u0080\u0085\u009f", "\ufeff", "\ufffe\uffff", "\U0001f600\U000e0001\U0001ffff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if strings.ToValidUTF8(word, "") != word || strings.ContainsRune(word, 0) || len(word) > 100 {
			t.Skip("no word of a command line")
		}
		s := sketch.Sketch{Name: sketch.NameFor(word), Command: []string{"run", word}, Env: map[string]string{"A": word}}
		spec := parsed(t, s)
		if got := spec.Pod.Containers[0]; !slices.Equal(got.Command, s.Command) || got.Env["A"].Value != word {
			t.Errorf("%q became %q and %q in:\n%s", word, got.Command, got.Env["A"], s.YAML(""))
		}
	})
}

func TestNumbersAndDefaults(t *testing.T) {
	t.Parallel()
	two, nine := int32(2), int32(9)
	spec := parsed(t, sketch.Sketch{Name: "iris", Image: "quay.io/team/iris:1.0@sha256:" + strings.Repeat("0", 64), Port: 9000, CPU: "2", Mem: "1Gi", GPU: 1, Min: &two, Max: &nine, Concurrency: 3})
	c := spec.Pod.Containers[0]
	got := []any{*spec.Pod.Port, spec.Pod.MaxConcurrency, c.Compute.CPU.String(), c.Compute.Mem.String(), c.Compute.GPU, spec.Autoscaling.MinReplicas, spec.Autoscaling.MaxReplicas}
	if diff := cmp.Diff([]any{int32(9000), int64(3), "2", "1Gi", int64(1), int32(2), int32(9)}, got); diff != "" {
		t.Errorf("numbers differ (-want +got):\n%s", diff)
	}
	if spec := parsed(t, sketch.Sketch{Name: "iris", Image: "i", Min: &nine}); spec.Autoscaling.MaxReplicas != 9 {
		t.Errorf("max_replicas = %d, want no less than min_replicas", spec.Autoscaling.MaxReplicas)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	for text, want := range map[string]string{
		"iris": "iris", "My Model_2": "my-model-2", "": "api", "ä": "api", "b-x": "x", "-a-": "a", "1": "api", long: "x",
	} {
		got := sketch.NameFor(text)
		if text == long {
			if !workload.IsName(got) {
				t.Errorf("NameFor(%d letters) = %q, which is no name", len(text), got)
			}
			continue
		}
		if got != want && !(text == "1" && workload.IsName(got)) {
			t.Errorf("NameFor(%q) = %q, want %q", text, got, want)
		}
	}
	for image, want := range map[string]string{"nginx": "nginx", "quay.io/team/iris:1.0": "iris", "localhost:5000/a/model_x@sha256:00": "model-x"} {
		if got := sketch.NameOfImage(image); got != want {
			t.Errorf("NameOfImage(%q) = %q, want %q", image, got, want)
		}
	}
	for command, want := range map[string]string{"python3 serve.py": "serve", "./server --x": "server", "python3 -m http.server $(CORTEX_PORT)": "http", "bin/my_server -c a.toml": "a"} {
		if got := sketch.NameOfCommand(strings.Fields(command)); got != want {
			t.Errorf("NameOfCommand(%q) = %q, want %q", command, got, want)
		}
	}
}

func isValue(v workload.Variable, text string) bool { return v == workload.Variable{Value: text} }
