package policy

import (
	"sync"

	"cortex.dev/cortex/internal/auth"
)

// Bounds of what a snapshot remembers: two generations of so many answers, and no
// question whose strings are longer than any that our own rules allow.
const (
	cacheGeneration = 2048
	maxCachedKey    = 2048
)

// key is what an answer depends on. The type of a principal is in its ARN.
type key struct {
	arn      string
	action   auth.Action
	resource auth.Resource
}

// cache remembers answers. What is asked for survives; the rest goes when a
// generation is full.
type cache struct {
	mu         sync.Mutex
	young, old map[key]auth.Decision
}

func (c *cache) get(k key) (auth.Decision, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, ok := c.young[k]; ok {
		return d, true
	}
	d, ok := c.old[k]
	if ok {
		c.add(k, d)
	}
	return d, ok
}

func (c *cache) put(k key, d auth.Decision) {
	if len(k.arn)+len(k.resource.API)+len(k.resource.Kind)+len(k.resource.Environment) > maxCachedKey {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(k, d)
}

func (c *cache) add(k key, d auth.Decision) {
	if c.young == nil || len(c.young) >= cacheGeneration {
		c.old, c.young = c.young, make(map[key]auth.Decision)
	}
	c.young[k] = d
}

// size is how many answers are kept.
func (c *cache) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.young) + len(c.old)
}
