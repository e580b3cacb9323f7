package kube

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Run implements engine.Engine. It works until ctx ends and leaves every replica
// running: Kubernetes runs them. An API server that does not answer is asked again
// until it does; meanwhile the last statuses hold.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	second := e.running
	e.running = true
	e.mu.Unlock()
	if second {
		return fault.New(fault.Conflict, "engine.runs_already", "the engine is already running")
	}
	defer close(e.down)
	inf, err := e.newInformers()
	if err != nil {
		return fmt.Errorf("preparing to watch the cluster: %w", err)
	}
	l := &loop{
		e: e, dirty: map[string]struct{}{}, wake: make(chan struct{}, 1),
		pictures: map[string]picture{}, timers: map[string]*time.Timer{}, recent: newRecent(e),
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if err := l.connect(inf); err != nil {
		return fmt.Errorf("preparing to watch the cluster: %w", err)
	}
	for _, i := range inf.all() {
		wg.Go(func() { i.RunWithContext(ctx) })
	}
	for range fetchers {
		wg.Go(func() { l.recent.work(ctx, l.mark) })
	}
	for _, i := range inf.needed() {
		if !toolscache.WaitForCacheSync(ctx.Done(), i.HasSynced) {
			return nil //nolint:nilerr // ctx has ended, as it may
		}
	}
	e.deployments, e.sets, e.pods = inf.deployments.GetIndexer(), inf.sets.GetIndexer(), inf.pods.GetIndexer()
	if inf.jobs != nil {
		if !toolscache.WaitForCacheSync(ctx.Done(), inf.jobs.HasSynced) {
			return nil //nolint:nilerr // ctx has ended, as it may
		}
		e.jobPods = inf.jobs.GetIndexer()
	}
	e.applied.follow(l.mark)
	if inf.warnings != nil {
		e.warnings = inf.warnings.GetIndexer()
	}
	l.run(ctx)
	return nil
}

// loop turns changes of the cluster into statuses, one workload after the other.
//
// A change only marks its workload, and a look takes all of that from the caches: many
// changes in a row cost one look, and the watches of pods, Deployments and warnings are
// in no order among each other.
type loop struct {
	e      *Engine
	recent *recent
	wake   chan struct{} // of one place: a mark during a look makes for one more

	mu    sync.Mutex
	dirty map[string]struct{}

	// Of run alone:
	pictures map[string]picture
	timers   map[string]*time.Timer
	started  bool // what was there in the beginning has been looked at
}

// mark makes run look at a workload soon.
func (l *loop) mark(name string) {
	if name == "" {
		return
	}
	l.mu.Lock()
	l.dirty[name] = struct{}{}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *loop) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := slices.Sorted(maps.Keys(l.dirty))
	clear(l.dirty)
	return names
}

// connect makes every change mark its workload.
func (l *loop) connect(inf *informers) error {
	changed := func(o any) { l.mark(workloadOf(o)) }
	handler := toolscache.ResourceEventHandlerFuncs{AddFunc: changed, DeleteFunc: changed, UpdateFunc: func(was, is any) {
		changed(is)
		// A label can be edited: then the workload that lost it has changed, too.
		if name := workloadOf(was); name != workloadOf(is) {
			l.mark(name)
		}
	}}
	for _, i := range inf.all() {
		if err := i.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *toolscache.Reflector, err error) {
			l.e.cfg.Log.Warn("watching the cluster; it is tried again", "error", err)
		}); err != nil {
			return err
		}
	}
	for _, i := range inf.needed() {
		if _, err := i.AddEventHandler(handler); err != nil {
			return err
		}
	}
	if inf.warnings == nil {
		return nil
	}
	if err := l.e.followRuns(inf.jobs); err != nil {
		return err
	}
	complained := func(o any) {
		ev, ok := o.(*corev1.Event)
		if !ok {
			return
		}
		if pod, exists, err := inf.pods.GetStore().GetByKey(ev.InvolvedObject.Namespace + "/" + ev.InvolvedObject.Name); err == nil && exists {
			l.mark(workloadOf(pod))
		} else if api, ok := apiOfPod(ev.InvolvedObject.Name); ok { // its pod is not told yet, or gone
			l.mark(api)
		}
	}
	_, err := inf.warnings.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: complained, UpdateFunc: func(_, is any) { complained(is) }})
	return err
}

