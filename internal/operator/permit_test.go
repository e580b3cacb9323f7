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

// permitBut permits everything but some names, and writes down what it is asked for.
func permitBut(asked *[]string, forbidden ...string) func(context.Context, []workload.Subject) error {
	return func(_ context.Context, all []workload.Subject) error {
		var refused []string
		for _, s := range all {
			*asked = append(*asked, strings.TrimSpace(s.Name+" "+string(s.Kind)))
			if slices.Contains(forbidden, s.Name) {
				refused = append(refused, s.Name)
			}
		}
		if len(refused) > 0 {
			return fault.New(fault.Forbidden, "auth.forbidden", "no %s", strings.Join(refused, ", "))
		}
		return nil
	}
}

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
		{"two forbidden", []string{"a", "split"}, "no a, split"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var asked []string
			w.permit = permitBut(&asked, tt.forbidden...)
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
	w.permit = func(context.Context, []workload.Subject) error {
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

// What is not in the file and is touched all the same is asked for too: targets of
// splitters, and APIs whose endpoint is above a new one.
func TestWhatAFileTouchesIsAskedFor(t *testing.T) {
	t.Parallel()
	below := func(name, endpoint string) string {
		return realtime(name, "  networking: {endpoint: "+endpoint+"}\n")
	}
	for _, tt := range []struct {
		name, file string
		forbidden  string
		beside     []string // that is asked for besides the file
		want       string   // empty: deployed
	}{
		{"a target", splitter("mine", "theirs"), "theirs", []string{"theirs RealtimeAPI"}, "no theirs"},
		{"a target that may be used", splitter("mine", "theirs"), "", []string{"theirs RealtimeAPI"}, ""},
		{"a target of the file", realtime("own", "") + splitter("mine", "own"), "theirs", nil, ""},
		{"a target that is not there", splitter("mine", "nobody"), "nobody", []string{"nobody"}, "no nobody"},
		{"below another", below("mine", "/theirs/v2/x"), "theirs", []string{"theirs RealtimeAPI"}, "no theirs"},
		{"beside another", below("mine", "/theirs-v2"), "theirs", nil, ""},
		{"above another", below("mine", "/deep"), "theirs", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			deploy := func(file string) error {
				_, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: file, Directory: "/srv"})
				return err
			}
			if err := deploy(realtime("theirs", "") + below("other", "/deep/down")); err != nil {
				t.Fatal(err)
			}
			var asked []string
			w.permit = permitBut(&asked, tt.forbidden)
			err := deploy(tt.file)
			if tt.want == "" && err != nil || tt.want != "" && (!fault.Is(err, fault.Forbidden) || fault.From(err).Message != tt.want) {
				t.Errorf("Deploy() = %v, want %q", err, tt.want)
			}
			for _, name := range tt.beside {
				if !slices.Contains(asked, name) {
					t.Errorf("asked for %q, want %q among it", asked, name)
				}
			}
			if tt.beside == nil && slices.ContainsFunc(asked, func(s string) bool { return strings.HasPrefix(s, "theirs") || strings.HasPrefix(s, "other") }) {
				t.Errorf("asked for %q, want only what is in the file", asked)
			}
		})
	}
}

// An earlier version of a splitter may have led where its author may not send requests
// any more.
func TestRollbackAsksForTargets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, file := range []string{realtime("a", "") + realtime("b", "") + splitter("split", "a"), splitter("split", "b")} {
		if _, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: file, Directory: "/srv"}); err != nil {
			t.Fatal(err)
		}
	}
	var asked []string
	w.permit = permitBut(&asked, "a")
	if _, err := w.Rollback(t.Context(), "split", ""); !fault.Is(err, fault.Forbidden) {
		t.Errorf("Rollback() to a target that is forbidden = %v, want a refusal", err)
	}
}

func TestRequireAuth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.oneMachine, w.requireAuth = true, true
	_, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: realtime("iris", "")})
	f := fault.From(err)
	if f.Code != codeAuthNeeded || len(f.Problems) != 1 || f.Problems[0].Line == 0 || f.Problems[0].Hint == "" {
		t.Errorf("Deploy() of an open API = %+v, want it refused with its position and what to do", f)
	}
	closed := realtime("iris", "") + "  networking: {auth: {accept: [keys]}}\n"
	if _, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: closed, DryRun: true}); err != nil {
		t.Errorf("Deploy() of an API that asks who calls = %v", err)
	}
}
