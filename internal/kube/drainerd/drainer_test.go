package drainerd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"cortex.dev/cortex/internal/kube/program"
)

func TestEndOf(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		action, state string
		is            bool
		within        time.Duration
	}{
		"nothing":              {"", "InService", false, 0},
		"no group":             {"", "", false, 0},
		"standby":              {"", "Standby", false, 0},
		"notice":               {`{"action":"terminate","time":"2026-12-01T12:01:30Z"}`, "InService", true, 90 * time.Second},
		"stop":                 {`{"action":"stop","time":"2026-12-01T12:02:00Z"}`, "InService", true, 2 * time.Minute},
		"notice far away":      {`{"action":"terminate","time":"2026-12-01T14:00:00Z"}`, "", true, 2 * time.Minute},
		"notice without sense": {`soon`, "", true, 2 * time.Minute},
		"group":                {"", "Terminated", true, 2 * time.Minute},
	} {
		e, is := endOf(tt.action, tt.state, now)
		if is != tt.is || is && e.at.Sub(now) != tt.within {
			t.Errorf("%s: endOf = %+v, %v; want %v within %s", name, e, is, tt.is, tt.within)
		}
	}
}

// server is instance metadata that takes one token.
type server struct {
	mu     sync.Mutex
	token  string
	paths  map[string]string
	broken bool
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, there := s.paths[strings.TrimPrefix(r.URL.Path, "/latest/meta-data/")]
	switch {
	case s.broken:
		w.WriteHeader(http.StatusInternalServerError)
	case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" && r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") != "":
		_, _ = io.WriteString(w, s.token)
	case r.Header.Get("X-aws-ec2-metadata-token") != s.token:
		w.WriteHeader(http.StatusUnauthorized)
	case !there:
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = io.WriteString(w, text)
	}
}

// A token that has run out is renewed, and what does not answer is no end.
func TestMetadata(t *testing.T) {
	t.Parallel()
	s := &server{token: "a", paths: map[string]string{"autoscaling/target-lifecycle-state": "InService\n"}}
	at := httptest.NewServer(s)
	defer at.Close()
	m := &metadata{base: at.URL, http: at.Client()}
	if _, is, err := m.ending(t.Context()); is || err != nil {
		t.Errorf("ending = %v, %v; want neither", is, err)
	}
	s.mu.Lock()
	s.token, s.paths["spot/instance-action"] = "b", `{"action":"terminate","time":"2026-12-01T12:02:00Z"}`
	s.mu.Unlock()
	if _, is, err := m.ending(t.Context()); !is || err != nil {
		t.Errorf("ending = %v, %v; want an end, by a new token", is, err)
	}
	s.mu.Lock()
	s.broken = true
	s.mu.Unlock()
	if _, is, err := m.ending(t.Context()); is || err == nil {
		t.Errorf("ending = %v, %v; want that nobody says", is, err)
	}
}

// cluster is one with the node and a pod of an API on it, and one of somebody else's.
func cluster() *fake.Clientset {
	on := func(namespace string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: namespace}, Spec: corev1.PodSpec{NodeName: "mine"}}
	}
	c := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}, on("apis"), on("others"))
	c.PrependReactor("create", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
		e := a.(k8stesting.CreateAction).GetObject().(*policyv1.Eviction)
		return true, nil, c.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), e.Namespace, e.Name)
	})
	return c
}

// emptied waits until the pod of the API has gone, and returns what is cordoned then.
func emptied(t *testing.T, c *fake.Clientset, within time.Duration) bool {
	t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
		pods, err := c.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) == 1 && pods.Items[0].Namespace == "others" {
			n, err := c.CoreV1().Nodes().Get(t.Context(), "mine", metav1.GetOptions{})
			return err == nil && n.Spec.Unschedulable
		}
	}
	return false
}

// mock is AWS's own mock of instance metadata.
var mock = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "imds")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "ec2-metadata-mock")
	text, err := exec.Command("go", "build", "-C", "../../../tools/imds", "-o", file, "github.com/aws/amazon-ec2-metadata-mock/cmd/ec2-metadata-mock").CombinedOutput()
	if err != nil {
		return string(text), err
	}
	return file, nil
})

// Against AWS's mock of instance metadata, as a process that takes version 2 alone: a spot
// notice, and the end that a scaling group wants, empty the node; nothing else does.
func TestAgainstTheMockOfAWS(t *testing.T) {
	t.Parallel()
	file, err := mock()
	if err != nil {
		t.Skipf("AWS's mock of instance metadata is not on this machine: `go -C tools/imds mod download` gets it: %v\n%s", err, file)
	}
	for _, tt := range []struct {
		name  string
		args  []string
		empty bool
	}{
		{"spot", []string{"spot", "--action", "terminate", "-d", "2"}, true},
		{"group", []string{"asglifecycle", "--asg-termination-delay-sec", "2"}, true},
		{"nothing", []string{"events", "-d", "2"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			host, port, _ := net.SplitHostPort(ln.Addr().String())
			if err := ln.Close(); err != nil {
				t.Fatal(err)
			}
			p := exec.CommandContext(t.Context(), file, append(tt.args, "--imdsv2", "-n", host, "-p", port)...)
			p.Env = append(os.Environ(), "HOME="+t.TempDir())
			var said bytes.Buffer
			p.Stdout, p.Stderr = &said, &said
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = p.Process.Kill(), p.Wait() }()
			c := cluster()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			log := &bytes.Buffer{}
			w := &watcher{
				node: "mine", namespace: "apis", client: c, log: slog.New(slog.NewTextHandler(log, nil)),
				metadata: &metadata{base: "http://" + net.JoinHostPort(host, port), http: &http.Client{}},
			}
			go func() { defer close(done); w.run(ctx) }()
			within := 60 * time.Second
			if !tt.empty {
				within = 12 * time.Second
			}
			got := emptied(t, c, within)
			cancel()
			<-done
			if got != tt.empty {
				_, _ = p.Process.Kill(), p.Wait()
				t.Errorf("the node is emptied: %v, want %v; it says\n%s\nand the mock\n%s", got, tt.empty, log, &said)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--help"}, 0, "usage: cortex-operator drainer"},
		{nil, 2, "--node"},
		{[]string{"--node", "a", "--namespace", "b", "more"}, 2, "unexpected argument"},
	} {
		var out, err bytes.Buffer
		if code := Main(t.Context(), tt.args, program.Streams{Out: &out, Err: &err}, "1"); code != tt.code || !strings.Contains(out.String()+err.String(), tt.want) {
			t.Errorf("Main(%q) = %d, %q %q; want %d and %q", tt.args, code, &out, &err, tt.code, tt.want)
		}
	}
}
