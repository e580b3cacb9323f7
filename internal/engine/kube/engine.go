package kube

import (
	"context"
	"net/http"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
)

// Engine implements engine.Engine on Kubernetes.
type Engine struct {
	cfg     Config
	client  kubernetes.Interface // bounded in time
	streams kubernetes.Interface // for logs, which may be followed for ever
	meta    metadata.Interface   // for ReplicaSets, of which only the owners matter
	feed    *engine.Feed
	seen    *seen
	applied *applied
	synced  chan struct{} // closed when everything that is there was seen
	down    chan struct{} // closed when Run ends

	mu        sync.Mutex
	running   bool
	following map[string]*podRun                    // runs of this process, by their pods
	forgotten map[types.UID]bool                    // pods of runs that go, whose output is kept
	runFiles  RunFiles                              // nil: what runs wrote goes with their pods
	listeners map[string]map[chan struct{}]struct{} // of changes to the pods of a workload
	proven    map[string]map[types.UID]bool         // pods of a workload that were made for it

	// Set before synced is closed and not changed afterwards:
	deployments, pods toolscache.Indexer
	sets              toolscache.Indexer // ReplicaSets, by their uid
	warnings          toolscache.Indexer // nil when read only
	jobPods           toolscache.Indexer // of runs; nil when read only

	workers *http.Transport // to the sidecars of runs
}

var _ engine.Engine = (*Engine)(nil)

// requestTimeout bounds one request that is no watch and no log.
const requestTimeout = 30 * time.Second

func newEngine(cfg Config, transport *http.Client) (*Engine, error) {
	unbounded := rest.CopyConfig(cfg.REST)
	if unbounded.QPS == 0 {
		// The default of five requests a second would make a restart with a thousand
		// APIs take minutes; the API server's own fairness is what protects it.
		unbounded.QPS = -1
	}
	streams, err := kubernetes.NewForConfigAndClient(unbounded, transport)
	if err != nil {
		return nil, err
	}
	bounded := rest.CopyConfig(unbounded)
	bounded.Timeout = requestTimeout
	client, err := kubernetes.NewForConfigAndClient(bounded, &http.Client{Transport: transport.Transport, Timeout: requestTimeout})
	if err != nil {
		return nil, err
	}
	meta, err := metadata.NewForConfigAndClient(metadata.ConfigFor(unbounded), transport)
	if err != nil {
		return nil, err
	}
	return &Engine{
		meta: meta, cfg: cfg, client: client, streams: streams, feed: engine.NewFeed(), seen: newSeen(), applied: newApplied(),
		synced: make(chan struct{}), down: make(chan struct{}), listeners: map[string]map[chan struct{}]struct{}{}, proven: map[string]map[types.UID]bool{},
		following: map[string]*podRun{}, forgotten: map[types.UID]bool{}, workers: newWorkers(),
	}, nil
}

// Status implements engine.Engine. Before everything that is there was seen it
// waits for that.
func (e *Engine) Status(ctx context.Context, name string) (engine.Status, error) {
	if err := e.ready(ctx); err != nil {
		return engine.Status{}, err
	}
	s, ok := e.feed.Get(name)
	if !ok {
		return engine.Status{}, notDeployed(name)
	}
	return s, nil
}

// Watch implements engine.Engine. It tells nothing before everything that is there
// was seen, so that what it tells first is all there is.
func (e *Engine) Watch(ctx context.Context, fn func(engine.Status)) error {
	select {
	case <-e.synced:
	case <-ctx.Done():
		return ctx.Err()
	}
	return e.feed.Watch(ctx, fn)
}

// patience is how long a call waits for the first look at the cluster.
const patience = 10 * time.Second

// ready returns when everything that is there was seen.
func (e *Engine) ready(ctx context.Context) error {
	select {
	case <-e.synced:
		return nil
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-e.synced:
		return nil
	case <-e.down:
		return stopping()
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fault.New(fault.Unavailable, "engine.not_synced", "the replicas of the cluster are not known yet").
			WithHint("check that the API server of Kubernetes can be reached")
	}
}

// deployment returns the Deployment of a workload as it was seen last; nil when
// there is none.
func (e *Engine) deployment(name string) *appsv1.Deployment {
	found, err := e.deployments.ByIndex(byWorkload, name)
	if err != nil {
		return nil
	}
	for _, o := range found {
		// Others may put our labels on a Deployment of theirs.
		if d, ok := o.(*appsv1.Deployment); ok && d.Name == objectName(name) && isOurs(d, name) {
			return d
		}
	}
	return nil
}

// podsOf returns the pods of a workload as they were seen last: those of its Deployment
// d, by what Kubernetes says of who made them. A pod that only has the labels is not
// one, so that nobody gets requests who may make pods and no more. One that was proven
// to be its stays so until it is gone: when the Deployment is deleted, what the proof
// rests on goes first.
func (e *Engine) podsOf(name string, d *appsv1.Deployment) []*corev1.Pod {
	found, err := e.pods.ByIndex(byWorkload, name)
	if err != nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	before, now := e.proven[name], map[types.UID]bool{}
	pods := make([]*corev1.Pod, 0, len(found))
	for _, o := range found {
		p, ok := o.(*corev1.Pod)
		if !ok {
			continue
		}
		switch {
		case before[p.UID] || e.belongs(p, d):
			now[p.UID] = true
		case p.DeletionTimestamp == nil: // else it gets no requests, whoever made it
			continue
		}
		pods = append(pods, p)
	}
	if e.proven[name] = now; len(now) == 0 {
		delete(e.proven, name)
	}
	return pods
}

// belongs reports whether a pod was made by a ReplicaSet of d.
func (e *Engine) belongs(p *corev1.Pod, d *appsv1.Deployment) bool {
	owner := metav1.GetControllerOf(p)
	if owner == nil {
		return false
	}
	found, err := e.sets.ByIndex(byUID, string(owner.UID))
	if err != nil || len(found) != 1 {
		return false
	}
	set, ok := found[0].(*metav1.PartialObjectMetadata)
	if !ok {
		return false
	}
	by := metav1.GetControllerOf(set)
	return by != nil && d != nil && by.UID == d.UID
}
