// Package kube keeps what should exist in Kubernetes itself: every workload is a
// custom resource, every entry of its history another, and what happened to it are
// events. Whoever may, sees and writes them with kubectl.
//
// It promises what the ports promise (store.Store, store.Shared, store.Keys, store.Source
// and store.JobSource), that a specification somebody applied is never overwritten
// before it was resolved, and that what it knows survives a restart of the API server.
//
// It must not know what runs, nor resolve a specification.
package kube

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// Config says where the state is.
type Config struct {
	REST            *rest.Config // how to reach the API server
	Namespace       string       // of workloads, their history and events
	SystemNamespace string       // of claims and values
	// ReadOnly refuses everything that writes. It needs list and watch of the five kinds,
	// and of keys where these are watched, and nothing else.
	ReadOnly bool
	Log      *slog.Logger // nil: none

	claims int // how many there may be; tests have few
}

// Store is the state in one namespace. Several may be open on the same one.
//
// Reading all workloads and watching them are answered from a view of the five
// kinds that is kept up to date by watching the API server: a thousand workloads
// are ten megabytes, too much to read for every look at the list. The view has what
// this Store wrote before the write returns; what others wrote arrives when the API
// server tells of it. Reading one workload, and the reading before each write, ask
// the API server itself, which answers from a quorum.
type Store struct {
	cfg    Config
	log    *slog.Logger
	client *client
	core   corev1.CoreV1Interface
	leases v1.LeaseInterface

	view   *view
	names  names
	past   sequences
	noise  noise
	events fill
	claims claimCount

	closing context.Context // ends when the Store is closed
	close   context.CancelFunc
	running sync.WaitGroup
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Shared = (*Store)(nil)
	_ store.Keys   = (*Store)(nil)
)

// requestTimeout bounds every request that is no watch.
const requestTimeout = 30 * time.Second

// Open returns once everything was read for the first time. It waits for an API
// server that does not answer until ctx ends, which is fault.Unavailable; a
// permission or a definition that is missing it reports at once.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.REST == nil || cfg.Namespace == "" {
		return nil, errors.New("opening the state: no API server or no namespace")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.claims == 0 {
		cfg.claims = store.MaxClaims
	}
	s := &Store{cfg: cfg, log: cfg.Log, view: newView(), names: newNames()}
	if err := s.connect(); err != nil {
		return nil, fmt.Errorf("opening the state: %w", err)
	}
	s.closing, s.close = context.WithCancel(context.Background())
	if err := s.follow(ctx); err != nil {
		_ = s.Close() // never fails
		return nil, err
	}
	return s, nil
}

// connect prepares the clients. It sends nothing.
func (s *Store) connect() error {
	cfg := rest.CopyConfig(s.cfg.REST)
	// The API server shares its time fairly by itself; a limit here would only make
	// a deploy of a hundred APIs wait.
	cfg.QPS = -1
	cfg.WarningHandler = rest.NoWarnings{}
	cfg.Timeout = 0 // it would end watches too; requests have their own
	http, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return err
	}
	if s.client, err = newClient(cfg, http, s.cfg.Namespace); err != nil {
		return err
	}
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	cfg.AcceptContentTypes = cfg.ContentType + ",application/json"
	if s.core, err = corev1.NewForConfigAndClient(cfg, http); err != nil {
		return err
	}
	coordination, err := v1.NewForConfigAndClient(cfg, http)
	if err != nil {
		return err
	}
	s.leases = coordination.Leases(s.cfg.SystemNamespace)
	return nil
}

// Close ends every watch.
func (s *Store) Close() error {
	s.close()
	s.running.Wait()
	return nil
}

// begin prepares a request: its context ends in time, and with the Store.
func (s *Store) begin(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	stop := context.AfterFunc(s.closing, cancel)
	return ctx, func() { stop(); cancel() }
}

// beginWrite is begin for what changes something.
func (s *Store) beginWrite(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if s.closing.Err() != nil {
		return nil, nil, errClosed()
	}
	if s.cfg.ReadOnly {
		return nil, nil, fault.New(fault.Unsupported, "store.read_only", "the state was opened to be read only")
	}
	ctx, done := s.begin(ctx)
	return ctx, done, nil
}

// names keeps the deletion of a name apart from what else is done under it: what
// is remembered after a deletion belongs to a workload to come. Two names may
// share a lock.
type names struct {
	seed  maphash.Seed
	locks *[64]sync.RWMutex
}

func newNames() names { return names{seed: maphash.MakeSeed(), locks: new([64]sync.RWMutex)} }

func (n names) of(name string) *sync.RWMutex {
	return &n.locks[maphash.String(n.seed, name)%uint64(len(n.locks))]
}

func (n names) share(name string) func() {
	l := n.of(name)
	l.RLock()
	return l.RUnlock
}

func (n names) exclude(name string) func() {
	l := n.of(name)
	l.Lock()
	return l.Unlock
}
