package local

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/engine/local/probe"
	"cortex.dev/cortex/internal/workload"
)

// container keeps one container of a replica running.
type container struct {
	r       *replica
	spec    *workload.Container
	serving bool       // expected to listen on the pod's port
	network *container // whose network it joins; nil for its own
	log     *logWriter

	// Guarded by r.mu:
	view   view
	handle Container // nil while nothing runs
}

func newContainer(r *replica, spec *workload.Container, serving bool) *container {
	c := &container{r: r, spec: spec, serving: serving}
	c.log = r.logs.writer(r.logName, r.id, spec.Name, c.logTrouble)
	c.view = view{name: spec.Name, command: slices.Concat(spec.Command, spec.Args), image: spec.Image}
	return c
}

// logTrouble records that log lines cannot be kept, or are kept again.
func (c *container) logTrouble(reason, message string) {
	kind := "warning"
	if reason == logsKept {
		kind = "normal"
	}
	c.r.update(func() { c.r.event(kind, reason, message) })
}

// loop starts the container, and again whenever it ends, until ctx ends. It
// returns when nothing of the container runs any more.
func (c *container) loop(ctx context.Context) {
	for ctx.Err() == nil {
		if c.network != nil && !c.r.await(ctx, func() bool { return c.network.handle != nil }) {
			return
		}
		h, err := c.start(ctx)
		if err != nil {
			c.failedToStart(ctx, err)
		} else {
			c.watchOver(ctx, h)
		}
		if c.r.once != nil {
			c.r.once.ended(c)
			return
		}
		if !c.pause(ctx) {
			return
		}
	}
}

func (c *container) runtime() Runtime {
	if c.spec.Image == "" {
		return c.r.e.cfg.Process
	}
	return c.r.e.cfg.Docker
}

func (c *container) start(ctx context.Context) (Container, error) {
	rt := c.runtime()
	if rt == nil {
		return nil, noRuntime(c.spec.Image)
	}
	if err := c.r.makeFolders(); err != nil {
		return nil, err
	}
	rev := c.r.revision()
	spec := ContainerSpec{
		Workload: rev.Name, Replica: c.r.id, Name: c.spec.Name, Image: c.spec.Image,
		Directory: c.r.e.directory(rev), Scratch: c.r.folder("mnt"), Compute: c.spec.Compute, Security: c.spec.SecurityContext, Ports: podPorts(c.r.pod),
	}
	port := int32(0)
	if c.r.pod.Port != nil {
		spec.Port, port = *c.r.pod.Port, *c.r.pod.Port
		if c.spec.Image == "" {
			var err error
			if port, err = c.r.portFor(c.serving, c.view.portTaken); err != nil {
				return nil, &StartError{Reason: workload.Reason{
					Code: engine.CodePortInUse, Message: err.Error(), Fix: "stop some of the servers on this machine",
				}}
			}
			spec.HostPort = port
		}
	}
	mounts, volumes, err := c.mounts(rev)
	if err != nil {
		return nil, err
	}
	spec.Mounts = slices.Concat(mounts, c.r.once.mounts())
	secrets, err := c.secrets(ctx)
	if err != nil {
		return nil, err
	}
	spec.Env = environment(c.r.e.cfg, c.spec, port, c.r.folder, volumes, secrets)
	c.r.once.addTo(spec.Env, c.spec.Image != "")
	spec.Command, spec.Args = expandAll(c.spec.Command, spec.Env), expandAll(c.spec.Args, spec.Env)
	if _, own := spec.Env["PATH"]; !own && c.spec.Image == "" && rev.Programs != nil {
		spec.Env["PATH"] = rev.Programs.Path
	}
	c.r.update(func() {
		if c.network != nil {
			spec.Network = c.network.handle
		}
		c.view.phase, c.view.starts, c.view.wasReady = phaseStarting, c.view.starts+1, false
		c.view.ready, c.view.probe, c.view.listening, c.view.looked = false, "", nil, time.Time{}
		c.view.elsewhere = time.Time{}
		c.view.port, c.view.doing = port, ""
		spec.Run = c.view.starts
	})
	c.log.startRun()
	spec.Stdout, spec.Stderr = c.log.stream("stdout"), c.log.stream("stderr")
	spec.Note = func(doing string) { c.r.update(func() { c.view.doing = doing }) }
	return rt.Start(ctx, spec)
}

