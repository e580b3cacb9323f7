// Command proxy is one of the proxies that the data-plane benchmark compares, in
// a process of its own so that its CPU time can be read: the product's gateway,
// whole, or a plain httputil.ReverseProxy. It can be their backend, too.
//
// It must not be used for anything else.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/http/pprof"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/gateway"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/workload"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	fs := flag.NewFlagSet("proxy", flag.ContinueOnError)
	kind := fs.String("kind", "gateway", "gateway, sidecar, httputil, backend, echo, events, bodies or slow; talk, rest, rest-events, hear or press: a client of one")
	listen := fs.String("listen", "127.0.0.1:0", "where to listen")
	backend := fs.String("backend", "", "host:port of the server behind it")
	workloads := fs.Int("workloads", 1, "deployed workloads; requests go to the one called api")
	splitters := fs.Int("splitters", 0, "traffic splitters beside them")
	replicas := fs.Int("replicas", 1, "of each workload, all the same server")
	traces := fs.String("traces", "", "URL of a collector of traces, for a gateway")
	key := fs.String("key", "", "an access key that a gateway asks for, with three limits for whoever has it")
	debug := fs.String("pprof", "", "where to serve profiles")
	streams := fs.Int("streams", 1, "how many a client has")
	atOnce := fs.Int("concurrency", 1000, "how many requests a replica takes at once behind a gateway, and has waiting")
	rate := fs.Int("rate", 0, "how many requests a second a client sends")
	period := fs.Duration("for", time.Second, "how long a client talks")
	sidecars := fs.Bool("sidecars", false, "the server behind a gateway is a sidecar")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	var err error
	switch *kind {
	case "talk":
		err = talk(ctx, *backend, *streams, *period)
	case "rest":
		err = rest(ctx, *backend, *streams)
	case "rest-events":
		err = restEvents(ctx, *backend, *streams)
	case "hear":
		err = hear(ctx, *backend, *streams, *period)
	case "press":
		err = press(ctx, *backend, *streams, *rate, *period)
	default:
		err = serve(ctx, *kind, *listen, *backend, *debug, *traces, *key, deployed{*workloads, *splitters, *replicas, *atOnce, *key != ""}, *sidecars)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, kind, listen, backend, debug, traces, key string, d deployed, sidecars bool) error {
	if debug != "" {
		mux := http.NewServeMux()
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		go http.ListenAndServe(debug, mux) // for the person at the keyboard; ends with the process
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr()) // the one who started it waits for this line
	switch kind {
	case "gateway":
		return serveGateway(ctx, ln, backend, traces, key, d, sidecars)
	case "httputil":
		return serveReverseProxy(ctx, ln, backend)
	case "sidecar":
		return serveSidecar(ctx, ln, backend)
	case "echo":
		return serveEcho(ctx, ln)
	case "events":
		return serveEvents(ctx, ln)
	case "slow":
		return serveSlowly(ctx, ln)
	case "bodies":
		return serveBodies(ctx, ln)
	case "backend":
		return serveAnswers(ctx, ln)
	}
	return fmt.Errorf("no proxy is called %q", kind)
}

// serveAnswers answers every request without a body with 45 bytes of JSON and
// looks at nothing: where HAProxy is not there to do it, it is the backend.
func serveAnswers(ctx context.Context, ln net.Listener) error {
	const body = `{"class":"setosa","probability":0.981234567}` + "\n"
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return served(ctx, ln, func(c net.Conn) {
		buf := make([]byte, 64<<10)
		for n := 0; ; {
			m, err := c.Read(buf[n:])
			if err != nil {
				return
			}
			if n += m; !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
				continue
			}
			n = 0
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
}

// serveReverseProxy is what one writes in a minute: connections are kept, nothing
// else is tuned.
func serveReverseProxy(ctx context.Context, ln net.Listener, backend string) error {
	tr := &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true}
	p := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: backend})
	p.Transport = tr
	p.ErrorLog = log.New(io.Discard, "", 0) // clients that leave at the end of a run
	s := &http.Server{Handler: http.StripPrefix("/api", p)}
	return serveUntil(ctx, ln, s)
}

// serveUntil serves what ln accepts until ctx ends.
func serveUntil(ctx context.Context, ln net.Listener, s *http.Server) error {
	context.AfterFunc(ctx, func() { _ = s.Close() })
	if err := s.Serve(ln); ctx.Err() == nil {
		return err
	}
	return nil
}

