package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"cortex.dev/cortex/internal/relay"
)

// sidecars is a gateway before two replicas, whose sidecars speak both protocols.
type sidecars struct {
	*rig
	refusals int64                                        // so many requests are refused, whoever gets them
	refuse   func(w http.ResponseWriter, r *http.Request) // after it read what it wants to
	asked    atomic.Int64
	by       [2]atomic.Int64 // how many were asked of each
}

func startSidecars(t *testing.T, trusted bool, h http.Handler) *sidecars {
	t.Helper()
	s := &sidecars{rig: startRig(t, func(c *Config) { c.Sidecars = trusted }), refusals: 1, refuse: unreached}
	pods := pod{10, 10}
	s.deploy(realtime("model", "/model", pods), 2)
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	serve := func(i int) string {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.by[i].Add(1)
			if s.asked.Add(1) <= s.refusals {
				s.refuse(w, r)
				return
			}
			h.ServeHTTP(w, r)
		}))
		server.Config.Protocols = &p
		server.Start()
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	s.run("model", ready("model-a", serve(0), pods), ready("model-b", serve(1), pods))
	return s
}

// unreached answers as a sidecar whose container takes no connection.
func unreached(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Cortex-Reason", relay.Unreached)
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "14")
		w.Header().Set("Grpc-Message", "no healthy upstream")
		return
	}
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(503)
	fmt.Fprint(w, "no healthy upstream")
}

// unreachedAfter is unreached after n bytes of the body, without waiting for the others.
func unreachedAfter(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // or HTTP/1 waits
		_, _ = io.ReadFull(r.Body, make([]byte, n))
		unreached(w, r)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(io.Discard, r.Body) // until the gateway leaves
	}
}

// wantAsked checks that so many replicas were asked, and that every place came back.
func (s *sidecars) wantAsked(n int) {
	s.t.Helper()
	if a, b := s.by[0].Load(), s.by[1].Load(); max(a, b) != 1 || a+b != int64(n) {
		s.t.Errorf("the replicas were asked %d and %d times, want %d of them once", a, b, n)
	}
	s.until(func() bool { return s.work("model").pool.Load().Running == 0 }, "every place to be given back")
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %d %v %s", r.Method, r.ContentLength, err, body)
}

func TestHTTP2GoesToAnotherReplica(t *testing.T) {
	t.Parallel()
	kept := strings.Repeat("x", relay.KeptBytes)
	for name, tt := range map[string]struct {
		method string
		body   func() io.Reader
		want   string
	}{
		"GET":             {"GET", func() io.Reader { return nil }, "GET 0 <nil> "},
		"POST":            {"POST", func() io.Reader { return strings.NewReader("hello") }, "POST 5 <nil> hello"},
		"unknown length":  {"POST", func() io.Reader { return io.MultiReader(strings.NewReader("hello")) }, "POST -1 <nil> hello"},
		"as long as kept": {"POST", func() io.Reader { return strings.NewReader(kept) }, fmt.Sprintf("POST %d <nil> %s", len(kept), kept)},
	} {
		for _, reads := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", read: ", reads), func(t *testing.T) {
				t.Parallel()
				s := startSidecars(t, true, http.HandlerFunc(echo))
				s.client = overHTTP2(t)
				s.refuse = func(w http.ResponseWriter, r *http.Request) {
					if reads {
						_, _ = io.Copy(io.Discard, r.Body)
					}
					unreached(w, r)
				}
				if a := s.do(tt.method, "/model", tt.body(), nil); a.status != 200 || a.body != tt.want || a.header.Get("X-Cortex-Reason") != "" {
					t.Errorf("%s = %.80v, want %.40q", tt.method, a, tt.want)
				}
				s.wantAsked(2)
			})
		}
	}
}

