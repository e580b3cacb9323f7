package operator

import (
	"fmt"
	"time"

	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// explainJobs is the explanation of a BatchAPI or TaskAPI: a pure function of its record
// and of its jobs, the newest first. What keeps a worker from starting is the cause.
func explainJobs(w store.Workload, list []workload.Job, endpoint string, at time.Time) workload.Explanation {
	e := workload.Explanation{
		Name: w.Name(), Kind: w.Revision.Kind, At: at.UTC(), Healthy: true,
		Steps: []workload.Step{{Layer: layerNames[layerSpec], OK: true, Detail: "deployed; it runs nothing but its jobs"}},
	}
	open := 0
	for _, j := range list {
		if !j.Status.InProgress() {
			continue
		}
		open++
		step := workload.Step{Layer: layerNames[layerProcess], OK: j.Reason == nil, Pending: j.Reason != nil, Detail: jobWords(j)}
		e.Steps = append(e.Steps, step)
		if j.Reason != nil && e.Cause == nil {
			e.Healthy, e.Cause = false, &workload.Reason{
				Code: j.Reason.Code, Message: fmt.Sprintf("job %s: %s", j.JobID, j.Reason.Message),
				Fix: fmt.Sprintf("see what its workers write (cortex logs %s %s), or stop it (cortex delete %s %s)", w.Name(), j.JobID, w.Name(), j.JobID),
			}
		}
	}
	e.Steps = append(e.Steps, workload.Step{Layer: layerNames[layerTraffic], OK: true, Detail: "jobs are submitted to " + endpoint})
	switch {
	case e.Cause != nil:
		e.Summary = e.Cause.Message
	case open > 0:
		e.Summary = fmt.Sprintf("%s has %s in progress", w.Name(), count(open, "job"))
	case len(list) == 0:
		e.Summary = w.Name() + " has no jobs"
	default:
		e.Summary = fmt.Sprintf("no job of %s is in progress; the latest, %s, ended as %s", w.Name(), list[0].JobID, list[0].Status)
		if list[0].Reason != nil {
			e.Summary += ": " + list[0].Reason.Message
		}
	}
	return e
}

// jobWords is what a job is doing.
func jobWords(j workload.Job) string {
	text := fmt.Sprintf("job %s is %s", j.JobID, j.Status)
	if c := j.WorkerCounts; c != nil {
		text += fmt.Sprintf(", %d of %s ready", c.Ready, count(c.Ready+c.Creating, "worker"))
	}
	if p := j.Progress; p != nil {
		text += fmt.Sprintf("; %d of %d batches ended, %d failed", p.Succeeded+p.Failed, p.Total, p.Failed)
		if p.Estimate != "" {
			text += "; the rest takes about " + p.Estimate
		}
	}
	if j.Reason != nil {
		text += "; " + j.Reason.Message
	}
	return text
}
