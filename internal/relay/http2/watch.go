package http2

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/relay"
)

// lookEvery is how often the streams of a server are looked at.
const lookEvery = time.Second

// stream is one exchange of which the client may be waited for: with what it sends, or
// with what it takes. Two marks and one look each second cost a stream next to nothing;
// a deadline of net/http costs a message and a timer for each read and write.
type stream struct {
	control *http.ResponseController
	reading atomic.Int64 // Unix milliseconds when the present read began; 0: none
	writing atomic.Int64 // likewise
	// answered says that the answer has begun: a client that sends nothing more is in a
	// conversation then, of which the server knows how long it may rest.
	answered atomic.Bool

	mu   sync.Mutex
	over bool // the handler has returned: control is of no more use
}

// waitFor notes in mark what is waited for, and returns what ends it.
func waitFor(mark *atomic.Int64) func() {
	mark.Store(time.Now().UnixMilli())
	return func() { mark.Store(0) }
}

// look ends what the client lets wait since before late.
func (s *stream) look(late int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	past := time.Unix(1, 0)
	if at := s.reading.Load(); at != 0 && at < late && !s.answered.Load() {
		_ = s.control.SetReadDeadline(past) // these fail for what cannot wait
	}
	if at := s.writing.Load(); at != 0 && at < late {
		_ = s.control.SetWriteDeadline(past) // which resets the stream
	}
}

// watched has the streams of next looked at.
func (s *Server) watched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		st := &stream{control: http.NewResponseController(w)}
		s.mu.Lock()
		s.streams[st] = struct{}{}
		s.mu.Unlock()
		out := &watchedWriter{ResponseWriter: w, of: st}
		defer func() {
			if out.unsent { // net/http sends it when there is nobody to look any more
				_ = st.control.SetWriteDeadline(time.Now().Add(s.bodyTimeout))
			}
			st.mu.Lock()
			st.over = true
			st.mu.Unlock()
			s.mu.Lock()
			delete(s.streams, st)
			s.mu.Unlock()
		}()
		if r.Body != http.NoBody {
			r.Body = &watchedBody{r.Body, st}
		}
		next.ServeHTTP(out, r)
	})
}

// watch looks at every stream now and then, until ctx ends.
func (s *Server) watch(ctx context.Context) {
	t := time.NewTicker(min(lookEvery, s.bodyTimeout/4))
	defer t.Stop()
	var all []*stream
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			all = all[:0]
			s.mu.Lock()
			for st := range s.streams {
				all = append(all, st)
			}
			s.mu.Unlock()
			for _, st := range all {
				st.look(now.Add(-s.bodyTimeout).UnixMilli())
			}
			clear(all)
		}
	}
}

type watchedBody struct {
	io.ReadCloser
	of *stream
}

// errSlow answers a request whose body did not come.
var errSlow = Refused{&relay.Answer{Status: 408, Code: "body_timeout", Message: "the body of the request did not arrive in time"}}

func (b *watchedBody) Read(p []byte) (int, error) {
	defer waitFor(&b.of.reading)()
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errSlow
	}
	return n, err
}

type watchedWriter struct {
	http.ResponseWriter
	of     *stream
	unsent bool
}

func (w *watchedWriter) WriteHeader(status int) {
	w.of.answered.Store(status >= 200)
	w.ResponseWriter.WriteHeader(status)
}

func (w *watchedWriter) Write(p []byte) (int, error) {
	w.of.answered.Store(true)
	defer waitFor(&w.of.writing)()
	w.unsent = true
	return w.ResponseWriter.Write(p)
}

func (w *watchedWriter) FlushError() error {
	defer waitFor(&w.of.writing)()
	w.unsent = false
	return w.of.control.Flush()
}

// Unwrap is for http.ResponseController.
func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
