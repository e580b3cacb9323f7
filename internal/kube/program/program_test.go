package program

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/telemetry"
)

// All that is wrong with a command line is said at once.
func TestFlagsSayEverythingThatIsWrong(t *testing.T) {
	t.Parallel()
	f := NewFlags("x")
	var list []string
	var d time.Duration
	var n float64
	f.List("one", &list)
	f.Duration(&d, "wait", time.Minute)
	f.Number(&n, "ratio", 0.5)
	err := f.Parse(strings.Fields("--wait soon --one a word --ratio much --unknown --one b"))
	if err != nil {
		t.Fatal(err)
	}
	f.Address("listen", "nowhere")
	f.Address("listen", ":8080")
	f.Name("--namespace", "Not A Name")
	f.Pod(func(string) string { return "" })
	f.Problems([]string{"a part is wrong"})
	text := f.Fault().Error()
	for _, want := range []string{
		"--wait: not a duration (for example 10s)", `unexpected argument "word"`, "--ratio: not a number", "--unknown",
		`--listen "nowhere" is not an address`, `--namespace "Not A Name" is not a name`, "POD_NAME is not set", "POD_NAMESPACE is not set", "a part is wrong",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("Fault() = %s\nwant %q in it", text, want)
		}
	}
	if strings.Contains(text, ":8080") {
		t.Errorf("Fault() = %s\nwant nothing of what is right", text)
	}
	if d != time.Minute || n != 0.5 || len(list) != 2 {
		t.Errorf("what cannot be read has become %s and %g, and the lists %q; want the defaults, and both words", d, n, list)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	f := NewFlags("x")
	var d time.Duration
	f.Duration(&d, "wait", time.Minute)
	if err := f.Parse([]string{"--wait", "3s"}); err != nil || f.Fault() != nil || d != 3*time.Second {
		t.Errorf("Parse = %v and %v, wait %s, want 3s", err, f.Fault(), d)
	}
	if err := NewFlags("x").Parse([]string{"--help"}); !errors.Is(err, ErrHelp) {
		t.Errorf("Parse(--help) = %v, want ErrHelp", err)
	}
}

func TestExit(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err       error
		code      int
		out, said string
	}{
		"the end":       {nil, fault.ExitDone, "", ""},
		"help":          {ErrHelp, fault.ExitDone, "usage\n", ""},
		"wrong flags":   {fault.New(fault.Usage, "c", "wrong").WithHint("see --help"), fault.ExitUsage, "", "x: wrong\nsee --help\n"},
		"another fault": {fault.New(fault.Unavailable, "c", "away"), fault.ExitFailed, "", "x: away\n"},
		"an error":      {errors.New("broken"), fault.ExitFailed, "", "x: broken\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, said bytes.Buffer
			code := Exit(tt.err, Streams{Out: &out, Err: &said}, "x", "usage\n")
			if code != tt.code || out.String() != tt.out || said.String() != tt.said {
				t.Errorf("Exit = %d, %q, %q, want %d, %q, %q", code, &out, &said, tt.code, tt.out, tt.said)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	ln, err := Listen("127.0.0.1:0", "health-listen")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(ln.Addr().String(), "health-listen"); fault.Code(err) != "server.cannot_listen" || !strings.Contains(fault.From(err).Hint, "--health-listen") {
		t.Errorf("Listen on an address that is taken = %v, want the flag that names another", err)
	}
	unready := make(chan error, 1)
	h := &Health{Listener: ln, Metrics: telemetry.New("test", ""), Ready: func() error { return <-unready }}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	get := func(path string, status int, want string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ln.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status || !strings.Contains(string(body), want) {
			t.Errorf("GET %s = %d, %q, %v, want %d and %q", path, resp.StatusCode, body, err, status, want)
		}
	}
	get("/healthz", http.StatusOK, "ok")
	get("/metrics", http.StatusOK, "# HELP")
	unready <- errors.New("the cache is empty")
	get("/readyz", http.StatusServiceUnavailable, "the cache is empty")
	unready <- nil
	get("/readyz", http.StatusOK, "ok")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v, want nil after its context", err)
	}
}
