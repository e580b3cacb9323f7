package jobs

import (
	"slices"
	"sync"
	"time"

	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
)

// countedFor is how long what a job came to is counted by its id after its end, and
// countedMost of how many jobs.
const (
	countedFor  = time.Hour
	countedMost = 100
)

// counts are what is measured of jobs that have ended lately.
type counts struct {
	mu     sync.Mutex
	recent []record // the latest last
}

func (c *counts) ended(r record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Config, r.Attempts = nil, nil
	c.recent = append(c.recent, r)
	c.recent = c.recent[max(0, len(c.recent)-countedMost):]
}

// counted calls fn with every job of a kind that has not ended, or has lately.
func (s *Service) counted(kind workload.JobKind, fn func(record)) {
	s.counts.mu.Lock()
	recent := slices.Clone(s.counts.recent)
	s.counts.mu.Unlock()
	for _, r := range recent {
		if r.Kind == kind && time.Since(r.Ended) < countedFor {
			fn(r)
		}
	}
	s.mu.Lock()
	var all []*job
	for _, j := range s.open {
		all = append(all, j)
	}
	s.mu.Unlock()
	for _, j := range all[:min(len(all), countedMost)] {
		if r := j.snapshot(); r.Kind == kind {
			fn(r)
		}
	}
}

func (s *Service) register(r *telemetry.Registry) {
	collect := func(m telemetry.Metric, kind workload.JobKind, of func(record) (float64, bool)) {
		r.Collect(m, func(emit telemetry.Emit) {
			s.counted(kind, func(r record) {
				if v, ok := of(r); ok {
					emit(v, r.API, r.ID)
				}
			})
		})
	}
	oneIf := func(b bool) (float64, bool) {
		if b {
			return 1, true
		}
		return 0, true
	}
	collect(telemetry.Metric{Name: "cortex_batch_succeeded", Type: telemetry.Gauge, Help: "Batches of a job that succeeded, until an hour after its end.", Labels: []string{"api_name", "job_id"}}, workload.BatchJob,
		func(r record) (float64, bool) { return float64(r.Succeeded), true })
	collect(telemetry.Metric{Name: "cortex_batch_failed", Type: telemetry.Gauge, Help: "Batches of a job that failed, until an hour after its end.", Labels: []string{"api_name", "job_id"}}, workload.BatchJob,
		func(r record) (float64, bool) { return float64(r.Failed), true })
	collect(telemetry.Metric{Name: "cortex_time_per_batch", Type: telemetry.Gauge, Help: "Seconds that a batch of a job took on average.", Labels: []string{"api_name", "job_id"}}, workload.BatchJob, func(r record) (float64, bool) {
		n := r.Succeeded + r.Failed
		return r.Worked.Seconds() / float64(max(n, 1)), n > 0
	})
	collect(telemetry.Metric{Name: "cortex_task_succeeded", Type: telemetry.Gauge, Help: "1 of a task that succeeded, 0 of any other, until an hour after its end.", Labels: []string{"api_name", "job_id"}}, workload.TaskJob,
		func(r record) (float64, bool) { return oneIf(r.Status == workload.JobSucceeded) })
	collect(telemetry.Metric{Name: "cortex_task_failed", Type: telemetry.Gauge, Help: "1 of a task that ended and did not succeed, 0 of any other, until an hour after its end.", Labels: []string{"api_name", "job_id"}}, workload.TaskJob,
		func(r record) (float64, bool) {
			return oneIf(!r.Status.InProgress() && r.Status != workload.JobSucceeded)
		})
	collect(telemetry.Metric{Name: "cortex_time_per_task", Type: telemetry.Gauge, Help: "Seconds that a task took that has ended.", Labels: []string{"api_name", "job_id"}}, workload.TaskJob, func(r record) (float64, bool) {
		return r.Ended.Sub(r.Started).Seconds(), !r.Ended.IsZero() && !r.Started.IsZero()
	})
	r.Collect(telemetry.Metric{Name: "cortex_jobs_in_progress", Type: telemetry.Gauge, Help: "Jobs that have not ended.", Labels: []string{"api_name"}}, func(emit telemetry.Emit) {
		s.mu.Lock()
		byAPI := map[string]int{}
		for k := range s.open {
			byAPI[k.api]++
		}
		s.mu.Unlock()
		for api, n := range byAPI {
			emit(float64(n), api)
		}
	})
}
