package kube

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// maxLine bounds one line; a longer one is told as several.
const maxLine = 16 << 10

// source reads the log of one container, one line ahead.
type source struct {
	reader                  *reader
	pod, replica, container string
	running                 bool // when it was found
	following               bool // of reader.follow alone

	body io.ReadCloser
	buf  *bufio.Reader
	at   time.Time // of the line that is being read

	line workload.LogLine
	full bool // line is set

	// Where reading goes on: only lines later than after, or at that moment and
	// not among the first same of it.
	after time.Time
	same  int
	skip  int // of those that are still to be left out
}

// open begins to read. A container that was not started yet, or whose pod is gone,
// has no lines, which is no error.
func (s *source) open(ctx context.Context, follow bool) error {
	q := s.reader.query
	// The run before that of a container which has ended, and waits to be started
	// again, is not asked for: it is the last one that a user means, and the only one
	// whose lines the kubelet still has.
	o := &corev1.PodLogOptions{Container: s.container, Follow: follow, Previous: q.Previous && s.running, Timestamps: true}
	if !s.after.IsZero() {
		// The API knows whole seconds; the rest is left out here.
		at := metav1.NewTime(s.after.Truncate(time.Second))
		o.SinceTime = &at
	}
	if n := min(q.Tail, engine.MaxTail); n > 0 && !follow {
		tail := int64(n)
		o.TailLines = &tail
	}
	body, err := s.reader.e.streams.CoreV1().Pods(s.reader.e.cfg.Pods.Namespace).GetLogs(s.pod, o).Stream(ctx)
	if apierrors.IsBadRequest(err) || apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	s.begin(body)
	return nil
}

// begin reads body from where the reading before came to.
func (s *source) begin(body io.ReadCloser) {
	s.skip = s.same
	s.body, s.buf = body, bufio.NewReaderSize(body, maxLine+64)
}

func (s *source) close() {
	if s.body != nil {
		_ = s.body.Close()
	}
	s.body, s.buf, s.at = nil, nil, time.Time{}
}

func (s *source) before(o *source) bool {
	if !s.line.Time.Equal(o.line.Time) {
		return s.line.Time.Before(o.line.Time)
	}
	return s.replica+"/"+s.container < o.replica+"/"+o.container
}

func (s *source) take() workload.LogLine {
	s.full = false
	return s.line
}

// fill reads ahead to the next line that is wanted and reports whether there is one.
func (s *source) fill() (bool, error) {
	for !s.full {
		if s.buf == nil {
			return false, nil
		}
		text, err := s.next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		s.offer(text)
	}
	return true, nil
}

// next returns the next line, or as much of it as is allowed.
func (s *source) next() (string, error) {
	text, err := s.buf.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(text) > 0 {
		err = nil
	}
	return strings.TrimRight(strings.ToValidUTF8(string(text), "\uFFFD"), "\r\n"), err
}

// offer makes text the line ahead unless it was told before.
func (s *source) offer(text string) {
	stamp, rest, _ := strings.Cut(text, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		// The rest of a line that was too long.
		at, rest = s.at, text
	}
	s.at = at
	if at.IsZero() || at.Before(s.after) {
		return
	}
	if at.Equal(s.after) {
		if s.skip > 0 {
			s.skip--
			return
		}
		s.same++
	} else {
		s.after, s.same, s.skip = at, 1, 0
	}
	s.line = workload.LogLine{Time: at.UTC(), Replica: s.replica, Container: s.container, Stream: "stdout", Text: rest}
	s.full = true
}

// How long to wait before a log that ended is asked for again: a container that
// ended is started again, or its pod is about to go.
const (
	reopenFirst = 200 * time.Millisecond
	reopenMax   = 5 * time.Second
)

// follow sends every line that comes until ctx ends or the pod is gone.
func (s *source) follow(ctx context.Context, lines chan<- workload.LogLine) {
	wait := reopenFirst
	for ctx.Err() == nil {
		some, err := s.stream(ctx, lines)
		if !s.present() {
			return
		}
		if err != nil && ctx.Err() == nil {
			s.reader.e.cfg.Log.Debug("following a log; it is tried again", "pod", s.pod, "container", s.container, "error", err)
		}
		if some {
			wait = reopenFirst
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		wait = min(2*wait, reopenMax)
	}
}

// stream sends lines until the log ends, and reports whether there were any.
func (s *source) stream(ctx context.Context, lines chan<- workload.LogLine) (some bool, err error) {
	if err := s.open(ctx, true); err != nil {
		return false, err
	}
	defer s.close()
	for {
		ok, err := s.fill()
		if err != nil || !ok {
			return some, err
		}
		some = true
		select {
		case lines <- s.take():
		case <-ctx.Done():
			return some, ctx.Err()
		}
	}
}

// present reports whether the pod is still there.
func (s *source) present() bool {
	for _, p := range s.reader.live() {
		if p.Name == s.pod {
			return true
		}
	}
	return false
}
