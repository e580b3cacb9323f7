package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/localenv"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"cortex":      runCortex,
		"in-terminal": runInTerminal,
	})
}

// runCortex is the program as main makes it, with a local environment that
// serves what $CANNED says instead of workloads.
func runCortex() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(Run(ctx, os.Args[1:], Streams{os.Stdin, os.Stdout, os.Stderr}, os.Getenv, Hooks{Version: "1.2.3", RunLocal: cannedLocal, Verify: cannedVerify, Cluster: cannedCluster()}))
}

// cannedVerify finds what verified.json says.
func cannedVerify(_ context.Context, dir string) (v hostconfig.Verified, _ error) {
	data, err := os.ReadFile(filepath.Join(dir, "verified.json"))
	if err != nil {
		return v, fault.New(fault.NotFound, "local.no_state", "%s is not a state folder", dir)
	}
	v.StateDir = dir
	return v, json.Unmarshal(data, &v)
}

func cannedLocal(ctx context.Context, cfg hostconfig.Local) error {
	if os.Getenv("CANNED_START") == "fail" {
		return fault.New(fault.Conflict, "local.port_in_use", "%s is in use", cfg.APIAddress).WithHint("take another port")
	}
	lock, err := os.OpenFile(filepath.Join(cfg.StateDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.New("another one runs")
	}
	seen, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(cfg.StateDir, "config.json"), seen, 0o600); err != nil {
		return err
	}
	svc, err := loadCanned(os.Getenv("CANNED"), os.Getenv)
	if err != nil {
		return err
	}
	os.Remove(cfg.Socket)
	stop, err := serve(cfg.Socket, svc)
	if err != nil {
		return err
	}
	if os.Getenv("CANNED_STOP") == "never" {
		signal.Ignore(syscall.SIGTERM)
		select {}
	}
	<-ctx.Done()
	if os.Getenv("CANNED_STOP") == "silent" {
		_ = stop()
		os.Remove(cfg.Socket)
		signal.Ignore(syscall.SIGTERM)
		select {}
	}
	return stop()
}

// serve answers on a Unix socket until stop is called.
func serve(socket string, svc *canned) (stop func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: httpapi.NewHandler(svc, httpapi.Options{})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	return func() error {
		err := server.Close()
		<-done
		return err
	}, nil
}

func TestScripts(t *testing.T) {
	t.Parallel()
	t.Cleanup(func() { seen.complete(t) })
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  cmdExits,
			"called": cmdCalled,
			"until":  cmdUntil,
		},
	})
}

type calledKey struct{}

// setup gives a script its own home, an HTTP server that plays the APIs, and, if
// it has a service.yaml, a local environment that answers from it.
func setup(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	project := filepath.Join(env.WorkDir, "project")
	for _, dir := range []string{home, project} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	api := httptest.NewServer(http.HandlerFunc(playAPI))
	env.Defer(api.Close)
	env.Setenv("HOME", home)
	env.Setenv("TERM", "xterm")
	env.Setenv("TZ", "UTC")
	env.Setenv("GORACE", "atexit_sleep_ms=0") // a program with the race detector sleeps a second at its end
	env.Setenv("API_URL", api.URL)
	file := filepath.Join(env.WorkDir, "service.yaml")
	env.Setenv("CANNED", file)
	env.Cd = project
	if _, err := os.Stat(file); err != nil {
		return nil
	}
	svc, err := loadCanned(file, func(name string) string {
		if name == "API_URL" {
			return api.URL
		}
		return ""
	})
	if err != nil {
		return err
	}
	stop, err := serve(localenv.PathsIn(filepath.Join(home, ".cortex"), filepath.Join(env.WorkDir, ".tmp"), os.Getuid()).Socket, svc)
	if err != nil {
		return err
	}
	remote := httptest.NewServer(httpapi.NewHandler(svc, httpapi.Options{}))
	env.Setenv("OPERATOR_URL", remote.URL)
	env.Values[calledKey{}] = svc
	env.Defer(func() {
		remote.CloseClientConnections()
		remote.Close()
		_ = stop()
	})
	return nil
}

// playAPI answers as the APIs of the scripts do.
func playAPI(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/echo":
		var body any
		err := json.NewDecoder(r.Body).Decode(&body)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"method": r.Method, "type": r.Header.Get("Content-Type"), "body": body, "bad": err != nil})
	case "/old/verifycortex": // of an operator of 0.42
		fmt.Fprint(w, "{}")
	case "/text":
		fmt.Fprint(w, "plain words\n")
	case "/full":
		w.Header().Set("Retry-After", "3")
		http.Error(w, "pending request queue full", http.StatusServiceUnavailable)
	case "/slow":
		_, _ = io.Copy(io.Discard, r.Body) // until then nobody watches for the end of the connection
		<-r.Context().Done()
	default:
		http.NotFound(w, r)
	}
}

// cmdExits runs a program and checks its exit code: exits 2 cortex nonsense.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s exits with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
	if args[1] == "cortex" {
		ts.Check(seen.hold(args[2:], ts.ReadFile("stdout")))
	}
}

// cmdCalled checks what the service was asked for: called 'Delete iris'.
func cmdCalled(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] called pattern")
	}
	svc, ok := ts.Value(calledKey{}).(*canned)
	if !ok {
		ts.Fatalf("this script has no service.yaml")
	}
	pattern := regexp.MustCompile("(?m)" + args[0])
	calls := svc.said()
	// A program in the background may be about to call.
	for deadline := time.Now().Add(10 * time.Second); !neg && !pattern.MatchString(calls) && time.Now().Before(deadline); calls = svc.said() {
		runtime.Gosched()
	}
	if pattern.MatchString(calls) == neg {
		ts.Fatalf("calls match %q: %v, want %v; they were:\n%s", args[0], !neg, neg, calls)
	}
}

// cmdUntil repeats a program until it succeeds.
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ts.Exec(args[0], args[1:]...)
		if (err == nil) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("until %s: %v", strings.Join(args, " "), err)
		}
		<-tick.C
	}
}
