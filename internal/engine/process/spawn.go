package process

import (
	"os/exec"
	"runtime"
	"sync"
)

// spawner starts every process from one thread that lives as long as it does. The
// kernel ends a child with the thread that started it, not with the program, and
// ordinary threads of a Go program come and go.
type spawner struct {
	orders chan order
	once   sync.Once
	ended  chan struct{}
}

type order struct {
	cmd   *exec.Cmd
	mark  string
	group *group
	err   chan error
}

// forking is held while a process of ours is started: the mark that a child inherits
// is, for that moment, this program's own.
var forking sync.Mutex

func newSpawner() *spawner {
	s := &spawner{orders: make(chan order), ended: make(chan struct{})}
	go s.work()
	return s
}

func (s *spawner) work() {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	defer close(s.ended)
	for o := range s.orders {
		forking.Lock()
		err := o.group.starting(o.cmd, func() error { return marking(o.mark, o.cmd.Start) })
		forking.Unlock()
		o.err <- err
	}
}

// start starts cmd, whose process and all that it starts carry mark and are in group g.
// It must not be called after close.
func (s *spawner) start(cmd *exec.Cmd, mark string, g *group) error {
	o := order{cmd, mark, g, make(chan error, 1)}
	s.orders <- o
	return <-o.err
}

// close ends the thread, and with it every process that it started and that
// still runs.
func (s *spawner) close() {
	s.once.Do(func() { close(s.orders) })
	<-s.ended
}