// The first sidecar answers while the client has sent a part, and waits with the rest
// until the second one has that part.
func TestHTTP2GoesToAnotherReplicaInTheMiddle(t *testing.T) {
	t.Parallel()
	const length = -1 // all of a small body that says how long it is comes first
	arrived := make(chan string, 1)
	s := startSidecars(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		part := make([]byte, len("hello "))
		_, err := io.ReadFull(r.Body, part)
		arrived <- fmt.Sprintf("%s %v", part, err)
		echo(w, r)
	}))
	s.client, s.refuse = overHTTP2(t), unreachedAfter(len("hello "))
	body, client := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.url("/model"), body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = length
	got := make(chan answer, 1)
	go func() { got <- s.send(req) }()
	fmt.Fprint(client, "hello ")
	if part := receive(t, arrived); part != "hello  <nil>" {
		t.Errorf("the second replica got %q first, want what was sent", part)
	}
	fmt.Fprint(client, "world")
	client.Close()
	if a, want := receive(t, got), fmt.Sprintf("POST %d <nil> world", length); a.status != 200 || a.body != want {
		t.Errorf("POST = %v, want %q", a, want)
	}
	s.wantAsked(2)
}

// The trailer comes after the body, which the first attempt may be reading.
func TestTrailersOfHTTP2GoToAnotherReplica(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"text/plain", "application/grpc"} { // by HTTP/1.1, and by HTTP/2
		arrived := make(chan struct{}, 1)
		s := startSidecars(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			_, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, err, r.Trailer)
		}))
		s.client, s.refuse = overHTTP2(t), unreachedAfter(0)
		body, client := io.Pipe()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // a hang is a failure
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "POST", s.url("/model/pkg.Service/Say"), body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		req.Trailer = http.Header{"X-Check": {"42"}, "X-Cortex-Reason": {"forged"}, "X-Forwarded-For": {"10.0.0.1"}, "Cookie": {"a=b"}}
		go func() {
			fmt.Fprint(client, "hel") // a body has to begin
			select {
			case <-arrived:
			case <-ctx.Done():
			}
			fmt.Fprint(client, "lo")
			client.Close()
		}()
		if a, want := s.send(req), "<nil> map[X-Check:[42]]"; a.body != want {
			t.Errorf("%s: the replica got %v, want %q", kind, a, want)
		}
		s.wantAsked(2)
	}
}

// collector is a gRPC server that answers once a call's messages have all come: with
// them in one. It tells of each when it comes.
func collector(told chan<- string) http.Handler {
	return grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var all [][]byte
		for {
			var msg []byte
			err := stream.RecvMsg(&msg)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			told <- string(msg)
			all = append(all, msg)
		}
		msg := bytes.Join(all, []byte(" "))
		return stream.SendMsg(&msg)
	}))
}

func TestGRPCGoesToAnotherReplica(t *testing.T) {
	t.Parallel()
	s := startSidecars(t, true, collector(make(chan string, 1)))
	in, out := []byte("hello"), []byte(nil)
	var header metadata.MD
	if err := s.grpc().Invoke(t.Context(), "/model/pkg.Service/Say", &in, &out, grpc.Header(&header)); err != nil || string(out) != "hello" || len(header.Get("X-Cortex-Reason")) > 0 {
		t.Errorf("the call = %q, %v with %v; want the second replica's answer", out, err, header)
	}
	s.wantAsked(2)
}

func TestGRPCStreamGoesToAnotherReplica(t *testing.T) {
	t.Parallel()
	const first = 5 + len("one") // with its length before it
	for name, refuse := range map[string]func(http.ResponseWriter, *http.Request){
		"before the first message": unreached,
		"after the first message": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, first))
			unreached(w, r)
		},
		"and reads on": unreachedAfter(first),
		"with a body": func(w http.ResponseWriter, r *http.Request) { // whose end a transport waits for
			_, _ = io.ReadFull(r.Body, make([]byte, first))
			unreached(w, r)
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(make([]byte, 100))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := make(chan string, 1)
			s := startSidecars(t, true, collector(told))
			s.refuse = refuse
			stream, err := s.grpc().NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, "/model/pkg.Service/Collect")
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"one", "two", "three"} { // each has arrived before the next is sent
				msg := []byte(word)
				if err := stream.SendMsg(&msg); err != nil {
					t.Fatal(err)
				}
				if got := receive(t, told); got != word {
					t.Errorf("the second replica got %q, want %q", got, word)
				}
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			var out []byte
			if err := stream.RecvMsg(&out); err != nil || string(out) != "one two three" {
				t.Errorf("the answer is %q, %v; want all messages, once and in order", out, err)
			}
			s.wantAsked(2)
		})
	}
}

