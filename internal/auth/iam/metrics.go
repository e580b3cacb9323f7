package iam

import (
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/telemetry"
)

// counts is what the metrics page is made of. Each reason has a counter of its
// own from the start: no caller can add one.
type counts struct {
	reasons    map[string]*atomic.Uint64
	answered   atomic.Uint64 // calls to STS that named an identity
	refused    atomic.Uint64 // that refused a proof
	failed     atomic.Uint64 // that had no usable answer
	throttled  atomic.Uint64
	minted     atomic.Uint64
	cached     atomic.Uint64 // tokens known from before
	remembered atomic.Uint64 // refusals repeated without asking
	took       *telemetry.Durations
}

func (c *counts) register(t *telemetry.Registry) {
	c.reasons = make(map[string]*atomic.Uint64, len(Reasons))
	for _, r := range Reasons {
		c.reasons[r] = new(atomic.Uint64)
	}
	c.took = telemetry.NewDurations([]time.Duration{
		10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
		time.Second, 2500 * time.Millisecond, 5 * time.Second,
	})
	t.CollectDurations(telemetry.Metric{Name: "cortex_auth_sts_seconds", Help: "Time that STS takes to answer."},
		func(emit telemetry.EmitDurations) { emit(c.took) })
	t.Collect(telemetry.Metric{Name: "cortex_auth_sts_calls_total", Help: "Calls to STS, by what came of them.", Type: telemetry.Counter, Labels: []string{"result"}},
		func(emit telemetry.Emit) {
			emit(float64(c.answered.Load()), "answered")
			emit(float64(c.refused.Load()), "refused")
			emit(float64(c.throttled.Load()), "throttled")
			emit(float64(c.failed.Load()), "failed")
		})
	t.Collect(telemetry.Metric{Name: "cortex_auth_rejects_total", Help: "Refusals before proof, by reason.", Type: telemetry.Counter, Labels: []string{"reason"}},
		func(emit telemetry.Emit) {
			for _, r := range Reasons {
				emit(float64(c.reasons[r].Load()), r)
			}
		})
	for value, m := range map[*atomic.Uint64]telemetry.Metric{
		&c.minted:     {Name: "cortex_auth_sessions_total", Help: "Sessions given out.", Type: telemetry.Counter},
		&c.cached:     {Name: "cortex_auth_session_cache_hits_total", Help: "Requests whose session was known from an earlier one.", Type: telemetry.Counter},
		&c.remembered: {Name: "cortex_auth_remembered_refusals_total", Help: "Refusals that were remembered instead of asking STS again.", Type: telemetry.Counter},
	} {
		t.Collect(m, func(emit telemetry.Emit) { emit(float64(value.Load())) })
	}
}

func (c *counts) rejected(err error) {
	if reason := Reason(err); reason != "" {
		c.reasons[reason].Add(1)
	}
}

// asked counts one conversation with STS, both of its attempts together.
func (c *counts) asked(err error, took time.Duration) {
	switch Reason(err) {
	case "":
		c.answered.Add(1)
	case ReasonSTS:
		c.refused.Add(1)
	case ReasonThrottled:
		c.throttled.Add(1)
	default:
		c.failed.Add(1)
	}
	c.took.Observe(took)
}
