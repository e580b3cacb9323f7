package operator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

const (
	// watchPeriod is how often whoever watches is told what has changed.
	watchPeriod = time.Second
	// watchFresh is how old what is known may be, that it is not computed again for
	// another one who watches.
	watchFresh = watchPeriod / 2
	// jobsPeriod is how often running jobs are counted, which reads their records.
	jobsPeriod = 5 * time.Second
	// rateWindow is the time that rates are of.
	rateWindow = 5 * time.Second
	// maxWatches is how many streams there can be, and maxWatchesEach of one caller.
	maxWatches, maxWatchesEach = 100, 16
	// maxGone is how many names of deleted workloads are remembered for those who come back.
	maxGone = 1000
)

// watches is what everybody who watches is told from. Nothing runs when nobody does: those
// who watch compute it in turn, once for all of them, and whoever is told keeps only the
// number of the last change they know.
type watches struct {
	epoch string // of this process: numbers of another one mean nothing here

	mu       sync.Mutex
	streams  int
	each     map[string]int // by caller, where callers are known
	looked   time.Time      // when all of it was computed last
	counted  time.Time      // when running jobs were
	number   uint64         // of the last change
	forgot   uint64         // gone is not complete before this one
	apis     map[string]watched
	gone     []departed // in order of their changes
	measured map[string][]measured

	events    map[string]workload.Event // the last of each workload
	following bool                      // somebody keeps events up to date
}

type watched struct {
	api    workload.WatchedAPI
	change uint64 // the last of it
}

type departed struct {
	name   string
	change uint64
}

// measured is what an API had done at a moment.
type measured struct {
	at      time.Time
	traffic workload.Traffic
	took    workload.Took
}

func newWatches() *watches {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails: it crashes the program instead
	return &watches{
		epoch: hex.EncodeToString(b[:]), each: map[string]int{}, apis: map[string]watched{},
		measured: map[string][]measured{}, events: map[string]workload.Event{},
	}
}

