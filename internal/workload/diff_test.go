package workload

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*Spec)
		want   []string
	}{
		{"nothing", func(*Spec) {}, nil},
		{"scalars", func(s *Spec) { s.Name = "x"; s.Pod.MaxConcurrency = 3 }, []string{"name", "pod.max_concurrency"}},
		{"pointer to scalar", func(s *Spec) { *s.Pod.Port = 1 }, []string{"pod.port"}},
		{"env", func(s *Spec) {
			e := s.Pod.Containers[0].Env
			e["A"], e["C"] = Variable{Value: "z"}, Variable{Value: "new"}
			delete(e, "B")
		}, []string{"pod.containers[0].env.A", "pod.containers[0].env.B", "pod.containers[0].env.C"}},
		{"container added", func(s *Spec) { s.Pod.Containers = append(s.Pod.Containers, NewContainer()) }, []string{"pod.containers[1]"}},
		{"list given", func(s *Spec) { s.NodeGroups = []string{"a", "b"} }, []string{"node_groups"}},
		{"section gone", func(s *Spec) { s.Autoscaling = nil }, []string{"autoscaling"}},
		{"probe given", func(s *Spec) { s.Pod.Containers[0].ReadinessProbe = NewProbe() }, []string{"pod.containers[0].readiness_probe"}},
		{"quantity", func(s *Spec) { q := MustQuantity("1"); s.Pod.Containers[0].Compute.CPU = &q }, []string{"pod.containers[0].compute.cpu"}},
		{"duration", func(s *Spec) { s.Autoscaling.Window *= 2 }, []string{"autoscaling.window"}},
		{"order of the file", func(s *Spec) {
			s.UpdateStrategy.MaxSurge = "1"
			s.Networking.Endpoint = "/z"
			s.Pod.Containers[0].Image = "z"
		}, []string{"pod.containers[0].image", "networking.endpoint", "update_strategy.max_surge"}},
	} {
		a, b := irisSpec(), irisSpec()
		tt.change(&b)
		if got := Diff(&a, &b); !cmp.Equal(got, tt.want) {
			t.Errorf("%s: Diff() = %v, want %v", tt.name, got, tt.want)
		}
		back := Diff(&b, &a)
		slices.Sort(back)
		want := slices.Sorted(slices.Values(tt.want))
		if !slices.Equal(back, want) {
			t.Errorf("%s: Diff() the other way = %v, want %v", tt.name, back, want)
		}
	}
	a, b := irisSpec(), irisSpec()
	*b.Pod.Port = 80
	b.Pod.Containers[0].Env["A"] = Variable{Value: "secret"}
	b.Pod.Containers = append(b.Pod.Containers, Container{Name: "side", Env: map[string]Variable{"B": {Value: "secret"}}})
	got := Differences(&a, &b)
	want := []Difference{{"pod.port", strconv.Itoa(int(*a.Pod.Port)), "80"}, {"pod.containers[0].env.A", Masked, Masked}, {Path: "pod.containers[1]"}}
	if text := fmt.Sprint(got); strings.Contains(text, "secret") || !strings.Contains(text, `"name":"side"`) {
		t.Errorf("Differences() = %v, want the new container without the values of its variables", got)
	}
	got[2].To = ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Differences() differ (-want +got):\n%s", diff)
	}
	if got := Diff(&Spec{NodeGroups: []string{}}, &Spec{}); got != nil {
		t.Errorf("Diff() of an empty list and none = %v, want nothing", got)
	}
	if got := Diff(&Spec{APIs: []Target{{}, {Weight: 1}}}, &Spec{APIs: []Target{{}, {Weight: 2}, {}}}); !cmp.Equal(got, []string{"apis[1].weight", "apis[2]"}) {
		t.Errorf("Diff() = %v, want apis[1].weight and apis[2]", got)
	}
}