// directory is the folder in which the processes of a revision run.
func (e *Engine) directory(r *workload.Revision) string {
	if digest := r.CodeDigest(); digest != "" {
		return filepath.Join(e.cfg.CodeDir, digest)
	}
	return r.Directory
}

func (c *container) failedToStart(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // it was interrupted, which says nothing
	}
	var se *StartError
	if !errors.As(err, &se) {
		se = &StartError{Reason: workload.Reason{Code: "start_failed", Message: err.Error()}, Err: err}
	}
	c.r.update(func() {
		c.view.phase, c.view.failed, c.view.exit = phaseEnded, se, nil
		c.view.end(c.r.e.cfg.Backoff, 0)
		c.r.event("warning", "ContainerNotStarted", "container "+c.spec.Name+" of replica "+c.r.id+" did not start: "+se.Reason.Message)
	})
}

// watchOver probes a running container until it ends, and records how it ended.
func (c *container) watchOver(ctx context.Context, h Container) {
	started := time.Now()
	asked := c.hasReadiness()
	c.r.update(func() {
		c.handle = h
		c.view.phase, c.view.failed, c.view.started = phaseRunning, nil, started
		c.view.ready, c.view.wasReady = !asked, !asked
	})
	if ctx.Err() != nil {
		_ = h.Kill() // the end came while it started; it never served anyone
	}
	probing, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	sick := make(chan string, 1)
	c.probe(probing, &wg, h, sick)

	var cause string
	var network <-chan struct{}
	if c.network != nil {
		c.r.mu.Lock()
		if c.network.handle != nil {
			network = c.network.handle.Done()
		}
		c.r.mu.Unlock()
	}
	select {
	case <-h.Done():
	case cause = <-sick:
		c.restart(h, "its liveness probe fails: "+cause)
	case <-network:
		c.restart(h, "the container whose network it shares has ended")
	}
	cancel()
	wg.Wait()
	c.ended(h, started, cause)
}

// ended records the end of a run.
func (c *container) ended(h Container, started time.Time, liveness string) {
	exit := h.Exit()
	c.log.flush()
	recent := c.log.recent()
	c.r.update(func() {
		c.handle = nil
		if c.r.stopping {
			c.view.phase, c.view.ready = phaseStopped, false
			return
		}
		c.view.end(c.r.e.cfg.Backoff, exit.At.Sub(started))
		c.view.phase, c.view.ready, c.view.exit, c.view.recent = phaseEnded, false, &exit, recent
		c.view.liveness = liveness
		c.view.portTaken = mentionsPortInUse(recent)
		c.r.event("warning", "ContainerExited", "container "+c.spec.Name+" of replica "+c.r.id+" "+exit.words())
	})
}

// restart ends a container that is to be started again.
func (c *container) restart(h Container, why string) {
	c.r.update(func() {
		c.r.event("warning", "ContainerRestarting", "restarting container "+c.spec.Name+" of replica "+c.r.id+": "+why)
	})
	c.terminate(h, time.Now().Add(c.r.grace()))
}

