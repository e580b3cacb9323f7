// Package crd holds Cortex's custom resources as Kubernetes serves them: the five
// kinds, their jobs and their revisions, and access keys, at cortex.dev/v1.
//
// It promises that a resource carries what its user wrote (Spec, the keys of a
// cortex.yaml without name and kind) and, apart from it, what Cortex says of it
// (Status, which only Cortex writes: what it is doing, and what Cortex remembers), and
// that a field which was served once is served for ever: the version only grows.
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
	Spec   json.RawMessage `json:"spec"`
	Status *Status         `json:"status,omitempty"`
}

// Status is what the operator saw and decided last. It is a subresource: whoever may
// write a Spec can neither write nor lose it.
type Status struct {
	// ObservedGeneration is that of the Spec which was resolved last, accepted or
	// refused; below 1: none was. It is in camel case, unlike the rest, because tools
	// that know nothing of Cortex look for it.
	ObservedGeneration int64 `json:"observedGeneration"`
	// Waiting says that the Spec was refused because of what else is there; it is
	// judged again when that changes.
	Waiting    bool               `json:"waiting,omitempty"`
	Phase      string             `json:"phase,omitempty"`
	Reason     string             `json:"reason,omitempty"` // why it is in this phase, for people
	Ready      int                `json:"ready"`
	Requested  int                `json:"requested"`
	UpToDate   int                `json:"up_to_date"`
	Endpoint   string             `json:"endpoint,omitempty"`
	Conditions []metav1.Condition `json:"conditions,omitempty"` // see the constants
	// Deployed is what Cortex keeps. Absent until the Spec was accepted once.
	Deployed *Deployed `json:"deployed,omitempty"`
}

// Deployed is the desired state that the operator wrote: the record of the store.
type Deployed struct {
	Serial   int64              `json:"serial"` // grows with each write, also across a deletion
	Cause    string             `json:"cause"`
	Replicas int                `json:"replicas"`
	Revision *workload.Revision `json:"revision"`
	Outcome  workload.Outcome   `json:"outcome,omitzero"`
	Serving  *workload.Revision `json:"serving,omitempty"`  // the last that was live, while Revision was not
	Unproven bool               `json:"unproven,omitempty"` // Revision waits for a request before it is tried
	Stopped  *workload.Stopped  `json:"stopped,omitempty"`  // nothing is to run until somebody starts it
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
	ObservedGeneration int64              `json:"observedGeneration"`   // that was resolved last; below 1: none was
	Status             workload.JobStatus `json:"status,omitempty"`     // absent while it was not accepted
	Conditions         []metav1.Condition `json:"conditions,omitempty"` // Accepted, Ready, Stalled
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

// Conditions of an API; jobs have the first, second and fourth. Reconciling and Stalled
// are there only while they are true, as the tools expect that wait for resources
// without knowing them (kstatus: Flux, Helm, cli-utils).
const (
	Accepted    = "Accepted"    // the spec passed every rule, or says why not
	Ready       = "Ready"       // the accepted spec answers requests, or will on the first one; or says why not
	Reconciling = "Reconciling" // that Ready is not true is about to change by itself
	Stalled     = "Stalled"     // it is not: somebody has to do something
	Scaled      = "Scaled"      // as many replicas are ready as requested; no matter to Ready
)

// Unobserved is the ObservedGeneration of a resource that nobody has looked at. The API
// server writes it into every new one: without any status, tools take it for done.
const Unobserved = -1
