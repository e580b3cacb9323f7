// Package boundedcache remembers what was asked for lately, within a bound.
//
// It promises that there are never more entries than the bound, whoever adds them,
// and that what is asked for again stays longest: it keeps two generations, and the
// older one goes when the younger is full. It must not know what it keeps.
package boundedcache

import "sync"

// Map remembers at most so many entries. Its methods may be called at once.
type Map[K comparable, V any] struct {
	most       int
	mu         sync.Mutex
	young, old map[K]V
}

// New returns a map of at most so many entries, two at least.
func New[K comparable, V any](most int) *Map[K, V] { return &Map[K, V]{most: max(most, 2)} }

// Get returns what is remembered of a key.
func (m *Map[K, V]) Get(key K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.get(key)
}

// Put remembers a value.
func (m *Map[K, V]) Put(key K, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(key, value)
}

// GetOrPut returns what is remembered of a key, or remembers what fresh makes: once,
// however many ask for it at the same time.
func (m *Map[K, V]) GetOrPut(key K, fresh func() V) V {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.get(key)
	if !ok {
		v = fresh()
		m.put(key, v)
	}
	return v
}

// Len is how many entries are kept; one that is in both generations counts twice.
func (m *Map[K, V]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.young) + len(m.old)
}

func (m *Map[K, V]) get(key K) (V, bool) {
	if v, ok := m.young[key]; ok {
		return v, true
	}
	v, ok := m.old[key]
	if ok {
		m.put(key, v)
	}
	return v, ok
}

func (m *Map[K, V]) put(key K, value V) {
	if m.young == nil || len(m.young) >= m.most/2 {
		m.old, m.young = m.young, make(map[K]V)
	}
	m.young[key] = value
}
