// Command server is the model server of the end-to-end scripts: an HTTP server
// that answers, and misbehaves, exactly as its flags say.
//
// It must not know anything about the product but CORTEX_PORT.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

type options struct {
	version    string
	host       string
	port       string
	delay      time.Duration
	slow       time.Duration
	crashAfter time.Duration
	never      bool
	ignoreTerm bool
	say        string
	exit       int
	task       bool
	takes      time.Duration
	fails      int64
	journal    string
	pad        int
}

func main() {
	var o options
	flag.StringVar(&o.version, "version", "v1", "what / answers")
	flag.StringVar(&o.port, "port", os.Getenv("CORTEX_PORT"), "port to listen on")
	flag.StringVar(&o.host, "host", "127.0.0.1", "address to listen on")
	flag.DurationVar(&o.delay, "delay", 0, "time before listening")
	flag.DurationVar(&o.slow, "slow", 0, "time before answering")
	flag.DurationVar(&o.crashAfter, "crash-after", -1, "exit this long after the start")
	flag.BoolVar(&o.never, "never-listen", false, "run without listening")
	flag.BoolVar(&o.ignoreTerm, "ignore-term", false, "ignore SIGTERM")
	flag.StringVar(&o.say, "say", "", "a line to write at the start")
	flag.IntVar(&o.exit, "exit", 7, "code of a crash")
	flag.BoolVar(&o.task, "task", false, "be a task: leave the config of the job as its result, and exit with -exit")
	flag.Int64Var(&o.fails, "fails", 0, "answer so many requests to / with 500 before it works")
	flag.DurationVar(&o.takes, "takes", 0, "how long a task takes")
	flag.StringVar(&o.journal, "journal", "", "a file to which a line is added when a request to / begins, and when it is answered")
	flag.IntVar(&o.pad, "pad", 0, "so many bytes more that / answers")
	flag.Parse()
	if o.task {
		os.Exit(task(o))
	}
	os.Exit(run(o))
}

func task(o options) int {
	fmt.Println("begun")
	var job struct {
		Config json.RawMessage `json:"config"`
	}
	text, err := os.ReadFile(os.Getenv("CORTEX_JOB_SPEC"))
	if err == nil {
		err = json.Unmarshal(text, &job)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	select {
	case <-time.After(o.takes):
	case <-ctx.Done():
		fmt.Println("stopping")
		return 143
	}
	if err == nil && job.Config != nil {
		err = os.WriteFile(os.Getenv("CORTEX_RESULT"), job.Config, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("ended")
	return o.exit
}

func run(o options) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if o.ignoreTerm {
		stop()
		signal.Ignore(syscall.SIGTERM)
		ctx = context.Background()
	}
	fmt.Println("starting", o.version)
	if o.say != "" {
		fmt.Fprintln(os.Stderr, o.say)
	}
	crash := make(<-chan time.Time)
	if o.crashAfter == 0 { // before it could have listened
		fmt.Fprintln(os.Stderr, "fatal: the model is broken")
		return o.exit
	}
	if o.crashAfter > 0 {
		crash = time.After(o.crashAfter)
	}
	server := &http.Server{Handler: handler(o)}
	failed := make(chan error, 1)
	listen := time.After(o.delay)
	if o.never {
		listen = nil
	}
	for {
		select {
		case <-listen:
			ln, err := net.Listen("tcp", net.JoinHostPort(o.host, o.port))
			if err != nil {
				fmt.Fprintln(os.Stderr, "fatal:", err)
				return 1
			}
			fmt.Println("listening", o.version)
			go func() { failed <- server.Serve(ln) }()
		case <-crash:
			fmt.Fprintln(os.Stderr, "fatal: the model is broken")
			return o.exit
		case err := <-failed:
			fmt.Fprintln(os.Stderr, "fatal:", err)
			return 1
		case <-ctx.Done():
			fmt.Println("stopping", o.version)
			limited, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			_ = server.Shutdown(limited)
			return 0
		}
	}
}

func handler(o options) http.Handler {
	mux := http.NewServeMux()
	var served atomic.Int64
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		id := r.Header.Get("X-Cortex-Request-ID")
		note(o.journal, "begin "+id)
		select {
		case <-time.After(o.slow):
		case <-r.Context().Done():
			fmt.Println("canceled", r.URL.Path)
			return
		}
		note(o.journal, "end "+id)
		n := served.Add(1)
		if n <= o.fails {
			fmt.Fprintln(os.Stderr, "the model is not loaded yet")
			http.Error(w, "the model is not loaded yet", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		said := map[string]any{
			"version": o.version, "pid": os.Getpid(), "method": r.Method, "path": r.URL.RequestURI(),
			"bytes": len(body), "attempt": r.Header.Get("X-Cortex-Attempt"), "caller": r.Header.Get("X-Cortex-Caller"), "n": n, "request_id": r.Header.Get("X-Request-ID"), "traceparent": r.Header.Get("Traceparent"),
		}
		if o.pad > 0 {
			said["pad"] = strings.Repeat("x", o.pad)
		}
		_ = json.NewEncoder(w).Encode(said)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		_, _ = io.Copy(w, r.Body)
	})
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		env := os.Environ()
		sort.Strings(env)
		fmt.Fprintln(w, strings.Join(env, "\n"))
	})
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(o.exit) })
	mux.HandleFunc("/say", func(_ http.ResponseWriter, r *http.Request) { fmt.Println(r.URL.Query().Get("line")) })
	mux.HandleFunc("/eat", func(http.ResponseWriter, *http.Request) { eat() })
	mux.HandleFunc("/fill", fill)
	health(mux)
	mux.HandleFunc("/sse", sse)
	mux.HandleFunc("/ws", echoWebSocket)
	return mux
}

// note adds a line to a file, if there is one.
func note(file, line string) {
	if file == "" {
		return
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = io.WriteString(f, line+"\n")
		_ = f.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// health is answered at /health and /alive until /sick or /dead was asked for, and
// again after /well.
func health(mux *http.ServeMux) {
	var sick, dead atomic.Bool
	say := func(bad *atomic.Bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if bad.Load() {
				http.Error(w, "the model is not loaded", http.StatusInternalServerError)
			}
		}
	}
	mux.HandleFunc("/health", say(&sick))
	mux.HandleFunc("/alive", say(&dead))
	mux.HandleFunc("/sick", func(http.ResponseWriter, *http.Request) { sick.Store(true) })
	mux.HandleFunc("/dead", func(http.ResponseWriter, *http.Request) { dead.Store(true) })
	mux.HandleFunc("/well", func(http.ResponseWriter, *http.Request) { sick.Store(false); dead.Store(false) })
}

// eat takes memory until somebody says no.
func eat() {
	var eaten [][]byte
	for {
		block := make([]byte, 1<<20)
		for i := range block {
			block[i] = 1
		}
		eaten = append(eaten, block)
		if len(eaten) == 4<<10 { // nobody does
			return
		}
	}
}

// fill writes so many MiB to a file.
func fill(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.ParseInt(r.URL.Query().Get("mib"), 10, 32)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	file, err := os.CreateTemp("", "fill-*")
	if err == nil {
		_, err = io.Copy(file, io.LimitReader(zeros{}, size<<20))
		_ = file.Close()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// sse sends each event only when the one before has been on its way for a while,
// so that a buffer in between would show.
func sse(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range 3 {
		fmt.Fprintf(w, "data: %d\n\n", i)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(100 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
}

func echoWebSocket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, data, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if err := conn.Write(r.Context(), kind, append([]byte("echo: "), data...)); err != nil {
			return
		}
	}
}
