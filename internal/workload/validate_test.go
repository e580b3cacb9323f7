package workload

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// minimal is the least that a kind needs.
func minimal(k Kind) Spec {
	s := Spec{Name: "iris", Kind: k}
	if k == Splitter {
		s.APIs = []Target{{Name: "a", Weight: 100}}
		return s
	}
	s.Pod = &Pod{Containers: []Container{{Name: "api", Command: []string{"serve"}}}}
	return s
}

func TestMinimalSpecsAreValidOnceDefaulted(t *testing.T) {
	t.Parallel()
	for _, k := range Kinds() {
		s := minimal(k)
		s.Default()
		if v := s.Validate(); len(v) > 0 {
			t.Errorf("%s: Validate() = %+v, want nothing", k, v)
		}
		if s.Networking.Endpoint != "/iris" {
			t.Errorf("%s: endpoint = %q, want /iris", k, s.Networking.Endpoint)
		}
		if (s.Autoscaling != nil) != k.Scales() || (s.UpdateStrategy != nil) != k.Scales() {
			t.Errorf("%s: Default() = %+v: sections of another kind", k, s)
		}
	}
}

func TestDefaultKeepsZerosThatMeanSomething(t *testing.T) {
	t.Parallel()
	s := minimal(Realtime)
	s.Autoscaling = &Autoscaling{MinReplicas: 0, InitReplicas: 0, DownscaleTolerance: 0, MaxDownscaleFactor: 0}
	s.Pod.Containers[0].Compute = &Compute{}
	s.Default()
	want := Autoscaling{MaxReplicas: 100, TargetInFlight: 1, Window: Duration(time.Minute), MaxUpscaleFactor: 1.5}
	if diff := cmp.Diff(want, *s.Autoscaling); diff != "" {
		t.Errorf("Default() (-want +got):\n%s", diff)
	}
	if c := s.Pod.Containers[0].Compute; c.CPU != nil {
		t.Errorf("Default() requests %v of CPU where nothing was asked for", c.CPU)
	}
	s = minimal(Realtime)
	s.Pod.MaxConcurrency = 7
	s.Autoscaling = &Autoscaling{MinReplicas: 3}
	s.Default()
	if s.Autoscaling.InitReplicas != 3 || s.Autoscaling.TargetInFlight != 7 {
		t.Errorf("Default() = %+v, want init_replicas of min_replicas and target_in_flight of max_concurrency", s.Autoscaling)
	}
}

func TestCanonicalEndpoint(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "/": "", "a": "/a", "/a": "/a", "a/": "/a", "/a/b/": "/a/b", "//": "//", "/a//": "/a//", "//a": "//a",
	} {
		if got := CanonicalEndpoint(in); got != want {
			t.Errorf("CanonicalEndpoint(%q) = %q, want %q", in, got, want)
		}
	}
}

