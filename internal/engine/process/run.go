package process

import (
	"errors"
	"net"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/engine/local"
)

// waitDelay bounds how long the output of a process is waited for after it has
// ended and all that it started was killed.
const waitDelay = 2 * time.Second

// process is one running container.
type process struct {
	r         *Runtime
	spec      local.ContainerSpec
	mark      string
	env       []string
	cmd       *exec.Cmd
	pid       int
	group     *group
	done      chan struct{}
	exit      local.Exit // valid after done
	oomBefore uint64

	mu        sync.Mutex
	collected bool // its number may belong to somebody else by now
}

// wait returns when the process and everything it started is gone.
func (p *process) wait() {
	left := 0
	await(p.cmd, func() {
		left = len(marked(p.mark, p.pid))
		killGroup(p.pid)
		endAll(p.mark, p.pid)
		p.mu.Lock()
		p.collected = true
		p.mu.Unlock()
	})
	p.exit = exitOf(p.cmd.ProcessState.Sys().(syscall.WaitStatus))
	p.exit.Left = left
	if p.exit.Signal == "SIGKILL" {
		p.exit.OOM = p.group.killed() || oomKilled(p.pid, p.oomBefore)
	}
	p.group.remove()
	p.r.ledger.forget(p.pid)
	p.r.mu.Lock()
	delete(p.r.running, p)
	p.r.mu.Unlock()
	close(p.done)
}

func exitOf(s syscall.WaitStatus) local.Exit {
	if s.Signaled() {
		return local.Exit{Code: 128 + int(s.Signal()), Signal: unix.SignalName(s.Signal()), At: time.Now()}
	}
	return local.Exit{Code: s.ExitStatus(), At: time.Now()}
}

// Done implements local.Container.
func (p *process) Done() <-chan struct{} { return p.done }

// Exit implements local.Container.
func (p *process) Exit() local.Exit { return p.exit }

// Terminate implements local.Container. The whole group is told, as a terminal would.
func (p *process) Terminate() error { return p.signal(syscall.SIGTERM) }

// Kill implements local.Container.
func (p *process) Kill() error {
	err := p.signal(syscall.SIGKILL)
	endAll(p.mark, p.pid)
	return err
}

func (p *process) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.collected {
		return nil
	}
	if err := syscall.Kill(-p.pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// Address implements local.Container.
func (p *process) Address(port int32) string {
	if port == p.spec.Port && p.spec.HostPort != 0 {
		port = p.spec.HostPort
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
}

// Forwarded implements local.Container.
func (p *process) Forwarded() bool { return false }

// Usage implements local.Metered.
func (p *process) Usage() (memory int64, cpu time.Duration, ok bool) { return usage(p.mark, p.pid) }

// Listening implements local.Container.
func (p *process) Listening() []string { return listening(p.mark, p.pid) }
