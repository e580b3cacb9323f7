package kube

import (
	"context"
	"sync"
	"time"

	coordination "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// Claim takes key for ttl. When a claim is over is decided by the clock of who
// wants it next, so the clocks of the replicas must agree to well below a ttl, as
// they must for the election of a leader.
func (s *Store) Claim(ctx context.Context, key string, ttl time.Duration) error {
	if !legalKey().MatchString(key) {
		return illegalKey(key)
	}
	if ttl <= 0 || ttl > store.MaxClaim {
		return fault.New(fault.Invalid, "store.illegal_ttl", "a claim must last more than 0 and at most %v, not %v", store.MaxClaim, ttl)
	}
	ctx, done, err := s.beginWrite(ctx)
	if err != nil {
		return err
	}
	defer done()
	seconds := int32((ttl + time.Second - 1) / time.Second)
	for range tries {
		taken, err := s.claim(ctx, key, seconds)
		if err != nil {
			return s.failure(ctx, "claiming "+key, err)
		}
		if taken {
			return nil
		}
	}
	return busy("claiming " + key)
}

// claim is one attempt. False without an error says that the claim changed while
// it was looked at.
func (s *Store) claim(ctx context.Context, key string, seconds int32) (bool, error) {
	if err := s.roomForClaim(ctx); err != nil {
		return false, err
	}
	now := metav1.NowMicro()
	lease := &coordination.Lease{
		ObjectMeta: s.sharedMeta(prefixClaim, key, "claim"),
		Spec:       coordination.LeaseSpec{AcquireTime: &now, RenewTime: &now, LeaseDurationSeconds: &seconds},
	}
	_, err := s.leases.Create(ctx, lease, metav1.CreateOptions{FieldManager: fieldManager})
	if err == nil {
		s.claims.add()
		return true, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return false, err
	}
	present, err := s.leases.Get(ctx, lease.Name, metav1.GetOptions{})
	if isMissing(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !isOver(present, time.Now()) {
		return false, alreadyClaimed(key)
	}
	lease.ResourceVersion = present.ResourceVersion
	_, err = s.leases.Update(ctx, lease, metav1.UpdateOptions{FieldManager: fieldManager})
	if apierrors.IsConflict(err) || isMissing(err) {
		return false, nil
	}
	return err == nil, err
}

func alreadyClaimed(key string) error {
	return fault.New(fault.Conflict, store.CodeAlreadyClaimed, "%s is claimed already", key)
}

// isOver reports whether a claim has ended. One that does not say when does not.
func isOver(l *coordination.Lease, now time.Time) bool {
	if l.Spec.AcquireTime == nil || l.Spec.LeaseDurationSeconds == nil {
		return false
	}
	return now.After(l.Spec.AcquireTime.Add(time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second))
}

// How often the API server is asked how many claims there are. In between, those of
// this process are counted; the bound is exact to what others add meanwhile.
const (
	countEvery = 10 * time.Second
	countAfter = 1000
)

// claimCount is how many claims there are, as far as this process knows.
type claimCount struct {
	mu    sync.Mutex
	count int
	added int // by this process since it was counted
	at    time.Time
}

// known returns the number of claims, and whether it is worth anything.
func (c *claimCount) known(now time.Time) (count int, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count + c.added, c.added < countAfter && now.Before(c.at.Add(countEvery))
}

func (c *claimCount) set(count int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count, c.added, c.at = count, 0, now
}

func (c *claimCount) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.added++
}

// roomForClaim refuses when there are as many claims as there may be.
func (s *Store) roomForClaim(ctx context.Context) error {
	if count, fresh := s.claims.known(time.Now()); fresh {
		if count >= s.cfg.claims {
			return s.claimsFull()
		}
		return nil
	}
	count, err := s.countClaims(ctx)
	if err != nil {
		return err
	}
	if count >= s.cfg.claims {
		if err := s.Sweep(ctx); err != nil {
			return err
		}
		if count, err = s.countClaims(ctx); err != nil {
			return err
		}
	}
	s.claims.set(count, time.Now())
	if count >= s.cfg.claims {
		return s.claimsFull()
	}
	return nil
}

func (s *Store) claimsFull() error {
	return fault.New(fault.Unavailable, store.CodeClaimsFull, "there are %d claims, the most that there may be", s.cfg.claims).
		WithHint("try again in a moment: claims end by themselves")
}

// countClaims asks for one Lease and how many more there are, which the API server
// knows without reading them. The few that are no claims count too.
func (s *Store) countClaims(ctx context.Context) (int, error) {
	list, err := s.leases.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, err
	}
	count := len(list.Items)
	if list.RemainingItemCount != nil {
		count += int(*list.RemainingItemCount)
	}
	return count, nil
}

// Sweep deletes the claims that are over. Without it they stay until somebody
// claims the same again.
func (s *Store) Sweep(ctx context.Context) error {
	opts := metav1.ListOptions{LabelSelector: claimLabels, Limit: 1000}
	for {
		list, err := s.leases.List(ctx, opts)
		if err != nil {
			return s.failure(ctx, "reading the claims", err)
		}
		for i := range list.Items {
			l := &list.Items[i]
			if !isOver(l, time.Now()) {
				continue
			}
			err := s.leases.Delete(ctx, l.Name, metav1.DeleteOptions{
				Preconditions: &metav1.Preconditions{UID: &l.UID, ResourceVersion: &l.ResourceVersion},
			})
			if err != nil && !isMissing(err) && !apierrors.IsConflict(err) {
				return s.failure(ctx, "deleting the claim "+l.Name, err)
			}
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			return nil
		}
	}
}

// sweepEvery is how long a claim stays that is over.
const sweepEvery = time.Minute

// Run sweeps until ctx ends; one replica is enough. It returns ctx's error.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("store: claims that are over stay", "error", err)
		}
	}
}
