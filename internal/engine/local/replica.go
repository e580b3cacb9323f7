package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// replica runs one pod: it starts its containers, keeps them running until it is
// told to stop, and then drains and ends them.
type replica struct {
	id      string
	e       *Engine
	poke    func() // tells the controller that something changed
	created time.Time
	scratch string
	pod     *workload.Pod
	stopped chan struct{} // closed by stop
	once    *once         // of a run to its end; nil: its containers are kept running
	logs    *logStore
	logName string // whose logs they are, in logs

	mu         sync.Mutex
	rev        *workload.Revision
	containers []*container
	hostPort   int32             // allocated for processes; 0 where none is needed
	kept       map[string]string // folders of volumes that outlive the replica, by name
	release    []func()          // gives them back
	why        string
	stopping   bool
	gone       bool
	ready      bool
	everReady  bool
	readySince time.Time
	steady     *time.Timer // tells the controller that it is available; nil before it is ready
	state      workload.ReplicaState
	since      time.Time
	reason     *workload.Reason
	fatal      bool
	events     []workload.Event
	changed    chan struct{} // closed and replaced at every change
}

// snapshot is what the controller sees of a replica.
type snapshot struct {
	workload.Replica
	rev         *workload.Revision
	ready       bool
	available   bool // has been ready for Config.Steady
	terminating bool
	gone        bool
	fatal       bool // the revision has proven unable to become ready
}

// newReplica returns a replica that is kept running, or, with o, one that runs to its end.
func newReplica(e *Engine, poke func(), rev *workload.Revision, o *once) *replica {
	r := &replica{
		id: newID(), e: e, poke: poke, rev: rev, pod: rev.Pod, created: time.Now(), once: o, logs: e.logs, logName: rev.Name,
		stopped: make(chan struct{}), changed: make(chan struct{}), kept: map[string]string{},
		state: workload.Creating, since: time.Now(),
	}
	if o != nil {
		r.logs, r.logName = e.runs, o.run.Name
	}
	r.scratch = filepath.Join(r.e.scratchRoot(), rev.Name, r.id)
	serving := servingContainer(rev.Pod)
	var network *container
	for i := range rev.Pod.Containers {
		c := newContainer(r, &rev.Pod.Containers[i], i == serving)
		if c.spec.Image != "" {
			if network == nil {
				network = c
			} else {
				c.network = network
			}
		}
		r.containers = append(r.containers, c)
	}
	return r
}

// servingContainer returns the container that is expected to listen on the pod's
// port: the one whose readiness probe asks there, else the first; -1 for a pod
// without a port. Processes and images of one pod do not share a network, so one
// of them has to be chosen.
func servingContainer(p *workload.Pod) int {
	if p.Port == nil {
		return -1
	}
	for i := range p.Containers {
		if asksAt(p.Containers[i].ReadinessProbe, *p.Port) {
			return i
		}
	}
	return 0
}

func asksAt(p *workload.Probe, port int32) bool {
	return p != nil && (p.HTTPGet != nil && p.HTTPGet.Port == port || p.TCPSocket != nil && p.TCPSocket.Port == port)
}

// revision returns the revision whose pod this is.
func (r *replica) revision() *workload.Revision {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rev
}

// adopt makes rev, whose pod is the same, the revision of this replica.
func (r *replica) adopt(rev *workload.Revision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rev = rev
}

// stop begins to end the replica. Later calls do nothing.
func (r *replica) stop(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return
	}
	r.stopping, r.why = true, why
	r.event("normal", "ReplicaStopping", "stopping replica "+r.id+": "+why)
	r.settle()
	close(r.stopped)
}

// run works until the replica is gone.
func (r *replica) run() {
	starting, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer r.vanish()
	deadline := time.AfterFunc(r.e.cfg.ProgressDeadline, func() { r.update(func() {}) })
	defer deadline.Stop()

	var wg sync.WaitGroup
	for _, c := range r.containers {
		wg.Go(func() { c.loop(starting) })
	}
	select {
	case <-r.stopped:
	case <-r.once.over():
		r.stop("container " + r.once.first.spec.Name + " has ended, and with it the run")
	}
	r.shutDown(cancel)
	wg.Wait()
}

// makeFolders makes the folder that the containers share, open to whatever user
// they run as, in one that only we can enter; and one for a CLI in them.
func (r *replica) makeFolders() error {
	err := os.MkdirAll(r.folder("client"), 0o700)
	if err == nil {
		err = os.MkdirAll(r.folder("mnt"), 0o700)
	}
	if err == nil {
		err = os.Chmod(r.folder("mnt"), 0o777)
	}
	if err == nil {
		return nil
	}
	e := &StartError{Err: err, Reason: workload.Reason{
		Code: codeStateUnwritable, Message: fmt.Sprintf("the folder of the replica cannot be made: %v", err),
		Fix: "let this user write to " + r.e.cfg.StateDir,
	}}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		e.Reason.Code, e.Reason.Fix = codeDiskFull, "make room on the disk of "+r.e.cfg.StateDir
	}
	return e
}

func (r *replica) folder(name string) string { return filepath.Join(r.scratch, name) }

