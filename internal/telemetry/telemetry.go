// Package telemetry gathers the metrics of all roles on one registry that main
// builds and hands down, and writes them in Prometheus format.
//
// It promises that no metric costs anything while nobody reads it: a role counts
// in its own atomics and is asked for them when the page is served. It is the
// only package that knows Prometheus. It must not decide what is measured.
package telemetry

import (
	"net/http"

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

// New returns a registry that already carries the Go runtime's and the process's own metrics.
func New() *Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Registry{prom: r}
}

// Collect registers a family whose values read is asked for at every scrape. It
// panics when the name is taken, which is a defect of the caller. A nil registry
// ignores it, so that tests need none.
func (r *Registry) Collect(m Metric, read func(Emit)) {
	if r == nil {
		return
	}
	r.prom.MustRegister(&collector{desc: prometheus.NewDesc(m.Name, m.Help, m.Labels, nil), kind: m.Type, read: read})
}

// Distribution registers a histogram with the given upper bounds and returns the
// function that records one observation.
func (r *Registry) Distribution(m Metric, bounds []float64) func(value float64, labels ...string) {
	if r == nil {
		return func(float64, ...string) {}
	}
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.Name, Help: m.Help, Buckets: bounds}, m.Labels)
	r.prom.MustRegister(h)
	return func(v float64, labels ...string) { h.WithLabelValues(labels...).Observe(v) }
}

// Handler serves the registry in Prometheus text format.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prom, promhttp.HandlerOpts{})
}

type collector struct {
	desc *prometheus.Desc
	kind Type
	read func(Emit)
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	kind := prometheus.CounterValue
	if c.kind == Gauge {
		kind = prometheus.GaugeValue
	}
	c.read(func(v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.desc, kind, v, labels...)
	})
}