// pause waits as long as the backoff asks for and reports whether to go on.
func (c *container) pause(ctx context.Context) bool {
	c.r.mu.Lock()
	wait := c.view.pause
	c.r.mu.Unlock()
	if wait == 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// hasReadiness reports whether anything is asked before the container counts as ready.
func (c *container) hasReadiness() bool { return c.spec.ReadinessProbe != nil || c.implicit() }

// implicit reports whether a TCP probe of the pod's port is added: when no
// readiness probe of the pod asks there.
func (c *container) implicit() bool {
	if !c.serving {
		return false
	}
	port := *c.r.pod.Port
	for _, other := range c.r.containers {
		if asksAt(other.spec.ReadinessProbe, port) {
			return false
		}
	}
	return true
}

// probe starts the probes of a running container.
func (c *container) probe(ctx context.Context, wg *sync.WaitGroup, h Container, sick chan<- string) {
	var questions []question
	if p := c.spec.ReadinessProbe; p != nil {
		s := probe.From(p)
		s.Quick = true
		questions = append(questions, question{s, c.check(p, h), false})
	}
	if c.implicit() {
		questions = append(questions, question{implicitSettings, c.check(&workload.Probe{TCPSocket: &workload.TCPSocket{Port: *c.r.pod.Port}}, h), true})
	}
	passing := make([]bool, len(questions)) // guarded by r.mu
	for i, q := range questions {
		wg.Go(func() {
			probe.Run(ctx, q.settings, q.check, func(v probe.Verdict) {
				c.readiness(h, v, q.implicit, func(ok bool) bool {
					passing[i] = ok
					return !slices.Contains(passing, false)
				})
			})
		})
	}
	if p := c.spec.LivenessProbe; p != nil {
		wg.Go(func() {
			probe.Run(ctx, probe.From(p), c.check(p, h), func(v probe.Verdict) {
				if v.Changed && !v.Passing {
					select {
					case sick <- v.Detail:
					default:
					}
				}
			})
		})
	}
}

type question struct {
	settings probe.Settings
	check    probe.Check
	implicit bool
}

// implicitSettings are those of the probe nobody asked for: quick to see a server
// come up, and cheap afterwards.
var implicitSettings = probe.Settings{
	Period: 2 * time.Second, Timeout: time.Second, SuccessThreshold: 1, FailureThreshold: 2,
	Quick: true, Floor: 3 * time.Millisecond,
}

// readiness takes over one answer to a readiness question. Note, called with r.mu
// held, writes down whether the question passes and returns whether all do.
func (c *container) readiness(h Container, v probe.Verdict, implicit bool, note func(ok bool) bool) {
	c.r.mu.Lock()
	same := !v.Changed && (v.Passing || v.OK || c.view.probe == v.Detail)
	age := time.Since(c.view.started)
	early := !v.OK && !c.view.ready && age < silence
	look := !v.OK && age >= silence && (c.view.looked.IsZero() || time.Since(c.view.looked) >= lookAgain)
	c.r.mu.Unlock()
	if early || same && !look {
		return
	}
	var listening []string
	if look {
		listening = h.Listening()
	}
	c.r.update(func() {
		if !v.OK {
			c.view.probe, c.view.implicit = v.Detail, implicit
		}
		if look {
			c.view.found(listening, time.Now())
		}
		c.view.ready = note(v.Known && v.Passing)
		c.view.wasReady = c.view.wasReady || c.view.ready
	})
}

// silence is how long a server may take to listen before a failing probe is called
// that and we look where else it may be listening: a healthy start should alarm
// nobody. lookAgain is how long what was found is believed.
const (
	silence   = time.Second
	lookAgain = 5 * time.Second
)

// forwarderSilence is how long a connection that a forwarder accepted must stay
// open to count: a forwarder closes it as soon as it fails to reach the container.
const forwarderSilence = 500 * time.Millisecond

// check returns the question a probe in the spec asks of a running container.
func (c *container) check(p *workload.Probe, h Container) probe.Check {
	switch {
	case p.HTTPGet != nil:
		return probe.HTTP(httpURL(h.Address(p.HTTPGet.Port), p.HTTPGet.Path))
	case p.TCPSocket != nil:
		lingering := time.Duration(0)
		if h.Forwarded() {
			lingering = forwarderSilence
		}
		return probe.TCP(h.Address(p.TCPSocket.Port), lingering)
	default:
		return probe.Exec(p.Exec.Command, brief(h))
	}
}

func httpURL(address, path string) string {
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	return "http://" + address + path
}