func serveGateway(ctx context.Context, ln net.Listener, backend, traces, key string, d deployed, sidecars bool) error {
	tracer, err := tracing.New(tracing.Config{Endpoint: traces, Ratio: tracing.DefaultRatio, Service: "gateway"})
	if err != nil {
		return err
	}
	cfg := gateway.Config{Store: d, Engine: running{d, backend}, Tracer: tracer, Sidecars: sidecars}
	if key != "" {
		cfg.Keys, cfg.Calls = oneKey(key), uncounted{}
	}
	g, err := gateway.New(cfg)
	if err != nil {
		return err
	}
	ran := make(chan error, 1)
	go func() { ran <- g.Run(ctx) }()
	go func() { _ = tracer.Run(ctx) }() // it never fails
	if err := g.Serve(ctx, ln); err != nil {
		return err
	}
	return <-ran
}

func name(i int) string {
	if i == 0 {
		return "api"
	}
	return fmt.Sprintf("api-%d", i)
}

// oneKey is a store with one access key.
type oneKey string

func (k oneKey) WatchKeys(ctx context.Context, fn func([]store.Key)) error {
	parts := strings.Split(string(k), "_")
	fn([]store.Key{{Name: "alice", ID: parts[1], Hash: sha256.Sum256([]byte(parts[2]))}})
	<-ctx.Done()
	return ctx.Err()
}

// uncounted keeps no calls: what is measured has counted them.
type uncounted struct{}

func (uncounted) AddCalls(context.Context, []workload.Calls, time.Time) error { return nil }

func (uncounted) EachCalls(context.Context, string, time.Time, func(workload.Calls) error) error {
	return nil
}

// limits are never reached, and looked at by each request.
var limits = []workload.Limit{
	{Name: "parallel", Per: workload.PerCaller, Concurrent: 100_000}, {Name: "rate", Per: workload.PerCaller, Rate: "1000000/s", Burst: 1_000_000},
	{Name: "daily", Per: workload.PerCaller, Quota: "10000000000/1d"},
}

// deployed is a store with workloads that ask who calls or do not, the first of which gets
// the requests.
type deployed struct {
	workloads int
	splitters int
	replicas  int // of each workload
	atOnce    int // requests of a replica, and as many wait
	asks      bool
}

func (d deployed) Watch(ctx context.Context, fn func(store.Change)) error {
	for i := range d.workloads {
		rev := &workload.Revision{ID: "1", Spec: workload.Spec{
			Name: name(i), Kind: workload.Realtime, Networking: &workload.Networking{Endpoint: "/" + name(i)},
			Pod: &workload.Pod{MaxConcurrency: int64(d.atOnce), MaxQueueLength: int64(d.atOnce)},
		}}
		if d.asks {
			rev.Networking.Auth, rev.Networking.Limits = &workload.Auth{Accept: []string{workload.AcceptKeys}}, limits
		}
		fn(store.Change{Name: name(i), Workload: &store.Workload{Revision: rev, Replicas: d.replicas, Version: 1}})
	}
	for i := range d.splitters {
		is := fmt.Sprintf("split-%d", i)
		fn(store.Change{Name: is, Workload: &store.Workload{Version: 1, Revision: &workload.Revision{ID: "1", Spec: workload.Spec{
			Name: is, Kind: workload.Splitter, Networking: &workload.Networking{Endpoint: "/" + is},
			APIs: []workload.Target{{Name: name(i % d.workloads), Weight: 50}, {Name: name((i + 1) % d.workloads), Weight: 50}},
		}}}})
	}
	fn(store.Change{})
	<-ctx.Done()
	return ctx.Err()
}

// running is an engine in which all replicas are the same server.
type running struct {
	deployed

	addr string
}

func (r running) Watch(ctx context.Context, fn func(engine.Status)) error {
	for i := range r.workloads {
		all := make([]engine.Replica, r.replicas)
		for j := range all {
			all[j] = engine.Replica{
				Replica:        workload.Replica{ID: fmt.Sprintf("%s-%d", name(i), j), State: workload.Ready, UpToDate: true, Address: r.addr},
				MaxConcurrency: int64(r.atOnce), MaxQueueLength: int64(r.atOnce),
			}
		}
		fn(engine.Status{Name: name(i), Desired: r.replicas, Replicas: all})
	}
	<-ctx.Done()
	return ctx.Err()
}
