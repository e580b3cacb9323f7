package kube

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// keyKind is the kind of the resources of keys, one for each name.
const keyKind = workload.Kind(crd.AccessKeyKind)

// ChangeKeys writes the resource of a name, which has all of its keys.
func (s *Store) ChangeKeys(ctx context.Context, name string, fn func(old []store.Key) (now []store.Key, err error)) error {
	if !workload.IsKeyName(name) {
		return fault.New(fault.Invalid, store.CodeIllegalName, "%q cannot be the name of a key", name)
	}
	ctx, done, err := s.beginWrite(ctx)
	if err != nil {
		return err
	}
	defer done()
	defer s.names.exclude("key " + name)() // only other processes are in the way
	for range tries {
		if again, err := s.changeKeys(ctx, name, fn); !again {
			return err
		}
	}
	return busy("changing the key " + name)
}

// changeKeys is one attempt; again says that the keys are others by now.
func (s *Store) changeKeys(ctx context.Context, name string, fn func([]store.Key) ([]store.Key, error)) (again bool, _ error) {
	doing := "changing the key " + name
	o, err := s.client.get(ctx, keyKind, name)
	var old []store.Key
	switch {
	case isMissing(err):
		o = nil
	case err != nil:
		return false, s.failure(ctx, doing, err)
	default:
		if old, err = keysOf(o); err != nil {
			return false, err
		}
	}
	now, err := fn(slices.Clone(old))
	if err != nil {
		return false, err
	}
	if more := len(now) - len(old); more > 0 {
		if err := s.roomForKeys(ctx, more); err != nil {
			return false, err
		}
	}
	switch {
	case len(now) == 0 && o == nil:
		return false, nil
	case len(now) == 0:
		err = s.client.remove(ctx, keyKind, o)
	default:
		err = s.writeKeys(ctx, o, name, now)
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || isMissing(err) {
		return true, nil
	}
	return false, s.failure(ctx, doing, err)
}

// roomForKeys refuses more keys than there may be.
func (s *Store) roomForKeys(ctx context.Context, more int) error {
	all, err := s.Keys(ctx)
	if err == nil && len(all)+more > workload.MaxKeys {
		return fault.New(fault.Conflict, workload.CodeTooManyKeys, "there are %d keys, the most that there may be", workload.MaxKeys).
			WithHint("revoke those that nobody uses: cortex keys list shows them")
	}
	return err
}

// writeKeys writes keys into the resource that has those of a name; nil: there is none yet.
func (s *Store) writeKeys(ctx context.Context, o *object, name string, keys []store.Key) error {
	spec := crd.KeySpec{}
	for _, k := range sortedKeys(keys) {
		if k.Name != name || k.ID == "" || slices.ContainsFunc(spec.Keys, func(other crd.Key) bool { return other.ID == k.ID }) {
			return fault.New(fault.Invalid, store.CodeIllegalName, "%q of %q cannot be a key of %s", k.ID, k.Name, name)
		}
		spec.Keys = append(spec.Keys, crd.Key{
			ID: k.ID, SHA256: hex.EncodeToString(k.Hash[:]), APIs: k.APIs, AllAPIs: len(k.APIs) == 0, Labels: k.Labels,
			CreatedBy: k.CreatedBy, CreatedAt: k.CreatedAt.UTC(), ExpiresAt: k.ExpiresAt.UTC(),
		})
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if o != nil {
		o.Spec = text
		_, err = s.client.update(ctx, o)
		return err
	}
	_, err = s.client.create(ctx, &object{
		TypeMeta:   metav1.TypeMeta{APIVersion: crd.GroupVersion.String(), Kind: crd.AccessKeyKind},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.cfg.Namespace}, Spec: text,
	})
	return err
}

// keysOf are the keys of a resource, the oldest first. Whoever may write it with kubectl
// need not say when they were made.
func keysOf(o *object) ([]store.Key, error) {
	unreadable := func(err error) error {
		return fault.New(fault.Unavailable, "store.corrupt", "%s cannot be read: %w", crd.Source(keyKind, o.Name), err).
			WithHint("write it anew, or delete it: kubectl edit %s %s", crd.Plural(keyKind), o.Name)
	}
	var spec crd.KeySpec
	if err := decode(o.Spec, &spec); err != nil {
		return nil, unreadable(err)
	}
	keys := make([]store.Key, 0, len(spec.Keys))
	for _, from := range spec.Keys {
		k := store.Key{
			Name: o.Name, ID: from.ID, APIs: from.APIs, Labels: from.Labels, CreatedBy: from.CreatedBy,
			CreatedAt: from.CreatedAt, ExpiresAt: from.ExpiresAt,
		}
		if k.CreatedAt.IsZero() {
			k.CreatedAt = o.CreationTimestamp.UTC()
		}
		hash, err := hex.DecodeString(from.SHA256)
		if err != nil || len(hash) != len(k.Hash) {
			return nil, unreadable(fmt.Errorf("the hash of %s is not %d bytes in hexadecimal", k.ID, len(k.Hash)))
		}
		copy(k.Hash[:], hash)
		if len(k.APIs) == 0 != from.AllAPIs { // never good for more than is said
			return nil, unreadable(fmt.Errorf("it is not clear which APIs %s is good for", k.ID))
		}
		keys = append(keys, k)
	}
	return sortedKeys(keys), nil
}

// sortedKeys are keys by name and, of one name, the oldest first.
func sortedKeys(keys []store.Key) []store.Key {
	return slices.SortedStableFunc(slices.Values(keys), func(a, b store.Key) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), a.CreatedAt.Compare(b.CreatedAt))
	})
}