// Specs with values at and around every rule.
func anySpec(t *rapid.T) Spec {
	number := func(label string) int64 {
		return rapid.SampledFrom([]int64{-1, 0, 1, 2, 100, 101, 8888, 30001, math.MaxInt32}).Draw(t, label)
	}
	text := func(label string) string {
		return rapid.SampledFrom([]string{"", "/", "a", "a/", "//", "B", "b-x", "25%", "0", "101%", "a b", "proxy", strings.Repeat("a", 64), "CORTEX_A"}).Draw(t, label)
	}
	maybe := func(label string) bool { return rapid.Bool().Draw(t, label) }
	s := Spec{Name: text("name"), Kind: rapid.SampledFrom(append(Kinds(), "", "Other")).Draw(t, "kind")}
	if maybe("pod") {
		s.Pod = &Pod{MaxConcurrency: number("c"), MaxQueueLength: number("q")}
		if maybe("port") {
			p := int32(number("p"))
			s.Pod.Port = &p
		}
		for range rapid.IntRange(0, 2).Draw(t, "containers") {
			c := Container{Name: text("cn"), Image: text("image")}
			if maybe("command") {
				c.Command = []string{text("word")}
			}
			if maybe("env") {
				c.Env = map[string]Variable{text("key"): {Value: "x"}}
			}
			if maybe("compute") {
				c.Compute = &Compute{GPU: number("gpu"), Inf: number("inf")}
			}
			if maybe("probe") {
				c.ReadinessProbe = &Probe{PeriodSeconds: int32(number("period"))}
				if maybe("http") {
					c.ReadinessProbe.HTTPGet = &HTTPGet{Path: text("path"), Port: int32(number("hp"))}
				}
				if maybe("exec") {
					c.ReadinessProbe.Exec = &Exec{}
				}
			}
			if maybe("stop") {
				c.PreStop = &PreStop{HTTPGet: &HTTPGet{}}
			}
			s.Pod.Containers = append(s.Pod.Containers, c)
		}
	}
	if maybe("networking") {
		s.Networking = &Networking{Endpoint: text("endpoint")}
	}
	if maybe("autoscaling") {
		s.Autoscaling = &Autoscaling{
			MinReplicas: int32(number("min")), MaxReplicas: int32(number("max")), InitReplicas: int32(number("init")),
			TargetInFlight: rapid.SampledFrom([]float64{-1, 0, 0.5, 300, math.NaN(), math.Inf(1)}).Draw(t, "target"), Window: Duration(number("window")),
		}
	}
	if maybe("strategy") {
		s.UpdateStrategy = &UpdateStrategy{MaxSurge: text("surge"), MaxUnavailable: text("unavailable")}
	}
	for range rapid.IntRange(0, 2).Draw(t, "apis") {
		s.APIs = append(s.APIs, Target{Name: text("target"), Weight: int32(number("weight")), Shadow: maybe("shadow")})
	}
	return s
}

func TestDefaultIsIdempotent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := anySpec(t)
		s.Default()
		once := fmt.Sprintf("%#v %#v %#v", s, s.Autoscaling, s.Networking)
		s.Default()
		if again := fmt.Sprintf("%#v %#v %#v", s, s.Autoscaling, s.Networking); again != once {
			t.Fatalf("Default() twice = %s\nonce = %s", again, once)
		}
	})
}

// Whatever a spec holds, its rules can be checked, and every violation is complete.
func TestViolationsAreComplete(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		specs := []Spec{anySpec(t), anySpec(t)}
		specs[0].Default()
		for _, v := range slices.Concat(specs[0].Validate(), specs[1].Validate(), ValidateSet(specs)) {
			if v.Path == "" || v.Message == "" || !strings.Contains(v.Code, ".") || strings.HasSuffix(v.Message, ".") {
				t.Fatalf("Validate() told %+v, want it complete", v)
			}
		}
	})
}

