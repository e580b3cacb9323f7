// Package kube wires the roles into the two programs of Cortex on Kubernetes: the
// operator, of which one replica leads, and the gateway, of which every replica
// serves.
//
// It promises that there is one operator that decides and writes at a time, and
// that a replica which is no longer it ends; that a gateway needs no operator to
// serve what runs; and that a program which is told to stop says so to its callers
// before it turns anybody away.
//
// It must not have a rule of its own: as in solo, a decision found here belongs to
// one of the roles.
package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/operatorserver"
	"cortex.dev/cortex/internal/telemetry"
)

// Streams are where a program writes.
type Streams struct {
	Out io.Writer // the audit, when it goes there
	Err io.Writer // the log
}

// Names that the chart and these programs agree on.
const (
	leaseName       = "cortex-operator"
	operatorService = "cortex-operator"
	operatorPublic  = "cortex-operator-lb"
	gatewayService  = "cortex-gateway"
	authorityMap    = "cortex-authority"
	authorityKey    = "ca.crt"      // the authority's certificate
	fingerprintKey  = "fingerprint" // of the certificate of the management API
	certificateName = "tls-operator"
)

// Operator is the program cortex-operator: it runs until ctx ends and returns the
// code to exit with. It takes the log of client-go over, of which a process has one.
func Operator(ctx context.Context, args []string, streams Streams, getenv func(string) string, version string) int {
	log := logTo(streams)
	klog.SetSlogLogger(log)
	return operatorMain(ctx, args, streams, getenv, version, log)
}

func operatorMain(ctx context.Context, args []string, streams Streams, getenv func(string) string, version string, log *slog.Logger) int {
	cfg, err := parseOperator(args, getenv)
	if err == nil {
		cfg.Version, cfg.Log, cfg.AuditOut = version, log, streams.Out
		err = RunOperator(ctx, cfg)
	}
	return outcome(err, streams, "cortex-operator", operatorUsage)
}

// Gateway is the program cortex-gateway, likewise.
func Gateway(ctx context.Context, args []string, streams Streams, getenv func(string) string, version string) int {
	log := logTo(streams)
	klog.SetSlogLogger(log)
	cfg, err := parseGateway(args, getenv)
	if err == nil {
		cfg.Version, cfg.Log = version, log
		err = RunGateway(ctx, cfg)
	}
	return outcome(err, streams, "cortex-gateway", gatewayUsage)
}

func logTo(streams Streams) *slog.Logger { return slog.New(slog.NewTextHandler(streams.Err, nil)) }

// outcome says what became of a program, and returns the code to exit with.
func outcome(err error, streams Streams, name, usage string) int {
	switch {
	case err == nil:
		return fault.ExitDone
	case errors.Is(err, errHelp):
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

// restConfig is how to reach the API server: as a pod, or by a file.
func restConfig(kubeconfig, program, version string) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fault.New(fault.Usage, "kube.no_cluster", "no Kubernetes API server is configured: %w", err).
			WithHint("run this program in a cluster, or name one with --kubeconfig")
	}
	cfg.QPS = -1 // the API server shares its time fairly by itself
	cfg.UserAgent = program + "/" + version
	return cfg, nil
}

// listen opens an address that a flag names.
func listen(address, flag string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "server.cannot_listen", "listening on %s: %w", address, err).
			WithHint("choose another address with --%s", flag)
	}
	return ln, nil
}

// health answers the kubelet, and whoever reads metrics.
type health struct {
	listener net.Listener
	metrics  *telemetry.Registry
	ready    func() error // nil when requests should come here, else why not
}

func (h *health) run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", h.metrics.Handler())
	return operatorserver.Serve(ctx, h.listener, mux)
}
