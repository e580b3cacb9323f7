// Package controlapi carries what Cortex's own processes tell each other on
// Kubernetes: gateways push the load they see, hear in answer what sessions for calls are
// verified with, and ask for a first replica.
//
// It promises that only gateways are heard, each by a token that the cluster
// issued for this and that the cluster itself is asked about; that what a caller
// can cost is bounded, proven or not; that a gateway which has fallen silent is
// not counted, and that no load at all is told apart from a load of zero; and that
// an operator which is away never holds up a gateway.
//
// It must not know Kubernetes, decide about scaling, or carry requests of users.
package controlapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/workload"
)

// Audience is what the tokens of gateways are issued for: one that is meant for
// anybody else, the API server included, proves nothing here.
const Audience = "cortex-operator"

// The calls.
const (
	pathLoad  = "/v1/load"
	pathWake  = "/v1/wake"
	pathCalls = "/v1/calls"
	pathUsed  = "/v1/used"
)

// Bounds of what a gateway may say.
const (
	maxBody    = 16 << 20
	maxSamples = 10_000
	maxToken   = 8 << 10
	maxTold    = 16 << 20 // bytes of an answer
	maxUsed    = 100_000  // callers of an API whose use is told
	maxFlight  = 1e9      // requests in flight that a sample can mean
	// maxBusy is of how many replicas one report says that they work. With more, which
	// are idle matters to few requests.
	maxBusy = 2_000
)

// loadReport is what one gateway sees now.
type loadReport struct {
	Gateway string       `json:"gateway"`
	Samples []loadSample `json:"samples"`
	// Uses are what was used of limits. They are those of the report before where they have
	// its number: its answer was lost.
	Seq  uint64       `json:"seq,omitempty"`
	Uses []access.Use `json:"uses,omitempty"`
}

type loadSample struct {
	Name     string  `json:"name"`
	InFlight float64 `json:"in_flight"`
	// Busy is how many requests each replica works on that works on any.
	Busy map[string]int `json:"busy,omitempty"`
	// Backlog is what an AsyncAPI has to do, from the one gateway that hands its items out.
	Backlog *workload.Backlog `json:"backlog,omitempty"`
}

// Told is what the operator answers to a report.
type Told struct {
	// Sessions is what sessions for calls are verified with. Nil: nobody proves identities.
	Sessions *access.SessionKeys `json:"sessions,omitempty"`
	// Shares is what other gateways used of limits.
	Shares []access.Share `json:"shares,omitempty"`
}

// wakeRequest asks for a first replica of a workload.
type wakeRequest struct {
	Name string `json:"name"`
}

// refusal is the body of an answer that is no success.
type refusal struct {
	Error string `json:"error"`
}

// What names may look like: a workload's (as manifest has it), and a pod's.
var (
	workloadName = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)
	gatewayName  = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$`)
)

// check refuses what no gateway says.
func (r *loadReport) check() error {
	if !gatewayName.MatchString(r.Gateway) {
		return errors.New("gateway is not the name of a pod")
	}
	if len(r.Samples) > maxSamples {
		return fmt.Errorf("more than %d samples", maxSamples)
	}
	busy, seen := 0, make(map[string]bool, len(r.Samples))
	for _, s := range r.Samples {
		switch {
		case !workloadName.MatchString(s.Name):
			return errors.New("the name of a sample is not that of an API")
		case seen[s.Name]:
			return fmt.Errorf("two samples of %s", s.Name)
		case math.IsNaN(s.InFlight) || s.InFlight < 0 || s.InFlight > maxFlight:
			return fmt.Errorf("in_flight of %s is not a number of requests", s.Name)
		case s.Backlog != nil && (s.Backlog.Queued < 0 || s.Backlog.Running < 0 || s.Backlog.Service < 0):
			return fmt.Errorf("backlog of %s is not a number of items", s.Name)
		}
		seen[s.Name] = true
		for replica, n := range s.Busy {
			if !gatewayName.MatchString(replica) || n < 1 || n > maxFlight {
				return fmt.Errorf("busy of %s is not a number of requests for each replica", s.Name)
			}
		}
		if busy += len(s.Busy); busy > maxBusy {
			return fmt.Errorf("more than %d busy replicas", maxBusy)
		}
	}
	if len(r.Uses) > access.MaxUses {
		return fmt.Errorf("uses of more than %d", access.MaxUses)
	}
	for _, u := range r.Uses {
		if !workloadName.MatchString(u.API) || u.Limit == "" || len(u.Limit) > maxCaller || len(u.Who) > maxCaller ||
			u.Most < 0 || u.Running < 0 || u.Running > maxFlight || u.Refused < 0 || u.Refused > maxFlight || u.Taken > maxFlight {
			return errors.New("a use is not one of a limit")
		}
	}
	return nil
}

// Waker asks for a first replica of a workload that has none. operator.Operator is one.
type Waker interface {
	Wake(ctx context.Context, name string) error
}

var _ autoscaler.Source = (*Loads)(nil)
