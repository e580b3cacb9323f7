// Package process runs containers without an image: as processes of this machine,
// each in a session of its own, in the folder of its file.
//
// It promises that a process gets nothing of this program's environment but a
// short list (Passed), and that nothing a container started outlives it: not when
// it ends, not when it is killed, not when this program is. Every process carries
// a mark in its environment by which it is found again; a direct child dies with
// us by the kernel's hand (Linux), and a reaper, a second process of the same
// executable, ends the rest when we are gone. On Linux the mark is a second time where
// no program looks, so that it outlives a new session, an emptied or overwritten
// environment and closed files (mark_linux.go). It must not decide when to start or
// stop anything.
package process

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"cortex.dev/cortex/internal/engine/local"
)

// markName is the variable in which every process of ours carries whose it is:
// <instance>.<life>.<container>.
const markName = "CORTEX_PROCESS_MARK"

// Passed are the variables of this program that its processes get as well:
// what programs need to find themselves, their user and their language, and
// nothing that grants anything.
func Passed() []string {
	return []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"}
}

// Config says where the runtime remembers who it is.
type Config struct {
	StateDir string // holds the name by which leftovers are recognised
	Log      *slog.Logger
}

// Runtime runs processes. It implements local.Runtime.
type Runtime struct {
	cfg      Config
	instance string // names the state folder, across lives
	life     string // names this program's hold on it
	spawner  *spawner
	reaper   *reaper
	ledger   ledger
	groups   groups

	mu      sync.Mutex
	running map[*process]struct{}
	started uint64 // containers, ever; names the next one
	closed  bool
}

var _ local.Runtime = (*Runtime)(nil)

// New returns a runtime that starts nothing before Open.
func New(cfg Config) (*Runtime, error) {
	if !filepath.IsAbs(cfg.StateDir) {
		return nil, errors.New("the state folder of the process runtime must be an absolute path")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Runtime{cfg: cfg, running: map[*process]struct{}{}}, nil
}

// Name implements local.Runtime.
func (r *Runtime) Name() string { return "process" }

// Available implements local.Runtime.
func (r *Runtime) Available(context.Context) (string, error) {
	return "processes of this machine", nil
}

// Open implements local.Runtime.
func (r *Runtime) Open(context.Context) error {
	instance, err := local.Instance(r.cfg.StateDir)
	if err != nil {
		return fmt.Errorf("naming the state folder: %w", err)
	}
	r.instance, r.life = instance, newName()
	r.ledger = ledger{filepath.Join(r.cfg.StateDir, "processes")}
	r.ledger.end()
	if n := endAll(r.instance+".", 0); n > 0 {
		r.cfg.Log.Info("ended processes of an earlier run", "processes", n)
	}
	r.groups = openGroups(r.instance)
	r.spawner = newSpawner()
	r.reaper = startReaper(r.mark(""), r.ledger, r.cfg.Log)
	return nil
}

// Close implements local.Runtime.
func (r *Runtime) Close() error {
	r.mu.Lock()
	r.closed = true
	left := slices.Collect(maps.Keys(r.running))
	r.mu.Unlock()
	for _, p := range left {
		_ = p.Kill()
		<-p.done
	}
	if r.spawner != nil {
		r.spawner.close()
	}
	if r.reaper != nil {
		r.reaper.close()
	}
	r.groups.close()
	return nil
}

// mark returns the mark of one container, or what the marks of all of this life
// begin with.
func (r *Runtime) mark(container string) string {
	return r.instance + "." + r.life + "." + container
}

// Start implements local.Runtime.
func (r *Runtime) Start(ctx context.Context, spec local.ContainerSpec) (local.Container, error) {
	if len(spec.Command)+len(spec.Args) == 0 {
		return nil, startError("missing_executable", nil, "container "+spec.Name+" has no command", "give the container a command")
	}
	if err := checkDirectory(spec.Directory); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.started++
	mark := r.mark(fmt.Sprintf("%010d", r.started)) // of one length: none begins with another
	r.mu.Unlock()
	p := &process{r: r, spec: spec, mark: mark, done: make(chan struct{}), oomBefore: oomKills()}
	p.env = environ(spec.Env, p.mark)
	words := slices.Concat(spec.Command, spec.Args)
	path, err := findExecutable(words[0], spec.Directory, lookup(p.env, "PATH"))
	if err != nil {
		return nil, err
	}
	p.cmd = &exec.Cmd{
		Path: path, Args: words, Dir: spec.Directory, Env: p.env,
		Stdout: spec.Stdout, Stderr: spec.Stderr, SysProcAttr: attributes(),
		WaitDelay: waitDelay,
	}
	if err := ctx.Err(); err != nil {
		return nil, startError("start_failed", err, "the replica is being stopped", "")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.group = r.groups.add(p.mark, spec.Compute)
	if err := r.spawn(p.cmd, p.mark, p.group); err != nil {
		p.group.remove()
		return nil, cannotStart(path, words[0], err)
	}
	p.pid = p.cmd.Process.Pid
	killFirst(p.pid)
	r.ledger.remember(p.pid)
	r.running[p] = struct{}{}
	go p.wait() // Close waits for it through done
	return p, nil
}

var errClosed = errors.New("the engine is stopping")

// spawn starts cmd while there is something that can. The caller holds r.mu.
func (r *Runtime) spawn(cmd *exec.Cmd, mark string, g *group) error {
	if r.closed || r.spawner == nil {
		return errClosed
	}
	return r.spawner.start(cmd, mark, g)
}

// environ is the environment of a process, sorted.
func environ(env map[string]string, mark string) []string {
	all := map[string]string{}
	for _, name := range Passed() {
		if v, ok := os.LookupEnv(name); ok {
			all[name] = v
		}
	}
	maps.Copy(all, env)
	all[markName] = mark
	out := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, name+"="+all[name])
	}
	return out
}

func lookup(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

func newName() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
