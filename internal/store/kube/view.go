package kube

import (
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// view is what this process knows of the resources of the five kinds. It is fed by
// the watches and, so that a Store reads what it wrote, by each write. The two may
// bring the same news in either order: the higher version wins, and an identity
// that this process deleted does not come back.
type view struct {
	mu        sync.Mutex
	entries   map[key]entry
	deleted   map[types.UID]workload.Kind // by this process; their end was not told yet
	unread    map[workload.Kind]bool      // kinds that were not listed yet
	ready     chan struct{}               // closed when there are none
	held      map[key]int                 // writes of this process under way: what they leave is not pending
	listeners map[*listener]struct{}
}

// listener collects the names under which something changed. It never holds back
// who changes: it is as large as the number of names, not of changes.
type listener struct {
	dirty []string // in order of their first change
	known map[string]bool
	wake  chan struct{}
}

func newView() *view {
	v := &view{
		entries: make(map[key]entry), deleted: make(map[types.UID]workload.Kind), unread: make(map[workload.Kind]bool), held: make(map[key]int),
		ready: make(chan struct{}), listeners: make(map[*listener]struct{}),
	}
	for _, k := range workload.Kinds() {
		v.unread[k] = true
	}
	return v
}

// set notes that a resource is as e says, unless something newer is known.
func (v *view) set(e entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.setLocked(e)
}

func (v *view) setLocked(e entry) {
	if _, ok := v.deleted[e.uid]; ok {
		return
	}
	before, ok := v.entries[e.key]
	if ok && before.version >= e.version {
		return
	}
	v.entries[e.key] = e
	if !ok || !sameNews(before, e) {
		v.tell(e.key.name)
	}
}

// sameNews reports whether no listener could tell a from b; most changes are those
// of a status.
func sameNews(a, b entry) bool {
	if (a.work == nil) != (b.work == nil) || (a.pending == nil) != (b.pending == nil) {
		return false
	}
	if (a.refused == nil) != (b.refused == nil) || a.refused != nil && *a.refused != *b.refused {
		return false
	}
	return (a.work == nil || a.work.Version == b.work.Version) && (a.pending == nil || a.pending.version == b.pending.version) && a.uid == b.uid
}

// hold keeps the specification of a resource from being pending while this process
// writes it and then its record; until the function that it returns is called.
func (v *view) hold(k key) (release func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.held[k]++
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.held[k]--; v.held[k] > 0 {
			return
		}
		delete(v.held, k)
		if v.entries[k].pending != nil {
			v.tell(k.name)
		}
	}
}

// pending returns the specification of a resource that is to be resolved, or nil. Held
// says that this cannot be told at the moment.
func (v *view) pending(k key) (p *pending, held bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.entries[k].pending, v.held[k] > 0
}

// refused returns every specification that is refused, by name.
func (v *view) refused() (list []store.Refusal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.entries {
		if e.refused != nil {
			list = append(list, *e.refused)
		}
	}
	slices.SortFunc(list, func(a, b store.Refusal) int { return strings.Compare(a.Resource, b.Resource) })
	return list
}

// gone notes that a watch told the end of a resource.
func (v *view) gone(k key, uid types.UID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.deleted, uid)
	v.dropLocked(k, uid)
}

// forget notes that this process deleted a resource.
func (v *view) forget(k key, uid types.UID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	// Where the watch was faster there is nothing to wait for.
	if e, ok := v.entries[k]; ok && e.uid == uid {
		v.deleted[uid] = k.kind
	}
	v.dropLocked(k, uid)
}

func (v *view) dropLocked(k key, uid types.UID) {
	if e, ok := v.entries[k]; ok && e.uid == uid {
		delete(v.entries, k)
		v.tell(k.name)
	}
}

// replace notes that the resources of a kind are these, at a version of the whole.
func (v *view) replace(kind workload.Kind, list []entry, version uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	listed := make(map[types.UID]bool, len(list))
	for _, e := range list {
		listed[e.uid] = true
		v.setLocked(e)
	}
	for k, e := range v.entries {
		// A list may be older than what this process wrote.
		if k.kind == kind && !listed[e.uid] && e.version <= version {
			v.dropLocked(k, e.uid)
		}
	}
	for uid, k := range v.deleted {
		if k == kind && !listed[uid] {
			delete(v.deleted, uid)
		}
	}
	if v.unread[kind] {
		delete(v.unread, kind)
		if len(v.unread) == 0 {
			close(v.ready)
		}
	}
}

func (v *view) tell(name string) {
	for l := range v.listeners {
		if !l.known[name] {
			l.known[name] = true
			l.dirty = append(l.dirty, name)
		}
		select {
		case l.wake <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// listen returns a listener to which every name of now is news, sorted.
func (v *view) listen() (l *listener, present []string, stop func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	l = &listener{known: make(map[string]bool), wake: make(chan struct{}, 1)}
	v.listeners[l] = struct{}{}
	return l, v.namesLocked(), func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.listeners, l)
	}
}

func (v *view) namesLocked() []string {
	seen := make(map[string]bool, len(v.entries))
	for k := range v.entries {
		seen[k.name] = true
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// take empties a listener.
func (v *view) take(l *listener) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	names := l.dirty
	l.dirty, l.known = nil, make(map[string]bool)
	return names
}

// known returns the resource under a name that deploys something, or else one that
// would.
func (v *view) known(name string) (entry, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e, ok := v.deployedLocked(name); ok {
		return e, true
	}
	for _, kind := range workload.Kinds() {
		if e, ok := v.entries[key{name: name, kind: kind}]; ok {
			return e, true
		}
	}
	return entry{}, false
}

// deployed returns the one resource under a name that deploys something.
func (v *view) deployed(name string) (entry, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.deployedLocked(name)
}

// Nobody can deploy two kinds under one name. Should a backup have brought two
// back, the same one always counts.
func (v *view) deployedLocked(name string) (entry, bool) {
	for _, kind := range workload.Kinds() {
		if e := v.entries[key{name: name, kind: kind}]; e.work != nil {
			return e, true
		}
	}
	return entry{}, false
}

// workloads returns all workloads by name, and why others cannot be read.
func (v *view) workloads() (list []store.Workload, problems []error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	seen := make(map[string]bool, len(v.entries))
	for k, e := range v.entries {
		if e.problem != nil {
			problems = append(problems, e.problem)
		}
		if seen[k.name] {
			continue
		}
		seen[k.name] = true
		if e, ok := v.deployedLocked(k.name); ok {
			list = append(list, handOut(e))
		}
	}
	slices.SortFunc(list, func(a, b store.Workload) int { return strings.Compare(a.Name(), b.Name()) })
	return list, problems
}

// handOut returns a workload whose revision the caller may change at the top, as it
// may one that was read just for it.
func handOut(e entry) store.Workload {
	w := *e.work
	r := *w.Revision
	w.Revision = &r
	return w
}
