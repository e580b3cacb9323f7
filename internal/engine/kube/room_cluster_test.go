package kube

import (
	"strings"
	"testing"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/kubetest"
	"cortex.dev/cortex/internal/workload"
)

// TestRoomOfACluster looks at the nodes that there really are.
func TestRoomOfACluster(t *testing.T) {
	t.Parallel()
	cfg := kubetest.Config(t)
	r, err := NewRoom(RoomConfig{REST: cfg, Pods: plain})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = r.Run(t.Context()) }()
	if !r.Wait(t.Context()) {
		t.Fatal("the nodes were not read")
	}
	for _, tt := range []struct {
		name string
		spec *workload.Spec
		code string
	}{
		{"little", asking("10m", "10Mi", 0), ""},
		{"too much", asking("100000", "10Mi", 0), workload.CodeNoCapacity},
		{"no such group", asking("10m", "10Mi", 0, "there-is-none"), workload.CodeNoNodeGroup},
	} {
		got := r.Against(tt.spec)
		if len(got) > 0 != (tt.code != "") || len(got) > 0 && got[0].Code != tt.code {
			t.Errorf("%s: Against() = %+v, want %q", tt.name, got, tt.code)
		}
		for _, v := range got {
			t.Logf("%s: %s (%s)", tt.name, v.Message, v.Hint)
		}
	}
}

// TestTheSchedulersWords asks the scheduler itself for what it says of a replica that
// waits: its words are no contract.
func TestTheSchedulersWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		spec *workload.Spec
		want []string
	}{
		{"too much", asking("100000", "10Mi", 0), []string{"it asks for 100000.1 cpu and 110Mi mem; ", "too little cpu left"}},
		{"no such group", asking("10m", "10Mi", 0, "there-is-none"), []string{"on a node of there-is-none; ", "of no such group"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := kubetest.Config(t)
			e := newTestEngine(t, Config{REST: cfg, Pods: PodConfig{Namespace: kubetest.Namespace(t, cfg)}})
			running(t, e)
			r := revision("r1", "p1")
			r.Spec = *tt.spec
			if err := e.Apply(t.Context(), engine.Deployment{Revision: r, Replicas: 1}); err != nil {
				t.Fatal(err)
			}
			s := await(t, e, "a replica that waits", func(s engine.Status) bool {
				return len(s.Replicas) == 1 && s.Replicas[0].Reason != nil && s.Replicas[0].Reason.Code == codeUnschedulable
			})
			got := s.Replicas[0].Reason
			t.Logf("%s\nwhat to do: %s\nthe scheduler: %s", got.Message, got.Fix, got.Evidence[0].Text)
			for _, want := range tt.want {
				if !strings.Contains(got.Message, want) {
					t.Errorf("%q, want %q in it", got.Message, want)
				}
			}
			if strings.Contains(got.Message, "nodes are available") {
				t.Errorf("%q is the scheduler's, want it in other words", got.Message)
			}
		})
	}
}
