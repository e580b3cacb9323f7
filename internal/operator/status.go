package operator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// newestVersions is how many versions Get shows.
const newestVersions = 10

// statusOf computes what a workload is doing from its record and from what the
// engine says; es is nil when the engine does not know the workload yet.
func statusOf(w store.Workload, es *engine.Status) *workload.Status {
	s := &workload.Status{Requested: w.Replicas, Stopped: w.Stopped}
	var notReady []workload.Replica
	for _, r := range replicasOf(w, es) {
		s.Warning = cmp.Or(s.Warning, r.Warning)
		switch {
		case r.State == workload.Ready:
			s.Ready++
			s.UpToDate++
		case r.State == workload.ReadyOutOfDate:
			s.Ready++
		case r.State != workload.Terminating && r.UpToDate:
			notReady = append(notReady, r)
		}
	}
	s.Phase, s.Reason = phaseOf(w, es, s, notReady)
	return s
}

// replicasOf returns the replicas as seen from the record: while the engine has
// not taken the newest revision over, none is up to date.
func replicasOf(w store.Workload, es *engine.Status) []workload.Replica {
	if es == nil {
		return nil
	}
	list := make([]workload.Replica, 0, len(es.Replicas))
	for _, r := range es.Replicas {
		v := r.Replica
		v.UpToDate = v.UpToDate && es.Revision == w.Revision.ID
		switch {
		case v.State == workload.Ready && !v.UpToDate:
			v.State = workload.ReadyOutOfDate
		case v.State == workload.ReadyOutOfDate && v.UpToDate:
			v.State = workload.Ready
		}
		list = append(list, v)
	}
	return list
}

func phaseOf(w store.Workload, es *engine.Status, s *workload.Status, notReady []workload.Replica) (workload.Phase, string) {
	if w.Stopped != nil {
		return workload.PhaseStopped, w.Stopped.Since() + "; " + startAgain(w.Name())
	}
	current := es != nil && es.Revision == w.Revision.ID
	old := s.Ready - s.UpToDate
	if failure := failureOf(w, es, s); failure != nil {
		if words, ok := fallsBack(w, es, s); ok {
			return workload.PhaseDegraded, failure.Message + words
		}
		return workload.PhaseFailed, failure.Message
	}
	trial := isTrial(w)
	switch {
	case w.Replicas == 0 && !trial:
		return workload.PhaseIdle, "scaled to zero; the first request starts a replica"
	case !trial && s.UpToDate >= w.Replicas && old == 0: // a trial is over when the record says so
		return workload.PhaseLive, ""
	case !current && trial:
		return workload.PhaseUpdating, "1 replica about to be started, to prove that this version can become ready"
	case !current:
		return workload.PhaseUpdating, fmt.Sprintf("%s about to be started", count(w.Replicas, "replica"))
	}
	reason := fmt.Sprintf("%d of %s ready", s.UpToDate, count(w.Replicas, "replica"))
	if trial {
		reason = "one replica is to prove that this version can become ready"
	}
	if es.Shortage != nil {
		reason += ": " + es.Shortage.Message
	} else {
		for _, r := range notReady {
			if r.Reason != nil {
				reason += ": " + r.Reason.Message
				break
			}
		}
	}
	return workload.PhaseUpdating, reason + stillAnswers(old)
}

