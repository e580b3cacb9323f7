package kube

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

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
		done <- s.PendingJobs(ctx, func(j store.Submission) { told <- j })
		close(done)
	}()
	stop = func() {
		cancel()
		if err, ok := <-done; ok && !errors.Is(err, context.Canceled) {
			t.Errorf("PendingJobs() = %v, want that its context has ended", err)
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

func TestJobsAreToldAndResolvedOnce(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	o := submit(t, s, workload.BatchJob, "before", batchJob)
	list, stop := submitted(t, s)
	j := next(t, list)
	if j.ID != "before" || j.Kind != workload.BatchJob || j.Resource != "batchjobs.cortex.dev/before" || j.Version != string(o.UID) {
		t.Errorf("PendingJobs() told %+v, want the job that was submitted before", j)
	}
	if read, v := workload.ParseSubmission(j.Kind, j.Spec); len(v) > 0 || read.(*workload.BatchSubmission).Workers != 2 {
		t.Errorf("PendingJobs() told the submission %s, %v, want that of the job", j.Spec, v)
	}
	why := fault.New(fault.Unsupported, "resources.kind_not_supported_here", "it cannot run").WithHint("wait")
	if err := s.ResolveJob(within(t), j, why); err != nil {
		t.Fatalf("ResolveJob() = %v", err)
	}
	status, c := acceptedOf(t, s, workload.BatchJob, "before")
	if c.Status != metav1.ConditionFalse || c.Reason != "ResourcesKindNotSupportedHere" || c.Message != "it cannot run (wait)" || c.ObservedGeneration != 1 || status.ObservedGeneration != 1 || status.Status != "" {
		t.Errorf("ResolveJob(refused) wrote %+v, want the fault at generation 1", status)
	}

	submit(t, s, workload.TaskJob, "after", taskJob)
	second := next(t, list)
	if second.ID != "after" || second.Kind != workload.TaskJob {
		t.Errorf("PendingJobs() told %+v, want the task, and nothing of what was resolved", second)
	}
	if err := s.ResolveJob(within(t), second, nil); err != nil {
		t.Fatalf("ResolveJob() = %v", err)
	}
	if status, c := acceptedOf(t, s, workload.TaskJob, "after"); c.Status != metav1.ConditionTrue || status.Status != workload.JobPending {
		t.Errorf("ResolveJob(accepted) wrote %+v, want that it is accepted, and pending", status)
	}
	if j := next(t, list); j.ID != "after" || !j.Accepted || j.Gone {
		t.Errorf("PendingJobs() told %+v, want the task, which is accepted and has not ended", j)
	}

	// Who comes later, as the next leader does, hears of what is not resolved or has not ended.
	stop()
	list, stop = submitted(t, s)
	if j := next(t, list); j.ID != "after" || !j.Accepted {
		t.Errorf("PendingJobs() told the next one %+v, want the task that has not ended", j)
	}
	stop()
	if err := s.ReportJob(within(t), second, workload.JobSucceeded, nil); err != nil {
		t.Fatal(err)
	}
	submit(t, s, workload.TaskJob, "later", taskJob)
	list, _ = submitted(t, s)
	if j := next(t, list); j.ID != "later" || j.Accepted {
		t.Errorf("PendingJobs() told the next one %+v, want later", j)
	}
	if err := s.client.delete(within(t), "taskjobs", "later", &metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if j := next(t, list); j.ID != "later" || !j.Gone {
		t.Errorf("PendingJobs() told %+v, want that later is gone", j)
	}
}

// People and tools read of a job's resource what it is doing, and how it ended.
func TestWhatAJobIsDoingIsReported(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	o := submit(t, s, workload.TaskJob, "a1", taskJob)
	j := store.Submission{ID: "a1", Kind: workload.TaskJob, Version: string(o.UID), Resource: "taskjobs.cortex.dev/a1"}
	for _, tt := range []struct {
		status  workload.JobStatus
		why     *workload.ItemReason
		ready   metav1.ConditionStatus
		message string
		tools   kstatus.Status
	}{
		{workload.JobPending, &workload.ItemReason{Message: "train is not deployed"}, metav1.ConditionFalse, "the job is pending: train is not deployed", kstatus.InProgressStatus},
		{workload.JobRunning, nil, metav1.ConditionFalse, "the job is running", kstatus.InProgressStatus},
		{workload.JobSucceeded, nil, metav1.ConditionTrue, "the job is succeeded", kstatus.CurrentStatus},
		{workload.JobWorkerError, &workload.ItemReason{Message: "exit code 3"}, metav1.ConditionFalse, "the job is worker error: exit code 3", kstatus.FailedStatus},
		{workload.JobStopped, nil, metav1.ConditionFalse, "the job is stopped", kstatus.FailedStatus},
	} {
		if tt.status == workload.JobRunning { // it is not resolved before
			if err := s.ResolveJob(within(t), j, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.ReportJob(within(t), j, tt.status, tt.why); err != nil {
			t.Fatal(err)
		}
		now := read(t, s, workload.Kind(workload.TaskJob), "a1")
		status := jobStatusOf(now)
		c := meta.FindStatusCondition(status.Conditions, crd.Ready)
		if status.Status != tt.status || c == nil || c.Status != tt.ready || c.Message != tt.message {
			t.Errorf("%s: the status is %+v", tt.status, status)
		}
		var plain map[string]any
		text, err := json.Marshal(status)
		if err == nil {
			err = json.Unmarshal(text, &plain)
		}
		if err != nil {
			t.Fatal(err)
		}
		plain["observedGeneration"] = status.ObservedGeneration // which JSON does not tell from a float
		got, err := kstatus.Compute(&unstructured.Unstructured{Object: map[string]any{
			"apiVersion": crd.GroupVersion.String(), "kind": string(workload.TaskJob), "spec": map[string]any{}, "status": plain,
			"metadata": map[string]any{"name": "a1", "namespace": "cortex", "generation": now.Generation},
		}})
		if err != nil || got.Status != tt.tools {
			t.Errorf("%s: tools see %+v, %v, want %s", tt.status, got, err, tt.tools)
		}
	}
}

func TestAJobThatIsGoneIsNotResolved(t *testing.T) {
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
	if err := s.ResolveJob(within(t), gone, nil); err != nil {
		t.Errorf("ResolveJob() of what is gone = %v, want nothing", err)
	}
	submit(t, s, workload.TaskJob, "a1", taskJob)
	if err := s.ResolveJob(within(t), gone, nil); err != nil {
		t.Errorf("ResolveJob() of what is gone = %v, want nothing", err)
	}
	if status, _ := acceptedOf(t, s, workload.TaskJob, "a1"); status.ObservedGeneration != crd.Unobserved {
		t.Errorf("ResolveJob() of what is gone wrote %+v into another job of its name", status)
	}
	if first := next(t, list); first.Version != gone.Version || !first.Gone {
		t.Errorf("PendingJobs() told %+v, want that the first job is gone", first)
	}
	if again := next(t, list); again.Version == gone.Version || again.Gone {
		t.Errorf("PendingJobs() told %+v, want the second job of the name", again)
	}
}

// Whatever cannot be followed, such as a kind whose definition is older than this
// program or a right that is missing, keeps nothing else from being heard, and is
// said once.
func TestJobsOfOneKindAreHeardWithoutTheOther(t *testing.T) {
	t.Parallel()
	r := cluster(t)
	admin, err := kubernetes.NewForConfig(r)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t, r)
	name := metav1.ObjectMeta{Name: "older", Namespace: cfg.Namespace}
	role := &rbac.Role{ObjectMeta: name, Rules: []rbac.PolicyRule{{
		APIGroups: []string{crd.Group}, Verbs: []string{"get", "list", "watch"},
		Resources: []string{"realtimeapis", "asyncapis", "batchapis", "taskapis", "trafficsplitters", "taskjobs"},
	}}}
	if _, err := admin.RbacV1().Roles(cfg.Namespace).Create(within(t), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.RbacV1().RoleBindings(cfg.Namespace).Create(within(t), &rbac.RoleBinding{
		ObjectMeta: name, RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: "older"},
		Subjects: []rbac.Subject{{Kind: rbac.UserKind, APIGroup: rbac.GroupName, Name: "older-of-" + cfg.Namespace}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s := open(t, cfg)
	submit(t, s, workload.BatchJob, "unheard", batchJob)
	submit(t, s, workload.TaskJob, "heard", taskJob)
	cfg.REST = rest.CopyConfig(r)
	cfg.REST.Impersonate = rest.ImpersonationConfig{UserName: "older-of-" + cfg.Namespace}
	said := make(chan string, 10)
	cfg.Log = slog.New(saying(said))
	older := openWhenPermitted(t, cfg)
	for len(said) > 0 {
		<-said // of the time before the rights came
	}
	list, _ := submitted(t, older)
	if j := next(t, list); j.ID != "heard" {
		t.Errorf("PendingJobs() told %+v, want the task", j)
	}
	if text := next(t, said); text != "store: cannot follow what is deployed batchjobs" {
		t.Errorf("the log says %q, want that batchjobs cannot be followed", text)
	}
}

// saying is a log that tells the message of each record, and its resource.
type saying chan<- string

func (s saying) Enabled(context.Context, slog.Level) bool { return true }
func (s saying) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s saying) WithGroup(string) slog.Handler            { return s }

func (s saying) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "resource" {
			text += " " + a.Value.String()
		}
		return true
	})
	select {
	case s <- text:
	default:
	}
	return nil
}
