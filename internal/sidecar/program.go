package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/workload"
)

// Exit codes of the program.
const (
	done   = 0
	failed = 1
	usage  = 2
)

const usageText = `usage: cortex-sidecar                                  run beside a container; settings are in the environment
       cortex-sidecar listening                        return once the sidecar beside it listens
       cortex-sidecar wait [--http-get PORT/PATH]      drain, then ask the container to get ready to end
       cortex-sidecar wait -- COMMAND [ARGUMENT…]      drain, then run a command in the container
`

// Main is the program: the sidecar itself, or its errand in a container.
func Main(ctx context.Context, args []string, out, err io.Writer, getenv func(string) string, version string) int {
	switch {
	case len(args) == 0:
		if e := run(ctx, err, getenv, version); e != nil {
			fmt.Fprintln(err, "error:", e)
			return failed
		}
		return done
	case args[0] == "listening" && len(args) == 1:
		listening(ctx, "127.0.0.1"+port(workload.AdminPort))
		return done
	case args[0] == "wait":
		hook, ok := hookOf(args[1:])
		if !ok {
			break
		}
		e := Wait(ctx, "127.0.0.1"+port(workload.AdminPort), hook, err)
		var exit *exec.ExitError
		if errors.As(e, &exit) {
			return exit.ExitCode()
		}
		if e != nil {
			fmt.Fprintln(err, "error:", e)
			return failed
		}
		return done
	case args[0] == "help", args[0] == "-h", args[0] == "--help":
		fmt.Fprint(out, usageText)
		return done
	}
	fmt.Fprint(err, usageText)
	return usage
}

func hookOf(args []string) (Hook, bool) {
	switch {
	case len(args) == 0:
		return Hook{}, true
	case len(args) == 2 && args[0] == "--http-get":
		return Hook{Get: args[1]}, true
	case len(args) > 1 && args[0] == "--":
		return Hook{Command: args[1:]}, true
	}
	return Hook{}, false
}

// listenWithin is how long a sidecar may take to listen before nobody waits for it any more.
const listenWithin = 10 * time.Second

