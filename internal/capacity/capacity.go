// Package capacity decides whether any node could ever hold a replica, and says in
// two tables why none could.
//
// It promises to refuse only what is certain: as long as the size of one group of
// nodes that a replica may be placed on is not known, nothing is refused, and a
// replica that fits one node of the cluster when that is empty is not refused either.
// Whether there is room now is the scheduler's business. Decisions are pure functions
// of what is asked for and of the nodes.
//
// It must not know where nodes are read, nor how pods are made.
package capacity

import (
	"cmp"
	"math"
	"slices"
)

// Amount is so much of each resource that is looked at.
type Amount struct {
	CPU int64 // thousandths of a core
	Mem int64 // bytes
	GPU int64 // devices
	Inf int64 // Inferentia chips
}

// Plus is the sum, which stops at what an int64 holds.
func (a Amount) Plus(b Amount) Amount {
	return Amount{CPU: sum(a.CPU, b.CPU), Mem: sum(a.Mem, b.Mem), GPU: sum(a.GPU, b.GPU), Inf: sum(a.Inf, b.Inf)}
}

// Less is what is left when b is taken from a: nothing where b is more.
func (a Amount) Less(b Amount) Amount {
	return Amount{CPU: max(a.CPU-b.CPU, 0), Mem: max(a.Mem-b.Mem, 0), GPU: max(a.GPU-b.GPU, 0), Inf: max(a.Inf-b.Inf, 0)}
}

// Holds reports whether b fits into a.
func (a Amount) Holds(b Amount) bool {
	return b.CPU <= a.CPU && b.Mem <= a.Mem && b.GPU <= a.GPU && b.Inf <= a.Inf
}

func sum(a, b int64) int64 {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// Request is what one container of a replica asks for.
type Request struct {
	Name string
	Amount
}

// Total is what a replica asks for.
func Total(requests []Request) Amount {
	var total Amount
	for _, r := range requests {
		total = total.Plus(r.Amount)
	}
	return total
}

// Group is nodes among which a replica may be placed.
type Group struct {
	Name  string   // empty: the nodes that are in no group
	Sizes []Amount // what a replica may take of a node that is otherwise empty; none when nobody knows
	// Closed says why the nodes that there are do not take this replica whatever their
	// size, such as a taint. Empty: they do.
	Closed string
}

// Refusal is why no node could ever hold a replica.
type Refusal struct {
	Requests []Request
	Groups   []Group // their sizes are the largest ones
}

// Decide returns nil when some node of groups could hold what is requested, or when
// that is not known: a group of which nobody knows the size, or nothing but closed
// ones, which may be opened.
func Decide(requests []Request, groups []Group) *Refusal {
	total := Total(requests)
	sized := false
	for _, g := range groups {
		if g.Closed != "" {
			continue
		}
		if len(g.Sizes) == 0 || slices.ContainsFunc(g.Sizes, func(size Amount) bool { return size.Holds(total) }) {
			return nil
		}
		sized = true
	}
	if !sized {
		return nil
	}
	r := &Refusal{Requests: requests}
	for _, g := range groups {
		g.Sizes = Largest(g.Sizes)
		r.Groups = append(r.Groups, g)
	}
	return r
}

// Largest returns those sizes that no other one exceeds in everything, largest first:
// one may have more CPU, another one more memory.
func Largest(sizes []Amount) []Amount {
	sorted := slices.Clone(sizes)
	slices.SortFunc(sorted, func(a, b Amount) int {
		return cmp.Or(cmp.Compare(b.CPU, a.CPU), cmp.Compare(b.Mem, a.Mem), cmp.Compare(b.GPU, a.GPU), cmp.Compare(b.Inf, a.Inf))
	})
	var largest []Amount
	for _, size := range sorted { // what comes later exceeds nothing before it
		if !slices.ContainsFunc(largest, func(l Amount) bool { return l.Holds(size) }) {
			largest = append(largest, size)
		}
	}
	return largest
}

// Short names the resources of which no open group has enough, in the order in which
// tables have them. None: each is enough somewhere, and nowhere all of them.
func (r *Refusal) Short() []string {
	total := Total(r.Requests)
	var short []string
	for _, res := range resources {
		enough := false
		for _, g := range r.Groups {
			enough = enough || g.Closed == "" && slices.ContainsFunc(g.Sizes, func(size Amount) bool { return res.of(total) <= res.of(size) })
		}
		if !enough {
			short = append(short, res.name)
		}
	}
	return short
}
