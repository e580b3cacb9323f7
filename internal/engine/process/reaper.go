package process

import (
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// reaperWord is the hidden first argument that makes a program of ours a reaper.
const reaperWord = "__reap"

// reaperKnown is set once this program has shown that it can be a reaper.
var reaperKnown atomic.Bool

// ReaperMain makes this program a reaper when args, without the program's name,
// say so: it waits until its standard input ends, which is when the program that
// started it does, however that dies, and then ends every process which carries
// that program's mark. It reports whether it did so; the caller exits then.
//
// A main function calls it first. The runtime of a program that did not call it
// works without a reaper, because starting that program a second time could mean
// anything.
func ReaperMain(args []string) (handled bool) {
	if len(args) != 3 || args[0] != reaperWord {
		reaperKnown.Store(true)
		return false
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	_, _ = io.Copy(io.Discard, os.Stdin) // any end of it means the same
	ledger{args[2]}.end()
	endAll(args[1], 0)
	return true
}

// reaper is the second process, started again should it end before us.
type reaper struct {
	args []string
	log  *slog.Logger
	stop chan struct{}
	once sync.Once
	done chan struct{}
}

// startReaper returns nil where there can be none.
func startReaper(mark string, l ledger, log *slog.Logger) *reaper {
	if !reaperKnown.Load() {
		return nil
	}
	r := &reaper{args: []string{reaperWord, mark, l.dir}, log: log, stop: make(chan struct{}), done: make(chan struct{})}
	go r.run()
	return r
}

func (r *reaper) run() {
	defer close(r.done)
	for {
		ended, lifeline, err := r.spawn()
		if err != nil {
			r.log.Error("starting the reaper; processes may outlive a daemon that is killed", "error", err)
		}
		select {
		case <-r.stop:
			if lifeline != nil {
				_ = lifeline.Close()
				<-ended
			}
			return
		case <-ended: // nil, so never, when it did not start
			_ = lifeline.Close()
		}
		select {
		case <-r.stop:
			return
		case <-time.After(time.Second):
		}
	}
}

// spawn starts the second process. It ends when lifeline is closed, by us or by
// the system after our death.
func (r *reaper) spawn() (ended chan struct{}, lifeline *os.File, err error) {
	self, err := executable()
	if err != nil {
		return nil, nil, err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = in.Close() }()
	cmd := &exec.Cmd{
		Path: self, Args: append([]string{"cortex"}, r.args...), Dir: "/", Env: []string{},
		Stdin: in, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	forking.Lock() // so that it does not inherit the mark of a container
	err = cmd.Start()
	forking.Unlock()
	if err != nil {
		_ = out.Close()
		return nil, nil, err
	}
	ended = make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	return ended, out, nil
}

func (r *reaper) close() {
	r.once.Do(func() { close(r.stop) })
	<-r.done
}
