// Package telemetry gathers the metrics of all roles on one registry that main
// builds and hands down, and writes them in Prometheus format.
//
// It promises that no metric costs anything while nobody reads it: a role counts
// in its own atomics and is asked for them when the page is served. It is the
// only package that knows Prometheus. It must not decide what is measured.
package telemetry

import (
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Type of a metric.
type Type int

// The types of metrics.
const (
	Counter Type = iota
	Gauge
)

// Metric describes one family of values.
type Metric struct {
	Name   string
	Help   string
	Type   Type
	Labels []string
}

// Emit hands one value over; labels in the order of Metric.Labels.
type Emit func(value float64, labels ...string)

// Registry holds what can be read. The zero value is not usable; see New.
type Registry struct{ prom *prometheus.Registry }

// New returns a registry that carries the Go runtime's and the process's own metrics,
// and says which version of which program they are of.
func New(program, version string) *Registry {
	r := &Registry{prom: prometheus.NewRegistry()}
	r.prom.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.Collect(Metric{
		Name: "cortex_build_info", Type: Gauge, Labels: []string{"program", "version", "goversion"},
		Help: "Always 1; the labels say which program this is, of which version, and built by which Go.",
	}, func(emit Emit) { emit(1, program, version, runtime.Version()) })
	return r
}

// Collect registers a family whose values read is asked for at every scrape. It
// panics when the name is taken, which is a defect of the caller. A nil registry
// ignores it, so that tests need none.
func (r *Registry) Collect(m Metric, read func(Emit)) {
	kind := prometheus.CounterValue
	if m.Type == Gauge {
		kind = prometheus.GaugeValue
	}
	r.register(m, func(desc *prometheus.Desc, ch chan<- prometheus.Metric) {
		read(func(v float64, labels ...string) { ch <- prometheus.MustNewConstMetric(desc, kind, v, labels...) })
	})
}

// Handler serves the registry in Prometheus text format.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prom, promhttp.HandlerOpts{})
}

func (r *Registry) register(m Metric, collect func(*prometheus.Desc, chan<- prometheus.Metric)) {
	if r == nil {
		return
	}
	r.prom.MustRegister(&collector{desc: prometheus.NewDesc(m.Name, m.Help, m.Labels, nil), collect: collect})
}

type collector struct {
	desc    *prometheus.Desc
	collect func(*prometheus.Desc, chan<- prometheus.Metric)
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }
func (c *collector) Collect(ch chan<- prometheus.Metric) { c.collect(c.desc, ch) }
