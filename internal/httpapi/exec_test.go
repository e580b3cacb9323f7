package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

type command = func(context.Context, workload.ExecRequest, workload.ExecStreams) (int, error)

func execRequest(words ...string) workload.ExecRequest {
	return workload.ExecRequest{Name: "iris", Replica: "r", Container: "c", Command: words}
}

// untilEnd runs until the caller or the operator ends it.
func untilEnd(begun chan<- struct{}, ended chan<- error) command {
	return func(ctx context.Context, _ workload.ExecRequest, _ workload.ExecStreams) (int, error) {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return 0, ctx.Err()
	}
}

// What goes in and comes out is whole, in both directions at once, with its exit code.
func TestExecIsAConversation(t *testing.T) {
	t.Parallel()
	sizes := make(chan workload.TTY, 1)
	d := &double{command: func(_ context.Context, _ workload.ExecRequest, s workload.ExecStreams) (int, error) {
		if _, err := io.Copy(s.Stdout, s.Stdin); err != nil {
			return 0, err
		}
		sizes <- <-s.Resize
		_, err := io.WriteString(s.Stderr, "told")
		return 7, err
	}}
	client := overTheWire(t, httpapi.NewHandler(d, httpapi.Options{}))
	said := strings.Repeat("0123456789abcdef", 20_000)
	var stdout, stderr bytes.Buffer
	resize := make(chan workload.TTY, 1)
	resize <- workload.TTY{Rows: 50, Cols: 132}
	req := execRequest("sh", "-c", "x y", "")
	req.TTY = &workload.TTY{Rows: 24, Cols: 80, Term: "xterm"}
	code, err := client.Exec(t.Context(), req, workload.ExecStreams{Stdin: strings.NewReader(said), Stdout: &stdout, Stderr: &stderr, Resize: resize})
	if err != nil || code != 7 || stdout.String() != said || stderr.String() != "told" {
		t.Errorf("Exec() = %d, %v, %d bytes and %q; want 7, %d bytes and what it told", code, err, stdout.Len(), stderr.String(), len(said))
	}
	if size := <-sizes; size.Rows != 50 || size.Cols != 132 {
		t.Errorf("the size became %+v, want 50 rows of 132", size)
	}
	if got := d.questions(); len(got) != 2 || !strings.HasPrefix(got[1], "Exec[{Name:iris Replica:r Container:c Command:[sh -c x y ] Stdin:true TTY:0x") {
		t.Errorf("the service was asked %v", got)
	}
}

func TestExecIsRefused(t *testing.T) {
	t.Parallel()
	h := httpapi.NewHandler(&double{err: fault.New(fault.NotFound, "resources.api_not_deployed", "iris is not deployed").WithHint("deploy it")}, httpapi.Options{})
	client := overTheWire(t, h)
	if _, err := client.Exec(t.Context(), execRequest("x"), workload.ExecStreams{}); fault.Code(err) != "resources.api_not_deployed" || fault.From(err).Hint != "deploy it" {
		t.Errorf("Exec() in what is not deployed = %v", err)
	}
	if _, err := client.Exec(t.Context(), workload.ExecRequest{Name: "a/b"}, workload.ExecStreams{}); fault.Code(err) != "resources.api_not_deployed" {
		t.Errorf("Exec() in what no path can carry = %v", err)
	}
	client = overTheWire(t, httpapi.NewHandler(&double{command: func(context.Context, workload.ExecRequest, workload.ExecStreams) (int, error) {
		return 0, fault.New(fault.Conflict, "exec.nothing_runs", "nothing runs").WithHint("wait")
	}}, httpapi.Options{}))
	if _, err := client.Exec(t.Context(), execRequest("x"), workload.ExecStreams{}); fault.Code(err) != "exec.nothing_runs" || fault.From(err).Hint != "wait" {
		t.Errorf("Exec() that the service refuses = %v", err)
	}
	w := do(t, h, http.MethodPost, "/v1/apis/iris/exec", "application/json", strings.NewReader(`{"command": ["x"]}`))
	if w.Code != http.StatusUpgradeRequired || w.Header().Get("Upgrade") != "cortex-exec/1" {
		t.Errorf("a request without an upgrade = %d %s", w.Code, w.Body)
	}
}

// A command ends with its caller, however that leaves, and with what it says that is no
// frame of the protocol.
func TestExecEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	h := httpapi.NewHandler(&double{command: untilEnd(begun, ended)}, httpapi.Options{})
	client := overTheWire(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := client.Exec(ctx, execRequest("x"), workload.ExecStreams{})
		done <- err
	}()
	<-begun
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Exec() = %v, want that its context ended", err)
	}
	if err := <-ended; err == nil {
		t.Error("the command went on without its caller")
	}
	socket := serveUnix(t, h)
	for name, said := range map[string]string{
		"hangs up": "", "another letter": "q\x00\x00\x00\x00", "an output of its own": "o\x00\x00\x00\x01x",
		"a frame that is too long": "i\x7f\xff\xff\xff", "half a frame": "i\x00\x00\x00\x09x", "no size": "r\x00\x00\x00\x01x",
	} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		body := `{"command": ["x"], "stdin": true}`
		_, _ = io.WriteString(conn, "POST /v1/apis/iris/exec HTTP/1.1\r\nHost: cortex\r\nConnection: Upgrade\r\nUpgrade: cortex-exec/1\r\nContent-Type: application/json\r\nContent-Length: "+
			"33\r\n\r\n"+body+said)
		<-begun
		if said == "" || name == "half a frame" {
			_ = conn.(*net.UnixConn).CloseWrite()
		}
		if err := <-ended; err == nil {
			t.Errorf("%s: the command went on", name)
		}
		_ = conn.Close()
	}
}

