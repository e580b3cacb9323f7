package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"cortex.dev/cortex/examples/iris/classifier"
)

const setosa = `{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}`

// goServer answers with the handler of this package.
func goServer(t *testing.T) string {
	t.Helper()
	model, err := classifier.Load("../model-v2.json")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler(model, 0))
	t.Cleanup(server.Close)
	return server.URL
}

var announced = regexp.MustCompile(`on port (\d+)`)

// pythonServer starts the twin, on a port of its choice.
func pythonServer(t *testing.T) (string, *exec.Cmd) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 on this machine: the Python twin of the example is not tested")
	}
	cmd := exec.Command(python, "server.py") //nolint:gosec,noctx // found just now; the test ends it
	cmd.Dir = "../python"
	cmd.Env = append(os.Environ(), "CORTEX_PORT=0", "MODEL=../model-v2.json", "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = t.Output()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // ends what a failed test leaves
	line, err := bufio.NewReader(stdout).ReadString('\n')
	found := announced.FindStringSubmatch(line)
	if err != nil || found == nil {
		t.Fatalf("the Python server says %q (%v), want the port that it listens on", line, err)
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }() // ends with the process
	return "http://127.0.0.1:" + found[1], cmd
}

func call(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// One table for both servers: they are the same API.
func TestBothServersKeepOneContract(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) string{
		"go":     goServer,
		"python": func(t *testing.T) string { url, _ := pythonServer(t); return url },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := start(t)
			for name, tt := range map[string]struct {
				method, path, body string
				status             int
				want               string // part of the answer
			}{
				"healthz":           {"GET", "/healthz", "", 200, "ok"},
				"one flower":        {"POST", "/", setosa, 200, `"species":"setosa"`},
				"a list":            {"POST", "/", "[" + setosa + "," + setosa + "]", 200, `"model":"v2"`},
				"another path":      {"POST", "/other", setosa, 404, "not found"},
				"empty":             {"POST", "/", " ", 400, "the body is empty"},
				"not JSON":          {"POST", "/", "[", 400, "the body is not JSON"},
				"a number":          {"POST", "/", "1", 400, "a flower is a JSON object with sepal_length"},
				"null":              {"POST", "/", "null", 400, "a flower is a JSON object"},
				"no flowers":        {"POST", "/", "[]", 400, "the list has 0 flowers; send 1 to 1000"},
				"too many":          {"POST", "/", "[" + strings.Repeat("1,", 1000) + "1]", 400, "the list has 1001 flowers"},
				"missing":           {"POST", "/", `{"sepal_length": 5.1}`, 400, "sepal_width is missing"},
				"unknown":           {"POST", "/", `{"colour": 1}`, 400, `"colour" is no measurement`},
				"text":              {"POST", "/", strings.Replace(setosa, "5.1", `"long"`, 1), 400, "sepal_length must be a number"},
				"negative":          {"POST", "/", strings.Replace(setosa, "3.5", "-1", 1), 400, "sepal_width must be a number of centimetres above 0 and up to 100"},
				"which of a list":   {"POST", "/", "[" + setosa + ",{}]", 400, "flower 1: sepal_length is missing"},
				"larger than a MiB": {"POST", "/", strings.Repeat(" ", 1<<20+1), 400, "larger than 1048576 bytes"},
			} {
				status, body := call(t, tt.method, url+tt.path, tt.body)
				if status != tt.status || !strings.Contains(strings.ReplaceAll(body, `": `, `":`), tt.want) {
					t.Errorf("%s: %s %s = %d %s, want %d with %q", name, tt.method, tt.path, status, body, tt.status, tt.want)
				}
			}
		})
	}
}

func TestBothServersPredictTheSame(t *testing.T) {
	t.Parallel()
	python, _ := pythonServer(t)
	held, err := classifier.ReadCSV("../held-out.csv")
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(held)
	if err != nil {
		t.Fatal(err)
	}
	predictions := make([][]answer, 2)
	for i, url := range []string{goServer(t), python} {
		status, text := call(t, "POST", url, string(body))
		if err := json.Unmarshal([]byte(text), &predictions[i]); err != nil || status != 200 || len(predictions[i]) != len(held) {
			t.Fatalf("%d flowers = %d %s (%v)", len(held), status, text, err)
		}
	}
	for i, a := range predictions[0] {
		b := predictions[1][i]
		for species, p := range a.Probabilities {
			if a.Species != b.Species || math.Abs(p-b.Probabilities[species]) > 1e-9 {
				t.Errorf("flower %v: Go says %v, Python says %v", held[i], a, b)
				break
			}
		}
	}
}

// Both servers finish what has begun when they are told to stop.
func TestStopsOnSIGTERM(t *testing.T) {
	t.Parallel()
	t.Run("go", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		env := map[string]string{"CORTEX_PORT": "0", "MODEL": "../model-v1.json"}
		go func() {
			ended <- run(ctx, func(key string) string { return env[key] }, slog.New(slog.NewTextHandler(t.Output(), nil)))
		}()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run = %v, want nil after it was told to stop", err)
		}
	})
	t.Run("python", func(t *testing.T) {
		t.Parallel()
		url, cmd := pythonServer(t)
		if status, _ := call(t, "GET", url+"/healthz", ""); status != 200 {
			t.Fatalf("GET /healthz = %d, want 200", status)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the Python server ends with %v, want 0: an idle connection must not hold it", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the Python server still runs 20 s after SIGTERM: an idle connection must not hold it")
		}
	})
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"MODEL": "missing.json"}, "reading the model"},
		{map[string]string{"MODEL": "../model-v1.json", "WORK": "long"}, "WORK"},
		{map[string]string{"MODEL": "../model-v1.json", "CORTEX_PORT": "70000"}, "70000"},
	} {
		err := run(t.Context(), func(key string) string { return tt.env[key] }, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("run(%v) = %v, want an error with %q", tt.env, err, tt.want)
		}
	}
}
