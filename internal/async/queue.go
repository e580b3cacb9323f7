package async

import (
	"container/list"
	"slices"

	"cortex.dev/cortex/internal/ledger"
)

// order has the classes in the order of their turns. behind is how many items of better
// classes go before one that waits: none waits for ever.
var (
	order  = [...]ledger.Class{ledger.High, ledger.Normal, ledger.Idle}
	behind = [len(order)]int{0, 9, 99}
)

func rank(c ledger.Class) int {
	if k := slices.Index(order[:], c); k >= 0 {
		return k
	}
	return slices.Index(order[:], ledger.Normal)
}

// queue is the order in which the items of one API that wait get places: the classes one
// after the other, and within a class their callers in turn, so that who has many items
// there does not hold up who has few. It has no lock and no clock.
type queue struct {
	perCaller int // executions that one caller may have at once; 0: any number
	callers   map[string]*caller
	turns     [len(order)]list.List // of *caller who can be given a place, the next one first
	waiting   [len(order)]int
	useful    int              // of waiting: replicas could execute at once, and are started for
	passed    [len(order)]int  // items of better classes since one of this class was taken
	jumped    [len(order)]bool // somebody came in at the front since a turn was over
}

// caller is one of those among whom places are shared, while he has anything here.
type caller struct {
	name    string
	running int
	useful  int                       // his part of queue.useful
	items   [len(order)]entries       // the first one first
	turn    [len(order)]*list.Element // nil: he can be given no place
	fresh   [len(order)]bool          // has had no turn yet
}

// spot is where an entry waits.
type spot struct {
	caller       *caller
	before, next *entry // of the same caller and class
	number       uint64 // grows from one item of its caller to the next
}

// entries is a list of items that is made of their spots: one of its own would cost as much
// memory as they do.
type entries struct {
	first, last *entry
	count       int
}

func (l *entries) push(e *entry) {
	if e.spot.before = l.last; l.last != nil {
		l.last.spot.next = e
	} else {
		l.first = e
	}
	l.last = e
	l.count++
}

func (l *entries) remove(e *entry) {
	if e.spot.before != nil {
		e.spot.before.spot.next = e.spot.next
	} else {
		l.first = e.spot.next
	}
	if e.spot.next != nil {
		e.spot.next.spot.before = e.spot.before
	} else {
		l.last = e.spot.before
	}
	l.count--
}

func (q *queue) of(name string) *caller {
	c := q.callers[name]
	if c == nil {
		if q.callers == nil {
			q.callers = map[string]*caller{}
		}
		c = &caller{name: name}
		q.callers[name] = c
	}
	return c
}

// push has e wait, behind what its caller has there already.
func (q *queue) push(e *entry) {
	c, k := q.of(e.caller), rank(e.class)
	number := uint64(0)
	if last := c.items[k].last; last != nil {
		number = last.spot.number + 1
	}
	e.caller = c.name // one text for all of them
	e.spot = spot{caller: c, number: number}
	c.items[k].push(e)
	q.waiting[k]++
	q.arrange(c)
}

// remove takes e out; one that does not wait is none.
func (q *queue) remove(e *entry) {
	if e.spot.caller == nil {
		return
	}
	c, k := e.spot.caller, rank(e.class)
	c.items[k].remove(e)
	e.spot = spot{}
	q.waiting[k]--
	q.arrange(c)
}

// took notes that by more items of a caller are executed.
func (q *queue) took(name string, by int) {
	c := q.of(name)
	c.running += by
	q.arrange(c)
}

// limit says how many items of one caller may be executed at once; 0: any number.
func (q *queue) limit(n int) {
	if q.perCaller == n {
		return
	}
	q.perCaller = n
	for _, c := range q.callers {
		q.arrange(c)
	}
}

// arrange gives a caller a turn in each class where he can use one. Who had nothing there
// gets his first at once; only one such goes before those who wait, until the next of
// those has had his.
func (q *queue) arrange(c *caller) {
	may, useful := q.perCaller == 0 || c.running < q.perCaller, 0
	empty := c.running == 0
	for k := range order {
		some := c.items[k].count > 0
		empty = empty && !some
		if order[k] != ledger.Idle {
			useful += c.items[k].count
		}
		switch has := c.turn[k] != nil; {
		case has == (some && may):
		case has:
			q.turns[k].Remove(c.turn[k])
			c.turn[k], c.fresh[k] = nil, false
		case !q.jumped[k] && q.turns[k].Len() > 0:
			q.jumped[k], c.fresh[k] = true, true
			c.turn[k] = q.turns[k].PushFront(c)
		default:
			c.turn[k] = q.turns[k].PushBack(c)
		}
	}
	if q.perCaller > 0 {
		useful = min(useful, max(q.perCaller-c.running, 0))
	}
	q.useful += useful - c.useful
	c.useful = useful
	if empty {
		delete(q.callers, c.name)
	}
}

// next is the class whose turn it is; -1: no item can be given a place.
func (q *queue) next() int {
	best := -1
	for k := range order {
		if q.turns[k].Len() > 0 && (best < 0 || q.passed[k] >= behind[k]) {
			best = k
		}
	}
	return best
}

// ready reports whether an item can be given a place; and whether one can that is worth to
// start a replica for.
func (q *queue) ready() (any, wake bool) {
	idle := rank(ledger.Idle)
	for k := range order {
		if q.turns[k].Len() > 0 {
			any, wake = true, wake || k != idle
		}
	}
	return any, wake
}

// take takes out the item whose turn it is, to be executed; nil: there is none.
func (q *queue) take() *entry {
	k := q.next()
	if k < 0 {
		return nil
	}
	q.passed[k] = 0
	for worse := k + 1; worse < len(order); worse++ {
		if q.turns[worse].Len() > 0 {
			q.passed[worse]++
		}
	}
	c, _ := q.turns[k].Front().Value.(*caller)
	if !c.fresh[k] {
		q.jumped[k] = false
	}
	c.fresh[k] = false
	q.turns[k].MoveToBack(c.turn[k])
	e := c.items[k].first
	c.running++ // before it is out: a caller who has something is not forgotten
	q.remove(e)
	return e
}

// ahead is about how many items are to be given a place before e.
func (q *queue) ahead(e *entry) int {
	c, k := e.spot.caller, rank(e.class)
	if c == nil {
		return 0
	}
	better := 0
	for i := range k {
		better += q.waiting[i]
	}
	own := int(e.spot.number - c.items[k].first.spot.number)
	if turns := q.turns[k].Len(); turns > 1 {
		own = (own+1)*turns - 1
	}
	return better + max(min(own, q.waiting[k]-1), 0)
}

// held counts what waits although there may be a place: items that are idle, and those of
// callers who have as many as they may.
func (q *queue) held() (idle, limited int) {
	for _, c := range q.callers {
		for k := range order {
			if c.turn[k] == nil {
				limited += c.items[k].count
			}
		}
	}
	return q.waiting[rank(ledger.Idle)], limited
}

// oldest is the item that has waited for longest; nil: none waits.
func (q *queue) oldest() (first *entry) {
	for _, c := range q.callers {
		for k := range order {
			if e := c.items[k].first; e != nil && (first == nil || e.id < first.id) {
				first = e
			}
		}
	}
	return first
}
