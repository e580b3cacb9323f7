package operator

import (
	"context"
	"sync"
	"time"
)

// tasks are goroutines that may start more of their kind, and all of which are
// waited for.
type tasks struct{ wg sync.WaitGroup }

func (t *tasks) start(fn func()) { t.wg.Go(fn) }
func (t *tasks) wait()           { t.wg.Wait() }

// atOnce bounds how many APIs are worked on at the same time.
const atOnce = 16

// workqueue runs do for keys that were added: for one key never twice at once, again
// when it was added while it ran, and again after a pause when it failed.
type workqueue struct {
	do     func(ctx context.Context, key string) error
	failed func(key string, err error)
	slots  chan struct{}
	group  tasks
	mu     sync.Mutex
	active map[string]bool // worked on now; true when added again meanwhile
	again  map[string]chan struct{}
}

func newWorkqueue(do func(context.Context, string) error, failed func(string, error)) *workqueue {
	return &workqueue{
		do: do, failed: failed, slots: make(chan struct{}, atOnce),
		active: map[string]bool{}, again: map[string]chan struct{}{},
	}
}

// add says that key wants work. It does not block.
func (k *workqueue) add(ctx context.Context, key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.active[key]; ok {
		k.active[key] = true
		if retry := k.again[key]; retry != nil { // it waits for its next try: now is better
			close(retry)
			delete(k.again, key)
		}
		return
	}
	k.active[key] = false
	k.group.start(func() { k.work(ctx, key) })
}

// wait returns when nothing is worked on any more; the context given to add must
// have ended, and nothing may be added later.
func (k *workqueue) wait() { k.group.wait() }

func (k *workqueue) work(ctx context.Context, key string) {
	pause := firstRetry
	for {
		err := k.attempt(ctx, key)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			pause = firstRetry
			if !k.more(key) {
				return
			}
			continue
		}
		k.failed(key, err)
		if k.pause(ctx, key, pause) {
			pause = firstRetry
		} else {
			pause = min(2*pause, lastRetry)
		}
	}
}

func (k *workqueue) attempt(ctx context.Context, key string) error {
	select {
	case k.slots <- struct{}{}:
		defer func() { <-k.slots }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil { // also where a slot was free at that moment
		return ctx.Err()
	}
	return k.do(ctx, key)
}

// more reports whether key was added while it was worked on, and otherwise ends
// the work on it.
func (k *workqueue) more(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.active[key] {
		k.active[key] = false
		return true
	}
	delete(k.active, key)
	return false
}

// pause waits before the next try, and reports whether key was added meanwhile.
func (k *workqueue) pause(ctx context.Context, key string, d time.Duration) bool {
	k.mu.Lock()
	if k.active[key] {
		k.active[key] = false
		k.mu.Unlock()
		return true
	}
	added := make(chan struct{})
	k.again[key] = added
	k.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-added:
	case <-timer.C:
	case <-ctx.Done():
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.again, key)
	was := k.active[key]
	k.active[key] = false
	return was
}
