package http2

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cortex.dev/cortex/internal/relay"
)

// refuser is a relay's handler that answers everything itself.
type refuser struct{}

func (refuser) Admit(*relay.Exchange, int) (relay.Place, *relay.Answer) {
	return nil, &relay.Answer{Status: 418, Code: "relay"}
}

// serve runs a relay that hands HTTP/2 over to h, and returns its address.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Handler: h, Addr: ln.Addr()})
	r := relay.NewServer(relay.Config{Handler: refuser{}, HTTP2: s.Take})
	ctx, cancel := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() { s.Run(ctx, time.Minute) })
	both.Go(func() {
		if err := r.Serve(ctx, ln, time.Minute); err != nil {
			t.Errorf("Serve() = %v, want nil", err)
		}
	})
	t.Cleanup(func() { cancel(); both.Wait() })
	return ln.Addr().String()
}

// priorKnowledge is a client that speaks HTTP/2 without having asked.
func priorKnowledge(t *testing.T) *http.Transport {
	t.Helper()
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	client := &http.Transport{Protocols: &p}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// exchange sends a request, to whose answer the body is read.
func exchange(t *testing.T, client http.RoundTripper, method, url, mediaType, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("X-Request-Id", "me")
	resp, err := client.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the answer to %s %s: %v after %d bytes", method, url, err, len(got))
	}
	return resp, string(got)
}

func TestARelayHandsHTTP2Over(t *testing.T) {
	t.Parallel()
	remotes := make(chan string, 2)
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		remotes <- r.RemoteAddr
		w.Header().Set("X-Saw", fmt.Sprintf("%s %s %s", r.Proto, r.Method, r.RequestURI))
		w.Header().Set("Trailer", "X-End")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-End", "whole")
	})
	client := priorKnowledge(t)
	big := strings.Repeat("0123456789abcdef", 1<<16) // more than a window
	for _, body := range []string{"", big} {
		resp, got := exchange(t, client, "POST", "http://"+addr+"/a%2Fb?c=%zz", "text/plain", body)
		if resp.StatusCode != 200 || resp.ProtoMajor != 2 || resp.Trailer.Get("X-End") != "whole" || got != body {
			t.Errorf("a body of %d bytes = %s %s with %d bytes and the trailer %v, want it back by HTTP/2", len(body), resp.Proto, resp.Status, len(got), resp.Trailer)
		}
		if saw, want := resp.Header.Get("X-Saw"), "HTTP/2.0 POST /a%2Fb?c=%zz"; saw != want {
			t.Errorf("the handler saw %q, want %q", saw, want)
		}
	}
	first, second := <-remotes, <-remotes
	if host, _, err := net.SplitHostPort(first); err != nil || host != "127.0.0.1" || first != second {
		t.Errorf("the requests came from %s and %s, want both from one port of the client", first, second)
	}
	http1 := &http.Transport{}
	t.Cleanup(http1.CloseIdleConnections)
	if resp, _ := exchange(t, http1, "POST", "http://"+addr, "text/plain", ""); resp.StatusCode != 418 || resp.ProtoMajor != 1 {
		t.Errorf("HTTP/1 = %s %s, want the relay's own answer", resp.Proto, resp.Status)
	}
}

// What a server tells a client in its first frame bounds what the client may do.
func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	c, err := net.Dial("tcp", serve(t, http.NotFound))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil { // a hang is a failure
		t.Fatal(err)
	}
	fmt.Fprint(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") // with empty settings
	said := map[uint16]uint32{}
	for frame := frameOf(t, c, 4); len(frame) >= 6; frame = frame[6:] {
		said[binary.BigEndian.Uint16(frame)] = binary.BigEndian.Uint32(frame[2:])
	}
	for _, bound := range []struct {
		what string
		id   uint16 // RFC 9113, section 6.5.2
		most uint32
	}{{"concurrent streams", 3, 250}, {"bytes of a stream that are not read yet", 4, 256 << 10}, {"bytes of a header", 6, 65 << 10}} {
		if got, ok := said[bound.id]; !ok || got > bound.most {
			t.Errorf("the bound of %s is %d (said: %v), want at most %d", bound.what, got, ok, bound.most)
		}
	}
	const first = 1<<16 - 1 // what any client may send at first
	if more := binary.BigEndian.Uint32(frameOf(t, c, 8)); first+more > 1<<20 {
		t.Errorf("the bound of bytes of a connection that are not read yet is %d, want at most %d", first+more, 1<<20)
	}
}

// frameOf returns the payload of the next frame of a type (RFC 9113, section 6).
func frameOf(t *testing.T, c net.Conn, kind byte) []byte {
	t.Helper()
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(c, head); err != nil {
			t.Fatalf("waiting for a frame of type %d: %v", kind, err)
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c, payload); err != nil {
			t.Fatal(err)
		}
		if head[3] == kind {
			return payload
		}
	}
}

// piped is a server, and a client that speaks HTTP/2 to it over pipes: without a
// network, so that time passes only when everybody waits.
type piped struct {
	*Server
	client *http.Transport
	taken  chan error    // what reading a connection says after Take returned
	run    chan struct{} // closed when Run returned
	end    context.CancelFunc
	log    *strings.Builder // to be read when Run returned
}

