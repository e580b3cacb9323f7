package operator

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

func TestAPIOfAJob(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		kind          workload.JobKind
		spec          string
		api           string
		code, message string
	}{
		{name: "a batch", kind: workload.BatchJob, spec: `{"api_name": "resize", "workers": 1, "item_list": {"items": [1], "batch_size": 1}}`, api: "resize"},
		{name: "a task", kind: workload.TaskJob, spec: `{"api_name": "train"}`, api: "train"},
		{
			name: "against some rules", kind: workload.TaskJob, spec: `{"api_name": "train", "workers": 2, "timeout": 0}`, code: "configreader.disallowed_value",
			message: "spec.workers: must be 1: a task has one worker; found 2; allowed: 1 (submit a job for each)\nspec.timeout: must be at least 1; found 0; allowed: 1 or more",
		},
		{
			name: "without items", kind: workload.BatchJob, spec: `{"api_name": "resize", "workers": 1}`, code: "job.specify_exactly_one_key",
			message: "spec: exactly one of item_list, file_path_lister or delimited_files must be specified (say where the items are)",
		},
	} {
		api, err := apiOfJob(store.Submission{ID: "a1", Kind: tt.kind, Spec: []byte(tt.spec)})
		if api != tt.api || fault.Code(err) != tt.code || err != nil && (err.Error() != tt.message || !fault.Is(err, fault.Invalid)) {
			t.Errorf("%s: apiOfJob() = %q, %v; want %q, %s: %s", tt.name, api, err, tt.api, tt.code, tt.message)
		}
	}
}

// desk is a store in which others submit jobs.
type desk struct {
	*bolt.Store
	told chan store.Submission
	// What happens before a verdict is kept.
	resolving func(store.Submission)

	mu       sync.Mutex
	failures map[string]int // by mark: of verdicts to come
	verdicts map[string]error
	count    int
	reports  map[string][]string // by resource and version: statuses
}

var _ store.JobSource = (*desk)(nil)

func (d *desk) PendingJobs(ctx context.Context, fn func(store.Submission)) error {
	for {
		select {
		case s := <-d.told:
			fn(s)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *desk) ResolveJob(_ context.Context, s store.Submission, err error) error {
	d.resolving(s)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failures[s.Version] > 0 {
		d.failures[s.Version]--
		return errors.New("not now")
	}
	d.verdicts[s.Resource+" "+s.Version] = err
	d.count++
	return nil
}

func (d *desk) ReportJob(_ context.Context, s store.Submission, status workload.JobStatus, why *workload.ItemReason) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := string(status)
	if why != nil {
		text += ": " + why.Code
	}
	if d.reports == nil {
		d.reports = map[string][]string{}
	}
	d.reports[s.Resource+" "+s.Version] = append(d.reports[s.Resource+" "+s.Version], text)
	return nil
}

// A resource is a job of its name: it waits for its API, says what it is doing, and stops
// when it is taken back. A name is of one job.
func TestJobsOfResources(t *testing.T) {
	t.Parallel()
	w := jobWorld(t)
	d := &desk{Store: w.store, told: make(chan store.Submission), failures: map[string]int{}, verdicts: map[string]error{}, resolving: func(store.Submission) {}}
	runs := w.runJobs
	w.Operator = operatorWith(t, Config{Store: d, Jobs: d, Engine: w.feed, RunJobs: runs})
	w.run()
	tell := func(s store.Submission) {
		t.Helper()
		select {
		case d.told <- s:
		case <-time.After(time.Minute):
			t.Fatal("nobody follows the jobs")
		}
	}
	reported := func(s store.Submission, want ...string) {
		t.Helper()
		eventually(t, s.Resource+" is "+want[len(want)-1], func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return slices.Equal(d.reports[s.Resource+" "+s.Version], want)
		})
	}
	first := store.Submission{ID: "a1", Kind: workload.TaskJob, Spec: []byte(`{"api_name": "train"}`), Resource: "taskjobs.cortex.dev/a1", Version: "1", Created: time.Now()}
	tell(first)
	reported(first, "pending: resources.api_not_deployed")
	if _, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: train}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the job is submitted", func() bool {
		job, _, err := runs.Get(t.Context(), "train", "a1")
		return err == nil && job.Status == workload.JobPending
	})
	if err := runs.Stop(t.Context(), "train", "a1"); err != nil {
		t.Fatal(err)
	}
	reported(first, "pending: resources.api_not_deployed", "stopped: stopped")
	d.mu.Lock()
	if err, ok := d.verdicts[first.Resource+" 1"]; !ok || err != nil || d.count != 1 {
		t.Errorf("%d verdicts, %v; want that it is accepted", d.count, err)
	}
	d.mu.Unlock()

	// Another resource of that name, much later, is not that job.
	again := first
	again.Version, again.Created = "2", time.Now().Add(time.Hour)
	tell(again)
	eventually(t, "the name is taken", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return fault.Code(d.verdicts[again.Resource+" 2"]) == codeJobTaken
	})

	second := store.Submission{ID: "a2", Kind: workload.TaskJob, Spec: first.Spec, Resource: "taskjobs.cortex.dev/a2", Version: "3", Created: time.Now()}
	tell(second)
	reported(second, "pending")
	second.Accepted, second.Gone = true, true
	tell(second)
	eventually(t, "it is stopped", func() bool {
		job, _, err := runs.Get(t.Context(), "train", "a2")
		return err == nil && job.Status == workload.JobStopped
	})
}

func TestJobsAreResolvedOnceAndTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := store.Submission{ID: "a1", Kind: workload.TaskJob, Spec: []byte(`{"api_name": "train"}`), Resource: "taskjobs.cortex.dev/a1", Version: "1"}
	second := first // of the same name, when the first is gone
	second.Version = "2"
	bad := store.Submission{ID: "b1", Kind: workload.BatchJob, Spec: []byte(`{}`), Resource: "batchjobs.cortex.dev/b1", Version: "3"}
	d := &desk{Store: w.store, told: make(chan store.Submission), failures: map[string]int{bad.Version: 2}, verdicts: map[string]error{}}
	overtaken := sync.OnceFunc(func() {
		d.told <- second
		d.told <- bad // taken only when the second was heard
	})
	d.resolving = func(s store.Submission) {
		if s.Version == first.Version {
			overtaken()
		}
	}
	w.Operator = operatorWith(t, Config{Store: d, Jobs: d, Engine: w.feed})
	w.run()
	select {
	case d.told <- first:
	case <-time.After(time.Minute):
		t.Fatal("nobody follows the jobs")
	}
	for _, want := range []struct {
		job  store.Submission
		code string
	}{{second, codeKindNotRunning}, {bad, workload.CodeMustBeDefined}} {
		eventually(t, want.job.Resource+" is resolved", func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return fault.Code(d.verdicts[want.job.Resource+" "+want.job.Version]) == want.code
		})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count > 3 {
		t.Errorf("%d verdicts were kept, want at most one for each of 3 jobs", d.count)
	}
}
