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

// Deployed is a revision as answers have it. Its times are Unix seconds, as all times of
// the shapes of 0.42 are: nanoseconds do not fit into a number of JSON, of which most
// readers keep 53 bits.
type Deployed struct {
	Revision
	InitialDeploymentTime int64 `json:"initial_deployment_time"`
	LastUpdated           int64 `json:"last_updated"`
}

// Shown returns r as answers have it.
func (r *Revision) Shown() *Deployed {
	d := &Deployed{Revision: *r, InitialDeploymentTime: time.Unix(0, r.InitialDeploymentTime).Unix(), LastUpdated: r.LastUpdated.Unix()}
	d.Revision.InitialDeploymentTime, d.Revision.LastUpdated = 0, time.Time{} // as whoever reads the answer has it
	return d
}

// SamePod reports whether replicas of r and o are interchangeable, so that
// going from one to the other restarts nothing.
func (r *Revision) SamePod(o *Revision) bool {
	return r.PodID == o.PodID && r.DeploymentID == o.DeploymentID
}
