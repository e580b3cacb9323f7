package httpapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

func TestClientConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  httpapi.ClientConfig
		code string
	}{
		{httpapi.ClientConfig{Socket: "/tmp/s"}, ""},
		{httpapi.ClientConfig{Endpoint: "http://localhost:8888"}, ""},
		{httpapi.ClientConfig{Endpoint: "https://cortex.example.com/prefix/"}, ""},
		{httpapi.ClientConfig{}, "cli.invalid_operator_endpoint"},
		{httpapi.ClientConfig{Socket: "/tmp/s", Endpoint: "http://localhost"}, "cli.invalid_operator_endpoint"},
		{httpapi.ClientConfig{Endpoint: "localhost:8888"}, "cli.invalid_operator_endpoint"},
		{httpapi.ClientConfig{Endpoint: "ftp://localhost"}, "cli.invalid_operator_endpoint"},
		{httpapi.ClientConfig{Endpoint: "http://"}, "cli.invalid_operator_endpoint"},
		{httpapi.ClientConfig{Endpoint: "http://u:p@localhost"}, "cli.invalid_operator_endpoint"},
		{httpapi.ClientConfig{Endpoint: "http://localhost?x=1"}, "cli.invalid_operator_endpoint"},
		{httpapi.ClientConfig{Endpoint: "http://[::1"}, "cli.invalid_operator_endpoint"},
	} {
		_, err := httpapi.NewClient(tt.cfg)
		if got := fault.Code(err); got != tt.code || (err != nil) != (tt.code != "") {
			t.Errorf("NewClient(%+v) = %v, want code %q", tt.cfg, err, tt.code)
		}
	}
}

func TestAnEndpointWithAPath(t *testing.T) {
	t.Parallel()
	d := &double{answer: workload.Info{Version: "1"}}
	srv := httptest.NewServer(http.StripPrefix("/operator", httpapi.NewHandler(d, httpapi.Options{})))
	t.Cleanup(srv.Close)
	c, err := httpapi.NewClient(httpapi.ClientConfig{Endpoint: srv.URL + "/operator/"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if info, err := c.Info(t.Context()); err != nil || info.Version != "1" {
		t.Errorf("Info() = %+v, %v; want version 1", info, err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "cx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	missing := filepath.Join(dir, "none")
	dead := filepath.Join(dir, "dead") // its listener died without removing it
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = tcp.Close()

	for _, tt := range []struct {
		cfg           httpapi.ClientConfig
		message, hint string
	}{
		{httpapi.ClientConfig{Socket: missing}, "the local environment is not running: nothing listens at " + missing, "start it with cortex local start"},
		{httpapi.ClientConfig{Socket: dead}, "the local environment is not running: nothing listens at " + dead, "start it with cortex local start"},
		{httpapi.ClientConfig{Endpoint: "http://" + tcp.Addr().String()}, "no answer from http://" + tcp.Addr().String() + ": connection refused",
			"check the address with cortex env list, and that the operator is running"},
	} {
		c, err := httpapi.NewClient(tt.cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range []string{"list", "logs"} {
			_, err := ask(t.Context(), c, question{op, arguments{Name: "iris"}})
			f := fault.From(err)
			if f == nil || f.Kind != fault.Disconnected || f.Code != "cli.failed_to_connect_operator" || f.Message != tt.message || f.Hint != tt.hint {
				t.Errorf("%s at %+v = %+v\nwant %s (%s)", op, tt.cfg, f, tt.message, tt.hint)
			}
		}
	}
}

func TestAnswersOfSomebodyElse(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter){
		"a page":         func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>hello") },
		"another error":  func(w http.ResponseWriter) { w.WriteHeader(404); _, _ = io.WriteString(w, `{"error":"no"}`) },
		"an HTML error":  func(w http.ResponseWriter) { http.Error(w, "not found", 404) },
		"a redirect":     func(w http.ResponseWriter) { w.Header().Set("Location", "/elsewhere"); w.WriteHeader(302) },
		"nothing":        func(w http.ResponseWriter) { w.WriteHeader(204) },
		"something else": func(w http.ResponseWriter) { _, _ = io.WriteString(w, `7`) },
	} {
		c := overTheWire(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				t.Error("the client followed a redirect")
			}
			answer(w)
		}))
		for _, op := range []string{"get", "logs"} {
			_, err := ask(t.Context(), c, question{op, arguments{Name: "iris"}})
			if fault.Code(err) != "cli.operator_response_unknown" || !fault.Is(err, fault.Disconnected) {
				t.Errorf("%s: %s = %v, want an unknown answer", name, op, err)
			}
		}
	}
}

func TestAConnectionThatBreaks(t *testing.T) {
	t.Parallel()
	c := overTheWire(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"spec":`)
		panic(http.ErrAbortHandler)
	}))
	_, err := c.Get(t.Context(), "iris")
	if fault.Code(err) != "cli.operator_connection_lost" || !fault.Is(err, fault.Disconnected) {
		t.Errorf("Get() = %v, want a lost connection", err)
	}
	c = overTheWire(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	_, err = c.Refresh(t.Context(), "iris", false)
	if fault.Code(err) != "cli.operator_connection_lost" || !strings.Contains(fault.From(err).Hint, "may have been carried out") {
		t.Errorf("Refresh() = %v, want a lost connection", err)
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c := overTheWire(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	_, err := c.Get(ctx, "iris")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Get() = %v, want that it is cancelled", err)
	}
}

// Only the client's own patience has a limit, and a stream has none.
func TestPatience(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		op   string
		want time.Duration // 0 is for ever
	}{{"info", 10 * time.Second}, {"list", 10 * time.Minute}, {"logs", 0}} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			t.Cleanup(func() { _, _ = near.Close(), far.Close() })
			go func() { _, _ = io.Copy(io.Discard, far) }() // reads the request and never answers
			c, err := httpapi.NewClient(httpapi.ClientConfig{Endpoint: "http://localhost"})
			if err != nil {
				t.Fatal(err)
			}
			httpapi.DialWith(c, func(context.Context, string, string) (net.Conn, error) { return near, nil })
			ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
			defer cancel()
			start := time.Now()
			_, err = ask(ctx, c, question{tt.op, arguments{Name: "iris"}})
			want := tt.want
			if want == 0 {
				want = 24 * time.Hour
				if err != nil {
					t.Errorf("%s = %v, want no error after its context ended", tt.op, err)
				}
			} else if fault.Code(err) != "cli.operator_timeout" || !fault.Is(err, fault.Unavailable) {
				t.Errorf("%s = %v, want that the operator took too long", tt.op, err)
			}
			if got := time.Since(start); got != want {
				t.Errorf("%s gave up after %s, want %s", tt.op, got, want)
			}
		})
	}
}

func TestTheClientSaysWhoItIs(t *testing.T) {
	t.Parallel()
	var agent string
	socket := serveUnix(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent = r.UserAgent()
		_, _ = io.WriteString(w, "{}")
	}))
	c, err := httpapi.NewClient(httpapi.ClientConfig{Socket: socket, UserAgent: "cortex/1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Info(t.Context()); err != nil || agent != "cortex/1.0.0" {
		t.Errorf("User-Agent = %q, %v; want cortex/1.0.0", agent, err)
	}
}
