package examples_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

const setosa = `{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}`

func TestIris(t *testing.T) {
	t.Parallel()
	url := deploy(t, "iris/cortex.yaml", "iris")
	if status, body := call(t, "POST", url, setosa); status != 200 || !strings.Contains(body, `"species":"setosa"`) || !strings.Contains(body, `"model":"v1"`) {
		t.Errorf("POST %s = %d %s, want setosa by model v1", url, status, body)
	}
	if status, body := call(t, "POST", url, "{}"); status != 400 || !strings.Contains(body, "sepal_length is missing") {
		t.Errorf("POST {} = %d %s, want 400 and what is missing", status, body)
	}
	if out := cortex(t, "predict", "iris", "iris/flowers.json"); strings.Count(out, "species") != 3 {
		t.Errorf("cortex predict iris iris/flowers.json = %s, want three predictions", out)
	}
	cortex(t, "deploy", "iris/cortex-v2.yaml")
	if _, body := call(t, "POST", url, setosa); !strings.Contains(body, `"model":"v2"`) {
		t.Errorf("after the update %s answers %s, want model v2", url, body)
	}
	cortex(t, "rollback", "iris")
	if _, body := call(t, "POST", url, setosa); !strings.Contains(body, `"model":"v1"`) {
		t.Errorf("after the rollback %s answers %s, want model v1", url, body)
	}
}

func TestIrisInPython(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("there is no python3 on this machine: the Python server is not deployed")
	}
	url := deploy(t, "iris/python/cortex.yaml", "iris-python")
	if status, body := call(t, "POST", url, setosa); status != 200 || !strings.Contains(body, `"species": "setosa"`) {
		t.Errorf("POST %s = %d %s, want setosa", url, status, body)
	}
}

// Whatever a body by GET says, the server takes it for no request: it closes instead.
func TestIrisInPythonTakesNoBodyForARequest(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 on this machine: the Python server is not run")
	}
	server := exec.CommandContext(t.Context(), python, "server.py")
	server.Dir, server.Env = "iris/python", append(os.Environ(), "CORTEX_PORT=0")
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("it said %q, and then %v", line, err)
	}
	_, port, _ := strings.Cut(strings.TrimSpace(line), "on port ")
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, framing := range []string{fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(smuggled), smuggled), "Transfer-Encoding: chunked\r\n\r\n" + smuggled} {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil { // a hang is a failure
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: a\r\n"+framing)
		answers, _ := io.ReadAll(c) // maybe reset, with what was not read
		if n := strings.Count(string(answers), "HTTP/1.1 "); n != 1 || !strings.Contains(string(answers), "Connection: close\r\n") {
			t.Errorf("%.30q: %d answers, want one that says that the connection closes: %q", framing, n, answers)
		}
		_ = c.Close()
	}
}

func TestStreaming(t *testing.T) {
	t.Parallel()
	url := deploy(t, "streaming/cortex.yaml", "story")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"?words=3", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type = %q, want text/event-stream", got)
	}
	var words []string
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if word, found := strings.CutPrefix(lines.Text(), "data: "); found {
			words = append(words, word)
		}
	}
	if got := strings.Join(words, " "); got != "The iris takes" {
		t.Errorf("the stream says %q, want %q", got, "The iris takes")
	}
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	url := deploy(t, "websocket/cortex.yaml", "echo")
	connection, _, err := websocket.Dial(t.Context(), strings.Replace(url, "http://", "ws://", 1), nil) //nolint:bodyclose // Dial says not to
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.CloseNow() }()
	for _, want := range []string{"1: hello", "2: hello"} {
		if err := connection.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, got, err := connection.Read(t.Context()); err != nil || string(got) != want {
			t.Errorf("Read = %q, %v, want %q", got, err, want)
		}
	}
	if err := connection.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("Close = %v", err)
	}
}

// A gRPC client calls /package.Service/Method; an interceptor puts the API's
// endpoint in front of it, and the gateway takes it away again.
func TestGRPC(t *testing.T) {
	t.Parallel()
	host, endpoint, _ := strings.Cut(strings.TrimPrefix(deploy(t, "grpc/cortex.yaml", "greeter"), "http://"), "/")
	client, err := grpc.NewClient(host, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return call(ctx, "/"+endpoint+method, req, reply, conn, opts...)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	got, err := grpc_health_v1.NewHealthClient(client).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || got.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("Check = %v, %v, want SERVING", got, err)
	}
}

