package local

import (
	"context"
	"io"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// Runtime starts containers in one way: as processes, or in Docker. All methods
// may be called at once.
type Runtime interface {
	// Name is the word users know it by: process, docker.
	Name() string
	// Available returns what runs here, such as a version, or why nothing can be
	// started; the error is short and meant for users.
	Available(ctx context.Context) (detail string, err error)
	// Open ends everything that an earlier life on the same state folder left
	// behind and makes ready to start containers. It is called once, first.
	Open(ctx context.Context) error
	// Close ends what is left and gives everything back.
	Close() error
	// Start returns once the container runs. Its error is a *StartError.
	Start(ctx context.Context, spec ContainerSpec) (Container, error)
}

// ContainerSpec says what to run. Nothing in it is changed after the call.
type ContainerSpec struct {
	Workload  string
	Replica   string
	Name      string // of the container in its pod
	Run       int    // 1 for the first start in this replica
	Image     string // empty for processes
	Command   []string
	Args      []string
	Env       map[string]string // complete, but for what a runtime itself lets through
	Directory string            // processes: where they run
	Scratch   string            // folder that all containers of the replica share
	Port      int32             // the pod's container port; 0 where it has none
	HostPort  int32             // processes: where they are to listen instead of Port
	Ports     []int32           // every container port that is asked from here, by requests, probes and hooks
	Compute   *workload.Compute
	Security  *workload.SecurityContext // of images only; nil: nothing is asked
	Mounts    []Mount                   // of images only: processes are told the folders by variables
	// Network is the container whose network this one joins; nil for its own.
	// Processes share the machine's and ignore it.
	Network        Container
	Stdout, Stderr io.Writer // never block and never fail
	// Note is told, in a few words, what a start that takes long is busy with.
	Note func(doing string)
}

// Mount is a folder that a container has at a path of its own.
type Mount struct {
	Source   string // on this machine; empty: a folder of this container in memory
	Size     int64  // of such a one; 0: what the memory of the container allows
	Target   string
	ReadOnly bool
}

// Container is one that was started. All methods may be called at once and after
// its end.
type Container interface {
	// Done is closed after the container and everything it started have ended.
	Done() <-chan struct{}
	// Exit says how it ended; valid after Done.
	Exit() Exit
	// Terminate asks it to end (SIGTERM).
	Terminate() error
	// Kill ends it and everything it started, now.
	Kill() error
	// Exec runs a command in it, with its environment and within its limits, and returns
	// its exit code, as Exit has it. The command is ended with ctx, and then its error is
	// that of ctx. It ends with the container. With a terminal everything is written to
	// Stdout.
	Exec(ctx context.Context, command []string, tty *workload.TTY, streams workload.ExecStreams) (code int, err error)
	// Address is where a port of the container is reached from here.
	Address(port int32) string
	// Forwarded reports whether connections to Address are accepted by something
	// that stands before the container, listening or not.
	Forwarded() bool
	// Listening lists the addresses on which it accepts connections, as evidence;
	// nil where that cannot be known.
	Listening() []string
}

// Metered is a Container that knows what it takes.
type Metered interface {
	// Usage returns the memory and the time of processors of everything that runs in it
	// now; false where that cannot be known.
	Usage() (memory int64, cpu time.Duration, ok bool)
}

// Exit is how a container ended.
type Exit struct {
	Code   int       // exit code; 128+n for signal n
	Signal string    // name of the signal that ended it, such as SIGKILL; else empty
	OOM    bool      // it was ended because memory ran out
	At     time.Time // when
	Left   int       // processes that it had left running, which were ended with it
}

// StartError is a container that could not be started.
type StartError struct {
	Reason workload.Reason // Code is stable; Message and Fix are for users
	// Final says that trying again helps only after somebody changed something.
	Final bool
	Err   error
}

func (e *StartError) Error() string { return e.Reason.Message }

func (e *StartError) Unwrap() error { return e.Err }
