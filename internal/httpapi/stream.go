package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/fault"
)

// A stream is one JSON object per line. Its last line is an End; a stream
// without one was cut off. Empty lines say that the operator is still there.
const (
	// heartbeat keeps proxies from closing a stream in which nothing happens.
	heartbeat = 15 * time.Second
	// writePatience is how long a reader may take to accept a batch of lines.
	writePatience = 30 * time.Second
	// batchBytes is how much waits for the flusher before the producer writes itself.
	batchBytes = 32 << 10
	// maxLineBytes bounds what a client reads as one line.
	maxLineBytes = 8 << 20
)

// End is the last line of every stream.
type End struct {
	End   bool   `json:"end" doc:"always true; tells this line from the others"`
	Error *Error `json:"error,omitempty" doc:"why the stream ended early; absent when there was no more to tell"`
}

// endPrefix begins an End and no other line.
var endPrefix = []byte(`{"end":true`)

// A stream of events is the same as server-sent events, for who asks for them: each line is
// the data of one, the End one of type end.
const contentEvents = "text/event-stream"

// wantsEvents reports whether a caller asks for server-sent events rather than lines.
func wantsEvents(r *http.Request) bool {
	return slices.ContainsFunc(r.Header.Values("Accept"), func(v string) bool { return strings.Contains(v, contentEvents) })
}

// identified is a line after which a stream can be taken up again.
type identified interface{ LineID() string }

// asEvent is a line as a server-sent event.
func asEvent(v any, line []byte) []byte {
	var b bytes.Buffer
	switch v := v.(type) {
	case identified:
		fmt.Fprintf(&b, "id: %s\n", v.LineID())
	case End:
		b.WriteString("event: end\n")
	}
	fmt.Fprintf(&b, "data: %s\n", line) // which ends with a newline of its own
	return b.Bytes()
}

// serveStream answers with what run emits. An error before the first line is
// returned, so that it becomes an answer with a status; later ones go into the End.
func serveStream(w http.ResponseWriter, r *http.Request, events bool, run func(context.Context, func(any) error) error) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s := &lineWriter{w: w, control: http.NewResponseController(w), dirty: make(chan struct{}, 1), giveUp: cancel, content: contentNDJSON, beat: "\n"}
	if events {
		s.content, s.beat, s.frame = contentEvents, ":\n\n", asEvent
	}
	s.buf = bufio.NewWriterSize(w, batchBytes)

	err := s.while(func() error { return run(ctx, s.emit) })
	if s.err != nil {
		return nil // the reader is gone; nobody is left to tell
	}
	if cause := context.Cause(r.Context()); notAllowed(cause) && !notAllowed(err) {
		err = cause
	} else if err == nil && cause != nil {
		err = fault.New(fault.Unavailable, "operator.stopping", "the operator stopped during this stream").
			WithHint("repeat the call")
	}
	if err != nil && !s.begun {
		return err
	}
	last := End{End: true}
	if err != nil {
		e := errorOf(err, w.Header().Get(headerRequestID))
		last.Error = &e
	}
	if s.emit(last) == nil {
		s.flush()
	}
	return nil
}

// lineWriter writes lines as they come and flushes them in batches: whatever
// has gathered while the previous batch was being written is the next one.
type lineWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	dirty   chan struct{}                   // capacity 1: something waits to be flushed
	giveUp  func()                          // ends the producer when the reader is gone
	content string                          // its media type
	beat    string                          // what says that we are still there
	frame   func(v any, line []byte) []byte // nil: a line is sent as it is

	mu    sync.Mutex
	buf   *bufio.Writer
	begun bool  // the header is written
	err   error // the first failed write; sticky
}

// while runs produce with a flusher beside it, and returns after both have ended.
func (s *lineWriter) while(produce func() error) error {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		beat := time.NewTicker(heartbeat)
		defer beat.Stop()
		for {
			select {
			case <-stop:
				return
			case <-s.dirty:
				s.flush()
			case <-beat.C:
				_ = s.write([]byte(s.beat)) // sticky, and emit reports it
				s.flush()
			}
		}
	}()
	defer func() { close(stop); <-done }() // also when produce panics
	return produce()
}

func (s *lineWriter) emit(v any) error {
	line, err := encodeJSON(v)
	if err != nil {
		return fmt.Errorf("writing a line: %w", err)
	}
	if s.frame != nil {
		line = s.frame(v, line)
	}
	if err := s.write(line); err != nil {
		return err
	}
	select {
	case s.dirty <- struct{}{}:
	default: // the flusher is told already
	}
	return nil
}

func (s *lineWriter) write(line []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", s.content)
		s.w.Header().Set("X-Accel-Buffering", "no") // proxies that hold answers back know this one
		s.w.WriteHeader(http.StatusOK)
	}
	s.deadline(time.Now().Add(writePatience)) // the buffer may overflow into the connection
	_, err := s.buf.Write(line)
	return s.failed(err)
}

func (s *lineWriter) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || !s.begun {
		return
	}
	s.deadline(time.Now().Add(writePatience))
	err := s.buf.Flush()
	if err == nil {
		if err = s.control.Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	_ = s.failed(err) // sticky
	s.deadline(time.Time{})
}

// deadline bounds the next writes where the connection can be bounded.
func (s *lineWriter) deadline(t time.Time) { _ = s.control.SetWriteDeadline(t) }

func (s *lineWriter) failed(err error) error {
	if err != nil && s.err == nil {
		s.err = err
		s.giveUp()
	}
	return err
}

// errCutOff is why a stream without an End ended.
var errCutOff = errors.New("the stream was cut off")

// readStream calls fn for each line of body until its End, and returns the fault
// in it, fn's error, or errCutOff.
func readStream[T any](body io.Reader, fn func(T) error) error {
	in := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := readLine(in)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			continue
		}
		if bytes.HasPrefix(line, endPrefix) {
			var end End
			if err := json.Unmarshal(line, &end); err != nil {
				return fmt.Errorf("%w: its last line cannot be read: %w", errCutOff, err)
			}
			if end.Error != nil {
				return end.Error.fault()
			}
			return nil
		}
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return fmt.Errorf("%w: a line cannot be read: %w", errCutOff, err)
		}
		if err := fn(v); err != nil {
			return err
		}
	}
}

// readLine returns the next whole line without its end.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxLineBytes {
			return nil, fmt.Errorf("%w: a line is longer than %d bytes", errCutOff, maxLineBytes)
		}
		switch {
		case err == nil && line == nil:
			return bytes.TrimRight(part, "\r\n"), nil
		case err == nil:
			return bytes.TrimRight(append(line, part...), "\r\n"), nil
		case errors.Is(err, bufio.ErrBufferFull):
			line = append(line, part...)
		default:
			return nil, fmt.Errorf("%w: %w", errCutOff, err)
		}
	}
}