func overPipes(t *testing.T, grace time.Duration, h http.HandlerFunc) *piped {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	log := new(strings.Builder)
	p := &piped{
		Server: New(Config{Handler: h, Addr: &net.TCPAddr{}, Log: slog.New(slog.NewTextHandler(log, nil))}), client: priorKnowledge(t),
		taken: make(chan error, 10), run: make(chan struct{}), end: cancel, log: log,
	}
	p.client.DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			p.Take(theirs)
			_, err := theirs.Read(nil)
			p.taken <- err
			_ = theirs.Close() // as a relay does
		}()
		return ours, nil
	}
	go func() { p.Run(ctx, grace); close(p.run) }()
	return p
}

// ask sends a request and returns what came of it, once it has.
func (p *piped) ask(t *testing.T, path string) <-chan string {
	t.Helper()
	answer := make(chan string, 1)
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://server"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		resp, err := p.client.RoundTrip(req)
		if err != nil {
			answer <- "no answer"
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			body = append(body, " broke off"...)
		}
		answer <- string(body)
	}()
	return answer
}

// over reports whether Run returned.
func (p *piped) over() bool {
	synctest.Wait()
	select {
	case <-p.run:
		return true
	default:
		return false
	}
}

func TestTakeReturnsWhenTheClientLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := overPipes(t, time.Minute, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
		if got := <-p.ask(t, "/"); got != "hello" {
			t.Errorf("the answer is %q, want hello", got)
		}
		if synctest.Wait(); len(p.taken) != 0 {
			t.Error("Take returned while the connection was open")
		}
		p.client.CloseIdleConnections()
		if err := <-p.taken; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("reading the connection after Take = %v, want it closed", err)
		}
		p.end()
		<-p.run
	})
}

func TestConnectionsThatNobodyUsesEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := overPipes(t, time.Minute, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
		if got := <-p.ask(t, "/"); got != "hello" {
			t.Errorf("the answer is %q, want hello", got)
		}
		began := time.Now()
		<-p.taken
		if took := time.Since(began); took < time.Minute || took > 2*time.Minute {
			t.Errorf("a connection that nobody uses was closed after %s, want a minute or two", took)
		}
		p.end()
		<-p.run
	})
}

func TestTheEndFinishesStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		p := overPipes(t, time.Hour, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "begun")
			_ = http.NewResponseController(w).Flush()
			<-goOn
			fmt.Fprint(w, " and finished")
		})
		answer := p.ask(t, "/")
		synctest.Wait()
		p.end()
		<-time.After(30 * time.Minute) // well within the grace
		if p.over() || len(p.taken) != 0 {
			t.Fatal("the server ended with a stream open, want it to wait")
		}
		if got := <-p.ask(t, "/late"); got != "no answer" {
			t.Errorf("a request after the end got %q, want no answer", got)
		}
		<-p.taken // its connection: Take does not wait for what nobody will serve
		close(goOn)
		if got := <-answer; got != "begun and finished" {
			t.Errorf("the open stream got %q, want all of it", got)
		}
		<-p.taken
		<-p.run
	})
}

func TestTheEndBreaksStreamsAfterTheGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := overPipes(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "begun")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		answer := p.ask(t, "/")
		synctest.Wait()
		began := time.Now()
		p.end()
		<-p.run
		if took := time.Since(began); took != time.Minute {
			t.Errorf("Run returned after %s, want the grace, 1m0s", took)
		}
		<-p.taken
		if got := <-answer; got != "begun broke off" {
			t.Errorf("the stream got %q, want it to be seen that it is not whole", got)
		}
	})
}

func TestTheEndDoesNotWaitForIdleConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := overPipes(t, time.Hour, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
		if got := <-p.ask(t, "/"); got != "hello" {
			t.Errorf("the answer is %q, want hello", got)
		}
		began := time.Now()
		p.end()
		<-p.run
		<-p.taken
		// The client has a second to hear that no more streams are taken.
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the end took %s with nothing to finish", took)
		}
	})
}

func TestADefectCostsItsStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := overPipes(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "begun")
			_ = http.NewResponseController(w).Flush()
			switch r.URL.Path {
			case "/defect":
				panic("a defect")
			case "/broken":
				panic(http.ErrAbortHandler) // how a proxy says that the upstream broke off
			}
		})
		for path, want := range map[string]string{"/defect": "begun broke off", "/broken": "begun broke off", "/": "begun"} {
			if got := <-p.ask(t, path); got != want {
				t.Errorf("%s = %q, want %q", path, got, want)
			}
		}
		p.end()
		<-p.run
		if got := p.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "a defect") {
			t.Errorf("the log says %q, want one line with the defect", got)
		}
	})
}

func TestAServerThatEndedBeforeItRan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Handler: http.NotFoundHandler(), Addr: &net.TCPAddr{}})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s.Run(ctx, time.Hour)
		ours, theirs := net.Pipe()
		defer ours.Close()
		defer theirs.Close()
		s.Take(theirs) // returns
	})
}
