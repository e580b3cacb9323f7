// Package crd holds Cortex's custom resources as Kubernetes serves them: the five
// kinds, their jobs and their revisions, at cortex.dev/v1.
//
// It promises that a resource carries what its user wrote (Spec, the keys of a
// cortex.yaml without name and kind), what Cortex remembers of it (Deployed,
// written with Spec in one write) and what it is doing (Status), and that a field
// which was served once is served for ever: the version only grows.
//
// It must not read or write them; store/kube does.
package crd

import (
	"encoding/json"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/workload"
)

// The group and version of every resource here.
const (
	Group   = "cortex.dev"
	Version = "v1"
)

// API is one deployed thing: a RealtimeAPI, an AsyncAPI, a BatchAPI, a TaskAPI or
// a TrafficSplitter, as its kind says. Its name is the name of the workload.
type API struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// Spec holds the keys of one API of a cortex.yaml, without name and kind, as
	// whoever deployed it wrote them.
	Spec json.RawMessage `json:"spec"`
	// Deployed is what Cortex keeps. Absent until the spec was accepted once.
	Deployed *Deployed `json:"deployed,omitempty"`
	Status   *Status   `json:"status,omitempty"`
}

// Deployed is the desired state that the operator wrote: the record of the store.
type Deployed struct {
	Serial   int64              `json:"serial"`    // grows with each write, also across a deletion
	SpecHash string             `json:"spec_hash"` // of the Spec that Revision was made from
	Cause    string             `json:"cause"`
	Replicas int                `json:"replicas"`
	Revision *workload.Revision `json:"revision"`
	Outcome  workload.Outcome   `json:"outcome,omitzero"`
	Serving  *workload.Revision `json:"serving,omitempty"`  // the last that was live, while Revision was not
	Unproven bool               `json:"unproven,omitempty"` // Revision waits for a request before it is tried
}

// Status is what the operator saw last.
type Status struct {
	ObservedHash string             `json:"observed_hash,omitempty"` // of the Spec that was judged last, accepted or refused
	Phase        string             `json:"phase,omitempty"`
	Ready        int                `json:"ready"`
	Requested    int                `json:"requested"`
	UpToDate     int                `json:"up_to_date"`
	Endpoint     string             `json:"endpoint,omitempty"`
	Conditions   []metav1.Condition `json:"conditions,omitempty"` // Accepted, Ready
}

// Job is one job that was submitted: a BatchJob or a TaskJob, as its kind says. Its
// name is the id of the job. Its Spec is never changed.
type Job struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec   json.RawMessage `json:"spec"` // a workload.Submission
	Status *JobStatus      `json:"status,omitempty"`
}

// JobStatus is what the operator saw last of a job.
type JobStatus struct {
	ObservedGeneration int64              `json:"observed_generation,omitempty"` // that was judged last; absent: nobody did
	Status             workload.JobStatus `json:"status,omitempty"`              // absent while it was not accepted
	Conditions         []metav1.Condition `json:"conditions,omitempty"`          // Accepted
}

// Revision is one entry of an API's history. Only its cause and outcome ever change.
type Revision struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	API        string             `json:"api"`
	Cause      string             `json:"cause"`
	Remembered time.Time          `json:"remembered"`
	Revision   *workload.Revision `json:"revision"`
	Outcome    workload.Outcome   `json:"outcome,omitzero"`
}

// Conditions of an API, and the first of them of a job.
const (
	Accepted = "Accepted" // the spec passed every rule, or says why not
	Ready    = "Ready"    // as many up-to-date replicas are ready as requested, or says why not
)
