package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

// sameAnswers compares answers as their readers do: an absent list is an empty one.
var sameAnswers = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b workload.Quantity) bool { return a.String() == b.String() }),
}

// overTheWire returns a client of h that listens on a Unix socket.
func overTheWire(t *testing.T, h http.Handler) *httpapi.Client {
	t.Helper()
	socket := serveUnix(t, h)
	c, err := httpapi.NewClient(httpapi.ClientConfig{Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// serveUnix serves h on a new socket until the test ends, with the base context
// that a real server would cancel on shutdown.
func serveUnix(t *testing.T, h http.Handler) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cx") // short: a socket's path has about a hundred bytes
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	srv := &http.Server{Handler: h, BaseContext: func(net.Listener) context.Context { return ctx }}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() {
		cancel()
		_ = srv.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	return socket
}

// TestTheWireChangesNothing is the promise of the package: in process and over
// the wire, the same question has the same answer and the same fault.
func TestTheWireChangesNothing(t *testing.T) {
	t.Parallel()
	for _, sc := range scenes() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			near := &double{answer: sc.answer, lines: sc.lines, err: sc.err}
			far := &double{answer: sc.answer, lines: sc.lines, err: sc.err}
			client := overTheWire(t, httpapi.NewHandler(far, httpapi.Options{}))

			want, wantErr := ask(t.Context(), near, sc.ask)
			got, gotErr := ask(t.Context(), client, sc.ask)
			if diff := cmp.Diff(want, got, sameAnswers); diff != "" {
				t.Errorf("%s over the wire differs (-in process +over the wire):\n%s", sc.ask.Op, diff)
			}
			if diff := cmp.Diff(fault.From(wantErr), fault.From(gotErr), cmpopts.IgnoreUnexported(fault.Fault{})); diff != "" {
				t.Errorf("the fault of %s differs (-in process +over the wire):\n%s", sc.ask.Op, diff)
			}
			if diff := cmp.Diff(near.questions(), far.questions()); diff != "" {
				t.Errorf("the service was asked something else (-in process +over the wire):\n%s", diff)
			}
		})
	}
}

func TestScenesCoverEveryMethodAndEveryFault(t *testing.T) {
	t.Parallel()
	ops, kinds := map[string]bool{}, map[fault.Kind]bool{}
	for _, sc := range scenes() {
		ops[sc.ask.Op] = true
		if sc.err != nil {
			kinds[fault.From(sc.err).Kind] = true
		}
	}
	if got, want := len(ops), 18; got != want { // the methods of workload.Service but Exec, which is a conversation
		t.Errorf("the scenes ask %d operations, want %d", got, want)
	}
	if got, want := len(kinds), 12; got != want { // the kinds of package fault
		t.Errorf("the scenes show %d kinds of fault, want %d", got, want)
	}
}

func TestErrorsThatAreNoFaultsArriveAsUnexpected(t *testing.T) {
	t.Parallel()
	client := overTheWire(t, httpapi.NewHandler(&double{err: errors.New("disk full")}, httpapi.Options{}))
	_, err := client.Get(t.Context(), "iris")
	if f := fault.From(err); f.Kind != fault.Unexpected || f.Code != "errors.unexpected" || f.Message != "disk full" {
		t.Errorf("Get() = %+v, want an unexpected fault that says disk full", f)
	}
	wrapped := fmt.Errorf("reading iris: %w", fault.New(fault.Conflict, "c", "busy"))
	client = overTheWire(t, httpapi.NewHandler(&double{err: wrapped}, httpapi.Options{}))
	_, err = client.Get(t.Context(), "iris")
	if f := fault.From(err); f.Kind != fault.Conflict || f.Message != "reading iris: busy" {
		t.Errorf("Get() = %+v, want the conflict with its whole text", f)
	}
}

func TestNamesThatNoPathCanCarryAreNotDeployed(t *testing.T) {
	t.Parallel()
	d := &double{}
	client := overTheWire(t, httpapi.NewHandler(d, httpapi.Options{}))
	for _, name := range []string{"", ".", "..", "a/../b", "a//b", strings.Repeat("x", 300), "\xff"} {
		for _, op := range []string{"get", "describe", "history", "rollback", "refresh", "stop", "start", "scale", "delete", "explain", "logs", "events"} {
			if op == "events" && name == "" {
				continue // means every API
			}
			_, err := ask(t.Context(), client, question{op, arguments{Name: name}})
			if fault.Code(err) != "resources.api_not_deployed" || !fault.Is(err, fault.NotFound) {
				t.Errorf("%s of %.10q = %v, want not deployed", op, name, err)
			}
		}
		if _, err := client.Version(t.Context(), "iris", name); fault.Code(err) != "resources.api_id_not_found" {
			t.Errorf("Version(iris, %.10q) = %v, want no such version", name, err)
		}
	}
	if asked := d.questions(); len(asked) != 0 {
		t.Errorf("the service was asked %v, want nothing", asked)
	}
}

func TestFilesThatJSONCannotCarryAreRefusedBeforeSending(t *testing.T) {
	t.Parallel()
	d := &double{}
	client := overTheWire(t, httpapi.NewHandler(d, httpapi.Options{}))
	for name, text := range map[string]string{
		"configreader.too_long":     strings.Repeat("x", workload.MaxConfigBytes+1),
		"configreader.invalid_yaml": "- name: \xff\n",
	} {
		_, err := client.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: text})
		if fault.Code(err) != name || !strings.HasPrefix(err.Error(), "cortex.yaml ") {
			t.Errorf("Deploy() = %v, want code %s and the file's name", err, name)
		}
	}
	if asked := d.questions(); len(asked) != 0 {
		t.Errorf("the service was asked %v, want nothing", asked)
	}
}

// The greatest file there may be, in which every byte is escaped, gets through.
func TestTheGreatestFileGetsThrough(t *testing.T) {
	t.Parallel()
	d := &double{answer: []workload.DeployResult{}}
	client := overTheWire(t, httpapi.NewHandler(d, httpapi.Options{}))
	_, err := client.Deploy(t.Context(), workload.DeployRequest{FileName: "f", Config: strings.Repeat("\n", workload.MaxConfigBytes)})
	if err != nil || len(d.questions()) != 1 {
		t.Errorf("Deploy() = %v after %d questions, want one answer", err, len(d.questions()))
	}
}
