package sidecar

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	answers "cortex.dev/cortex/internal/executions"
	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/workload"
)

// Bounds of what is kept for gateways.
const (
	answerInMemory = 1 << 20          // bytes of one answer; more of it is in a file
	answerKept     = 2 * time.Minute  // from its end, for a gateway that takes over
	answerAwaited  = 20 * time.Second // while a drain waits for a gateway to have it forgotten
	maxAnswers     = 4096             // that are kept at once; then the oldest goes
)

// executions are the items that the container works on for gateways. One goes on when the
// gateway that sent it goes away, and its answer is kept until a gateway has written it
// down, so that a gateway's end has nothing begin again.
type executions struct {
	s      *Sidecar
	next   http.RoundTripper
	folder string // of large answers; empty: the system's

	mu    sync.Mutex
	known map[string]*execution
	order []*execution // that have ended, the oldest first
}

// execution is one of them.
type execution struct {
	id     string
	cancel context.CancelCauseFunc
	done   chan struct{}
	said   atomic.Pointer[report] // the latest; nil: nothing yet

	// Once it is done:
	ended   time.Time
	how     string // workload.Execution…
	why     string // of one without an answer
	status  int
	header  http.Header
	body    *spool
	dropped bool // guarded by executions.mu
}

// report is how far a container says that it is.
type report struct {
	text []byte
	next chan struct{} // closed with the next one
}

func newExecutions(s *Sidecar, folder string) *executions {
	return &executions{s: s, next: answers.Transport(), folder: folder, known: map[string]*execution{}}
}

// routes adds those of executions: POST has the container work on what is sent, GET waits
// for the answer of what was sent before, and DELETE ends it, or drops its answer. GET of
// their folder lists those that are known.
func (e *executions) routes(mux *http.ServeMux) {
	path := workload.ExecutionsPath + "{id}"
	mux.HandleFunc("POST "+path, e.handleSend)
	mux.HandleFunc("POST "+path+"/progress", e.handleProgress)
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		if x := e.find(r.PathValue("id")); x != nil {
			e.answer(w, r, x)
			return
		}
		w.Header().Set(workload.ExecutionHeader, workload.ExecutionUnknown)
		say(w, http.StatusNotFound, "no such execution")
	})
	mux.HandleFunc("GET "+workload.ExecutionsPath+"{$}", func(w http.ResponseWriter, _ *http.Request) {
		e.mu.Lock()
		ids := slices.Sorted(maps.Keys(e.known))
		e.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(append([]string{}, ids...)) // the asker may be gone
	})
	mux.HandleFunc("DELETE "+path, func(w http.ResponseWriter, r *http.Request) {
		e.drop(r.PathValue("id"))
		w.WriteHeader(http.StatusNoContent)
	})
}

func (e *executions) find(id string) *execution {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.known[id]
}

// handleSend begins an execution. One that is known is waited for: whoever sends it again
// does not know what became of the first time.
func (e *executions) handleSend(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	e.mu.Lock()
	x := e.known[id]
	fresh := x == nil
	if fresh {
		var ctx context.Context
		x = &execution{id: id, done: make(chan struct{})}
		x.said.Store(&report{next: make(chan struct{})})
		ctx, x.cancel = context.WithCancelCause(context.WithoutCancel(r.Context()))
		e.known[id] = x
		// The request's body is read here, by this handler, as long as the container wants it.
		body := &sent{from: r.Body, over: make(chan struct{})}
		go e.run(ctx, x, r, body)
		e.mu.Unlock()
		select { // a body is of no use after the handler has returned
		case <-body.over:
		case <-x.done:
		}
	} else {
		e.mu.Unlock()
	}
	e.answer(w, r, x)
}

// sent is the body of a request to the container, which says when nothing more of it is
// wanted.
type sent struct {
	from io.ReadCloser
	once sync.Once
	over chan struct{}
}

// Read is io.Reader's.
func (b *sent) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if err != nil {
		b.once.Do(func() { close(b.over) })
	}
	return n, err
}

// Close is io.Closer's.
func (b *sent) Close() error {
	b.once.Do(func() { close(b.over) })
	return nil
}

// run has the container work on an item, and keeps what it answers.
func (e *executions) run(ctx context.Context, x *execution, r *http.Request, body *sent) {
	placed := false
	defer func() {
		_ = body.Close()
		x.cancel(nil)
		x.ended = time.Now()
		close(x.done)
		e.mu.Lock()
		e.order = append(e.order, x)
		e.mu.Unlock()
		if placed { // last: a drain looks for answers when nothing is in flight
			e.s.limit.Release()
		}
		e.sweep(x.ended)
	}()
	x.how = workload.ExecutionRefused
	e.s.came.Store(time.Now().UnixNano())
	if !e.s.limit.Try() {
		if err := e.s.limit.Acquire(ctx); err != nil {
			x.why = err.Error()
			return
		}
	}
	placed = true
	cuts := e.s.upstream.Cuts()
	resp, err := e.next.RoundTrip(e.request(ctx, r, body))
	if err != nil {
		x.how, x.why = e.broken(ctx, cuts, err), err.Error()
		return
	}
	defer resp.Body.Close()
	kept := &spool{folder: e.folder}
	if _, err := io.Copy(kept, resp.Body); err != nil {
		kept.drop()
		x.how, x.why = e.broken(ctx, cuts, err), err.Error()
		return
	}
	x.how, x.status, x.header, x.body = workload.ExecutionAnswered, resp.StatusCode, resp.Header, kept
}