func TestSplitter(t *testing.T) {
	t.Parallel()
	url := deploy(t, "splitter/cortex.yaml", "iris-split", "iris-current", "iris-next", "iris-shadow")
	answered := map[string]int{}
	for range 200 {
		status, body := call(t, "POST", url, setosa)
		var a struct{ Model string }
		if err := json.Unmarshal([]byte(body), &a); err != nil || status != 200 {
			t.Fatalf("POST %s = %d %s", url, status, body)
		}
		answered[a.Model]++
	}
	// One of ten on average: none of 200 happens once in a billion runs.
	if answered["v1"] <= answered["v2"] || answered["v2"] == 0 {
		t.Errorf("200 requests were answered by %v, want most by v1 and some by v2", answered)
	}
}

func TestScaleToZero(t *testing.T) {
	t.Parallel()
	url := deploy(t, "scale-to-zero/cortex.yaml", "sleepy")
	// The deploy proved it with one replica, which nobody needs.
	until(t, "sleepy still has the replica that proved it", func() bool {
		got := get(t, "sleepy").Status
		return got.Ready == 0 && got.Phase == "idle"
	})
	if status, body := call(t, "POST", url, setosa); status != 200 || !strings.Contains(body, `"species":"setosa"`) {
		t.Errorf("the first request = %d %s, want to wait for the start and be answered", status, body)
	}
	until(t, "sleepy still has replicas, want none without requests", func() bool {
		return get(t, "sleepy").Status.Phase == "idle"
	})
	if status, body := call(t, "POST", url, setosa); status != 200 {
		t.Errorf("a request after it went back to zero = %d %s, want 200", status, body)
	}
}

func TestPodWithTwoContainers(t *testing.T) {
	t.Parallel()
	url := deploy(t, "pod/cortex.yaml", "pair")
	if status, body := call(t, "GET", url, ""); status != 200 || !strings.HasPrefix(body, "served by one container") {
		t.Errorf("GET %s = %d %s", url, status, body)
	}
	until(t, "the log of pair lacks what its reporter says", func() bool {
		return strings.Contains(cortex(t, "logs", "pair"), "report 1")
	})
	cortex(t, "refresh", "pair")
	until(t, "the log of pair lacks the goodbye of the replaced replica: its pre_stop was not asked", func() bool {
		return strings.Contains(cortex(t, "logs", "pair"), "goodbye")
	})
}

func TestDocker(t *testing.T) {
	t.Parallel()
	var info struct {
		Engines []struct {
			Name, Detail string
			Available    bool
		}
	}
	out := cortex(t, "local", "status", "-o", "json")
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		t.Fatalf("cortex local status -o json = %s: %v", out, err)
	}
	available, detail := false, "the environment has none"
	for _, e := range info.Engines {
		if e.Name == "docker" {
			available, detail = e.Available, e.Detail
		}
	}
	if !available {
		t.Skipf("no Docker Engine answers on this machine: %s", detail)
	}
	docker, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("there is no docker command on this machine to build the image with")
	}
	dir := filepath.Join(here.dir, "docker")
	if err := goBuild(filepath.Join(dir, "bin")+"/", "./iris/server", "CGO_ENABLED=0"); err != nil { // static: the image has nothing else
		t.Fatal(err)
	}
	for _, command := range []*exec.Cmd{
		exec.CommandContext(t.Context(), "cp", "../iris/model-v2.json", "bin/"),
		exec.CommandContext(t.Context(), docker, "build", "-t", "iris-example:1", "."),
	} {
		command.Dir = dir
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command.Args, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command(docker, "rmi", "-f", "iris-example:1").CombinedOutput(); err != nil { //nolint:noctx // the test's context is over
			t.Errorf("docker rmi: %v\n%s", err, out)
		}
	})
	url := deploy(t, "docker/cortex.yaml", "iris-docker")
	if status, body := call(t, "POST", url, setosa); status != 200 || !strings.Contains(body, `"species":"setosa"`) {
		t.Errorf("POST %s = %d %s, want setosa", url, status, body)
	}
}

// A file of the predecessor means what it meant. It is not deployed: its image
// is not ours to pull.
func TestMigration(t *testing.T) {
	t.Parallel()
	cortex(t, "validate", "migration/cortex.yaml")
	out := cortex(t, "deploy", "migration/cortex.yaml", "--dry-run")
	for _, want := range []string{"text-generator", "text-generator-router"} {
		if !strings.Contains(out, want) {
			t.Errorf("cortex deploy --dry-run says %q, want it to name %s", out, want)
		}
	}
}

// Every cortex.yaml in the examples is valid, and every example is in this file.
func TestEveryFileIsValid(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(here.dir, "*", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	nested, err := filepath.Glob(filepath.Join(here.dir, "*", "*", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, nested...)
	if len(files) < 10 {
		t.Errorf("found %d files, want those of all examples", len(files))
	}
	cortex(t, append([]string{"validate"}, files...)...)
}
