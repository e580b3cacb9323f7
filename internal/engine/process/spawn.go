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
	cmd *exec.Cmd
	err chan error
}

func newSpawner() *spawner {
	s := &spawner{orders: make(chan order), ended: make(chan struct{})}
	go s.work()
	return s
}

func (s *spawner) work() {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	defer close(s.ended)
	for o := range s.orders {
		o.err <- o.cmd.Start()
	}
}

// start starts cmd. It must not be called after close.
func (s *spawner) start(cmd *exec.Cmd) error {
	o := order{cmd, make(chan error, 1)}
	s.orders <- o
	return <-o.err
}

// close ends the thread, and with it every process that it started and that
// still runs.
func (s *spawner) close() {
	s.once.Do(func() { close(s.orders) })
	<-s.ended
}
