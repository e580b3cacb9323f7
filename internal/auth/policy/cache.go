package policy

import (
	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/boundedcache"
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

// cache remembers answers.
type cache struct {
	*boundedcache.Map[key, auth.Decision]
}

func newCache() cache { return cache{boundedcache.New[key, auth.Decision](2 * cacheGeneration)} }

func (c cache) get(k key) (auth.Decision, bool) { return c.Get(k) }

func (c cache) put(k key, d auth.Decision) {
	if len(k.arn)+len(k.resource.API)+len(k.resource.Secret)+len(k.resource.Volume)+len(k.resource.Kind)+len(k.resource.Environment) <= maxCachedKey {
		c.Put(k, d)
	}
}

// size is how many answers are kept.
func (c cache) size() int { return c.Len() }