// There are only so many at once, and room again when one has ended.
func TestExecIsBounded(t *testing.T) {
	t.Parallel()
	begun, ended := make(chan struct{}, 64), make(chan error, 64)
	client := overTheWire(t, httpapi.NewHandler(&double{command: untilEnd(begun, ended)}, httpapi.Options{}))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range 32 {
		running.Go(func() { _, _ = client.Exec(ctx, execRequest("x"), workload.ExecStreams{}) })
		<-begun
	}
	if _, err := client.Exec(t.Context(), execRequest("x"), workload.ExecStreams{}); fault.Code(err) != "exec.too_many" || !fault.Is(err, fault.TooMany) {
		t.Errorf("Exec() as the 33rd = %v, want too many", err)
	}
	cancel()
	running.Wait()
	for range 32 {
		<-ended
	}
	limited, stop := context.WithCancel(t.Context())
	defer stop()
	again := make(chan error, 1)
	for { // the last place is given back a moment after its command has ended
		go func() {
			_, err := client.Exec(limited, execRequest("x"), workload.ExecStreams{})
			again <- err
		}()
		select {
		case <-begun:
			stop()
			<-again
			return
		case err := <-again:
			if fault.Code(err) != "exec.too_many" {
				t.Fatalf("Exec() after the others = %v", err)
			}
		}
	}
}

// lapsing is a gate whose sessions end soon.
type lapsing struct {
	reader
	mu    sync.Mutex
	lines []string
}

func (g *lapsing) Identify(ctx context.Context, from auth.Origin, _ string) (context.Context, error) {
	return auth.WithCaller(ctx, auth.Caller{ExpiresAt: time.Now().Add(100 * time.Millisecond), Origin: from}), nil
}

func (g *lapsing) Conclude(_ context.Context, c auth.Conclusion) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lines = append(g.lines, strings.Join(append([]string{string(c.Action), c.Outcome, c.Resource.API, c.Code}, c.Command...), " "))
}

// Behind a guard a command is in the audit when it begins and when it ends, and outlives no
// session.
func TestExecOutlivesNoSession(t *testing.T) {
	t.Parallel()
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	g := &lapsing{}
	client := overTheWire(t, httpapi.NewHandler(&double{command: untilEnd(begun, ended)}, httpapi.Options{Guard: g}))
	_, err := client.Exec(t.Context(), execRequest("rm", "-rf"), workload.ExecStreams{})
	if !fault.Is(err, fault.Unproven) {
		t.Errorf("Exec() past its session = %v, want that it is over", err)
	}
	if err := <-ended; !fault.Is(err, fault.Unproven) {
		t.Errorf("the command ended for %v, want its session", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if diff := cmp.Diff([]string{"exec begun iris  rm -rf", "exec failed iris exec.interrupted rm -rf"}, g.lines); diff != "" {
		t.Errorf("the audit differs (-want +got):\n%s", diff)
	}
}

// barring is a gate that permits commands until the policy changes. It remembers nothing,
// because commands are concluded while they are asked about.
type barring struct {
	gate
	changed time.Time
}

func (g *barring) Identify(ctx context.Context, from auth.Origin, _ string) (context.Context, error) {
	return auth.WithCaller(ctx, auth.Caller{ExpiresAt: time.Now().Add(time.Hour), Origin: from}), nil
}

func (g *barring) May(context.Context, auth.Action, auth.Resource) bool {
	return time.Now().Before(g.changed)
}

func (g *barring) Permit(ctx context.Context, a auth.Action, r auth.Resource) error {
	if g.May(ctx, a, r) {
		return nil
	}
	return fault.New(fault.Forbidden, auth.CodeForbidden, "no")
}

func (g *barring) Conclude(context.Context, auth.Conclusion) {}

// A command ends when a policy forbids it, with the refusal: nobody stays in a shell that
// they may not have any more.
func TestExecEndsWhenItIsForbidden(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		begun, ended := make(chan struct{}, 1), make(chan error, 1)
		g := &barring{changed: began.Add(time.Minute)}
		near, far := net.Pipe()
		listener := &oneConn{conn: make(chan net.Conn, 1)}
		listener.conn <- far
		server := &http.Server{Handler: httpapi.NewHandler(&double{command: untilEnd(begun, ended)}, httpapi.Options{Guard: g}), ReadHeaderTimeout: time.Minute}
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		body := `{"command":["sh"]}`
		go func() {
			_, _ = fmt.Fprintf(near, "POST /v1/apis/iris/exec HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nConnection: Upgrade\r\nUpgrade: cortex-exec/1\r\n"+
				"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}()
		said, _ := io.ReadAll(near)
		if took := time.Since(began); took < time.Minute || took > time.Minute+20*time.Second {
			t.Errorf("the command ended after %v, want it soon after the minute in which it was permitted\n%s", took, said)
		}
		if err := <-ended; !fault.Is(err, fault.Forbidden) || !strings.Contains(string(said), auth.CodeForbidden) {
			t.Errorf("the command ended for %v, and its caller read %q, want the refusal in both", err, said)
		}
		_ = near.Close()
		close(listener.conn)
		<-served
	})
}
