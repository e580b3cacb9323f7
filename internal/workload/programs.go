package workload

import "slices"

// Programs is where the processes of a pod find what they run, as whoever deployed
// them would: in their virtual environment rather than in that of whoever happened
// to start the daemon.
type Programs struct {
	Path  string            `json:"path"`            // the PATH of the processes
	Found map[string]string `json:"found,omitempty"` // the file that each command's name stood for
}

// RunsProcesses reports whether a container of the pod has no image. A nil pod has none.
func (p *Pod) RunsProcesses() bool {
	return p != nil && slices.ContainsFunc(p.Containers, func(c Container) bool { return c.Image == "" })
}
