package kube

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/client-go/rest"
)

// fieldManager is who kubectl shows as the writer of what is written here.
const fieldManager = "cortex"

// Config says which cluster replicas run on. REST and Pods are needed.
type Config struct {
	REST *rest.Config
	Pods PodConfig // Pods.Namespace is where everything lives
	Log  *slog.Logger
	Now  func() time.Time // time.Now when nil
	// ReadOnly is for who needs to know the replicas and nothing else: Apply and
	// Remove refuse, statuses carry no events and no evidence that the pods
	// themselves do not carry, and nothing is asked of the API server but lists and
	// watches of Deployments and Pods.
	ReadOnly bool
	// ProgressDeadline is how long a replica may take to become ready before its
	// revision counts as failed; 10 min when zero.
	ProgressDeadline time.Duration
	// InFlight is how many requests each replica of a workload works on, as far as it
	// is known: those with the fewest are taken away first. Nil: it is never known.
	InFlight func(workload string) map[string]int
}

// New returns an engine that knows its replicas once Run is called. It starts
// nothing and asks the API server nothing.
func New(cfg Config) (*Engine, error) {
	if cfg.REST == nil {
		return nil, errors.New("the address of the Kubernetes API server is not set")
	}
	if cfg.Pods.Namespace == "" {
		return nil, errors.New("the engine needs the namespace in which replicas run")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ProgressDeadline <= 0 {
		cfg.ProgressDeadline = 10 * time.Minute
	}
	if cfg.InFlight == nil {
		cfg.InFlight = func(string) map[string]int { return nil }
	}
	transport, err := rest.HTTPClientFor(cfg.REST)
	if err != nil {
		return nil, fmt.Errorf("reading how the API server is reached: %w", err)
	}
	e, err := newEngine(cfg, transport)
	if err != nil {
		return nil, fmt.Errorf("making a client of the API server: %w", err)
	}
	return e, nil
}
