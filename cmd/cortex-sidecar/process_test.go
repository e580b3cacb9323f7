package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"cortex.dev/cortex/internal/tracing/tracingtest"
)

// TestTerminationLosesNothing: the real program, with requests in the container and
// in its line when it is told to end.
func TestTerminationLosesNothing(t *testing.T) {
	t.Parallel()
	const callers = 8
	inside, release := make(chan struct{}, callers), make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inside <- struct{}{}
		<-release
		_, _ = io.Copy(w, r.Body)
	}))
	defer backend.Close()
	dir := t.TempDir()
	program := filepath.Join(dir, "cortex-sidecar")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	data, admin := free(t), free(t)
	collector := tracingtest.New(t)
	var log bytes.Buffer
	cmd := exec.Command(program)
	cmd.Stderr = &log
	cmd.Env = []string{
		"CORTEX_TARGET_PORT=" + strconv.Itoa(backend.Listener.Addr().(*net.TCPAddr).Port), "CORTEX_MAX_CONCURRENCY=2", "CORTEX_MAX_QUEUE_LENGTH=20",
		"CORTEX_LISTEN=" + data, "CORTEX_ADMIN_LISTEN=" + admin, "CORTEX_BIN_DIR=" + filepath.Join(dir, "bin"), "CORTEX_GRACE=30", "CORTEX_PROBE_PORT=true",
		"CORTEX_TRACE_ENDPOINT=" + collector.URL, "CORTEX_TRACE_RATIO=1", "OTEL_RESOURCE_ATTRIBUTES=k8s.pod.name=iris-1",
	}
	// As the kubelet asks; before the program listens too, which is no failure of a probe.
	conn, err := grpc.NewClient(admin, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	kubelet := healthpb.NewHealthClient(conn)
	conn.Connect()
	until(t, "asked before it listens", func() bool { return conn.GetState() == connectivity.TransientFailure })
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if resp, err := kubelet.Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil || resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("the health check = %v, %v, want SERVING", resp, err)
	}
	if got := askStatus("http://" + admin + "/ready"); got != 200 {
		t.Errorf("/ready = %d, want 200", got)
	}
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			want := "request " + strconv.Itoa(i)
			resp, err := http.Post("http://"+data+"/", "text/plain", bytes.NewBufferString(want))
			if err != nil {
				t.Errorf("POST: %v", err)
				return
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(got) != want || err != nil {
				t.Errorf("POST = %d %q, %v; want 200 %q", resp.StatusCode, got, err, want)
			}
		})
	}
	<-inside
	<-inside
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, "draining", func() bool { return askStatus("http://"+admin+"/ready") == 503 })
	if _, err := kubelet.Check(t.Context(), &healthpb.HealthCheckRequest{}); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "draining") {
		t.Errorf("the health check = %v, want Unavailable and that it drains", err)
	}
	close(release)
	all.Wait()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the program ended with %v, want 0\n%s", err, &log)
	}
	spans := collector.Spans() // also those of the last moment
	for _, s := range spans {
		if s.Service != "cortex-sidecar" || s.Resource["k8s.pod.name"] != "iris-1" || s.Attributes["http.response.status_code"] != "200" {
			t.Errorf("a span of %v with %v, want one of the pod iris-1 that says 200", s.Resource, s.Attributes)
		}
	}
	if len(spans) != callers {
		t.Errorf("the collector has %d spans, want one of each of %d requests", len(spans), callers)
	}
	if out, err := exec.Command(filepath.Join(dir, "bin", "cortex-sidecar"), "what").CombinedOutput(); err == nil || cmdCode(err) != 2 {
		t.Errorf("the program that was left behind, used wrongly = %v %q, want exit code 2", err, out)
	}
}

func cmdCode(err error) int {
	if e, ok := err.(*exec.ExitError); ok { //nolint:errorlint // as Run returns it
		return e.ExitCode()
	}
	return -1
}

func askStatus(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// free returns an address that was free a moment ago: the program cannot be asked
// which one it was given.
func free(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("it never was " + what)
		case <-tick.C:
		}
	}
}
