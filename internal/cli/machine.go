package cli

import (
	"path/filepath"
	"runtime"

	"cortex.dev/cortex/internal/capacity"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

// thisMachine is what this machine has; no memory when that is not known. GPUs are those
// that the driver of NVIDIA shows.
func thisMachine() capacity.Amount {
	gpus, _ := filepath.Glob("/dev/nvidia[0-9]*") // the pattern is right
	return capacity.Amount{CPU: int64(runtime.NumCPU()) * 1000, Mem: memory(), GPU: int64(len(gpus))}
}

// beyondMachine warns of each API of which not even one replica finds here what it asks
// for. It is no mistake: nothing is kept free on one machine, and the same file may be for
// a larger one.
func beyondMachine(file *manifest.File, has capacity.Amount) (warnings []fault.Problem) {
	for _, e := range file.Entries {
		if e.Spec.Pod == nil {
			continue
		}
		var requests []capacity.Request
		for i := range e.Spec.Pod.Containers {
			requests = append(requests, requestOf(&e.Spec.Pod.Containers[i]))
		}
		asked, here := capacity.Total(requests), has
		if here.Mem == 0 {
			here.Mem = asked.Mem
		}
		if here.Holds(asked) {
			continue
		}
		p := e.Problem("pod", workload.CodeNoCapacity, "a replica asks for %s, and this machine has %s", asked.Words(), here.Words())
		p.Hint = "it is started all the same, with what there is"
		warnings = append(warnings, p)
	}
	return warnings
}

func requestOf(c *workload.Container) capacity.Request {
	r := capacity.Request{Name: c.Name}
	q := c.Compute
	if q == nil {
		return r
	}
	r.GPU, r.Inf = q.GPU, q.Inf
	if q.CPU != nil {
		r.CPU = q.CPU.Milli()
	}
	if q.Mem != nil {
		r.Mem = q.Mem.Value()
	}
	return r
}
