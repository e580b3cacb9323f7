package access

import (
	"net/netip"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// heardOf is for how long others took what is heard of a caller who is new here.
const heardOf = int64(time.Second)

// sharing is what a cell has of a limit that other gateways have too.
type sharing struct {
	// since is, of a rate or a quota, what was taken since it was told; of requests at once,
	// what was refused.
	since atomic.Int64
	// most is how many requests at once there may be here, and one more; 0: nothing was told.
	most atomic.Int64

	// Of a rate, and for Uses and Hear alone: when the next request would have come as all
	// came together, at the last call of Uses and at the one before; and what was taken here
	// between the two, in which time others took what is heard next.
	mark, base, mine int64
}

// Share has the limits of p held together with other gateways, which Uses and Hear are for. It
// is called before p is used.
func (p *Policy) Share() {
	if p == nil {
		return
	}
	for _, l := range p.limits {
		if !l.shared { // it may be in use, where the policy before had it
			l.shared = true
		}
	}
}

// Uses appends what was used since it was called before to all, of which there are most at
// most; the rest waits. One caller only, of this and of Hear.
func (p *Policy) Uses(all []Use, most int, now time.Time) []Use {
	if p == nil {
		return all
	}
	for _, l := range p.limits {
		l.cells.each(func(whose who, c *cell) bool {
			if len(all) >= most {
				return false
			}
			u := Use{API: p.api, Limit: l.spec.Name, Who: whose.text(), Kept: l.window > 0}
			n := c.since.Swap(0)
			if l.order() == 0 {
				u.Most, u.Running, u.Refused = l.most, c.n.Load(), n
			} else {
				u.Taken = n
				c.base, c.mark, c.mine = c.mark, max(c.n.Load(), now.UnixNano()), n
			}
			if n != 0 || u.Running > 0 {
				all = append(all, u)
			}
			return true
		})
	}
	return all
}

// Hear takes what was told of one of p's limits.
func (p *Policy) Hear(s Share, now time.Time) {
	if p == nil {
		return
	}
	for _, l := range p.limits {
		if l.spec.Name != s.Limit {
			continue
		}
		whose, ok := l.whoOf(s.Who)
		if !ok {
			return
		}
		at := now.UnixNano()
		c := &l.cells.one
		if whose != (who{}) {
			if c = l.cells.get(whose, at, l.idle); c == &l.cells.one { // there is no room to tell it apart
				return
			}
		}
		switch {
		case s.Most == nil:
			l.charge(c, at, s.Taken)
			l.cells.release(c)
		case l.order() == 0:
			c.most.Store(*s.Most + 1)
			if l.told == nil {
				l.told = map[*cell]bool{}
			}
			if _, again := l.told[c]; again {
				l.cells.release(c)
			}
			l.told[c] = true
		default:
			l.cells.release(c)
		}
		return
	}
}

// Heard ends what was told at once: how many requests at once there may be is not known any
// more of whom nothing was said.
func (p *Policy) Heard() {
	if p == nil {
		return
	}
	for _, l := range p.limits {
		for c, again := range l.told {
			if again {
				l.told[c] = false
				continue
			}
			delete(l.told, c)
			c.most.Store(0)
			l.cells.release(c)
		}
	}
}

// charge takes n requests that came elsewhere, while those came here that are in c.mine.
//
// Of a rate they are not put on top of what is due here: who keeps to it takes turns at several
// places, and is late at each. The time since is asked instead: all that came, here and
// elsewhere, one after the other since c.base.
func (l *limit) charge(c *cell, now, n int64) {
	switch {
	case n <= 0:
	case l.interval > 0:
		if c.base == 0 {
			c.base = now - heardOf
		}
		c.mine += n
		c.mark = max(c.mark, c.base+c.mine*l.interval)
		for {
			was := c.n.Load()
			if due := c.base + (c.mine+c.since.Load())*l.interval; due <= was || c.n.CompareAndSwap(was, due) {
				return
			}
		}
	case l.window > 0:
		l.begin(c, now, n)
	}
}

// text is whose it is, for other gateways: a caller, an address, or nobody.
func (w who) text() string {
	if w.caller != "" {
		return w.caller
	}
	if w.address == [16]byte{} {
		return ""
	}
	return netip.AddrFrom16(w.address).String()
}

// whoOf is what text means to a limit.
func (l *limit) whoOf(text string) (w who, ok bool) {
	switch {
	case text == "":
	case l.spec.Per == workload.PerCaller:
		w.caller = text
	case l.spec.Per == workload.PerAddress:
		a, err := netip.ParseAddr(text)
		if err != nil {
			return w, false
		}
		w.address = household(a)
	default:
		return w, false
	}
	return w, true
}

// each calls fn with every cell, until it returns false; it begins elsewhere each time.
func (c *cells) each(fn func(who, *cell) bool) {
	if !fn(who{}, &c.one) {
		return
	}
	from := c.from
	c.from++
	for i := range c.parts {
		s := &c.parts[(from+i)%shards]
		s.mu.Lock()
		for whose, cell := range s.of {
			if !fn(whose, cell) {
				s.mu.Unlock()
				return
			}
		}
		s.mu.Unlock()
	}
}
