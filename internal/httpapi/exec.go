package httpapi

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// A command in a replica is a conversation in both directions: the connection of its
// request, after an upgrade to this protocol. It is frames: a letter, the length of what
// follows in four bytes, and as many bytes.
const execProtocol = "cortex-exec/1"

// The letters of frames.
const (
	frameStdin  = 'i' // of the caller; an empty one ends its input
	frameResize = 'r' // of the caller: a workload.TTY
	frameStdout = 'o' // of the command
	frameStderr = 'e'
	frameAlive  = 'a' // the operator is still there
	frameEnd    = 'x' // the last one: an ExecEnd
)

const (
	frameHead = 5
	maxFrame  = 32 << 10
	// maxExecs bounds the commands that run at once: each holds a connection.
	maxExecs = 32
	// execPatience is how long a caller may take to read what a command writes: it may be
	// a person who looks at it in a pager.
	execPatience = 10 * time.Minute
	// lastFrame is how long the end of a command may take to be read.
	lastFrame = 10 * time.Second
)

// ExecEnd is how a command ended.
type ExecEnd struct {
	Code  int    `json:"code" doc:"its exit code; 128 and more: the number of the signal that ended it"`
	Error *Error `json:"error,omitempty" doc:"why it did not run, or not to its end"`
}

// frames reads and writes frames. Its writes may be made at once.
type frames struct {
	r *bufio.Reader

	mu      sync.Mutex
	w       io.Writer
	bounded func(time.Time) error // sets when a write gives up; nil: never
}

func (f *frames) write(letter byte, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bounded != nil {
		_ = f.bounded(time.Now().Add(execPatience)) // where that cannot be, the connection's end comes later
	}
	frame := make([]byte, frameHead, frameHead+len(data))
	frame[0] = letter
	binary.BigEndian.PutUint32(frame[1:], uint32(len(data)))
	_, err := f.w.Write(append(frame, data...))
	return err
}

// read returns the next frame; its data is valid until then.
func (f *frames) read() (letter byte, data []byte, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes, more than %d", n, maxFrame)
	}
	data = make([]byte, n)
	_, err = io.ReadFull(f.r, data)
	return head[0], data, err
}

// out is an io.Writer of frames with one letter.
type out struct {
	f      *frames
	letter byte
}

func (o out) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(n+maxFrame, len(p))]
		if err := o.f.write(o.letter, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// serveExec runs the command of a request over its connection.
func (h *handler) serveExec(ctx context.Context, w http.ResponseWriter, r *http.Request, req workload.ExecRequest) error {
	if r.Header.Get("Upgrade") != execProtocol || r.ProtoMajor != 1 {
		w.Header().Set("Upgrade", execProtocol)
		return statusOf(http.StatusUpgradeRequired, fault.New(fault.Malformed, "endpoints.upgrade_required", "this operation needs an upgrade of the connection to %s, over HTTP/1.1", execProtocol).
			WithHint("use `cortex exec`"))
	}
	select {
	case h.execs <- struct{}{}:
	default:
		return fault.New(fault.TooMany, "exec.too_many", "%d commands run in replicas at the moment, and no more can", maxExecs).
			WithHint("end one of them, or try again later")
	}
	defer func() { <-h.execs }()
	// Without an API there is nothing to upgrade for; this is the answer that a script sees.
	if _, err := h.svc.Service.Get(ctx, req.Name); err != nil {
		return err
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("taking over the connection: %w", err)
	}
	var listening sync.WaitGroup
	defer listening.Wait()
	defer conn.Close()                // ends it
	_ = conn.SetDeadline(time.Time{}) // those of the request do not hold for a conversation
	head := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + execProtocol + "\r\n" +
		headerRequestID + ": " + w.Header().Get(headerRequestID) + "\r\n\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		return nil // the caller is gone; nobody is left to tell
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A writer that waits for its reader ends with the command's context.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Now().Add(lastFrame)) })
	defer stop()
	f := &frames{r: buffered.Reader, w: conn, bounded: func(at time.Time) error {
		if ctx.Err() != nil {
			return nil // it was set
		}
		return conn.SetWriteDeadline(at)
	}}
	code, err := h.converse(ctx, cancel, &listening, f, req)
	end := ExecEnd{Code: code}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errCallerGone) {
		err = endedFor(cause)
	}
	if err != nil {
		e := errorOf(err, w.Header().Get(headerRequestID))
		end.Error = &e
	}
	if data, err := encodeJSON(end); err == nil {
		_ = f.write(frameEnd, data) // the caller may be gone
	}
	return nil
}

