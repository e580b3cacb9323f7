package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// Watch calls fn with what is, with the marker and with what changes. It goes on
// through restarts of the API server; what was missed then is told afterwards. The
// revision that it hands out is shared below its top and must not be changed there.
func (s *Store) Watch(ctx context.Context, fn func(store.Change)) error {
	l, present, stop := s.view.listen()
	defer stop()
	told := make(map[string]told, len(present))
	for _, name := range present {
		s.tell(name, told, fn)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	fn(store.Change{})
	return s.listen(ctx, l, func(name string) { s.tell(name, told, fn) })
}

// told is what a watcher knows of a name.
type told struct {
	kind    workload.Kind
	version store.Version
}

func (s *Store) tell(name string, known map[string]told, fn func(store.Change)) {
	e, ok := s.view.deployed(name)
	before, knew := known[name]
	switch {
	case ok:
		now := told{kind: e.key.kind, version: e.work.Version}
		if knew && now == before {
			return
		}
		known[name] = now
		w := handOut(e)
		fn(store.Change{Name: name, Workload: &w})
	case knew:
		delete(known, name)
		fn(store.Change{Name: name})
	}
}

// listen calls fn with each name under which something changed, until ctx or the
// Store ends.
func (s *Store) listen(ctx context.Context, l *listener, fn func(name string)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closing.Done():
			return errClosed()
		case <-l.wake:
		}
		for _, name := range s.view.take(l) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			fn(name)
		}
	}
}

// follow starts to keep the view up to date and returns when it is so for the
// first time.
func (s *Store) follow(ctx context.Context) error {
	refused := make(chan error, 1)
	for _, kind := range workload.Kinds() {
		s.running.Go(func() { s.reflect(kind, refused) })
	}
	select {
	case <-s.view.ready:
		return nil
	case err := <-refused:
		return err
	case <-ctx.Done():
		if err := s.noise.last(); err != nil {
			return failed("reading the state", err)
		}
		return fmt.Errorf("reading the state: %w", ctx.Err())
	}
}

// reflect keeps the view of one kind up to date until the Store is closed. The
// reflector of the client library does the work: it watches from where it was,
// and lists anew when the API server does not remember that moment.
func (s *Store) reflect(kind workload.Kind, refused chan<- error) {
	heard := func(err error) error {
		if s.closing.Err() != nil {
			return err
		}
		s.noise.heard(s, kind, err)
		// What waiting does not mend ends the start; anything else may be over soon.
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || isNotServed(err) {
			select {
			case refused <- failed("reading "+crd.Plural(kind), err):
			default:
			}
		}
		return err
	}
	s.reflector(kind, heard, &feed{store: s, kind: kind}).RunWithContext(quiet(s.closing))
}

// reflector returns one of the resources of a kind, which fills to. heard is told what
// each request came to, and returns that.
func (s *Store) reflector(kind workload.Kind, heard func(error) error, to cache.ReflectorStore) *cache.Reflector {
	return newReflector(crd.Plural(kind), &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			list, err := s.client.list(ctx, kind, opts)
			return list, heard(err)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			w, err := s.client.watch(ctx, kind, opts)
			return w, heard(err)
		},
	}, &object{}, to)
}

// reflectUntil fills to with the resources of a kind, and follows them until ctx ends. What cannot be watched,
// such as a definition that is not installed, is tried again and said once.
func (s *Store) reflectUntil(ctx context.Context, kind workload.Kind, to cache.ReflectorStore) {
	heard := func(err error) error {
		if ctx.Err() == nil {
			s.noise.heard(s, kind, err)
		}
		return err
	}
	s.reflector(kind, heard, to).RunWithContext(quiet(ctx))
}

// newReflector returns a reflector that tries again more often than the library's
// own would: who waits for it is a gateway that does not know yet what was
// deployed, and there are few of them.
func newReflector(name string, lw *cache.ListWatch, example runtime.Object, to cache.ReflectorStore) *cache.Reflector {
	var silent klog.Logger
	return cache.NewReflectorWithOptions(lw, example, to, cache.ReflectorOptions{
		Name: name, Logger: &silent,
		Backoff: &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 6, Cap: 5 * time.Second},
	})
}

// quiet keeps the library from writing to standard error; what went wrong is heard
// where it happens.
func quiet(ctx context.Context) context.Context { return klog.NewContext(ctx, klog.Logger{}) }

// noise says once that something does not work and once that it works again.
type noise struct {
	mu      sync.Mutex
	failing map[workload.Kind]error
}

func (n *noise) heard(s *Store, kind workload.Kind, err error) {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return // the reflector reads everything again
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failing == nil {
		n.failing = make(map[workload.Kind]error)
	}
	before := n.failing[kind]
	switch {
	case err != nil && before == nil:
		s.log.Warn("store: cannot follow what is deployed", "resource", crd.Plural(kind), "error", err)
	case err == nil && before != nil:
		s.log.Info("store: follows what is deployed again", "resource", crd.Plural(kind))
	}
	n.failing[kind] = err
}

// last returns one of the errors that are not over.
func (n *noise) last() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, err := range n.failing {
		if err != nil {
			return err
		}
	}
	return nil
}

// feed brings what a reflector learns of one kind into the view.
type feed struct {
	store *Store
	kind  workload.Kind
}

var _ cache.ReflectorStore = (*feed)(nil)

// objectOf is what a reflector of a kind has learned of.
func objectOf[K ~string](obj any, kind K) (*object, error) {
	o, ok := obj.(*object)
	if !ok {
		return nil, fmt.Errorf("a %T among the %s", obj, crd.Plural(kind))
	}
	return o, nil
}

func (f *feed) entry(obj any) (entry, error) {
	o, err := objectOf(obj, f.kind)
	if err != nil {
		return entry{}, err
	}
	o.Kind = string(f.kind) // the client takes it out
	e, err := entryOf(o)
	if err != nil {
		return entry{}, err
	}
	if e.problem != nil {
		// One record that cannot be read must not blind anyone to the others.
		f.store.log.Error("store: record left out", "resource", crd.Source(f.kind, o.Name), "error", e.problem)
	}
	return e, nil
}

// Add takes a resource that is new, or looks so.
func (f *feed) Add(obj any) error {
	e, err := f.entry(obj)
	if err != nil {
		return err
	}
	f.store.view.set(e)
	return nil
}

// Update takes a resource that was changed.
func (f *feed) Update(obj any) error { return f.Add(obj) }

// Delete takes one that is gone.
func (f *feed) Delete(obj any) error {
	o, err := objectOf(obj, f.kind)
	if err != nil {
		return err
	}
	f.store.view.gone(key{name: o.Name, kind: f.kind}, o.UID)
	return nil
}

// Replace takes all there are.
func (f *feed) Replace(list []any, resourceVersion string) error {
	version, err := number(resourceVersion)
	if err != nil {
		return err
	}
	entries := make([]entry, 0, len(list))
	for _, obj := range list {
		e, err := f.entry(obj)
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	f.store.view.replace(f.kind, entries, version)
	return nil
}

// Resync does nothing: nothing is derived from the view that could be lost.
func (f *feed) Resync() error { return nil }

// ended returns nil when err only says that ctx has ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err())) {
		return nil
	}
	return err
}
