package solo

import (
	"context"
	"maps"
	"net"
	"net/http"

	"cortex.dev/cortex/internal/httpserve"
	"cortex.dev/cortex/internal/lifecycle"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
)

// usageOf is what engine and gateway know of each replica together.
func usageOf(taken map[string]workload.Usage, running map[string]int) map[string]workload.Usage {
	all := map[string]workload.Usage{}
	maps.Copy(all, taken)
	for id, n := range running {
		u := all[id]
		u.InFlight = &n
		all[id] = u
	}
	return all
}

// metricsPage is where a Prometheus reads, which has no identity. The zero value is none.
type metricsPage struct {
	listener net.Listener
	url      string
}

func listenMetrics(address string) (metricsPage, error) {
	if address == "" {
		return metricsPage{}, nil
	}
	ln, err := listenTCP(address, "--metrics-listen")
	if err != nil {
		return metricsPage{}, err
	}
	return metricsPage{ln, "http://" + named(ln.Addr(), address) + "/metrics"}, nil
}

func (p metricsPage) tasks(metrics *telemetry.Registry) []lifecycle.Task {
	if p.listener == nil {
		return nil
	}
	page := http.NewServeMux()
	page.Handle("GET /metrics", metrics.Handler())
	return []lifecycle.Task{{Name: "metrics", Run: func(ctx context.Context) error { return httpserve.Serve(ctx, p.listener, page) }}}
}

func (p metricsPage) close() {
	if p.listener != nil {
		p.listener.Close()
	}
}