// stillAnswers is the end of a reason: that users are served meanwhile.
func stillAnswers(old int) string {
	switch old {
	case 0:
		return ""
	case 1:
		return "; 1 replica of an earlier version still answers requests"
	default:
		return fmt.Sprintf("; %d replicas of an earlier version still answer requests", old)
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// countsOf counts the replicas by state.
func countsOf(w store.Workload, es *engine.Status) *workload.Counts {
	c := &workload.Counts{Requested: w.Replicas}
	for _, r := range replicasOf(w, es) {
		*counterOf(c, r.State)++
	}
	return c
}

func counterOf(c *workload.Counts, state workload.ReplicaState) *int {
	switch state {
	case workload.Pending:
		return &c.Pending
	case workload.Creating:
		return &c.Creating
	case workload.NotReady:
		return &c.NotReady
	case workload.Ready:
		return &c.Ready
	case workload.ReadyOutOfDate:
		return &c.ReadyOutOfDate
	case workload.ErrImagePull:
		return &c.ErrImagePull
	case workload.Terminating:
		return &c.Terminating
	case workload.Failed:
		return &c.Failed
	case workload.Killed:
		return &c.Killed
	case workload.KilledOOM:
		return &c.KilledOOM
	case workload.Stalled:
		return &c.Stalled
	default:
		return &c.Unknown
	}
}

// isUpdating reports whether an update is under way that a new one would cut
// short: fewer up-to-date replicas are ready than min_replicas, and none of them
// has failed (REFERENCE 3.2).
func isUpdating(w store.Workload, es *engine.Status) bool {
	if w.Revision.Autoscaling == nil || w.Stopped != nil {
		return false
	}
	s := statusOf(w, es)
	if failureOf(w, es, s) != nil || s.UpToDate >= int(w.Revision.Autoscaling.MinReplicas) {
		return false
	}
	for _, r := range replicasOf(w, es) {
		if r.UpToDate && hasFailed(r.State) {
			return false
		}
	}
	return true
}

func hasFailed(state workload.ReplicaState) bool {
	switch state {
	case workload.Failed, workload.Killed, workload.KilledOOM, workload.ErrImagePull, workload.Stalled:
		return true
	default:
		return false
	}
}

// engineStatus asks the engine about a workload; nil when it does not know it.
func (o *Operator) engineStatus(ctx context.Context, w store.Workload) (*engine.Status, error) {
	if !w.Revision.Kind.Scales() {
		return nil, nil
	}
	es, err := o.engine.Status(ctx, w.Name())
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("status of %s: %w", w.Name(), err)
	}
	return &es, nil
}

// List returns all workloads: batch, task, realtime, async, splitter; then by name.
func (o *Operator) List(ctx context.Context) ([]workload.APIResponse, error) {
	list, err := o.store.List(ctx)
	if err != nil {
		return nil, err
	}
	kinds := workload.Kinds()
	slices.SortStableFunc(list, func(a, b store.Workload) int {
		return cmp.Or(
			cmp.Compare(slices.Index(kinds, a.Revision.Kind), slices.Index(kinds, b.Revision.Kind)),
			cmp.Compare(a.Name(), b.Name()))
	})
	answer := make([]workload.APIResponse, 0, len(list))
	for _, w := range list {
		r, err := o.brief(ctx, w)
		if err != nil {
			return nil, err
		}
		answer = append(answer, r)
	}
	return o.withRefused(answer), nil
}

// withRefused adds to a list what was declared and refused: to the line of what is
// deployed under the name, or as a line of its own.
func (o *Operator) withRefused(list []workload.APIResponse) []workload.APIResponse {
	all := o.refusals()
	for i := range list {
		if r, ok := all[list[i].Metadata.Name]; ok {
			list[i].Refused = refused(r)
			delete(all, r.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, workload.APIResponse{Metadata: &workload.Metadata{Name: name, Kind: all[name].Kind}, Refused: refused(all[name])})
	}
	return list
}

// brief is one line of a list: metadata, and status or the number of targets.
func (o *Operator) brief(ctx context.Context, w store.Workload) (workload.APIResponse, error) {
	r := workload.APIResponse{Metadata: metadata(w.Revision)}
	if w.Revision.Kind == workload.Splitter {
		n := len(w.Revision.APIs)
		r.NumTrafficSplitterTargets = &n
		if o.copies != nil {
			if c, ok := o.copies(w.Name()); ok {
				r.Copies = &c
			}
		}
	}
	es, err := o.engineStatus(ctx, w)
	if err != nil {
		return r, err
	}
	if w.Revision.Kind.Scales() {
		r.Status = statusOf(w, es)
		r.Status.Traffic = o.trafficOf(w.Name())
	}
	err = o.addJobs(ctx, &r, w, false)
	return r, err
}

func (o *Operator) trafficOf(name string) *workload.Traffic {
	if o.traffic == nil {
		return nil
	}
	t, ok := o.traffic(name)
	if !ok {
		return nil
	}
	return &t
}

// tookOf is how long requests of an API took, and nothing where that is not known.
func (o *Operator) tookOf(name string) workload.Took {
	if o.took == nil {
		return workload.Took{}
	}
	t, _ := o.took(name)
	return t
}

// Get returns spec, status, endpoint and the ten newest versions.
func (o *Operator) Get(ctx context.Context, name string) (workload.APIResponse, error) {
	w, err := o.store.Get(ctx, name)
	if err != nil {
		return workload.APIResponse{}, o.orRefused(name, err)
	}
	r, err := o.brief(ctx, w)
	if err != nil {
		return r, err
	}
	if why, ok := o.refusals()[name]; ok {
		r.Refused = refused(why)
	}
	if err := o.addJobs(ctx, &r, w, true); err != nil {
		return r, err
	}
	r.Spec, r.CodeChanged = w.Revision.Shown(), o.codeChanged(w.Revision)
	r.Endpoint, r.HostEndpoint = o.endpoint(w.Revision), o.hostEndpoint(w.Revision)
	versions, err := o.versions(ctx, &w, name)
	if err != nil {
		return r, err
	}
	r.APIVersions = versions[:min(len(versions), newestVersions)]
	return r, nil
}

// Describe adds counts, and every replica with the reason why it is not ready.
func (o *Operator) Describe(ctx context.Context, name string) (workload.APIResponse, error) {
	w, err := o.store.Get(ctx, name)
	if err != nil {
		return workload.APIResponse{}, err
	}
	if !w.Revision.Kind.Scales() {
		return workload.APIResponse{}, onlyFor("describe", &w.Revision.Spec)
	}
	es, err := o.engineStatus(ctx, w)
	if err != nil {
		return workload.APIResponse{}, err
	}
	s := statusOf(w, es)
	s.Traffic = o.trafficOf(name)
	s.ReplicaCounts, s.Replicas = countsOf(w, es), replicasOf(w, es)
	if o.usage != nil {
		used := o.usage(name)
		for i, r := range s.Replicas {
			if u, ok := used[r.ID]; ok {
				s.Replicas[i].Usage = &u
			}
		}
	}
	return workload.APIResponse{Metadata: metadata(w.Revision), Status: s, Endpoint: o.endpoint(w.Revision), HostEndpoint: o.hostEndpoint(w.Revision)}, nil
}

func metadata(r *workload.Revision) *workload.Metadata {
	return &workload.Metadata{
		Name: r.Name, Kind: r.Kind, ID: r.ID, DeploymentID: r.DeploymentID,
		LastUpdated: r.LastUpdated.Unix(),
	}
}
