package gateway

import (
	"bufio"
	"bytes"
	"net/http"
	"sync"

	"cortex.dev/cortex/internal/relay"
)

// answerHere has who keeps items answer a request in the goroutine that has read it, where
// all of it is here and its answer is small: submissions, and who asks what became of an item
// or waits for that. nil: it goes the way of all others, to the server inside, which streams.
//
// What such a request costs is mostly its way: to the server and back it is written and read
// twice more, by two more goroutines, and one that waits keeps two more of them and another
// pair of sockets (ADR 64).
func (g *Gateway) answerHere(x *relay.Exchange, r *route, strip int) *relay.Answer {
	if g.cfg.Items == nil || r.jobs() || !answersSmall(x.Target()[strip:]) || x.Mentions("accept", "event-stream") {
		return nil
	}
	if a := g.look(x, r, strip); a != nil {
		return a
	}
	whole := x.Whole()
	if whole == nil {
		return nil
	}
	in := readers.Get().(*bufio.Reader)
	defer readers.Put(in)
	in.Reset(bytes.NewReader(whole))
	// The relay has parsed it, and has written what we read: what is wrong with it is said by
	// the server inside.
	req, err := http.ReadRequest(in)
	if err != nil {
		return nil
	}
	w := &small{head: http.Header{}, status: http.StatusOK}
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	if !w.serve(func() { g.cfg.Items.Serve(r.name, r.base(strip), w, req.WithContext(x.Context())) }) {
		return &relay.Answer{Status: 503, Code: relay.ClientGone, Message: "the client is gone"} // nobody reads it
	}
	a := &relay.Answer{Status: w.status, Code: w.head.Get(reasonField), Origin: "api", Fields: w.head, Whole: w.body.Bytes()}
	w.head.Del(reasonField)
	w.head.Del("Content-Length")
	return a
}

// look is the answer to a caller who asks what became of an item and does not wait: they come
// again and again, so that it is worth not to make a request of net/http of each.
func (g *Gateway) look(x *relay.Exchange, r *route, strip int) *relay.Answer {
	below := x.Target()[strip:]
	if string(x.Method()) != http.MethodGet || !x.Bodiless() || len(below) < 2 || bytes.IndexByte(below, '?') >= 0 {
		return nil
	}
	text := g.cfg.Items.Look(x.Context(), r.name, r.base(strip), string(below[1:]))
	if text == nil {
		return nil
	}
	return &relay.Answer{Status: http.StatusOK, Origin: "api", Fields: jsonFields, Whole: text}
}

var jsonFields = http.Header{"Content-Type": {"application/json"}}

const reasonField = "X-Cortex-Reason"

// answersSmall reports whether what is below an endpoint is answered with some kilobytes of
// JSON: submissions and items are, and results, which are below them, are not.
func answersSmall(below []byte) bool {
	path := pathOf(below)
	return bytes.LastIndexByte(path, '/') <= 0 && bytes.IndexByte(path, '%') < 0
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}

// small is an answer that is sent as one piece.
type small struct {
	head   http.Header
	status int
	body   bytes.Buffer
}

var _ http.ResponseWriter = (*small)(nil)

// Header is http.ResponseWriter's.
func (s *small) Header() http.Header { return s.head }

// WriteHeader is http.ResponseWriter's.
func (s *small) WriteHeader(status int) { s.status = status }

// Write is http.ResponseWriter's.
func (s *small) Write(p []byte) (int, error) { return s.body.Write(p) }

// serve reports whether the handler did not abort: it does when nobody hears the answer.
func (s *small) serve(handle func()) (whole bool) {
	defer func() {
		if whole {
			return
		}
		if r := recover(); r != http.ErrAbortHandler { //nolint:errorlint // net/http compares it so too
			panic(r)
		}
	}()
	handle()
	return true
}
