// Package docker runs containers that have an image, in the Docker Engine of this
// machine, through its API.
//
// It promises the contract of a local.Runtime: containers are unprivileged, what
// they request is a weight and not a limit, their output goes where the engine
// says and nowhere else, and those of an earlier life are removed before new ones
// start. A machine without Docker is no error until a container needs it. It must
// not build images or decide when to start or stop anything.
package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"cortex.dev/cortex/internal/engine/local"
	"cortex.dev/cortex/internal/workload"
)

// Labels by which our containers are recognised.
const (
	labelInstance  = "dev.cortex.instance" // of the state folder
	labelLife      = "dev.cortex.life"     // of the program
	labelWorkload  = "dev.cortex.api"
	labelReplica   = "dev.cortex.replica"
	labelContainer = "dev.cortex.container"
)

const (
	asking   = 5 * time.Second  // for what answers at once when Docker works
	ordering = 60 * time.Second // for what takes Docker some work, a pull excepted
)

// Config says which Docker to use and for whom.
type Config struct {
	StateDir string // names whose containers are ours
	Host     string // such as unix:///var/run/docker.sock; empty: as DOCKER_HOST or the context of its command line says, or the usual one
	// Publish reaches containers through ports published on loopback even where
	// their own addresses can be reached, which is so on Linux with a local Docker.
	Publish bool
	Log     *slog.Logger
}

// Runtime runs containers. It implements local.Runtime.
type Runtime struct {
	cfg    Config
	cli    *client.Client
	life   string
	closed chan struct{}

	mu       sync.Mutex
	instance string
	local    bool // Docker's processes and networks are this machine's
	direct   bool // containers are reached at their own addresses
	swept    bool // what an earlier life left behind is gone
	running  sync.WaitGroup
}

var _ local.Runtime = (*Runtime)(nil)

// New returns a runtime that does not speak to Docker before Open.
func New(cfg Config) (*Runtime, error) {
	if !filepath.IsAbs(cfg.StateDir) {
		return nil, errors.New("the state folder of the docker runtime must be an absolute path")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Host == "" {
		host, err := contextHost(os.Getenv)
		if err != nil { // Docker may not be needed
			cfg.Log.Warn("Docker is asked at its usual place", "because", err)
		}
		cfg.Host = host
	}
	options := []client.Opt{client.FromEnv}
	if cfg.Host != "" {
		options = append(options, client.WithHost(cfg.Host))
	}
	cli, err := client.New(options...)
	if err != nil {
		return nil, fmt.Errorf("reading how Docker is reached: %w", err)
	}
	return &Runtime{cfg: cfg, cli: cli, life: rand.Text(), closed: make(chan struct{})}, nil
}

// Name implements local.Runtime.
func (r *Runtime) Name() string { return "docker" }

// Available implements local.Runtime.
func (r *Runtime) Available(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	v, err := r.cli.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return "", r.silent(err)
	}
	return "Docker " + v.Version + " at " + r.cli.DaemonHost(), nil
}

// Socket is the path of Docker's socket; empty where it is reached in another way.
func (r *Runtime) Socket() string {
	path, _ := strings.CutPrefix(r.cli.DaemonHost(), "unix://")
	if !filepath.IsAbs(path) {
		return ""
	}
	return path
}

// silent is the error of a Docker that does not answer.
func (r *Runtime) silent(err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "permission denied"):
		text = "this user may not use it"
	case strings.Contains(text, "no such file"), strings.Contains(text, "connection refused"), strings.Contains(text, "Cannot connect"), strings.Contains(text, "failed to connect"):
		text = "it is not installed or not running"
	}
	return &local.StartError{Err: err, Reason: workload.Reason{
		Code:    "docker_unavailable",
		Message: fmt.Sprintf("Docker does not answer at %s: %s", r.cli.DaemonHost(), text),
		Fix:     "start Docker, let this user use it (docker info must work), or restart the environment with another DOCKER_HOST or Docker context, which it reads at its start; without Docker, give the container a command instead of an image",
	}}
}

// Open implements local.Runtime. A Docker that does not answer is asked again
// when a container needs it.
func (r *Runtime) Open(ctx context.Context) error {
	instance, err := local.Instance(r.cfg.StateDir)
	if err != nil {
		return fmt.Errorf("naming the state folder: %w", err)
	}
	r.mu.Lock()
	r.instance = instance
	r.mu.Unlock()
	if err := r.prepare(ctx); err != nil {
		r.cfg.Log.Debug("docker is not available", "error", err)
	}
	return nil
}

// prepare makes sure, once, that Docker answers and that nothing of an earlier
// life is left.
func (r *Runtime) prepare(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.swept {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ordering)
	defer cancel()
	asked, done := context.WithTimeout(ctx, asking)
	info, err := r.cli.Info(asked, client.InfoOptions{})
	done()
	if err != nil {
		return r.silent(err)
	}
	rootless := false
	for _, o := range info.Info.SecurityOptions {
		rootless = rootless || strings.Contains(o, "name=rootless")
	}
	r.local = runtime.GOOS == "linux" && !rootless &&
		strings.HasPrefix(r.cli.DaemonHost(), "unix://") && !strings.Contains(info.Info.OperatingSystem, "Docker Desktop")
	r.direct = r.local && !r.cfg.Publish
	if err := r.sweep(ctx, true); err != nil {
		return fmt.Errorf("removing containers of an earlier run: %w", err)
	}
	r.swept = true
	r.running.Go(r.sweepAgain)
	return nil
}

// late is how long Docker may still be busy with what a program ordered before
// it was killed.
const late = 15 * time.Second

// sweepAgain removes what Docker finished only after the first sweep.
func (r *Runtime) sweepAgain() {
	timer := time.NewTimer(late)
	defer timer.Stop()
	select {
	case <-r.closed:
		return // which sweeps too
	case <-timer.C:
	}
	ctx, cancel := context.WithTimeout(context.Background(), ordering)
	defer cancel()
	if err := r.sweep(ctx, true); err != nil {
		r.cfg.Log.Warn("removing containers of an earlier run", "error", err)
	}
}

// sweep removes the containers of this state folder: all, or only those that
// another life started.
func (r *Runtime) sweep(ctx context.Context, others bool) error {
	list, err := r.cli.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: client.Filters{}.Add("label", labelInstance+"="+r.instance),
	})
	if err != nil {
		return err
	}
	var all error
	for _, c := range list.Items {
		if others && c.Labels[labelLife] == r.life {
			continue
		}
		if err := r.remove(ctx, c.ID); err != nil {
			all = errors.Join(all, err)
		}
	}
	return all
}

func (r *Runtime) remove(ctx context.Context, id string) error {
	_, err := r.cli.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// Close implements local.Runtime.
func (r *Runtime) Close() error {
	r.mu.Lock()
	swept := r.swept
	r.mu.Unlock()
	close(r.closed)
	var err error
	if swept {
		ctx, cancel := context.WithTimeout(context.Background(), ordering)
		defer cancel()
		err = r.sweep(ctx, false)
	}
	r.running.Wait()
	return errors.Join(err, r.cli.Close())
}
