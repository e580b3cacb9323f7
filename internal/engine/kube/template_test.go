package kube

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

func TestTemplateIsOfWhatServesWhereNothingElseKeepsIt(t *testing.T) {
	t.Parallel()
	wanted, good := &workload.Revision{ID: "wanted", PodID: "new", DeploymentID: "d"}, &workload.Revision{ID: "good", PodID: "old", DeploymentID: "d"}
	why := &workload.Reason{Code: "crash_loop"}
	for _, tt := range []struct {
		name    string
		d       engine.Deployment
		runs    *workload.Revision // what the Deployment asks for now
		serving int
		want    *workload.Revision
	}{
		{"nothing else was live", engine.Deployment{Replicas: 2}, nil, 0, wanted},
		{"an update begins", engine.Deployment{Replicas: 2, Serving: good}, good, 2, wanted},
		{"it goes on", engine.Deployment{Replicas: 2, Serving: good}, wanted, 1, wanted},
		{"it has failed beside all that is wanted", engine.Deployment{Replicas: 1, Serving: good, Failed: why}, wanted, 1, wanted},
		{"and more is wanted", engine.Deployment{Replicas: 4, Serving: good, Failed: why}, wanted, 1, good},
		{"which stays when all are there", engine.Deployment{Replicas: 4, Serving: good, Failed: why}, good, 4, good},
		{"it has failed, and what served is gone", engine.Deployment{Replicas: 1, Serving: good, Failed: why}, wanted, 0, good},
		{"a second one after it is tried", engine.Deployment{Replicas: 1, Serving: good}, good, 1, wanted},
		{"at zero", engine.Deployment{Serving: good, Failed: why}, wanted, 0, good},
		{"from zero", engine.Deployment{Replicas: 1, Serving: good, Failed: why}, good, 0, good},
		{"from zero with one that nobody tried", engine.Deployment{Replicas: 1, Serving: good}, good, 0, good},
		{"which is tried as soon as there is something to keep", engine.Deployment{Replicas: 1, Serving: good}, good, 1, wanted},
		{"a trial", engine.Deployment{Serving: good, Trial: true}, good, 0, wanted},
		{"a request during a trial", engine.Deployment{Replicas: 1, Serving: good}, wanted, 0, good},
	} {
		var before *appsv1.Deployment
		if tt.runs != nil {
			before = &appsv1.Deployment{}
			before.Spec.Template = templateOf(PodConfig{}, withPod(tt.runs))
		}
		tt.d.Revision = wanted
		if got := templateRevision(tt.d, before, tt.serving); got != tt.want {
			t.Errorf("%s: templateRevision() = %s, want %s", tt.name, got.ID, tt.want.ID)
		}
	}
}

func withPod(r *workload.Revision) *workload.Revision {
	c := *r
	c.Pod = &workload.Pod{Containers: []workload.Container{{Name: "api", Image: "iris"}}}
	return &c
}

// What is said of the replicas is about the wanted revision, whose template may not be
// applied; a trial is no replica that anybody asked for.
func TestStatusOfADeploymentThatFallsBack(t *testing.T) {
	t.Parallel()
	wanted := withPod(&workload.Revision{Spec: workload.Spec{Name: "iris"}, ID: "wanted", PodID: "new", DeploymentID: "d"})
	good := withPod(&workload.Revision{Spec: workload.Spec{Name: "iris"}, ID: "good", PodID: "old", DeploymentID: "d"})
	back := deploymentOf(PodConfig{}, engine.Deployment{Revision: wanted, Replicas: 1, Serving: good}, good, nil)
	if s := statusOf(observation{name: "iris", deployment: back}).status; s.Revision != "wanted" || s.Desired != 1 || s.Failed != nil {
		t.Errorf("statusOf() = %+v, want one replica of wanted, not failed", s)
	}
	if !fallsBack(back) || fallsBack(deploymentOf(PodConfig{}, engine.Deployment{Revision: wanted}, wanted, nil)) {
		t.Error("fallsBack() does not tell the template of what serves from that of what is wanted")
	}
	trial := deploymentOf(PodConfig{}, engine.Deployment{Revision: wanted, Serving: good, Trial: true}, wanted, nil)
	if s := statusOf(observation{name: "iris", deployment: trial}).status; s.Desired != 0 || *trial.Spec.Replicas != 1 {
		t.Errorf("a trial has %d replicas and asks for %d, want 0 and 1", s.Desired, *trial.Spec.Replicas)
	}
}