// TestLongHTTP2BodyIsNotSentTwice: what was sent is gone past the bound.
func TestLongHTTP2BodyIsNotSentTwice(t *testing.T) {
	t.Parallel()
	const long = relay.KeptBytes + 1
	some := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, long)
		unreached(w, r)
	}
	for name, body := range map[string]io.Reader{
		"announced": strings.NewReader(strings.Repeat("x", long)),
		"unknown":   io.MultiReader(strings.NewReader(strings.Repeat("x", long))),
	} {
		s := startSidecars(t, true, http.HandlerFunc(echo))
		s.client, s.refuse = overHTTP2(t), some
		a := s.do("POST", "/model", body, nil)
		wantRefusal(t, a, 503, relay.Unreached, "api")
		if !strings.Contains(a.body, "no healthy upstream") {
			t.Errorf("%s: the answer is %q, want the sidecar's", name, a.body)
		}
		s.wantAsked(1)
	}
	s := startSidecars(t, true, collector(make(chan string, 1)))
	s.refuse = some
	var trailer metadata.MD // an answer without messages is all trailer
	in, out := make([]byte, long), []byte(nil)
	err := s.grpc().Invoke(t.Context(), "/model/pkg.Service/Say", &in, &out, grpc.Trailer(&trailer))
	if got := trailer.Get("X-Cortex-Reason"); status.Code(err) != codes.Unavailable || len(got) != 1 || got[0] != relay.Unreached {
		t.Errorf("the call = %v with the reason %q, want Unavailable, %s", err, got, relay.Unreached)
	}
	s.wantAsked(1)
}

// TestNoReplicaReachesItsContainer: by each protocol, the answer is the gateway's.
func TestNoReplicaReachesItsContainer(t *testing.T) {
	t.Parallel()
	const says = "none accepts a connection"
	post := func(s *sidecars) {
		a := s.do("POST", "/model", strings.NewReader("hello"), nil)
		wantRefusal(s.t, a, 503, relay.Unreached, "api")
		if !strings.Contains(a.body, says) {
			s.t.Errorf("the answer is %q, want the gateway's", a.body)
		}
	}
	for name, ask := range map[string]func(*sidecars){
		"HTTP/1.1": post,
		"HTTP/2":   func(s *sidecars) { s.client = overHTTP2(s.t); post(s) },
		"gRPC": func(s *sidecars) {
			in, out := []byte("hello"), []byte(nil)
			err := s.grpc().Invoke(s.t.Context(), "/model/pkg.Service/Say", &in, &out)
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), says) {
				s.t.Errorf("the call = %v, want Unavailable from the gateway", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSidecars(t, true, http.HandlerFunc(echo))
			s.refusals = 1 << 40
			ask(s)
			if asked := s.asked.Load(); asked != maxUnreached+1 {
				t.Errorf("replicas were asked %d times, want %d", asked, maxUnreached+1)
			}
			s.until(func() bool { return s.work("model").pool.Load().Running == 0 }, "every place to be given back")
		})
	}
}

// TestHTTP2IsNotLostWithADeadReplica: with or without sidecars, and whatever its
// length, a body of which nothing was read is whole.
func TestHTTP2IsNotLostWithADeadReplica(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	p := pod{10, 10}
	r.deploy(realtime("model", "/model", p), 1)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	r.run("model", ready("dead", gone.Listener.Addr().String(), p), ready("alive", r.server(http.HandlerFunc(echo)), p))
	r.client = overHTTP2(t)
	body := strings.Repeat("x", relay.KeptBytes+1)
	for range 10 {
		if a, want := r.do("POST", "/model", strings.NewReader(body), nil), fmt.Sprintf("POST %d <nil> %s", len(body), body); a.body != want {
			t.Fatalf("POST = %.80v, want %.40q", a, want)
		}
	}
}

