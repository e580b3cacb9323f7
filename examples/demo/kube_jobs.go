package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// How many batches the job on Kubernetes has, and how long each takes.
const (
	kubeBatches   = 120
	kubeBatchTake = "100ms"
)

// jobsOutliveOperators runs a task and a job of batches, kills every operator in the middle
// of both, and shows that neither begins again.
func (d *kubeDemo) jobsOutliveOperators(ctx context.Context) error {
	d.title("A BatchAPI and a TaskAPI: workers outlive the operator that began them")
	image := strings.Replace(d.IrisImage, "example-iris", "example-jobs", 1)
	text := fmt.Sprintf(`- name: classify
  kind: BatchAPI
  pod: {containers: [{name: api, image: %q, command: [/app/bin/worker, serve], env: {MODEL: /app/iris/model-v2.json}}]}
- name: train
  kind: TaskAPI
  pod: {containers: [{name: api, image: %q, command: [/app/bin/worker, train], env: {DATA: /app/iris/iris.csv}}]}
`, image, image)
	path := filepath.Join(d.home, "jobs.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	if err := d.show(ctx, cortexBin, "deploy", path); err != nil {
		return err
	}
	flower := `{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2, "take": "` + kubeBatchTake + `"}`
	job := filepath.Join(d.home, "batch.json")
	if err := os.WriteFile(job, []byte(`{"workers": 2, "item_list": {"batch_size": 1, "items": [`+strings.TrimSuffix(strings.Repeat(flower+",", kubeBatches), ",")+`]}}`), 0o600); err != nil {
		return err
	}
	d.say("A job of %d batches for two workers, each of which takes %s.", kubeBatches, kubeBatchTake)
	if err := d.show(ctx, cortexBin, "submit", "classify", job); err != nil {
		return err
	}
	if _, err := d.jobWhen(ctx, func(j kubeJob) bool { return j.Progress.Succeeded > 0 }); err != nil {
		return err
	}
	d.say("Its first batches have ended; killing every operator.")
	if err := d.kubectl(ctx, "delete", "pods", "--namespace", "cortex", "--selector", "app.kubernetes.io/name=operator", "--grace-period", "0", "--force"); err != nil {
		return err
	}
	ended, err := d.jobWhen(ctx, func(j kubeJob) bool { return j.Status != "pending" && j.Status != "enqueuing" && j.Status != "running" })
	if err != nil {
		return err
	}
	if ended.Status != "succeeded" || ended.Progress.Succeeded != kubeBatches {
		return fmt.Errorf("the job is %s with %d of %d batches", ended.Status, ended.Progress.Succeeded, kubeBatches)
	}
	if err := d.show(ctx, cortexBin, "get", "classify", ended.ID); err != nil {
		return err
	}
	d.say("And a task, which leaves a result.")
	return d.show(ctx, cortexBin, "submit", "train", "--wait")
}

// kubeJob is what this demo looks at of a job.
type kubeJob struct {
	ID       string `json:"job_id"`
	Status   string
	Progress struct{ Succeeded int }
}

// jobWhen returns the latest job of classify when it is as it is to be, whether there is an
// operator to ask or not.
func (d *kubeDemo) jobWhen(ctx context.Context, ok func(kubeJob) bool) (kubeJob, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var list []kubeJob
	for {
		out, err := d.output(ctx, cortexBin, "jobs", "classify", "-o", "json")
		if err == nil {
			err = json.Unmarshal([]byte(out), &list)
		}
		if err == nil && len(list) > 0 && ok(list[0]) {
			return list[0], nil
		}
		select {
		case <-ctx.Done():
			return kubeJob{}, fmt.Errorf("the job of classify is not as it was to be after two minutes: %+v (%w)", list, err)
		case <-time.After(300 * time.Millisecond):
		}
	}
}
