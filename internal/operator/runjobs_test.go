package operator

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/jobs"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

// idle is a runner where nothing is ever run: the jobs of these tests wait for their turn.
type idle struct{}

func (idle) StartRun(context.Context, engine.Run) (engine.Running, error) {
	return nil, errors.New("nothing runs here")
}

func (idle) RunLogs(context.Context, string, workload.LogQuery, func(workload.LogLine) error) error {
	return nil
}

func (idle) ForgetRuns(context.Context, string) {}

func (idle) Runs(context.Context) ([]engine.RunName, error) { return nil, nil }

func (idle) EndRun(context.Context, engine.RunName) error { return nil }

// jobWorld is an operator with who runs jobs, who never begins one.
func jobWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	records, err := bolt.OpenKeyed(t.Context(), bolt.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = records.Close() }) // what was written is on the disk
	if w.runJobs, err = jobs.Open(t.Context(), jobs.Config{Records: records, Files: jobs.Folder(filepath.Join(t.TempDir(), "jobs")), Runner: idle{}, Deployed: w.store}); err != nil {
		t.Fatal(err)
	}
	return w
}

const train = `
- name: train
  kind: TaskAPI
  pod: {containers: [{name: api, command: [train]}]}
`

// A TaskAPI is deployed and runs nothing; its jobs are submitted, seen and stopped.
func TestJobs(t *testing.T) {
	t.Parallel()
	w := jobWorld(t)
	if _, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: train + realtime("iris", "")}); err != nil {
		t.Fatal(err)
	}
	submitted, err := w.SubmitJob(t.Context(), "train", workload.JobRequest{Job: []byte(`{"config": {"epochs": 2}}`)})
	if err != nil || submitted.Job == nil || submitted.Job.Status != workload.JobPending || submitted.Job.Kind != workload.Task {
		t.Fatalf("SubmitJob() = %+v, %v", submitted, err)
	}
	id := submitted.Job.JobID
	if list, err := w.Jobs(t.Context(), workload.JobQuery{API: "train"}); err != nil || len(list) != 1 || list[0].JobID != id {
		t.Errorf("Jobs() = %+v, %v, want the one", list, err)
	}
	if r, err := w.Job(t.Context(), "train", id); err != nil || r.JobStatus.Config["epochs"] != 2.0 || r.APISpec == nil || !strings.HasSuffix(r.Endpoint, "/train?jobID="+id) {
		t.Errorf("Job() = %+v, %v", r, err)
	}
	if api, err := w.Get(t.Context(), "train"); err != nil || len(api.TaskJobStatuses) != 1 || api.Status != nil {
		t.Errorf("Get() = %+v, %v, want the job", api, err)
	}
	if list, err := w.List(t.Context()); err != nil || len(list) != 2 || len(list[0].TaskJobStatuses) != 1 || list[1].TaskJobStatuses != nil {
		t.Errorf("List() = %+v, %v, want the job with its API", list, err)
	}
	if e, err := w.Explain(t.Context(), "train"); err != nil || !e.Healthy || e.Summary != "train has 1 job in progress" || !strings.Contains(e.Steps[1].Detail, id+" is pending") {
		t.Errorf("Explain() = %+v, %v, want the job", e, err)
	}
	nothing := func(workload.LogLine) error { return nil }
	if err := w.Logs(t.Context(), workload.LogQuery{Name: "train"}, nothing); fault.Code(err) != "endpoints.logs_job_id_required" {
		t.Errorf("Logs() of no job = %v", err)
	}
	if err := w.Logs(t.Context(), workload.LogQuery{Name: "train", Job: id}, nothing); err != nil {
		t.Errorf("Logs() = %v", err)
	}
	if _, err := w.StopJob(t.Context(), "train", id); err != nil {
		t.Errorf("StopJob() = %v", err)
	}
	if _, err := w.StopJob(t.Context(), "train", id); fault.Code(err) != jobs.CodeEnded {
		t.Errorf("StopJob() again = %v, want %s", err, jobs.CodeEnded)
	}
	if e, err := w.Explain(t.Context(), "train"); err != nil || !strings.Contains(e.Summary, "ended as stopped") {
		t.Errorf("Explain() = %+v, %v, want how the latest ended", e, err)
	}
	for what, err := range map[string]error{
		"SubmitJob": second(w.SubmitJob(t.Context(), "iris", workload.JobRequest{})), "Jobs": second(w.Jobs(t.Context(), workload.JobQuery{API: "iris"})),
		"Job": second(w.Job(t.Context(), "iris", id)), "StopJob": second(w.StopJob(t.Context(), "iris", id)), "RetryJob": second(w.RetryJob(t.Context(), "iris", id, false)),
		"Logs": w.Logs(t.Context(), workload.LogQuery{Name: "iris", Job: id}, nothing),
	} {
		if fault.Code(err) != "resources.operation_is_only_supported_for_kind" {
			t.Errorf("%s() of a RealtimeAPI = %v, want it refused", what, err)
		}
	}
}

// What keeps a worker from starting is the cause.
func TestExplainAJobThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	w := jobWorld(t)
	if _, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: train}); err != nil {
		t.Fatal(err)
	}
	record, err := w.store.Get(t.Context(), "train")
	if err != nil {
		t.Fatal(err)
	}
	e := explainJobs(record, []workload.Job{
		{JobID: "2", Status: workload.JobRunning, Reason: &workload.ItemReason{Code: "image_pull", Message: "its image cannot be pulled"}, WorkerCounts: &workload.WorkerCounts{Creating: 2}},
		{JobID: "1", Status: workload.JobRunning, WorkerCounts: &workload.WorkerCounts{Ready: 1}, Progress: &workload.JobProgress{Total: 10, Succeeded: 4, Failed: 1, Estimate: "5s"}},
		{JobID: "0", Status: workload.JobSucceeded},
	}, "http://localhost:8888/train", w.now())
	if e.Healthy || e.Cause == nil || e.Cause.Code != "image_pull" || e.Summary != "job 2: its image cannot be pulled" || len(e.Steps) != 4 {
		t.Errorf("explainJobs() = %+v, want the image as the cause", e)
	}
	if want := "job 1 is running, 1 of 1 worker ready; 5 of 10 batches ended, 1 failed; the rest takes about 5s"; e.Steps[2].Detail != want {
		t.Errorf("a step is %q, want %q", e.Steps[2].Detail, want)
	}
}