// errCallerGone ends a command whose caller has left.
var errCallerGone = errors.New("the caller is gone")

// endedFor is why the operator ended a command.
func endedFor(cause error) error {
	if notAllowed(cause) {
		return cause
	}
	return fault.New(fault.Unavailable, "operator.stopping", "the operator stopped, and the command with it")
}

// converse carries a command out over f. What listens to the caller ends with the
// connection.
func (h *handler) converse(ctx context.Context, cancel context.CancelCauseFunc, listening *sync.WaitGroup, f *frames, req workload.ExecRequest) (int, error) {
	stdin, typed := io.Pipe()
	sizes := make(chan workload.TTY, 1)
	streams := workload.ExecStreams{Stdout: out{f, frameStdout}, Stderr: out{f, frameStderr}, Resize: sizes}
	if req.Stdin {
		streams.Stdin = stdin
	}
	listening.Go(func() {
		_ = listen(f, typed, sizes) // whatever it ends with, the caller is not there any more
		_ = typed.Close()
		cancel(errCallerGone)
	})
	stop := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		beat := time.NewTicker(heartbeat)
		defer beat.Stop()
		for {
			select {
			case <-stop:
				return
			case <-beat.C:
				if f.write(frameAlive, nil) != nil {
					cancel(errCallerGone)
				}
			}
		}
	})
	code, err := h.svc.Exec(ctx, req, streams)
	close(stop)
	_ = stdin.Close() // whoever still types is told that nobody reads
	beating.Wait()
	return code, err
}

// listen hands on what the caller sends, and returns why that ended.
func listen(f *frames, typed *io.PipeWriter, sizes chan workload.TTY) error {
	for {
		letter, data, err := f.read()
		if err != nil {
			return err
		}
		switch letter {
		case frameStdin:
			if len(data) == 0 {
				_ = typed.Close()
				continue
			}
			_, _ = typed.Write(data) // a command that reads no more leaves it unread
		case frameResize:
			var size workload.TTY
			if json.Unmarshal(data, &size) != nil {
				return errors.New("a size that cannot be read")
			}
			select {
			case <-sizes: // an older one that nobody has seen
			default:
			}
			sizes <- size
		default:
			return fmt.Errorf("a frame %q, which callers do not send", letter)
		}
	}
}

// Exec concludes a command twice: when it begins, so that the record has it whatever
// happens, and when it has ended.
func (s services) Exec(ctx context.Context, req workload.ExecRequest, streams workload.ExecStreams) (int, error) {
	s.concludeExec(ctx, req, auth.OutcomeBegun, "")
	code, err := s.Service.Exec(ctx, req, streams)
	outcome, why := auth.OutcomeDone, ""
	switch {
	case err != nil:
		outcome, why = auth.OutcomeFailed, fault.From(err).Code
		if cause := context.Cause(ctx); cause != nil {
			why = "exec.interrupted"
		}
	case code != 0:
		outcome, why = auth.OutcomeFailed, fmt.Sprintf("exit_code_%d", code)
	}
	s.concludeExec(ctx, req, outcome, why)
	return code, err
}

func (s services) concludeExec(ctx context.Context, req workload.ExecRequest, outcome, why string) {
	if s.guard == nil {
		return
	}
	s.guard.Conclude(ctx, auth.Conclusion{
		Action: auth.ActionExec, Operation: "exec", Resource: auth.Resource{API: req.Name}, Outcome: outcome, Code: why, Command: req.Command,
	})
}
