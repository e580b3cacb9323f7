package kube

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// Annotations of an event, which say what Kubernetes has no field for.
const (
	annotationTime    = "cortex.dev/time" // exact; the fields of an event have whole seconds
	annotationReplica = "cortex.dev/replica"
)

const (
	maxEventBytes = 16 << 10
	// eventSlack is how many events of one workload may be more than MaxEvents
	// before the oldest are dropped; nobody is shown them.
	eventSlack = 100
)

// Record appends an event, which kubectl describe shows too. A text that is too
// long is cut. The API server drops events by itself when they are older than its
// --event-ttl, which is an hour unless somebody chose otherwise.
func (s *Store) Record(ctx context.Context, e workload.Event) error {
	if !legalName().MatchString(e.API) {
		return illegalName(e.API)
	}
	if len(e.Message) > maxEventBytes {
		e.Message = strings.ToValidUTF8(e.Message[:maxEventBytes], "") + "…"
	}
	ctx, done, err := s.beginWrite(ctx)
	if err != nil {
		return err
	}
	defer done()
	defer s.names.share(e.API)()
	doing := "recording an event of " + e.API
	if _, err := s.core.Events(s.cfg.Namespace).Create(ctx, s.event(e), metav1.CreateOptions{FieldManager: fieldManager}); err != nil {
		return s.failure(ctx, doing, err)
	}
	if !s.events.recorded(e.API) {
		return nil
	}
	return s.failure(ctx, doing, s.dropOldest(ctx, e.API))
}

func (s *Store) event(e workload.Event) *core.Event {
	about := core.ObjectReference{APIVersion: crd.GroupVersion.String(), Name: e.API, Namespace: s.cfg.Namespace}
	kind := e.Kind
	if of, ok := s.view.known(e.API); ok && (kind == "" || kind == of.key.kind) {
		kind = of.key.kind
		about.UID = of.uid
	}
	about.Kind = string(kind)
	at := metav1.NewTime(e.Time)
	event := &core.Event{
		ObjectMeta: metav1.ObjectMeta{
			Name: e.API + "." + strings.ToLower(rand.Text()), Namespace: s.cfg.Namespace, Labels: labels(e.API, kind),
			Annotations: map[string]string{annotationTime: e.Time.Format(time.RFC3339Nano)},
		},
		InvolvedObject: about,
		Type:           core.EventTypeNormal, Reason: e.Reason, Message: e.Message,
		Source:         core.EventSource{Component: fieldManager},
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
	if e.Type == "warning" {
		event.Type = core.EventTypeWarning
	}
	if e.Replica != "" {
		event.Annotations[annotationReplica] = e.Replica
	}
	return event
}

func eventOf(e *core.Event) workload.Event {
	at, err := time.Parse(time.RFC3339Nano, e.Annotations[annotationTime])
	if err != nil {
		at = e.LastTimestamp.UTC()
	}
	return workload.Event{
		Time: at, API: e.Labels[labelName], Kind: workload.Kind(e.InvolvedObject.Kind), Type: strings.ToLower(e.Type), Reason: e.Reason, Message: e.Message,
		Replica: e.Annotations[annotationReplica],
	}
}

// fill counts events, so that the oldest are looked for now and then only.
type fill struct {
	mu    sync.Mutex
	since map[string]int // events of a name since the oldest were dropped
}

// recorded reports whether it is time to drop the oldest of a name.
func (f *fill) recorded(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.since == nil {
		f.since = make(map[string]int)
	}
	f.since[name]++
	if f.since[name] < eventSlack {
		return false
	}
	delete(f.since, name)
	return true
}

func (s *Store) dropOldest(ctx context.Context, name string) error {
	list, err := s.listEvents(ctx, name)
	if err != nil {
		return err
	}
	for _, e := range list[:max(0, len(list)-store.MaxEvents)] {
		err := s.core.Events(s.cfg.Namespace).Delete(ctx, e.Name, metav1.DeleteOptions{})
		if err != nil && !isMissing(err) {
			return err
		}
	}
	return nil
}

// listEvents reads the events of a name, or of all, in the order in which they were
// recorded.
func (s *Store) listEvents(ctx context.Context, name string) ([]core.Event, error) {
	var all []core.Event
	opts := metav1.ListOptions{LabelSelector: selector(name), Limit: 1000}
	for {
		list, err := s.core.Events(s.cfg.Namespace).List(ctx, opts)
		if err != nil {
			return nil, err
		}
		all = append(all, list.Items...)
		if opts.Continue = list.Continue; opts.Continue == "" {
			sortEvents(all)
			return all, nil
		}
	}
}

// recordedAt is the version of the API server's state at which an event was
// recorded; nobody changes events of ours.
func recordedAt(e *core.Event) uint64 {
	v, err := number(e.ResourceVersion)
	if err != nil {
		return 0
	}
	return v
}

func sortEvents(list []core.Event) {
	slices.SortStableFunc(list, func(a, b core.Event) int {
		x, y := recordedAt(&a), recordedAt(&b)
		return int(min(max(int64(x)-int64(y), -1), 1))
	})
}

// kept turns events, in the order in which they were recorded, into those that are
// shown, in order of time.
func kept(list []core.Event, since time.Time) []workload.Event {
	left := make(map[string]int)
	for i := range list {
		left[list[i].Labels[labelName]]++
	}
	events := make([]workload.Event, 0, len(list))
	for i := range list {
		e := eventOf(&list[i])
		if left[e.API]--; left[e.API] >= store.MaxEvents || e.Time.Before(since) {
			continue
		}
		events = append(events, e)
	}
	// Two sources may have recorded in another order than things happened.
	slices.SortStableFunc(events, func(a, b workload.Event) int { return a.Time.Compare(b.Time) })
	return events
}

// Events calls fn for the events of q.
func (s *Store) Events(ctx context.Context, q workload.EventQuery, fn func(workload.Event) error) error {
	if q.Name != "" && !legalName().MatchString(q.Name) {
		return nil
	}
	var since time.Time
	if q.Since > 0 {
		since = time.Now().Add(-q.Since)
	}
	if q.Follow {
		return s.followEvents(ctx, q.Name, since, fn)
	}
	request, done := s.begin(ctx)
	list, err := s.listEvents(request, q.Name)
	done()
	if err != nil {
		return ended(ctx, s.failure(ctx, "reading events", err))
	}
	for _, e := range kept(list, since) {
		if ctx.Err() != nil {
			return nil
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}