// Watch implements workload.Service.
func (o *Operator) Watch(ctx context.Context, q workload.WatchQuery, fn func(workload.Watched) error) error {
	w := o.watches
	leave, err := w.enter(o.caller(ctx))
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var follower sync.WaitGroup
	defer follower.Wait()
	defer cancel()

	known := q.After
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	for first := true; ; first = false {
		if w.takeFollowing() {
			follower.Go(func() { o.followEvents(ctx) })
		}
		if err := o.look(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		line := w.after(known)
		if first || line.Snapshot || len(line.APIs) > 0 || len(line.Gone) > 0 {
			if err := fn(line); err != nil {
				return err
			}
			known = line.ID
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// enter counts one who watches, until leave.
func (w *watches) enter(caller string) (leave func(), _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.streams >= maxWatches || caller != "" && w.each[caller] >= maxWatchesEach {
		return nil, fault.New(fault.TooMany, workload.CodeTooManyWatches, "%d streams of changes are open, %d of them yours: there can be %d, %d of one caller",
			w.streams, w.each[caller], maxWatches, maxWatchesEach).WithHint("end one of them, or try again later")
	}
	w.streams++
	w.each[caller]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.streams--
		if w.each[caller]--; w.each[caller] == 0 {
			delete(w.each, caller)
		}
	}, nil
}

// after is the line that follows the one with an id.
func (w *watches) after(id string) workload.Watched {
	w.mu.Lock()
	defer w.mu.Unlock()
	line := workload.Watched{ID: fmt.Sprintf("%s-%d", w.epoch, w.number), APIs: []workload.WatchedAPI{}}
	var since uint64
	epoch, _, _ := strings.Cut(id, "-")
	_, err := fmt.Sscanf(id, w.epoch+"-%d", &since)
	if line.Snapshot = epoch != w.epoch || err != nil || since < w.forgot || since > w.number; line.Snapshot {
		since = 0
	}
	for _, name := range slices.Sorted(maps.Keys(w.apis)) {
		if a := w.apis[name]; line.Snapshot || a.change > since {
			line.APIs = append(line.APIs, a.api)
		}
	}
	if line.Snapshot {
		return line
	}
	for _, d := range w.gone {
		if _, back := w.apis[d.name]; d.change > since && !back {
			line.Gone = append(line.Gone, d.name)
		}
	}
	slices.Sort(line.Gone)
	line.Gone = slices.Compact(line.Gone)
	return line
}

// look computes what there is, unless that was done a moment ago.
func (o *Operator) look(ctx context.Context) error {
	w := o.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	now := o.now()
	if age := now.Sub(w.looked); age >= 0 && age < watchFresh {
		return nil
	}
	list, complete := o.cache.workloads()
	if !complete { // Run has not seen everything yet
		var err error
		if list, err = o.store.List(ctx); err != nil {
			return err
		}
	}
	count := now.Sub(w.counted) >= jobsPeriod
	declared := o.refusals()
	there := make(map[string]bool, len(list))
	for _, one := range list {
		there[one.Name()] = true
		api, err := o.watchedAPI(ctx, one, now, count)
		if err != nil {
			return err
		}
		if r, ok := declared[one.Name()]; ok {
			api.Refused = refused(r)
		}
		w.set(api)
	}
	for name, r := range declared {
		if !there[name] { // nothing was ever deployed
			there[name] = true
			w.set(workload.WatchedAPI{Metadata: workload.Metadata{Name: name, Kind: r.Kind}, Refused: refused(r)})
		}
	}
	for name := range w.apis {
		if !there[name] {
			w.remove(name)
		}
	}
	w.looked = now
	if count {
		w.counted = now
	}
	return nil
}

// watchedAPI is what is told of one workload now. Its caller holds the lock.
func (o *Operator) watchedAPI(ctx context.Context, one store.Workload, now time.Time, count bool) (workload.WatchedAPI, error) {
	w, name := o.watches, one.Name()
	api := workload.WatchedAPI{Metadata: *metadata(one.Revision), Endpoint: o.endpoint(one.Revision)}
	kind := one.Revision.Kind
	switch {
	case kind == workload.Splitter:
		n := len(one.Revision.APIs)
		api.Targets = &n
	case hasJobs(kind) && o.runJobs != nil:
		if api.RunningJobs = w.apis[name].api.RunningJobs; count || api.RunningJobs == nil {
			jobs, err := o.runJobs.List(ctx, workload.JobQuery{API: name})
			if err != nil {
				return api, err
			}
			running := 0
			for _, j := range jobs {
				if j.Status.InProgress() {
					running++
				}
			}
			api.RunningJobs = &running
		}
	}
	if kind.Scales() {
		es := o.cache.status(name)
		if es == nil {
			var err error
			if es, err = o.engineStatus(ctx, one); err != nil {
				return api, err
			}
		}
		api.Status = statusOf(one, es)
		if api.Status.Traffic = o.trafficOf(name); api.Status.Traffic != nil {
			api.Rates = w.rates(name, measured{now, *api.Status.Traffic, o.tookOf(name)})
		}
	}
	if e, ok := w.events[name]; ok {
		api.LastEvent = &e
	}
	return api, nil
}

// rates is what an API did since it was measured some seconds ago; nil: it was not.
func (w *watches) rates(name string, m measured) *workload.Rates {
	earlier := w.measured[name]
	if n := len(earlier); n > 0 && (m.at.Sub(earlier[n-1].at) > rateWindow || m.traffic.Requests < earlier[n-1].traffic.Requests) {
		earlier = nil // nobody watched meanwhile, or the front door was restarted
	}
	for len(earlier) > 1 && m.at.Sub(earlier[0].at) > rateWindow {
		earlier = earlier[1:]
	}
	w.measured[name] = append(slices.Clone(earlier), m)
	if len(earlier) == 0 {
		return nil
	}
	if !m.at.After(earlier[0].at) {
		return nil
	}
	return ratesOf(earlier[0], m)
}

// ratesOf is what an API did between two moments.
func ratesOf(before, now measured) *workload.Rates {
	n := float64(now.traffic.Requests - before.traffic.Requests)
	r := &workload.Rates{Requests: n / now.at.Sub(before.at).Seconds()}
	if n > 0 {
		r.Latency = (now.traffic.Seconds - before.traffic.Seconds) / n
	}
	if took := now.took.Since(before.took); len(took.Counts) > 0 {
		r.P50, r.P90, r.P99 = took.Quantile(.5), took.Quantile(.9), took.Quantile(.99)
	}
	if now.traffic.Over > before.traffic.Over && now.traffic.Failed >= before.traffic.Failed {
		r.ErrorShare = float64(now.traffic.Failed-before.traffic.Failed) / float64(now.traffic.Over-before.traffic.Over)
	}
	return r
}

// set takes over what is told of a workload, and counts a change if it is another.
func (w *watches) set(api workload.WatchedAPI) {
	if was, ok := w.apis[api.Name]; ok && reflect.DeepEqual(was.api, api) {
		return
	}
	w.number++
	w.apis[api.Name] = watched{api, w.number}
}

func (w *watches) remove(name string) {
	w.number++
	delete(w.apis, name)
	delete(w.measured, name)
	delete(w.events, name)
	w.gone = append(w.gone, departed{name, w.number})
	if len(w.gone) > maxGone {
		w.forgot = w.gone[0].change
		w.gone = w.gone[1:]
	}
}

// takeFollowing says that the caller is to keep events up to date, because nobody does.
func (w *watches) takeFollowing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	took := !w.following
	w.following = true
	return took
}

// followEvents remembers the last event of each workload, until ctx ends.
func (o *Operator) followEvents(ctx context.Context) {
	w := o.watches
	err := o.store.Events(ctx, workload.EventQuery{Follow: true}, func(e workload.Event) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if last := w.events[e.API]; !e.Time.Before(last.Time) {
			w.events[e.API] = e
		}
		if len(w.events) > 2*maxGone { // of what was deleted long ago, too
			maps.DeleteFunc(w.events, func(name string, _ workload.Event) bool { _, there := w.apis[name]; return !there })
		}
		return nil
	})
	if err != nil {
		o.log.Warn("events are not followed for those who watch", "error", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.following = false
}
