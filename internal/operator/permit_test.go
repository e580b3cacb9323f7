package operator

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// A file is permitted whole or not at all: every API of it is asked for, before
// anything of it is checked against what is deployed or applied.
func TestEveryAPIOfAFileIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		forbidden []string
		want      string // of the message; empty: deployed
	}{
		{"all permitted", nil, ""},
		{"one forbidden", []string{"b"}, "no b"},
		{"two forbidden", []string{"a", "split"}, "no a\nno split"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var asked []string
			w.permit = func(_ context.Context, name string, kind workload.Kind) error {
				asked = append(asked, name+" "+string(kind))
				if slices.Contains(tt.forbidden, name) {
					return fault.New(fault.Forbidden, "auth.forbidden", "no %s", name)
				}
				return nil
			}
			file := realtime("a", "") + realtime("b", "") + splitter("split", "a")
			_, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: file, Directory: "/srv"})
			if diff := cmp.Diff([]string{"a RealtimeAPI", "b RealtimeAPI", "split TrafficSplitter"}, asked); diff != "" {
				t.Errorf("asked for (-want +got):\n%s", diff)
			}
			deployed, listErr := w.store.List(t.Context())
			if listErr != nil {
				t.Fatal(listErr)
			}
			if tt.want == "" {
				if err != nil || len(deployed) != 3 {
					t.Errorf("Deploy() = %v with %d deployed, want all three", err, len(deployed))
				}
				return
			}
			if !fault.Is(err, fault.Forbidden) || fault.From(err).Message != tt.want || len(deployed) != 0 {
				t.Errorf("Deploy() = %v with %d deployed, want %q and none", err, len(deployed), tt.want)
			}
		})
	}
}

// Whether it exists is told to those only who may deploy it.
func TestPermissionComesBeforeWhatIsDeployed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(realtime("iris", ""))
	w.permit = func(context.Context, string, workload.Kind) error {
		return fault.New(fault.Forbidden, "auth.forbidden", "no")
	}
	_, err := w.Deploy(t.Context(), workload.DeployRequest{Config: splitter("iris", "gone"), DryRun: true})
	if !fault.Is(err, fault.Forbidden) {
		t.Errorf("Deploy() of another kind = %v, want that it is forbidden and nothing else", err)
	}
}

func TestWhatOnlyKubernetesHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	config := strings.Replace(realtime("iris", ""), "command: [./serve]", "command: [./serve]\n        env_from: [{name: TOKEN, secret: s, key: k}]", 1)
	if _, err := w.Deploy(t.Context(), workload.DeployRequest{Config: config, DryRun: true}); err != nil {
		t.Fatalf("Deploy() = %v on Kubernetes", err)
	}
	w.oneMachine = true
	_, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: config})
	f := fault.From(err)
	if f.Code != workload.CodeNotOnOneMachine || len(f.Problems) != 1 || f.Problems[0].Line == 0 || f.Problems[0].Hint == "" {
		t.Errorf("Deploy() of a variable from a secret = %+v, want it refused with its position and what to do", f)
	}
}

func TestImagesOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.images = true
	_, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: realtime("iris", "")})
	f := fault.From(err)
	if f.Code != codeImageNeeded || len(f.Problems) != 1 || f.Problems[0].Line == 0 || !strings.Contains(f.Message, "container api has no image") {
		t.Errorf("Deploy() of a process = %+v, want that it takes an image, with its position", f)
	}
	image := strings.Replace(realtime("iris", ""), "command: [./serve]", "image: serve:1", 1)
	if _, err := w.Deploy(t.Context(), workload.DeployRequest{Config: image}); err != nil {
		t.Errorf("Deploy() of an image = %v", err)
	}
}
