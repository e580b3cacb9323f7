package cli

import (
	"strings"
	"testing"

	"cortex.dev/cortex/internal/capacity"
	"cortex.dev/cortex/internal/manifest"
)

func TestWhatThisMachineDoesNotHaveIsSaid(t *testing.T) {
	t.Parallel()
	const gi = 1 << 30
	machine := capacity.Amount{CPU: 4000, Mem: 16 * gi, GPU: 1}
	for _, tt := range []struct {
		name, compute string
		has           capacity.Amount
		want          []string // in the warning; none: there is none
	}{
		{"what it has", "{cpu: 4, mem: 16Gi, gpu: 1}", machine, nil},
		{"nothing", "{cpu: null}", machine, nil},
		{"GPUs", "{gpu: 8}", machine, []string{"asks for", "8 gpu", "has", "1 gpu"}},
		{"cores", "{cpu: 500}", machine, []string{"500"}},
		{"memory", "{mem: 4Ti}", machine, []string{"16Gi"}},
		{"memory of a machine that does not say", "{mem: 4Ti}", capacity.Amount{CPU: 4000}, nil},
	} {
		text := "- name: iris\n  kind: RealtimeAPI\n  pod: {containers: [{name: api, command: [./server], compute: " + tt.compute + "}]}\n"
		file, err := manifest.Parse("cortex.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got := beyondMachine(file, tt.has)
		if len(got) > 0 != (tt.want != nil) {
			t.Errorf("%s: beyondMachine() = %v", tt.name, got)
			continue
		}
		for _, want := range tt.want {
			if text := got[0].String(); !strings.Contains(text, want) || got[0].Line != 3 {
				t.Errorf("%s: beyondMachine() = %s, want line 3 and %q in it", tt.name, text, want)
			}
		}
	}
	if has := thisMachine(); has.CPU < 1000 || has.Mem < 1<<20 {
		t.Errorf("thisMachine() = %+v, want cores and memory", has)
	}
}