// One request never costs more than one replica: what breaks off when it has reached a
// container may be why, and goes to no other, on a new connection or on a kept one.
func TestAnHTTP2RequestCostsOneReplica(t *testing.T) {
	t.Parallel()
	for _, trusted := range []bool{true, false} {
		for _, kept := range []bool{false, true} {
			for _, kind := range []string{"", "application/grpc"} { // by HTTP/1.1, and by HTTP/2
				t.Run(fmt.Sprintf("sidecars %v, kept %v, %q", trusted, kept, kind), func(t *testing.T) {
					t.Parallel()
					s := startSidecars(t, trusted, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if strings.HasSuffix(r.URL.Path, "/die") {
							panic(http.ErrAbortHandler)
						}
						echo(w, r)
					}))
					s.client, s.refusals = overHTTP2(t), 0
					for range 4 * btoi(kept) {
						s.do("GET", "/model/svc/live", nil, http.Header{"Content-Type": {kind}})
					}
					for _, method := range []string{"GET", "PUT", "POST"} {
						a, b := s.by[0].Load(), s.by[1].Load()
						got := s.do(method, "/model/svc/die", nil, http.Header{"Content-Type": {kind}})
						if a, b = s.by[0].Load()-a, s.by[1].Load()-b; (a > 0) == (b > 0) {
							t.Errorf("%s = %v after the replicas were asked %d and %d times, want one of them", method, got, a, b)
						}
						s.until(func() bool { return s.work("model").pool.Load().Running == 0 }, "every place to be given back")
					}
				})
			}
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestOnlySidecarsSayThatNobodyWasReached: without them the field is a container's own.
func TestOnlySidecarsSayThatNobodyWasReached(t *testing.T) {
	t.Parallel()
	s := startSidecars(t, false, http.HandlerFunc(echo))
	s.client = overHTTP2(t)
	s.refusals = 2
	for method, body := range map[string]io.Reader{"GET": nil, "POST": strings.NewReader("hello")} {
		a := s.do(method, "/model", body, nil)
		if a.status != 503 || a.header.Get("X-Cortex-Reason") != "" || a.header.Get("X-Cortex-Origin") != "api" || !strings.Contains(a.body, "no healthy upstream") {
			t.Errorf("%s = %v with %v, want the container's answer without its reason", method, a, a.header)
		}
	}
	if asked := s.asked.Load(); asked != 2 {
		t.Errorf("2 requests were sent to %d replicas", asked)
	}
	s = startSidecars(t, false, collector(make(chan string, 1)))
	var trailer metadata.MD
	in, out := []byte("hello"), []byte(nil)
	err := s.grpc().Invoke(t.Context(), "/model/pkg.Service/Say", &in, &out, grpc.Trailer(&trailer))
	if status.Code(err) != codes.Unavailable || len(trailer.Get("X-Cortex-Origin")) != 1 || len(trailer.Get("X-Cortex-Reason")) > 0 {
		t.Errorf("the call = %v with %v, want the container's answer without its reason", err, trailer)
	}
	s.wantAsked(1)
}

// TestACallerThatLeavesIsForgotten: also between two replicas.
func TestACallerThatLeavesIsForgotten(t *testing.T) {
	t.Parallel()
	told := make(chan string, 1)
	s := startSidecars(t, true, collector(told))
	ctx, leave := context.WithCancel(t.Context())
	stream, err := s.grpc().NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, "/model/pkg.Service/Collect")
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte("one")
	if err := stream.SendMsg(&msg); err != nil {
		t.Fatal(err)
	}
	receive(t, told)
	leave()
	s.wantAsked(2)
}