// listening returns when somebody listens on addr, and after listenWithin in any case: what
// is wrong with a sidecar is for its readiness to say.
func listening(ctx context.Context, addr string) {
	ctx, cancel := context.WithTimeout(ctx, listenWithin)
	defer cancel()
	for ctx.Err() == nil {
		if c, err := new(net.Dialer).DialContext(ctx, "tcp", addr); err == nil {
			_ = c.Close() // nothing was said
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// port is where one of the sidecar's own listeners is found.
func port(n int32) string { return ":" + strconv.Itoa(int(n)) }

// settings are what the environment says.
type settings struct {
	Config
	listen, admin, folder string
	traces                tracing.Config
	*keeper
}

// read returns the settings, or all that is wrong with them.
func read(getenv func(string) string) (settings, error) {
	var problems []error
	number := func(name string, def int) int {
		text := getenv(name)
		if text == "" {
			if def < 0 {
				problems = append(problems, fmt.Errorf("%s is not set", name))
			}
			return def
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			problems = append(problems, fmt.Errorf("%s is %q, want a number", name, text))
		}
		return n
	}
	text := func(name, def string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return def
	}
	s := settings{
		keeper: newKeeper(time.Duration(number("CORTEX_HOLD", 0))*time.Second, getenv("CORTEX_RESULT")),
		Config: Config{
			APIName: getenv("CORTEX_API_NAME"),
			Target:  number("CORTEX_TARGET_PORT", -1), MaxConcurrency: number("CORTEX_MAX_CONCURRENCY", 1),
			MaxQueueLength: number("CORTEX_MAX_QUEUE_LENGTH", 0), ProbePort: getenv("CORTEX_PROBE_PORT") == "true",
			CancelWhenGone: getenv("CORTEX_ON_CLIENT_GONE") == workload.Cancel,
			Grace:          time.Duration(number("CORTEX_GRACE", 0)) * time.Second,
		},
		listen: text("CORTEX_LISTEN", port(workload.SidecarPort)),
		admin:  text("CORTEX_ADMIN_LISTEN", port(workload.AdminPort)),
		folder: text("CORTEX_BIN_DIR", "/cortex/bin"),
	}
	var err error
	if s.traces, err = readTraces(getenv); err != nil {
		problems = append(problems, err)
	}
	return s, errors.Join(problems...)
}

// readTraces returns where traces are sent, or all that is wrong with it.
func readTraces(getenv func(string) string) (tracing.Config, error) {
	c := tracing.Config{Endpoint: getenv("CORTEX_TRACE_ENDPOINT"), Ratio: tracing.DefaultRatio, Service: "cortex-sidecar"}
	var problems []error
	if err := tracing.CheckEndpoint(c.Endpoint); err != nil {
		problems = append(problems, fmt.Errorf("CORTEX_TRACE_ENDPOINT: %w", err))
	}
	if text := getenv("CORTEX_TRACE_RATIO"); text != "" {
		ratio, err := strconv.ParseFloat(text, 64)
		if err != nil || tracing.CheckRatio(ratio) != nil {
			problems = append(problems, fmt.Errorf("CORTEX_TRACE_RATIO is %q, want 0 to 1", text))
		}
		c.Ratio = ratio
	}
	var err error
	if c.Resource, err = tracing.ParseResource(getenv("OTEL_RESOURCE_ATTRIBUTES")); err != nil {
		problems = append(problems, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err))
	}
	return c, errors.Join(problems...)
}

func run(ctx context.Context, out io.Writer, getenv func(string) string, version string) error {
	log := slog.New(slog.NewTextHandler(out, nil))
	set, err := read(getenv)
	if err != nil {
		return err
	}
	metrics := telemetry.New("cortex-sidecar", version)
	set.Log, set.Telemetry, set.Folder = log, metrics, set.folder
	set.traces.Log, set.traces.Telemetry, set.traces.Version = log, metrics, version
	if set.Tracer, err = tracing.New(set.traces); err != nil {
		return err
	}
	admin, err := net.Listen("tcp", set.admin)
	if err != nil {
		return err
	}
	defer admin.Close()
	if err := leaveProgram(set.folder); err != nil {
		log.Warn("containers cannot wait for a drain before they end", "error", err)
	}
	if set.Target == 0 { // a task takes no requests
		return set.keep(ctx, admin, metrics.Handler(), log)
	}
	s, err := New(set.Config)
	if err != nil {
		return err
	}
	data, err := net.Listen("tcp", set.listen)
	if err != nil {
		return err
	}
	defer data.Close()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	mux := http.NewServeMux()
	mux.Handle("/", s.Admin(metrics.Handler()))
	mux.HandleFunc("POST "+workload.ReleasePath, set.release)
	server := &http.Server{Handler: mux, Protocols: protocols, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { _ = server.Serve(admin) }) // ends with Close below
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	all.Go(func() { _ = set.Tracer.Run(sending) }) // it never fails
	defer stop()                                   // after the data: requests that end have spans to send
	defer server.Close()                           // after the data: until then the kubelet asks, and metrics are read
	log.Info("forwarding", "port", set.Target, "max_concurrency", set.MaxConcurrency, "max_queue_length", set.MaxQueueLength)
	err = s.Run(ctx, data)
	set.hold()
	return err
}

// leaveProgram puts this program where the other containers of the pod find it: it
// is what they run before they end, and needs nothing of their images.
func leaveProgram(folder string) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(self)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // containers of any user run it
		return err
	}
	path := filepath.Join(folder, "cortex-sidecar")
	to, err := os.CreateTemp(folder, ".cortex-sidecar-")
	if err != nil {
		return err
	}
	defer os.Remove(to.Name())
	_, err = io.Copy(to, from)
	if err == nil {
		err = to.Chmod(0o755)
	}
	if closed := to.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", strings.TrimPrefix(path, "./"), err)
	}
	return os.Rename(to.Name(), path)
}
