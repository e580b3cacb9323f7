package kube

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

var updateStatus = flag.Bool("update-status", false, "write the statuses in testdata/status anew")

// noon is the moment at which the observations of testdata/status are made.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// observed reads an observation: objects as the API server shows them, and what
// was read of logs.
func observed(t *testing.T, path string) observation {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	o := observation{name: "iris", now: noon, deadline: 10 * time.Minute, logs: map[run][]string{}, warnings: map[types.UID][]warning{}}
	read := func(doc []byte, into any) {
		t.Helper()
		if err := yaml.UnmarshalStrict(doc, into); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	for doc := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		switch kind.Kind {
		case "Deployment":
			o.deployment = &appsv1.Deployment{}
			read(doc, o.deployment)
			o.deployment = trimDeployment(o.deployment)
		case "Pod":
			pod := &corev1.Pod{}
			read(doc, pod)
			o.pods = append(o.pods, trimPod(pod))
		case "Event":
			ev := &corev1.Event{}
			read(doc, ev)
			ev = trimEvent(ev)
			uid := ev.InvolvedObject.UID
			o.warnings[uid] = append([]warning{warningOf(ev)}, o.warnings[uid]...)
		case "Lines":
			var l struct {
				Kind, Container, Run string
				Pod                  types.UID
				Lines                []string
			}
			read(doc, &l)
			o.logs[run{l.Pod, l.Container, l.Run}] = l.Lines
		default:
			t.Fatalf("%s: what is a %q", path, kind.Kind)
		}
	}
	return o
}

func TestStatusOf(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/status/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no observations: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			t.Parallel()
			o := observed(t, path)
			p := statusOf(o)
			got, err := json.MarshalIndent(struct {
				Status any
				Next   string `json:",omitempty"`
			}{p.status, after(p.next)}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(path, ".yaml") + ".golden.json"
			if *updateStatus {
				if err := os.WriteFile(golden, append(got, '\n'), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
				t.Errorf("statusOf(%s): -want +got\n%s", path, diff)
			}
			if len(p.sights) != len(p.status.Replicas) {
				t.Errorf("statusOf(%s) = %d sights, want one of each of %d replicas", path, len(p.sights), len(p.status.Replicas))
			}
		})
	}
}

// after says in how long something is.
func after(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Sub(noon).String()
}
