package operator

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

func TestWhyAJobDoesNotRun(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		kind          workload.JobKind
		spec          string
		code, message string
		fault         fault.Kind
	}{
		{
			"a good one of a batch", workload.BatchJob, `{"api_name": "resize", "workers": 1, "item_list": {"items": [1], "batch_size": 1}}`,
			"resources.kind_not_supported_here", "jobs of a BatchAPI cannot run in this environment yet", fault.Unsupported,
		},
		{
			"a good one of a task", workload.TaskJob, `{"api_name": "train"}`,
			"resources.kind_not_supported_here", "jobs of a TaskAPI cannot run in this environment yet", fault.Unsupported,
		},
		{
			"against some rules", workload.TaskJob, `{"api_name": "train", "workers": 2, "timeout": 0}`, "configreader.disallowed_value",
			"spec.workers: must be 1: a task has one worker; found 2; allowed: 1 (submit a job for each)\nspec.timeout: must be at least 1; found 0; allowed: 1 or more",
			fault.Invalid,
		},
		{
			"without items", workload.BatchJob, `{"api_name": "resize", "workers": 1}`, "job.specify_exactly_one_key",
			"spec: exactly one of item_list, file_path_lister or delimited_files must be specified (say where the items are)", fault.Invalid,
		},
	} {
		err := fault.From(jobRefusal(store.Submission{ID: "a1", Kind: tt.kind, Spec: []byte(tt.spec)}))
		if err == nil || err.Code != tt.code || err.Message != tt.message || err.Kind != tt.fault {
			t.Errorf("%s: jobRefusal() = %+v, want %s %s: %s", tt.name, err, tt.fault, tt.code, tt.message)
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
