package workload

import (
	"slices"
	"strings"
	"time"
)

// What a missing field means (REFERENCE 1.3 to 1.7).
const (
	DefaultPort           int32 = 8080
	DefaultMaxConcurrency int64 = 1
	DefaultMaxQueueLength int64 = 100
	DefaultShare                = "25%" // of max_surge and of max_unavailable
)

// DefaultCPU is what a container requests when its file does not say; an explicit
// null requests nothing.
var DefaultCPU = MustQuantity("200m")

// NewPod returns the pod of a workload of kind k whose file says nothing about it.
// It has no containers, which no kind allows.
func NewPod(k Kind) *Pod {
	p := &Pod{}
	if k != Task {
		port := DefaultPort
		p.Port = &port
	}
	if k.Scales() {
		p.MaxConcurrency = DefaultMaxConcurrency
	}
	if k == Realtime {
		p.MaxQueueLength = DefaultMaxQueueLength
	}
	return p
}

// NewContainer returns a container about which a file says nothing.
func NewContainer() Container {
	return Container{Env: map[string]Variable{}, Compute: NewCompute()}
}

// NewCompute returns the default request.
func NewCompute() *Compute {
	cpu := DefaultCPU
	return &Compute{CPU: &cpu}
}

// NewProbe returns a probe without a handler, with the default timing.
func NewProbe() *Probe {
	return &Probe{TimeoutSeconds: 1, PeriodSeconds: 10, SuccessThreshold: 1, FailureThreshold: 3}
}

// NewAutoscaling returns the default bounds for a pod that serves maxConcurrency
// requests at once.
func NewAutoscaling(maxConcurrency int64) *Autoscaling {
	return &Autoscaling{
		MinReplicas: 1, MaxReplicas: 100, InitReplicas: 1,
		TargetInFlight:               float64(maxConcurrency),
		Window:                       Duration(time.Minute),
		DownscaleStabilizationPeriod: Duration(5 * time.Minute),
		UpscaleStabilizationPeriod:   Duration(time.Minute),
		MaxDownscaleFactor:           0.75,
		MaxUpscaleFactor:             1.5,
		DownscaleTolerance:           0.05,
		UpscaleTolerance:             0.05,
	}
}

// NewUpdateStrategy returns the default bounds of a rolling update.
func NewUpdateStrategy() *UpdateStrategy {
	return &UpdateStrategy{MaxSurge: DefaultShare, MaxUnavailable: DefaultShare}
}

// Default fills in what s leaves out and brings the endpoint into its canonical
// form. A nil section becomes the default one; inside a section, a zero is
// replaced only where zero is not a legal value, so that scaling to zero or a
// tolerance of zero stays as asked. It is idempotent, and leaves alone sections
// that the kind does not have.
func (s *Spec) Default() {
	if s.Networking == nil {
		s.Networking = &Networking{}
	}
	s.Networking.Endpoint = CanonicalEndpoint(s.Networking.Endpoint)
	if s.Networking.Endpoint == "" {
		s.Networking.Endpoint = CanonicalEndpoint("/" + s.Name)
	}
	s.NodeGroups = distinct(s.NodeGroups)
	if s.Pod != nil {
		s.Pod.fill(s.Kind)
	}
	for i := range s.Schedules {
		s.Schedules[i].fill()
	}
	if !s.Kind.Scales() {
		return
	}
	concurrency := DefaultMaxConcurrency
	if s.Pod != nil {
		concurrency = s.Pod.MaxConcurrency
	}
	if s.Autoscaling == nil {
		s.Autoscaling = NewAutoscaling(concurrency)
	}
	s.Autoscaling.fill(concurrency)
	if s.UpdateStrategy == nil {
		s.UpdateStrategy = NewUpdateStrategy()
	}
	s.UpdateStrategy.fill()
	if !Has(s.Kind, "async") {
		return
	}
	if s.Async == nil {
		s.Async = NewAsynchronous()
	}
	s.Async.fill()
}

func (p *Pod) fill(k Kind) {
	d := NewPod(k)
	if p.Port == nil {
		p.Port = d.Port
	}
	if p.MaxConcurrency == 0 {
		p.MaxConcurrency = d.MaxConcurrency
	}
	if p.MaxQueueLength == 0 {
		p.MaxQueueLength = d.MaxQueueLength
	}
	for i := range p.Containers {
		p.Containers[i].fill()
	}
}

// distinct returns names without those that were there before.
func distinct(names []string) []string {
	seen := make(map[string]bool, len(names))
	return slices.DeleteFunc(names, func(n string) bool {
		before := seen[n]
		seen[n] = true
		return before
	})
}

func (c *Container) fill() {
	if len(c.Command) == 0 {
		c.Command = nil // an empty one says the same as an absent one, and is kept as such
	}
	if len(c.Args) == 0 {
		c.Args = nil
	}
	if c.Env == nil {
		c.Env = map[string]Variable{}
	}
	if c.Compute == nil {
		c.Compute = NewCompute()
	}
	for _, h := range []*HTTPGet{c.ReadinessProbe.httpGet(), c.LivenessProbe.httpGet(), c.PreStop.httpGet()} {
		if h != nil && !strings.HasPrefix(h.Path, "/") {
			h.Path = "/" + h.Path
		}
	}
}

func (p *Probe) httpGet() *HTTPGet {
	if p == nil {
		return nil
	}
	return p.HTTPGet
}

func (p *PreStop) httpGet() *HTTPGet {
	if p == nil {
		return nil
	}
	return p.HTTPGet
}

func (a *Autoscaling) fill(concurrency int64) {
	d := NewAutoscaling(concurrency)
	if a.MaxReplicas == 0 {
		a.MaxReplicas = d.MaxReplicas
	}
	if a.InitReplicas == 0 {
		a.InitReplicas = a.MinReplicas
	}
	if a.TargetInFlight == 0 {
		a.TargetInFlight = d.TargetInFlight
	}
	if a.Window == 0 {
		a.Window = d.Window
	}
	if a.MaxUpscaleFactor == 0 {
		a.MaxUpscaleFactor = d.MaxUpscaleFactor
	}
}

func (u *UpdateStrategy) fill() {
	if u.MaxSurge == "" {
		u.MaxSurge = DefaultShare
	}
	if u.MaxUnavailable == "" {
		u.MaxUnavailable = DefaultShare
	}
}

// CanonicalEndpoint returns e with a leading slash and without a trailing one, or
// "" when nothing is left. It leaves an endpoint with two slashes in a row as it
// is, for Validate to refuse.
func CanonicalEndpoint(e string) string {
	if strings.Contains(e, "//") {
		return e
	}
	e = strings.TrimSuffix(strings.TrimPrefix(e, "/"), "/")
	if e == "" {
		return ""
	}
	return "/" + e
}
