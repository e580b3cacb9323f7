package dashboard

import (
	"math"
	"net/http"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
)

// maxFactor is how many times the recorded load a page may ask about.
const maxFactor = 100

// SimulateRequest is what would be otherwise.
type SimulateRequest struct {
	Factor         float64 `json:"factor"` // times the recorded load
	MinReplicas    int32   `json:"min_replicas"`
	MaxReplicas    int32   `json:"max_replicas"`
	TargetInFlight float64 `json:"target_in_flight"`
	Latency        float64 `json:"latency"`    // seconds
	ColdStart      float64 `json:"cold_start"` // seconds
}

// Check reports what is wrong with r, besides what the rules of a specification say.
func (r SimulateRequest) Check() error {
	if !(r.Factor >= 0 && r.Factor <= maxFactor) || math.IsNaN(r.Latency+r.ColdStart) || math.Abs(r.Latency) > 3600 || math.Abs(r.ColdStart) > 3600 {
		return fault.New(fault.Malformed, "dashboard.simulate", "the simulation is of %g times the load, with %g s a request and %g s to start", r.Factor, r.Latency, r.ColdStart).
			WithHint("use 0 to %d times the load, and at most an hour", maxFactor)
	}
	return nil
}

func (s *Server) simulate(w http.ResponseWriter, r *http.Request, body []byte) {
	asked, err := asked[SimulateRequest](body, "dashboard.simulate")
	var answer any
	if err == nil {
		answer, err = s.cfg.Simulate(r.Context(), r.PathValue("name"), asked)
	}
	if err != nil {
		httpapi.WriteFault(w, err)
		return
	}
	reply(w, answer)
}
