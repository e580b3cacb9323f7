package limiter

// choice finds the backend with the smallest share of its slots taken, in turn among
// equals, without looking at all of them: a gateway may have thousands of replicas,
// and every request holds the pool's lock meanwhile.
//
// Backends of one limit are a class. Within it, those with the same number of running
// requests are a level, in the order in which they came to it. A request moves one
// backend by one level, so the lowest level with anybody in it is found in a step or
// none, and its first is the class's candidate. Almost always all limits are the
// same; during an update of max_concurrency there are two.
type choice[T any] struct {
	classes  []*class[T]
	arrivals uint64 // at levels, over all classes
}

// class holds the backends of one limit. Only those with a free slot are in a level.
type class[T any] struct {
	limit    int
	backends int        // that are ready, with a free slot or not
	free     int        // of them in a level
	levels   []level[T] // by running requests; grown as needed, to limit at most
	lowest   int        // no level below it has anybody in it
}

// level is a list in the order of arrival, from which any can leave.
type level[T any] struct{ first, last *Backend[T] }

// best returns the backend to use next, or nil when none has a free slot.
func (c *choice[T]) best() *Backend[T] {
	var best *Backend[T]
	for _, k := range c.classes {
		if k.free == 0 {
			continue
		}
		// leave does not look for the next level; this does, and ends: free counts
		// somebody in one above.
		for k.levels[k.lowest].first == nil {
			k.lowest++
		}
		b := k.levels[k.lowest].first
		if best == nil || before(b, best) {
			best = b
		}
	}
	return best
}

// before compares running/limit of both without dividing.
func before[T any](a, b *Backend[T]) bool {
	mine, theirs := a.running*b.limit, b.running*a.limit
	return mine < theirs || mine == theirs && a.arrival < b.arrival
}

// admit makes b one of those to choose from. Its limit must not change until dismiss.
func (c *choice[T]) admit(b *Backend[T]) {
	for _, k := range c.classes {
		if k.limit == b.limit {
			b.class = k
		}
	}
	if b.class == nil {
		b.class = &class[T]{limit: b.limit}
		c.classes = append(c.classes, b.class)
	}
	b.class.backends++
	c.enter(b)
}

// dismiss ends admit.
func (c *choice[T]) dismiss(b *Backend[T]) {
	c.leave(b)
	k := b.class
	b.class = nil
	if k.backends--; k.backends > 0 {
		return
	}
	for i := range c.classes {
		if c.classes[i] == k {
			c.classes = append(c.classes[:i:i], c.classes[i+1:]...)
			return
		}
	}
}

// enter puts an admitted b with a free slot at the end of its level.
func (c *choice[T]) enter(b *Backend[T]) {
	k := b.class
	if b.running >= b.limit {
		return
	}
	for len(k.levels) <= b.running {
		k.levels = append(k.levels, level[T]{})
	}
	if k.free == 0 || b.running < k.lowest {
		k.lowest = b.running
	}
	k.free++
	c.arrivals++
	b.arrival, b.listed = c.arrivals, true
	l := &k.levels[b.running]
	if b.prev = l.last; b.prev != nil {
		b.prev.next = b
	} else {
		l.first = b
	}
	l.last = b
}

// leave takes b out of its level, before its running changes.
func (c *choice[T]) leave(b *Backend[T]) {
	if !b.listed {
		return
	}
	l := &b.class.levels[b.running]
	if b.prev != nil {
		b.prev.next = b.next
	} else {
		l.first = b.next
	}
	if b.next != nil {
		b.next.prev = b.prev
	} else {
		l.last = b.prev
	}
	b.next, b.prev, b.listed = nil, nil, false
	b.class.free--
}
