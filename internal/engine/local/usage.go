package local

import (
	"time"

	"cortex.dev/cortex/internal/workload"
)

// Usage returns what the replicas of a workload take, by their ids; those of which it is
// not known whole are left out.
func (e *Engine) Usage(name string) map[string]workload.Usage {
	e.mu.Lock()
	c := e.controllers[name]
	e.mu.Unlock()
	if c == nil {
		return nil
	}
	c.mu.Lock()
	replicas := append([]*replica(nil), c.replicas...)
	c.mu.Unlock()
	all := map[string]workload.Usage{}
	for _, r := range replicas {
		if memory, cpu, ok := r.usage(); ok {
			all[r.id] = workload.Usage{MemoryBytes: memory, CPUSeconds: cpu.Seconds()}
		}
	}
	return all
}

func (r *replica) usage() (memory int64, cpu time.Duration, ok bool) {
	r.mu.Lock()
	handles := make([]Container, 0, len(r.containers))
	for _, c := range r.containers {
		if c.handle != nil {
			handles = append(handles, c.handle)
		}
	}
	r.mu.Unlock()
	for _, h := range handles {
		metered, is := h.(Metered)
		if !is {
			return 0, 0, false
		}
		m, t, known := metered.Usage()
		if !known {
			return 0, 0, false
		}
		memory, cpu = memory+m, cpu+t
	}
	return memory, cpu, len(handles) > 0
}
