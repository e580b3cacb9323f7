package operatord

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The times of the election. A leader that stops hands over in about a second: the
// others ask twice a second, which costs the API server nothing. One that dies is
// followed after ten. One that cannot renew has seven seconds of an API server
// being away, and then three to stop before another may begin.
const (
	leaseLife    = 10 * time.Second
	renewWithin  = 7 * time.Second
	electEvery   = 500 * time.Millisecond
	stopWithin   = leaseLife - renewWithin - time.Second
	electionWait = renewWithin / 2 // of one request
)

// errLeaseLost ends a replica that may not be the one any more.
var errLeaseLost = errors.New("leadership was lost: another replica may lead now")

// electionConfig says what is led, and by whom.
type electionConfig struct {
	REST      *rest.Config
	Namespace string
	Identity  string // of this replica; a process that comes back under it leads on at once
	Log       *slog.Logger
	Leading   *atomic.Bool // kept true while work runs
}

// lead waits until this replica leads, and does work until ctx ends, work ends or
// the lease is lost. In the first two cases it gives the lease up after work has
// returned, so that the next leader never begins before. When the lease is lost
// work is told to stop and given little time; the process has to end then. Until it
// has, nothing it may still write overwrites what a new leader wrote: every write of
// the store is a compare-and-set, and every write of the engine is made again from
// the store by whoever leads.
func lead(ctx context.Context, cfg electionConfig, work func(context.Context) error) error {
	own := rest.CopyConfig(cfg.REST)
	own.Timeout = electionWait // a connection that hangs must not cost the lease
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, cfg.Namespace, leaseName,
		resourcelock.ResourceLockConfig{Identity: cfg.Identity}, own, renewWithin)
	if err != nil {
		return fmt.Errorf("preparing the election: %w", err)
	}
	began := make(chan context.Context, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: leaseLife, RenewDeadline: renewWithin, RetryPeriod: electEvery, Name: leaseName,
		// It would also release a lease that could not be renewed in time, while work
		// is still stopping.
		ReleaseOnCancel: false,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { began <- ctx },
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				if identity != "" {
					cfg.Log.Info("leader", "pod", identity, "this_one", identity == cfg.Identity)
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("preparing the election: %w", err)
	}
	// The election outlives ctx on purpose: the lease is held until work is over.
	election, leave := context.WithCancel(context.WithoutCancel(ctx))
	over := make(chan struct{})
	go func() {
		defer close(over)
		elector.Run(election)
	}()
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case held := <-began:
		err = cfg.hold(ctx, held, work)
	}
	leave()
	<-over
	if !errors.Is(err, errLeaseLost) {
		if again := release(context.WithoutCancel(ctx), lock, cfg.Identity); again != nil {
			cfg.Log.Warn("leadership was not given up: the next leader begins when the lease has ended", "error", again)
		}
	}
	return err
}

// release gives the lease up if it is ours.
func release(ctx context.Context, lock resourcelock.Interface, identity string) error {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	for {
		found, _, err := lock.Get(ctx)
		if apierrors.IsNotFound(err) || err == nil && found.HolderIdentity != identity {
			return nil
		}
		if err == nil {
			now := metav1.Now()
			err = lock.Update(ctx, resourcelock.LeaderElectionRecord{
				LeaderTransitions: found.LeaderTransitions, LeaseDurationSeconds: 1, AcquireTime: now, RenewTime: now,
			})
		}
		// A renewal that was under way may arrive in between.
		if err == nil || !apierrors.IsConflict(err) {
			return err
		}
	}
}

// hold does work while the lease is held.
func (cfg electionConfig) hold(ctx, held context.Context, work func(context.Context) error) error {
	both, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(held, stop)()
	done := make(chan error, 1)
	cfg.Leading.Store(true)
	defer cfg.Leading.Store(false)
	go func() { done <- work(both) }()
	select {
	case err := <-done:
		return err
	case <-held.Done():
	}
	cfg.Leading.Store(false)
	late := time.NewTimer(stopWithin)
	defer late.Stop()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, context.Canceled) {
			cfg.Log.Warn("stopping what the leader does", "error", err)
		}
	case <-late.C:
		cfg.Log.Error("what this replica did as the leader has not stopped in time; the process ends")
	}
	return errLeaseLost
}
