package local

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// grace is between the decision to stop the replica and SIGKILL.
func (r *replica) grace() time.Duration { return r.pod.Grace(r.e.cfg.Grace) }

// shutDown ends the replica's containers: out of traffic first, then the hook,
// then SIGTERM, and SIGKILL when the grace is over.
func (r *replica) shutDown(noMoreStarts func()) {
	noMoreStarts()
	began, grace := time.Now(), r.grace()
	ctx, cancel := context.WithDeadline(context.Background(), began.Add(workload.DrainWithin(grace)))
	defer cancel()
	if err := r.e.cfg.Drain(ctx, r.revision().Name, r.id); err != nil {
		r.update(func() {
			r.event("warning", "DrainIncomplete", fmt.Sprintf("replica %s still has requests in flight and is ended now: %v", r.id, err))
		})
	}
	var wg sync.WaitGroup
	for _, c := range r.containers {
		r.mu.Lock()
		h := c.handle
		r.mu.Unlock()
		if h != nil {
			wg.Go(func() {
				c.preStop(h, began.Add(workload.HookWithin(grace)))
				c.terminate(h, began.Add(grace))
			})
		}
	}
	wg.Wait()
}

// terminate asks a container to end and makes it end at the deadline.
func (c *container) terminate(h Container, deadline time.Time) {
	if err := h.Terminate(); err != nil {
		c.r.e.cfg.Log.Debug("asking a container to end", "replica", c.r.id, "container", c.spec.Name, "error", err)
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-h.Done():
		return
	case <-timer.C:
	}
	c.r.update(func() {
		c.r.event("warning", "TerminationForced", fmt.Sprintf("container %s of replica %s ignored SIGTERM and was killed after %s", c.spec.Name, c.r.id, c.r.grace()))
	})
	if err := h.Kill(); err != nil {
		c.r.e.cfg.Log.Error("killing a container", "replica", c.r.id, "container", c.spec.Name, "error", err)
	}
	<-h.Done()
}

// preStop runs the hook of a container, which has until the deadline.
func (c *container) preStop(h Container, deadline time.Time) {
	hook := c.spec.PreStop
	if hook == nil {
		return
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { // a container that ended needs no hook
		select {
		case <-h.Done():
			cancel()
		case <-ctx.Done():
		}
	})
	var err error
	switch {
	case hook.HTTPGet != nil:
		err = getOnce(ctx, httpURL(h.Address(hook.HTTPGet.Port), hook.HTTPGet.Path))
	case hook.Exec != nil:
		var code int
		var out []byte
		if out, code, err = brief(h)(ctx, hook.Exec.Command); err == nil && code != 0 {
			err = fmt.Errorf("exit code %d, output %.200q", code, out)
		}
	}
	if err != nil {
		c.r.update(func() {
			c.r.event("warning", "PreStopFailed", fmt.Sprintf("pre_stop of container %s of replica %s failed: %v", c.spec.Name, c.r.id, err))
		})
	}
}

// getOnce asks url; any answer will do.
func getOnce(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
