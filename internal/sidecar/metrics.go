package sidecar

import (
	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/telemetry/proxymetrics"
)

func (s *Sidecar) seriesOf(*relay.Exchange) *proxymetrics.Series { return s.requests }

// measure offers what is counted.
func (s *Sidecar) measure() {
	proxymetrics.Register(s.cfg.Telemetry, proxymetrics.Sidecar, func(api func(string, *proxymetrics.Series, proxymetrics.Load), _ func(string, *proxymetrics.Series)) {
		running, waiting := s.limit.InFlight()
		api(s.cfg.APIName, s.requests, proxymetrics.Load{Running: running, Waiting: waiting})
	})
}
