// Package program is what the programs of Cortex on Kubernetes have in common: how
// they read flags, reach the API server, say that they are healthy and end.
//
// It promises that a program which cannot start says everything that is wrong at
// once. It must stay light, because the gateway links it: what only the operator
// needs is in operatord.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpserve"
	"cortex.dev/cortex/internal/telemetry"
)

// Streams are where a program writes.
type Streams struct {
	Out io.Writer // the audit, when it goes there
	Err io.Writer // the log
}

// OperatorService is the service of the operator's internal port, as the chart names it.
const OperatorService = "cortex-operator"

// LogTo returns the log of a program, which client-go writes to as well: a process has
// one.
func LogTo(streams Streams) *slog.Logger {
	log := slog.New(slog.NewTextHandler(streams.Err, nil))
	klog.SetSlogLogger(log)
	return log
}

// Exit says what became of a program, and returns the code to exit with.
func Exit(err error, streams Streams, name, usage string) int {
	switch {
	case err == nil:
		return fault.ExitDone
	case errors.Is(err, ErrHelp):
		fmt.Fprint(streams.Out, usage)
		return fault.ExitDone
	}
	f := fault.From(err)
	fmt.Fprintf(streams.Err, "%s: %s\n", name, err)
	if f.Hint != "" {
		fmt.Fprintln(streams.Err, f.Hint)
	}
	if f.Kind == fault.Usage {
		return fault.ExitUsage
	}
	return fault.ExitFailed
}

// RESTConfig is how to reach the API server: as a pod, or by a file.
func RESTConfig(kubeconfig, program, version string) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fault.New(fault.Usage, "kube.no_cluster", "no Kubernetes API server is configured: %w", err).
			WithHint("run this program in a cluster, or name one with --kubeconfig")
	}
	cfg.QPS = -1 // the API server shares its time fairly by itself
	cfg.UserAgent = program + "/" + version
	return cfg, nil
}

// Listen opens an address that a flag names.
func Listen(address, flag string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "server.cannot_listen", "listening on %s: %w", address, err).
			WithHint("choose another address with --%s", flag)
	}
	return ln, nil
}

// Health answers the kubelet, and whoever reads metrics.
type Health struct {
	Listener net.Listener
	Metrics  *telemetry.Registry
	Ready    func() error // nil when requests should come here, else why not
}

// Run serves until ctx ends.
func (h *Health) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /startz", h.start)
	mux.Handle("GET /metrics", h.Metrics.Handler())
	return httpserve.Serve(ctx, h.Listener, mux)
}

// The longest that a question whether the program has started is held, which is less
// than the probe of the chart waits, and how often it is looked meanwhile.
const (
	startWithin = 50 * time.Second
	startEvery  = 20 * time.Millisecond
)

// start answers when the program is ready. A probe that is refused until then would
// leave a warning at every healthy pod.
func (h *Health) start(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), startWithin)
	defer cancel()
	tick := time.NewTicker(startEvery)
	defer tick.Stop()
	for {
		err := h.Ready()
		if err == nil {
			fmt.Fprintln(w, "ok")
			return
		}
		select {
		case <-ctx.Done():
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		case <-tick.C:
		}
	}
}
