package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"cortex.dev/cortex/bench/report"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/localenv"
	"cortex.dev/cortex/internal/workload"
)

// place is where the benchmark lives: a temporary folder with the binaries built
// from this checkout.
type place struct {
	report.Options
	dir    string
	cortex string // the product
	server string // bench/testserver
	homes  int
}

func newPlace(ctx context.Context, o report.Options) (*place, error) {
	dir, err := os.MkdirTemp("", "cxbench")
	if err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	p := &place{Options: o, dir: dir, cortex: filepath.Join(dir, "cortex"), server: filepath.Join(dir, "testserver")}
	for binary, from := range map[string]string{p.cortex: "cortex.dev/cortex/cmd/cortex", p.server: "cortex.dev/cortex/bench/testserver"} {
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, from)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			p.close()
			return nil, fmt.Errorf("building %s: %w\n%s", from, err, out)
		}
	}
	return p, nil
}

func (p *place) close() { _ = os.RemoveAll(p.dir) }

// home is a user's configuration folder, and maybe the daemon that belongs to it.
type home struct {
	*place
	workload.Service // speaks to the daemon

	dir      string
	metrics  string // where its metrics are; empty: nowhere
	endpoint string // where APIs are served: http://localhost:port
	daemon   *exec.Cmd
	ended    chan error
	output   *bytes.Buffer
}

// newHome returns a fresh home without a daemon.
func (p *place) newHome() (*home, error) {
	p.homes++
	h := &home{place: p, dir: filepath.Join(p.dir, fmt.Sprintf("h%d", p.homes))}
	return h, errors.Join(os.MkdirAll(h.config(), 0o700), os.Mkdir(h.project(), 0o700))
}

func (h *home) config() string  { return filepath.Join(h.dir, "config") }
func (h *home) project() string { return filepath.Join(h.dir, "project") } // a home itself cannot be deployed

func (h *home) env() []string {
	env := []string{"HOME=" + h.dir, "CORTEX_CLI_CONFIG_DIR=" + h.config(), "NO_COLOR=1"}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if name != "HOME" && !strings.HasPrefix(name, "CORTEX_") && !strings.HasPrefix(name, "AWS_") {
			env = append(env, kv)
		}
	}
	return env
}

// run runs the product's command line as a user would.
func (h *home) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, h.cortex, args...)
	cmd.Env, cmd.Dir = h.env(), h.project()
	out, err := cmd.CombinedOutput()
	h.Log("cortex %s\n%s", strings.Join(args, " "), out)
	if err != nil {
		return "", fmt.Errorf("cortex %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// file writes a file into the project folder and returns its path.
func (h *home) file(name, text string) (string, error) {
	path := filepath.Join(h.project(), name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// deploy deploys the text of a file and waits until it is ready.
func (h *home) deploy(ctx context.Context, text string) error {
	path, err := h.file("cortex.yaml", text)
	if err != nil {
		return err
	}
	_, err = h.run(ctx, "deploy", path)
	return err
}

// start starts a daemon in the home; stop must be called.
func (p *place) start(ctx context.Context, flags ...string) (*home, error) {
	h, err := p.newHome()
	if err != nil {
		return nil, err
	}
	h.output = &bytes.Buffer{}
	h.daemon = exec.Command(p.cortex, append([]string{"local", "run", "--api-port", "0"}, flags...)...)
	h.daemon.Env, h.daemon.Dir = h.env(), h.dir
	h.daemon.Stdout, h.daemon.Stderr = h.output, h.output
	h.daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	h.daemon.WaitDelay = time.Second
	if err := h.daemon.Start(); err != nil {
		return nil, fmt.Errorf("starting the daemon: %w", err)
	}
	h.ended = make(chan error, 1)
	go func() { h.ended <- h.daemon.Wait() }()
	h.Service, err = httpapi.NewClient(httpapi.ClientConfig{Socket: localenv.Paths(h.config()).Socket})
	if err == nil {
		err = h.until(ctx, 30*time.Second, "the daemon answers", func() (bool, error) {
			info, err := h.Info(ctx)
			h.endpoint = strings.Replace(info.APIEndpoint, "localhost", "127.0.0.1", 1)
			return err == nil, nil
		})
	}
	if err != nil {
		return nil, errors.Join(err, h.stop())
	}
	return h, nil
}

// stop ends the daemon and waits for its end.
func (h *home) stop() error {
	defer func() { h.Log("the daemon said:\n%s", h.output) }()
	_ = h.daemon.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(90 * time.Second)
	defer timer.Stop()
	select {
	case <-h.ended:
		return nil
	case <-timer.C:
		_ = syscall.Kill(-h.daemon.Process.Pid, syscall.SIGKILL)
		<-h.ended
		return fmt.Errorf("the daemon did not end within 90 s of SIGTERM and was killed")
	}
}

// until asks again and again, quickly, until yes.
func (h *home) until(ctx context.Context, within time.Duration, what string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		ok, err := ask()
		if ok || err != nil {
			return err
		}
		select {
		case err := <-h.ended:
			h.ended <- err
			return fmt.Errorf("waiting until %s: the daemon ended (%w):\n%s", what, err, h.output)
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: not within %s; the daemon says:\n%s", what, within, h.output)
		case <-ticker.C:
		}
	}
}

// untilStatus waits until the status of an API is as wanted.
func (h *home) untilStatus(ctx context.Context, name, what string, is func(workload.Status) bool) error {
	return h.until(ctx, time.Minute, what, func() (bool, error) {
		api, err := h.Describe(ctx, name)
		return err == nil && api.Status != nil && is(*api.Status), nil
	})
}
