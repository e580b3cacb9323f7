package workload

// Load is the load of one workload at one moment.
type Load struct {
	Name     string
	InFlight float64 // requests running, waiting and held
}

// Scalable is a workload whose replicas follow its load.
type Scalable struct {
	Name        string
	Autoscaling Autoscaling
	Requested   int // replicas there should be now
}
