package kube

import (
	"context"
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// submitted follows the jobs until the test ends, or the returned function is called.
func submitted(t *testing.T, s *Store) (list <-chan store.Submission, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan store.Submission, 10), make(chan error, 1)
	go func() {
		done <- s.Submitted(ctx, func(j store.Submission) { told <- j })
		close(done)
	}()
	stop = func() {
		cancel()
		if err, ok := <-done; ok && !errors.Is(err, context.Canceled) {
			t.Errorf("Submitted() = %v, want that its context has ended", err)
		}
	}
	t.Cleanup(stop)
	return told, stop
}

const (
	batchJob = `{"api_name":"resize","workers":2,"item_list":{"items":["a",{"b":[null,1.5]}],"batch_size":1}}`
	taskJob  = `{"api_name":"train"}`
)

func submit(t *testing.T, s *Store, kind workload.JobKind, id, spec string) *object {
	t.Helper()
	return apply(t, s, workload.Kind(kind), id, spec)
}

func acceptedOf(t *testing.T, s *Store, kind workload.JobKind, id string) (crd.JobStatus, metav1.Condition) {
	t.Helper()
	status := jobStatusOf(read(t, s, workload.Kind(kind), id))
	c := meta.FindStatusCondition(status.Conditions, crd.Accepted)
	if c == nil {
		return status, metav1.Condition{}
	}
	return status, *c
}

func TestJobsAreToldAndJudgedOnce(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	o := submit(t, s, workload.BatchJob, "before", batchJob)
	list, stop := submitted(t, s)
	j := next(t, list)
	if j.ID != "before" || j.Kind != workload.BatchJob || j.Source != "batchjobs.cortex.dev/before" || j.Mark != string(o.UID) {
		t.Errorf("Submitted() told %+v, want the job that was submitted before", j)
	}
	if read, v := workload.ParseSubmission(j.Kind, j.Spec); len(v) > 0 || read.(*workload.BatchSubmission).Workers != 2 {
		t.Errorf("Submitted() told the submission %s, %v, want that of the job", j.Spec, v)
	}
	why := fault.New(fault.Unsupported, "resources.kind_not_supported_here", "it cannot run").WithHint("wait")
	if err := s.JudgedJob(within(t), j, why); err != nil {
		t.Fatalf("JudgedJob() = %v", err)
	}
	status, c := acceptedOf(t, s, workload.BatchJob, "before")
	if c.Status != metav1.ConditionFalse || c.Reason != "ResourcesKindNotSupportedHere" || c.Message != "it cannot run (wait)" || c.ObservedGeneration != 1 || status.ObservedGeneration != 1 || status.Status != "" {
		t.Errorf("JudgedJob(refused) wrote %+v, want the fault at generation 1", status)
	}

	submit(t, s, workload.TaskJob, "after", taskJob)
	second := next(t, list)
	if second.ID != "after" || second.Kind != workload.TaskJob {
		t.Errorf("Submitted() told %+v, want the task, and nothing of what was judged", second)
	}
	if err := s.JudgedJob(within(t), second, nil); err != nil {
		t.Fatalf("JudgedJob() = %v", err)
	}
	if _, c := acceptedOf(t, s, workload.TaskJob, "after"); c.Status != metav1.ConditionTrue {
		t.Errorf("JudgedJob(accepted) wrote %+v, want that it is accepted", c)
	}

	// Who comes later, as the next leader does, hears only of what nobody judged.
	stop()
	submit(t, s, workload.TaskJob, "later", taskJob)
	list, _ = submitted(t, s)
	if j := next(t, list); j.ID != "later" {
		t.Errorf("Submitted() told the next one %+v, want later", j)
	}
}

func TestAJobThatIsGoneIsNotJudged(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	submit(t, s, workload.TaskJob, "a1", taskJob)
	list, _ := submitted(t, s)
	gone := next(t, list)
	remove := func() {
		t.Helper()
		if err := s.client.delete(within(t), "taskjobs", "a1", &metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	remove()
	if err := s.JudgedJob(within(t), gone, nil); err != nil {
		t.Errorf("JudgedJob() of what is gone = %v, want nothing", err)
	}
	submit(t, s, workload.TaskJob, "a1", taskJob)
	if err := s.JudgedJob(within(t), gone, nil); err != nil {
		t.Errorf("JudgedJob() of what is gone = %v, want nothing", err)
	}
	if status, _ := acceptedOf(t, s, workload.TaskJob, "a1"); status.ObservedGeneration != 0 {
		t.Errorf("JudgedJob() of what is gone wrote %+v into another job of its name", status)
	}
	if again := next(t, list); again.Mark == gone.Mark {
		t.Errorf("Submitted() told %+v, want the second job of the name", again)
	}
}
