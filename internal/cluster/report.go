package cluster

import (
	"context"
	"time"
)

// Event is what happens to a step while it is carried out.
type Event struct {
	At    time.Time     `json:"at"`
	Step  string        `json:"step"` // its id; empty: of the whole work
	State EventState    `json:"state"`
	Text  string        `json:"text,omitempty"`
	Took  time.Duration `json:"took,omitempty"` // of what has ended
}

// EventState is how far a step has got.
type EventState string

// States of a step.
const (
	Begun  EventState = "begun"
	Going  EventState = "going" // Text says how far it is
	Done   EventState = "done"
	Failed EventState = "failed"
	Warned EventState = "warned" // it goes on without
)

// Left is something that is still there.
type Left struct {
	What string `json:"what"` // such as "network interface"
	Name string `json:"name"` // id, name or ARN
	Note string `json:"note,omitempty"`
	Each *USD   `json:"usd_an_hour,omitempty"`
}

// Verified is one kind of thing that was looked for.
type Verified struct {
	What string `json:"what"`
	Left []Left `json:"left"`
	// Unknown says why nobody could look.
	Unknown string `json:"unknown,omitempty"`
}

// Status is what there is of a cluster.
type Status struct {
	ClusterName string       `json:"cluster_name"`
	Region      string       `json:"region"`
	Account     string       `json:"account"`
	State       string       `json:"state"` // of the control plane, as EKS has it
	Kubernetes  string       `json:"kubernetes_version"`
	Until       string       `json:"end_of_standard_support,omitempty"`
	DaysLeft    *int         `json:"days_of_standard_support_left,omitempty"`
	Operator    string       `json:"endpoint_operator,omitempty"`
	APIs        string       `json:"endpoint_api,omitempty"`
	Network     Network      `json:"network"`
	Groups      []GroupState `json:"node_groups"`
	Stacks      []StackState `json:"stacks"`
	Cost        *Cost        `json:"cost,omitempty"` // nil: the cluster's file is not known
	Drift       []Change     `json:"drift"`          // from what was asked for last
	Notes       []string     `json:"notes,omitempty"`
	Holder      string       `json:"being_changed_by,omitempty"`
	// StackDrift is what AWS finds when it is asked to compare the stacks; nil when it was not.
	StackDrift []Drift `json:"stack_drift,omitempty"`
	Authority  string  `json:"-"` // PEM, that vouches for the operator
	Config     *Config `json:"-"` // what was asked for last; nil: it is not known
}

// Drift is a difference that somebody has made by hand.
type Drift struct {
	Where    string `json:"where"` // a stack, or aws-auth
	What     string `json:"what"`
	Property string `json:"property,omitempty"`
	Is       string `json:"is"`
	Should   string `json:"should,omitempty"`
}

// Check is one thing that has to be right.
type Check struct {
	Name string // stable, for programs
	OK   bool
	Text string // how it is, in a few words
	Do   string // what to do about it, when it is not OK
}

// Network is what is needed to reach a cluster from another VPC.
type Network struct {
	VPC     string   `json:"vpc,omitempty"`
	CIDR    string   `json:"cidr,omitempty"`
	Subnets []string `json:"subnets,omitempty"`
	Tables  []string `json:"route_tables,omitempty"`
	// Internal names the load balancers that only this network reaches.
	Internal []string `json:"internal_load_balancers,omitempty"`
}

// GroupState is a managed node group as it is.
type GroupState struct {
	Name    string   `json:"name"`
	State   string   `json:"state"` // EKS's word; of a group that is as it should be, with all its nodes, ACTIVE without asking
	Types   []string `json:"instance_types"`
	Spot    bool     `json:"spot"`
	Nodes   int      `json:"nodes"` // that there are
	Desired int64    `json:"desired"`
	Min     int64    `json:"min_instances"`
	Max     int64    `json:"max_instances"`
	Version string   `json:"version"`
	Issues  []string `json:"issues,omitempty"`
}

// StackState is a stack as it is.
type StackState struct {
	Part  string `json:"part"`
	Name  string `json:"name"`
	State string `json:"state"`
}

// Run is what carrying something out needs beside AWS.
type Run struct {
	// Environment tells the client where the operator is, and the authority (PEM) that
	// vouches for it.
	Environment func(ctx context.Context, name, endpoint, authority string) error
	// Events is told of everything that happens, one call at a time; it may be nil.
	Events func(Event)
	// Machine names the machine, on which only one run at a time works on a cluster: what
	// an earlier one has left is taken over at once.
	Machine string
}

// Reconfiguration is what a change of a cluster that is there comes to.
type Reconfiguration struct {
	Config  *Config  `json:"-"`
	Facts   *Facts   `json:"-"`
	Plan    *Plan    `json:"-"`
	Changes []Change `json:"changes"`
	Short   []Quota  `json:"short,omitempty"` // quotas that may not have room for it
}

// Access is who may administer a cluster.
type Access struct {
	ARN string   `json:"arn"`
	By  []string `json:"by"` // "access entry", "aws-auth"
}
