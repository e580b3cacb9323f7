package workload

import "time"

// Load is the load of one workload at one moment.
type Load struct {
	Name     string
	InFlight float64 // requests running, waiting and held
	Backlog  Backlog // of an AsyncAPI
}

// Backlog is what an AsyncAPI has to do at one moment, without the items for which nothing
// is started.
type Backlog struct {
	Queued, Running int
	Service         time.Duration // what one item takes; 0: not known yet
}

// Scalable is a workload whose replicas follow its load.
type Scalable struct {
	Name        string
	Autoscaling Autoscaling
	Requested   int // replicas there should be now
}

// ServiceTime learns how long one item takes.
type ServiceTime struct {
	mean    time.Duration
	samples int
}

// enoughSamples is how many executions say how long the next one takes.
const enoughSamples = 10

// Observe takes note of an execution that succeeded.
func (s *ServiceTime) Observe(took time.Duration) {
	s.samples = min(s.samples, 1<<20) + 1
	// The first ones count alike; then each for a tenth, so that a change is seen.
	s.mean += (took - s.mean) / time.Duration(min(s.samples, enoughSamples))
}

// Known returns what one takes; 0: too few have been seen.
func (s *ServiceTime) Known() time.Duration {
	if s.samples < enoughSamples {
		return 0
	}
	return s.mean
}
