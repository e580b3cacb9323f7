package workload

import "time"

// Revision is an immutable deployed spec, named by its content and its time.
type Revision struct {
	Spec
	ID           string `json:"id"`            // sorts newest first; REFERENCE 1.11
	SpecID       string `json:"spec_id"`       // content of the whole spec
	PodID        string `json:"pod_id"`        // content of what runs
	DeploymentID string `json:"deployment_id"` // constant across deploys, renewed by refresh
	// Number counts the revisions of a workload: users read it as v12. It is never
	// given twice under one name. 0: deployed by a version of Cortex that did not count.
	Number   int    `json:"number,omitempty"`
	Index    int    `json:"index"` // position in its file
	FileName string `json:"file_name"`
	// Directory is the folder of the file, in which processes run. Absolute; one machine only.
	Directory string `json:"directory,omitempty"`
	// Programs is what its processes find on the PATH. Nil: on that of the program
	// which starts them.
	Programs *Programs `json:"programs,omitempty"`
	// Code is the copy of Directory in which they run. Nil: deployed where none is made.
	Code                  *Code     `json:"code,omitempty"`
	SubmittedAPISpec      any       `json:"submitted_api_spec"`      // the user's YAML as given
	InitialDeploymentTime int64     `json:"initial_deployment_time"` // Unix nanoseconds
	LastUpdated           time.Time `json:"last_updated"`
}

// SamePod reports whether replicas of r and o are interchangeable, so that
// going from one to the other restarts nothing.
func (r *Revision) SamePod(o *Revision) bool {
	return r.PodID == o.PodID && r.DeploymentID == o.DeploymentID
}