// request is what the container gets.
func (e *executions) request(ctx context.Context, r *http.Request, body *sent) *http.Request {
	out := r.Clone(ctx)
	out.RequestURI, out.URL.Scheme, out.URL.Host, out.URL.Path, out.URL.RawPath = "", "http", e.s.upstream.Addr(), "/", ""
	if to := out.Header.Get(workload.ExecutionTarget); strings.HasPrefix(to, "/") {
		out.URL.Path = to
	}
	out.Header.Del(workload.ExecutionTarget)
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if _, port, err := net.SplitHostPort(at.String()); err == nil {
			out.Header.Set(workload.ProgressURLHeader, "http://127.0.0.1:"+port+r.URL.Path+"/progress")
		}
	}
	if out.Body = body; r.ContentLength == 0 {
		out.Body = http.NoBody
		_ = body.Close()
	}
	return out
}

// broken says how an execution ended that got no answer, or not all of it.
func (e *executions) broken(ctx context.Context, cuts uint32, err error) string {
	switch {
	case relay.Unreachable(err) && ctx.Err() == nil:
		return workload.ExecutionRefused
	case e.s.upstream.Cuts() != cuts:
		return workload.ExecutionStopped
	}
	return workload.ExecutionLost
}

// cut ends all that are under way: their container is about to be killed.
func (e *executions) cut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.known {
		x.cancel(errCut)
	}
}

var errCut = fmt.Errorf("the replica has to stop")

// handleProgress takes what a container says of how far it is.
func (e *executions) handleProgress(w http.ResponseWriter, r *http.Request) {
	x := e.find(r.PathValue("id"))
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err != nil || !isLoopback(host) || x == nil {
		say(w, http.StatusNotFound, "no execution has this address any more; each has one of its own, in "+workload.ProgressURLHeader)
		return
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, workload.MaxProgress+1))
	if err == nil {
		_, err = workload.ParseProgress(text)
	}
	if err != nil {
		say(w, http.StatusBadRequest, fmt.Sprintf(`how far it is cannot be read: %v; say it as JSON, {"percent": 40, "message": "chunk 4 of 10"}, or as plain text`, err))
		return
	}
	was := x.said.Swap(&report{text: text, next: make(chan struct{})})
	close(was.next)
	w.WriteHeader(http.StatusNoContent)
}

// progressEvery is how often a gateway is told how far an execution is.
const progressEvery = time.Second

// await returns when an execution has ended, and tells its gateway how far it is meanwhile;
// false: the gateway has gone.
func (x *execution) await(w http.ResponseWriter, r *http.Request) bool {
	pause := time.NewTimer(progressEvery)
	defer pause.Stop()
	said := x.said.Load()
	for {
		if said.text != nil {
			w.Header().Set(workload.ExecutionProgress, oneLine(said.text))
			w.WriteHeader(http.StatusProcessing)
			w.Header().Del(workload.ExecutionProgress)
			pause.Reset(progressEvery)
			select {
			case <-x.done:
				return true
			case <-r.Context().Done():
				return false
			case <-pause.C:
			}
		}
		select {
		case <-x.done:
			return true
		case <-r.Context().Done(): // it goes on
			return false
		case <-said.next:
			said = x.said.Load()
		}
	}
}

// oneLine is a text as the value of a field: as it is where it is JSON in one line.
func oneLine(text []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(text), "\ufffd"))
}

// answer writes what an execution came to, when it has.
func (e *executions) answer(w http.ResponseWriter, r *http.Request, x *execution) {
	if !x.await(w, r) {
		return
	}
	h := w.Header()
	if x.how != workload.ExecutionAnswered {
		h.Set(workload.ExecutionHeader, x.how)
		say(w, http.StatusBadGateway, x.why)
		return
	}
	e.mu.Lock()
	var body io.Reader
	var err error
	if !x.dropped {
		body, err = x.body.open()
	}
	e.mu.Unlock()
	if body == nil {
		h.Set(workload.ExecutionHeader, workload.ExecutionUnknown)
		say(w, http.StatusNotFound, fmt.Sprintf("its answer is not kept any more: %v", err))
		return
	}
	for name, values := range x.header {
		h[name] = values
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Trailer"} {
		h.Del(name)
	}
	h.Set("Content-Length", fmt.Sprint(x.body.size))
	h.Set(workload.ExecutionHeader, workload.ExecutionAnswered)
	w.WriteHeader(x.status)
	_, _ = io.Copy(w, body) // whether it has arrived the gateway says, by having it forgotten
}

// drop ends an execution, or forgets its answer.
func (e *executions) drop(id string) {
	e.mu.Lock()
	x := e.known[id]
	delete(e.known, id)
	e.mu.Unlock()
	if x == nil {
		return
	}
	x.cancel(nil)
	go func() { // the container may take a moment to see that its caller is gone
		<-x.done
		e.mu.Lock()
		defer e.mu.Unlock()
		x.forget()
	}()
}

// forget frees what is kept of an answer; executions.mu is held.
func (x *execution) forget() {
	if x.body != nil && !x.dropped {
		x.body.drop()
	}
	x.dropped = true
}

// sweep forgets answers that nobody has come for.
func (e *executions) sweep(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.order) > 0 && (len(e.order) > maxAnswers || e.order[0].dropped || now.Sub(e.order[0].ended) > answerKept) {
		x := e.order[0]
		e.order = e.order[1:]
		x.forget()
		if e.known[x.id] == x {
			delete(e.known, x.id)
		}
	}
}

// awaited reports whether there is an answer that no gateway has written down yet, and that
// one may still come for soon.
func (e *executions) awaited(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.order {
		if !x.dropped && x.how == workload.ExecutionAnswered && now.Sub(x.ended) < answerAwaited {
			return true
		}
	}
	return false
}