// Keys returns all keys that can be read.
func (s *Store) Keys(ctx context.Context) (all []store.Key, _ error) {
	ctx, done := s.begin(ctx)
	defer done()
	list, err := s.client.list(ctx, keyKind, metav1.ListOptions{})
	if err != nil {
		return nil, s.failure(ctx, "reading the keys", err)
	}
	for i := range list.Items {
		all = append(all, s.readableKeys(&list.Items[i])...)
	}
	return sortedKeys(all), nil
}

// readableKeys are those of a resource; of one that cannot be read it says so in the log.
func (s *Store) readableKeys(o *object) []store.Key {
	keys, err := keysOf(o)
	if err != nil {
		s.log.Error("store: keys left out", "resource", crd.Source(keyKind, o.Name), "error", err)
	}
	return keys
}

// WatchKeys calls fn with all keys, and again after each change that the API server tells of.
// It goes on through restarts of the API server; until the definition is installed and can be
// read it waits for that, and says so once.
func (s *Store) WatchKeys(ctx context.Context, fn func([]store.Key)) error {
	follow, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	f := &keyFeed{store: s, news: make(chan struct{}, 1), all: map[string][]store.Key{}}
	running.Go(func() { s.reflectUntil(follow, keyKind, f) })
	for {
		select {
		case <-f.news:
			fn(f.keys())
		case <-follow.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return errClosed()
		}
	}
}

// keyFeed keeps what a reflector learns of keys.
type keyFeed struct {
	store *Store
	news  chan struct{} // has an element while something is new

	mu  sync.Mutex
	all map[string][]store.Key
}

var _ cache.ReflectorStore = (*keyFeed)(nil)

func (f *keyFeed) keys() []store.Key {
	f.mu.Lock()
	defer f.mu.Unlock()
	return sortedKeys(slices.Concat(slices.Collect(maps.Values(f.all))...))
}

func (f *keyFeed) change(edit func()) {
	f.mu.Lock()
	edit()
	f.mu.Unlock()
	select {
	case f.news <- struct{}{}:
	default: // it will look anyway
	}
}

// Add takes keys that are new, or look so.
func (f *keyFeed) Add(obj any) error {
	o, err := objectOf(obj, keyKind)
	if err != nil {
		return err
	}
	keys := f.store.readableKeys(o)
	f.change(func() { f.all[o.Name] = keys })
	return nil
}

// Update takes keys that were changed.
func (f *keyFeed) Update(obj any) error { return f.Add(obj) }

// Delete takes keys that are gone.
func (f *keyFeed) Delete(obj any) error {
	o, err := objectOf(obj, keyKind)
	if err != nil {
		return err
	}
	f.change(func() { delete(f.all, o.Name) })
	return nil
}

// Replace takes all there are.
func (f *keyFeed) Replace(list []any, _ string) error {
	all := make(map[string][]store.Key, len(list))
	for _, obj := range list {
		o, err := objectOf(obj, keyKind)
		if err != nil {
			return err
		}
		all[o.Name] = f.store.readableKeys(o)
	}
	f.change(func() { f.all = all })
	return nil
}

// Resync does nothing.
func (f *keyFeed) Resync() error { return nil }