// Rules about specs that were made by programs; those of files are in the
// catalogue of package manifest.
func TestRulesOfSpecsMadeByPrograms(t *testing.T) {
	t.Parallel()
	port := DefaultPort
	for _, tt := range []struct {
		name   string
		kind   Kind
		change func(*Spec)
		want   []string // code path
	}{
		{"no pod", Realtime, func(s *Spec) { s.Pod = nil }, []string{"configreader.must_be_defined pod"}},
		{"no targets", Splitter, func(s *Spec) { s.APIs = nil }, []string{"configreader.must_be_defined apis"}},
		{"pod of a splitter", Splitter, func(s *Spec) { s.Pod = &Pod{Containers: minimal(Realtime).Pod.Containers, Port: &port} }, []string{
			"spec.field_is_not_supported_for_kind pod",
		}},
		{"sections of others", Batch, func(s *Spec) {
			s.Autoscaling, s.UpdateStrategy, s.APIs = NewAutoscaling(1), NewUpdateStrategy(), []Target{}
			s.Pod.MaxConcurrency, s.Pod.MaxQueueLength = 1, 1
			s.Pod.Containers[0].PreStop = &PreStop{Exec: &Exec{Command: []string{"x"}}}
		}, []string{
			"spec.field_is_not_supported_for_kind pod.max_queue_length",
			"spec.field_is_not_supported_for_kind pod.max_concurrency",
			"spec.field_is_not_supported_for_kind pod.containers[0].pre_stop",
			"spec.field_is_not_supported_for_kind apis",
			"spec.field_is_not_supported_for_kind autoscaling",
			"spec.field_is_not_supported_for_kind update_strategy",
		}},
		{"port and probe of a task", Task, func(s *Spec) {
			s.Pod.Port = &port
			s.Pod.Containers[0].ReadinessProbe = NewProbe()
		}, []string{"spec.field_is_not_supported_for_kind pod.port", "spec.field_is_not_supported_for_kind pod.containers[0].readiness_probe"}},
		{"exec of an AsyncAPI", Async, func(s *Spec) {
			p := NewProbe()
			p.Exec = &Exec{Command: []string{"x"}}
			s.Pod.Containers[0].ReadinessProbe = p
		}, []string{
			"spec.field_is_not_supported_for_kind pod.containers[0].readiness_probe.exec",
			"spec.specify_exactly_one_field pod.containers[0].readiness_probe",
		}},
		{"exec without a command", Realtime, func(s *Spec) {
			p := NewProbe()
			p.Exec = &Exec{}
			s.Pod.Containers[0].LivenessProbe = p
		}, []string{"configreader.must_be_defined pod.containers[0].liveness_probe.exec.command"}},
		{"not a number", Realtime, func(s *Spec) { s.Autoscaling.TargetInFlight = math.NaN() }, []string{
			"configreader.invalid_primitive_type autoscaling.target_in_flight",
		}},
		{"neither name nor kind", "", func(s *Spec) { s.Name = "" }, []string{"configreader.must_be_defined kind", "configreader.must_be_defined name"}},
	} {
		s := minimal(tt.kind)
		if tt.kind == "" {
			s = Spec{}
		}
		s.Default()
		tt.change(&s)
		var got []string
		for _, v := range s.Validate() {
			got = append(got, v.Code+" "+v.Path)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: Validate() (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestValidateSet(t *testing.T) {
	t.Parallel()
	if v := ValidateSet(nil); len(v) != 1 || v[0].Code != CodeNoAPIs {
		t.Errorf("ValidateSet(nothing) = %+v, want %s", v, CodeNoAPIs)
	}
	spec := func(name string, k Kind, endpoint string, targets ...string) Spec {
		s := Spec{Name: name, Kind: k, Networking: &Networking{Endpoint: endpoint}}
		for _, t := range targets {
			s.APIs = append(s.APIs, Target{Name: t})
		}
		return s
	}
	var got []string
	for _, v := range ValidateSet([]Spec{
		spec("a", Realtime, "/a"),
		spec("a", Task, "/a"), // the name is the problem, not the endpoint too
		spec("b", Batch, "/a"),
		spec("s", Splitter, "/s", "a", "b", "s", "elsewhere"),
		spec("", "Unknown", ""),
		spec("", "Unknown", ""),
		spec("t", Splitter, "/t", ""),
	}) {
		got = append(got, fmt.Sprintf("%d %s %s", v.Index, v.Code, v.Path))
	}
	want := []string{
		"1 spec.duplicate_name name",
		"2 spec.duplicate_endpoint_in_one_deploy networking.endpoint",
		"3 resources.apis_not_deployed apis[1].name",
		"3 resources.apis_not_deployed apis[2].name",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ValidateSet() (-want +got):\n%s", diff)
	}
}

func TestBoundsInWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind       Kind
		path, want string
	}{
		{Realtime, "pod.port", "1 to 65535"},
		{Realtime, "pod.max_concurrency", "1 to 30000"},
		{Async, "pod.max_concurrency", "1 to 100"},
		{Realtime, "autoscaling.max_replicas", "more than 0"},
		{Realtime, "autoscaling.min_replicas", "0 or more"},
		{Realtime, "autoscaling.max_downscale_factor", "0 or more, less than 1"},
		{Realtime, "autoscaling.max_upscale_factor", "more than 1"},
	} {
		if got := BoundsOf(tt.kind, tt.path).String(); got != tt.want {
			t.Errorf("BoundsOf(%s, %s) = %s, want %s", tt.kind, tt.path, got, tt.want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("BoundsOf() of a path without bounds did not panic")
		}
	}()
	BoundsOf(Realtime, "pod.nothing")
}