// podPorts lists the container ports that somebody asks.
func podPorts(p *workload.Pod) []int32 {
	var ports []int32
	add := func(get *workload.HTTPGet, tcp *workload.TCPSocket) {
		if get != nil {
			ports = append(ports, get.Port)
		}
		if tcp != nil {
			ports = append(ports, tcp.Port)
		}
	}
	if p.Port != nil {
		ports = append(ports, *p.Port)
	}
	for _, c := range p.Containers {
		for _, q := range []*workload.Probe{c.ReadinessProbe, c.LivenessProbe} {
			if q != nil {
				add(q.HTTPGet, q.TCPSocket)
			}
		}
		if c.PreStop != nil {
			add(c.PreStop.HTTPGet, nil)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// vanish gives back what the replica held.
func (r *replica) vanish() {
	for _, c := range r.containers {
		c.log.close()
	}
	if err := os.RemoveAll(r.scratch); err != nil {
		r.e.cfg.Log.Warn("removing the scratch folder of a replica", "replica", r.id, "error", err)
	}
	_ = os.Remove(filepath.Dir(r.scratch)) // when it was the last
	r.update(func() {
		r.e.ports.release(r.hostPort)
		r.gone = true
		for _, release := range r.release {
			release()
		}
		if r.steady != nil {
			r.steady.Stop()
		}
	})
	r.logs.retire(r.logName, r.id)
}

// update changes what is observed and tells the controller when that changes the state.
func (r *replica) update(change func()) {
	r.mu.Lock()
	change()
	r.settle()
	r.mu.Unlock()
}

// settle recomputes the state after a change. The caller holds r.mu.
func (r *replica) settle() {
	now := time.Now()
	views := make([]view, len(r.containers))
	for i, c := range r.containers {
		views[i] = c.view.at(now)
	}
	was := r.ready
	p := judge(views, r.stopping, !r.everReady && now.Sub(r.created) >= r.e.cfg.ProgressDeadline)
	r.ready, r.reason, r.fatal = p.ready, p.reason, p.fatal
	r.everReady = r.everReady || p.ready
	if r.ready && !was {
		r.readySince = now
		r.steady = time.AfterFunc(r.e.cfg.Steady, r.poke)
	}
	if p.state != r.state {
		r.state, r.since = p.state, now
	}
	if r.ready != was && !r.stopping {
		if r.ready {
			r.event("normal", "ReplicaReady", "replica "+r.id+" is ready")
		} else {
			r.event("warning", "ReplicaNotReady", "replica "+r.id+" is not ready any more: "+p.reason.Message)
		}
	}
	close(r.changed)
	r.changed = make(chan struct{})
	r.poke()
}

// maxPendingEvents bounds what a replica keeps until its controller takes it.
const maxPendingEvents = 1000

// event queues one for the controller. The caller holds r.mu.
func (r *replica) event(kind, reason, message string) {
	if len(r.events) < maxPendingEvents {
		r.events = append(r.events, workload.Event{Time: time.Now(), Type: kind, Reason: reason, Message: message, Replica: r.id})
	}
}

func (r *replica) takeEvents() []workload.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

func (r *replica) snapshot() snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := snapshot{rev: r.rev, ready: r.ready, available: r.ready && time.Since(r.readySince) >= r.e.cfg.Steady, terminating: r.stopping, gone: r.gone, fatal: r.fatal}
	s.Replica = workload.Replica{ID: r.id, APIID: r.rev.ID, State: r.state, Reason: r.reason, Since: r.since}
	for _, c := range r.containers {
		s.Restarts += max(0, c.view.starts-1)
		s.Warning = cmp.Or(s.Warning, c.log.lost())
		if c.serving && c.handle != nil {
			s.Address = c.handle.Address(*r.pod.Port)
		}
	}
	return s
}

// replica is the snapshot as watchers see it.
func (s snapshot) replica(upToDate bool) engine.Replica {
	r := s.Replica
	r.UpToDate = upToDate
	if r.State == workload.Ready && !upToDate {
		r.State = workload.ReadyOutOfDate
	}
	return engine.Replica{
		Replica: r, DeploymentID: s.rev.DeploymentID,
		MaxConcurrency: s.rev.Pod.MaxConcurrency, MaxQueueLength: s.rev.Pod.MaxQueueLength,
	}
}

// await returns when ok, which is asked with r.mu held, holds or ctx has ended.
func (r *replica) await(ctx context.Context, ok func() bool) bool {
	for {
		r.mu.Lock()
		done, changed := ok(), r.changed
		r.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}

// portFor returns the port at which a process of this pod is to listen. It stays
// the same for the life of the replica, unless the container that serves there is
// being started and somebody else has taken it, or the server said so.
func (r *replica) portFor(serving, taken bool) (int32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hostPort != 0 && (!serving || !taken && portIsFree(r.hostPort)) {
		return r.hostPort, nil
	}
	r.e.ports.release(r.hostPort)
	r.hostPort = 0
	port, err := r.e.ports.allocate()
	if err == nil {
		r.hostPort = port
	}
	return port, err
}
