package operatord

import (
	"strings"
	"testing"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// The nodes of the cluster reach who deploys: what none of them could hold is
// refused, and nothing of it is kept.
func TestWhatNoNodeCouldHold(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	client := p.alice(p.leader("operator-a"))
	huge := strings.Replace(idle, `"image":`, `"compute": {"cpu": 100000}, "image":`, 1)
	if huge == idle {
		t.Fatal("the API of the test asks for nothing else")
	}
	for _, tt := range []struct{ name, config, code string }{
		{"too large", huge, workload.CodeNoCapacity},
		{"no such group", strings.Replace(idle, `"pod":`, `"node_groups": ["there-is-none"], "pod":`, 1), workload.CodeNoNodeGroup},
	} {
		_, err := client.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: tt.config})
		f := fault.From(err)
		if !fault.Is(err, fault.Invalid) || f.Code != tt.code || len(f.Problems) != 1 || f.Problems[0].Hint == "" {
			t.Errorf("Deploy() of %s = %+v, want %s with what to do", tt.name, f, tt.code)
		}
	}
	if list, err := client.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List() = %+v, %v, want nothing deployed", list, err)
	}
}