// run looks at what has changed until ctx ends.
func (l *loop) run(ctx context.Context) {
	for _, name := range l.present() {
		l.look(name)
	}
	// From here on what is found is news; before, it was only found by this life.
	l.started = true
	close(l.e.synced)
	defer func() {
		for _, t := range l.timers {
			t.Stop()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		for _, name := range l.take() {
			l.look(name)
			l.e.changed(name)
		}
	}
}

// present names every workload of which there is anything.
func (l *loop) present() []string {
	names := slices.Concat(l.e.deployments.ListIndexFuncValues(byWorkload), l.e.pods.ListIndexFuncValues(byWorkload))
	slices.Sort(names)
	return slices.Compact(names)
}

// look takes a new picture of a workload and publishes what it adds.
func (l *loop) look(name string) {
	e := l.e
	o := observation{name: name, deployment: e.deployment(name), logs: l.recent.of(name), deadline: e.cfg.ProgressDeadline, now: e.cfg.Now()}
	o.pods = e.podsOf(name, o.deployment)
	o.warnings = e.warningsOf(o.pods)
	p, before := statusOf(o), l.pictures[name]
	l.recent.want(name, o.pods)
	l.later(name, p.next, o.now)
	if l.started && !e.cfg.ReadOnly {
		var late []workload.Event
		p.gone, late = lateHooks(name, goneBetween(before, p, o.now), e.warningsAbout, o.now)
		p.status.Events = append(eventsBetween(before, p, o.now), late...)
		if o.deployment != nil { // else nobody would hear of it
			p.status.Events = append(p.status.Events, e.applied.events(name)...)
		}
		p.status.Drifted = e.applied.isDrifted(name, o.deployment)
	}
	if o.deployment == nil && len(o.pods) == 0 {
		delete(l.pictures, name)
		e.feed.Remove(name, p.status.Drifted, p.status.Events...)
		e.seen.forget(name)
		return
	}
	events := p.status.Events
	p.status.Events = nil
	l.pictures[name] = p
	if _, known := e.feed.Get(name); !known || len(events) > 0 || !reflect.DeepEqual(p.status, before.status) {
		s := p.status
		s.Events = events
		e.feed.Publish(s)
	}
	if o.deployment != nil { // last: who waits for it reads the status next
		e.seen.note(name, o.deployment)
	}
}

// later looks at a workload again at t.
func (l *loop) later(name string, t, now time.Time) {
	if old := l.timers[name]; old != nil {
		old.Stop()
		delete(l.timers, name)
	}
	if !t.IsZero() {
		l.timers[name] = time.AfterFunc(t.Sub(now), func() { l.mark(name) })
	}
}

// warningsOf returns what was reported about each of pods.
func (e *Engine) warningsOf(pods []*corev1.Pod) map[types.UID][]warning {
	all := map[types.UID][]warning{}
	for _, p := range pods {
		if list := e.warningsAbout(p.UID); list != nil {
			all[p.UID] = list
		}
	}
	return all
}

// warningsAbout returns what was reported about a pod, oldest first.
func (e *Engine) warningsAbout(pod types.UID) (list []warning) {
	if e.warnings == nil {
		return nil
	}
	found, err := e.warnings.ByIndex(byPod, string(pod))
	if err != nil {
		return nil
	}
	for _, o := range found {
		if ev, ok := o.(*corev1.Event); ok {
			list = append(list, warningOf(ev))
		}
	}
	slices.SortStableFunc(list, func(a, b warning) int { return a.at.Compare(b.at) })
	return list
}

// warningOf reads an event that was trimmed.
func warningOf(ev *corev1.Event) warning {
	return warning{
		reason: ev.Reason, container: containerIn(ev.InvolvedObject.FieldPath), message: ev.Message, at: ev.LastTimestamp.Time, times: int(ev.Count),
	}
}

// containerIn reads the container of "spec.containers{name}".
func containerIn(path string) string {
	_, rest, _ := strings.Cut(path, "{")
	return strings.TrimSuffix(rest, "}")
}

// seen remembers of which version of a Deployment the last status is.
type seen struct {
	mu       sync.Mutex
	versions map[string]string
}

func newSeen() *seen { return &seen{versions: map[string]string{}} }

func (s *seen) note(name string, d *appsv1.Deployment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions[name] = d.ResourceVersion
}

func (s *seen) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.versions, name)
}

func (s *seen) has(name string, d *appsv1.Deployment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return isAsNew(s.versions[name], d.ResourceVersion)
}

// listen returns a channel that receives after every look at a workload, and a
// function that ends that.
func (e *Engine) listen(name string) (<-chan struct{}, func()) {
	wake := make(chan struct{}, 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.listeners[name] == nil {
		e.listeners[name] = map[chan struct{}]struct{}{}
	}
	e.listeners[name][wake] = struct{}{}
	return wake, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.listeners[name], wake)
		if len(e.listeners[name]) == 0 {
			delete(e.listeners, name)
		}
	}
}

// changed wakes those who listen to a workload.
func (e *Engine) changed(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for wake := range e.listeners[name] {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}
