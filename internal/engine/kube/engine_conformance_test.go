package kube_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/engine/enginetest"
	"cortex.dev/cortex/internal/engine/kube"
	"cortex.dev/cortex/internal/kubetest"
	"cortex.dev/cortex/internal/workload"
)

// place is the cluster that the suite runs on, with its images.
type place struct {
	rest   *rest.Config
	client kubernetes.Interface

	mu         sync.Mutex
	server     string            // image
	sidecar    string            // image
	namespaces map[string]string // by the state folder of a scene
}

// images builds and loads what the pods of the suite are made of, once.
func (p *place) images(server string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "kube-images-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	data, sidecar := filepath.Join(dir, "data.txt"), filepath.Join(dir, "cortex-sidecar")
	if err := os.WriteFile(data, []byte("not a program\n"), 0o600); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", sidecar, "cortex.dev/cortex/cmd/cortex-sidecar")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compiling the sidecar: %w\n%s", err, out)
	}
	ctx := context.Background()
	if p.sidecar, err = kubetest.LoadImage(ctx, "cortex.dev/sidecar", map[string]string{"/cortex-sidecar": sidecar}); err != nil {
		return err
	}
	p.server, err = kubetest.LoadImage(ctx, "cortex.dev/test-server", map[string]string{"/server": server, "/data.txt": data}, "/server")
	return err
}

// namespace is that of a scene.
func (p *place) namespace(t testing.TB, stateDir string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.namespaces[stateDir] == "" {
		name := kubetest.Namespace(t, p.rest)
		p.namespaces[stateDir] = name
		for deadline := time.Now().Add(time.Minute); ; { // without it no pod is accepted
			_, err := p.client.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the namespace %s never got its service account: %v", name, err)
			}
		}
	}
	return p.namespaces[stateDir]
}

func (p *place) harness(o enginetest.Options) (enginetest.Harness, error) {
	if err := p.images(o.Server); err != nil {
		return enginetest.Harness{}, err
	}
	for name, value := range o.Secrets {
		if _, err := p.client.CoreV1().Secrets(p.namespace(o.TB, o.StateDir)).Create(o.TB.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{crd.SecretLabel: "true"}}, StringData: map[string]string{crd.SecretKey: value},
		}, metav1.CreateOptions{}); err != nil {
			return enginetest.Harness{}, err
		}
	}
	e, err := kube.New(kube.Config{
		REST: p.rest, ProgressDeadline: o.Deadline, Log: testLog(o.TB), InFlight: o.InFlight,
		Pods: kube.PodConfig{
			Namespace: p.namespace(o.TB, o.StateDir), SidecarImage: p.sidecar, SidecarPull: corev1.PullIfNotPresent,
			Version: enginetest.Version, Env: o.Env, Grace: o.Grace,
			SidecarCPU: resource.MustParse("5m"), SidecarMem: resource.MustParse("10Mi"),
		},
	})
	if err == nil {
		e.KeepRuns(&memory{files: map[string]string{}})
	}
	return enginetest.Harness{
		Engine:     e,
		Container:  func(args ...string) workload.Container { return workload.Container{Image: p.server, Args: args} },
		Self:       []string{"/server"},
		OwnNetwork: true, Outlives: true, DrainsItself: true, Delegates: true, LogsEndWithReplica: true, OneStream: true, SeesLess: true,
		Broken: map[string]workload.Container{
			"missing_executable": {Image: p.server, Command: []string{"/never-built"}},
			"not_executable":     {Image: p.server, Command: []string{"/data.txt"}},
			"image_not_found":    {Image: "Not A Reference"},
			"image_pull":         {Image: "localhost:1/iris:1"},
		},
	}, err
}

// memory keeps files for as long as the test takes.
type memory struct {
	mu    sync.Mutex
	files map[string]string
}

func (m *memory) Put(_ context.Context, name string, r io.Reader) (int64, error) {
	data, err := io.ReadAll(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = string(data)
	return int64(len(data)), err
}

func (m *memory) Open(_ context.Context, name string) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return io.NopCloser(strings.NewReader(m.files[name])), nil
}

func (m *memory) List(_ context.Context, folder string) (names []string, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.files {
		if strings.HasPrefix(name, folder+"/") {
			names = append(names, name)
		}
	}
	return names, nil
}

func (m *memory) Remove(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, name)
	return nil
}

func TestConformance(t *testing.T) {
	t.Parallel()
	p := &place{rest: kubetest.Config(t), namespaces: map[string]string{}}
	if _, err := os.Stat(filepath.Join(kubetest.Root(t), "bin", "kube", "node.json")); err != nil {
		t.Skip("no node to load images into: make kube-up starts one")
	}
	var err error
	if p.client, err = kubernetes.NewForConfig(p.rest); err != nil {
		t.Fatal(err)
	}
	enginetest.Run(t, p.harness)
}

// testLog shows what the engine logs with the scene that it is of.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
