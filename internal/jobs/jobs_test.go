package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine/local"
	"cortex.dev/cortex/internal/engine/process"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

const patience = 60 * time.Second

// The test program is a worker, or a daemon that is killed, where its arguments say so.
func TestMain(m *testing.M) {
	switch {
	case process.ReaperMain(os.Args[1:]):
		return
	case len(os.Args) > 2 && os.Args[1] == "task":
		os.Exit(task(os.Args[2]))
	case len(os.Args) > 1 && os.Args[1] == "batch":
		os.Exit(batch())
	case len(os.Args) > 3 && os.Args[1] == "edge":
		if err := edgeLife(os.Args[2], os.Args[3]); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	case len(os.Args) > 2 && os.Args[1] == "daemon":
		fmt.Println("error", daemon(os.Args[2]))
		os.Exit(1)
	default:
		os.Exit(m.Run())
	}
}

// task is the worker of a task.
func task(mode string) int {
	fmt.Println("attempt", os.Getenv("CORTEX_ATTEMPT"))
	switch mode {
	case "ok":
		text, err := os.ReadFile(os.Getenv("CORTEX_JOB_SPEC"))
		var job workload.Job
		if err == nil {
			err = json.Unmarshal(text, &job)
		}
		if err == nil {
			err = os.WriteFile(os.Getenv("CORTEX_RESULT"), []byte(fmt.Sprintf(`{"of": %q, "rate": %v}`, job.JobID, job.Config["rate"])), 0o600)
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
	case "large":
		_ = os.WriteFile(os.Getenv("CORTEX_RESULT"), make([]byte, workload.MaxInlineResult+1), 0o600)
	case "wait":
		if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
			_, _ = l.Accept() // nobody comes
		}
	default:
		code, _ := strconv.Atoi(mode)
		return code
	}
	return 0
}

// batch is a worker of a job of batches: the sum of a batch is its answer. A batch with -1
// fails, one with -2 ends the worker.
func batch() int {
	log := func(name, text string) {
		f, err := os.OpenFile(filepath.Join(os.Getenv("LOG"), name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			_, _ = io.WriteString(f, text+"\n")
			_ = f.Close()
		}
	}
	err := http.ListenAndServe("127.0.0.1:"+os.Getenv("CORTEX_PORT"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // a test
		if r.URL.Path == "/on-job-complete" {
			log("complete", r.Header.Get("X-Cortex-Job-ID"))
			return
		}
		if r.URL.Path == "/v1/chat/completions" {
			chat(w, r)
			return
		}
		var items []int
		if err := json.NewDecoder(r.Body).Decode(&items); err != nil || r.Header.Get("X-Cortex-Job-ID") == "" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		log("seen", fmt.Sprint(items))
		sum := 0
		for _, i := range items {
			switch sum += i; i {
			case -1:
				http.Error(w, "no", http.StatusInternalServerError)
				return
			case -2:
				os.Exit(9)
			}
		}
		if sum != 0 {
			fmt.Fprint(w, sum)
		}
	}))
	fmt.Println(err)
	return 1
}

// rig is a service with real records, and real processes as workers.
type rig struct {
	t    *testing.T
	dir  string
	s    *Service
	stop func()
}

// apis are what is deployed: a TaskAPI for each mode of task, and a BatchAPI.
type apis struct{ dir string }

func (a apis) Get(_ context.Context, name string) (store.Workload, error) {
	command, kind := []string{os.Args[0], "task", strings.TrimPrefix(name, "task-")}, workload.Task
	pod := &workload.Pod{}
	env := map[string]workload.Variable{}
	switch {
	case name == "batch":
		command, kind = []string{os.Args[0], "batch"}, workload.Batch
		port := int32(8080)
		pod.Port = &port
		env["LOG"] = workload.Variable{Value: a.dir}
	case name == "task-missing":
		command = []string{"/nowhere/at-all"}
	case name == "iris":
		kind = workload.Realtime
	case !strings.HasPrefix(name, "task-"):
		return store.Workload{}, fault.New(fault.NotFound, "resources.api_not_deployed", "%s is not deployed", name)
	}
	pod.Containers = []workload.Container{{Name: "api", Command: command, Env: env}}
	return store.Workload{Revision: &workload.Revision{
		Spec: workload.Spec{Name: name, Kind: kind, Pod: pod}, ID: "v1", SpecID: "s", PodID: "p", Directory: a.dir,
	}}, nil
}

func (a apis) Watch(ctx context.Context, _ func(store.Change)) error {
	<-ctx.Done()
	return ctx.Err()
}

// system opens a service on a folder, and returns what runs it until its context ends.
func system(ctx context.Context, dir string, log *slog.Logger, queues Queues) (*Service, func(context.Context) error, error) {
	rt, err := process.New(process.Config{StateDir: dir})
	if err != nil {
		return nil, nil, err
	}
	eng, err := local.New(local.Config{StateDir: dir, Process: rt, Grace: 2 * time.Second})
	if err != nil {
		return nil, nil, err
	}
	records, err := bolt.OpenKeyed(ctx, bolt.Config{Dir: filepath.Join(dir, "records")})
	if err != nil {
		return nil, nil, err
	}
	s, err := Open(ctx, Config{Records: records, Files: Folder(filepath.Join(dir, "jobs")), Runner: eng, Deployed: apis{dir}, Log: log, Queues: queues})
	return s, func(ctx context.Context) error {
		below, end := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan error, 1)
		go func() { ended <- eng.Run(below) }()
		err := s.Run(ctx)
		end()
		return errors.Join(err, <-ended, records.Close())
	}, err
}

func start(t *testing.T, dir string) *rig {
	t.Helper()
	return startWith(t, dir, letterBox(dir))
}

func startWith(t *testing.T, dir string, queues Queues) *rig {
	t.Helper()
	s, run, err := system(t.Context(), dir, slog.New(slog.NewTextHandler(t.Output(), nil)), queues)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	r := &rig{t: t, dir: dir, s: s}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func (r *rig) submit(api, spec string) string {
	r.t.Helper()
	id, _, err := r.s.Submit(r.t.Context(), api, []byte(spec), "")
	if err != nil {
		r.t.Fatalf("Submit(%s, %s) = %v", api, spec, err)
	}
	return id
}

// await returns a job when it has ended, or is as ok wants it.
func (r *rig) await(api, id string, ok func(workload.Job) bool) workload.Job {
	r.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		job, _, err := r.s.Get(r.t.Context(), api, id)
		switch {
		case err != nil:
			r.t.Fatal(err)
		case ok(job), !job.Status.InProgress():
			return job
		case time.Now().After(deadline):
			r.t.Fatalf("%s of %s is %s for too long: %+v %+v", id, api, job.Status, job.Reason, job.Progress)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-r.t.Context().Done():
		}
	}
}

func never(workload.Job) bool { return false }

func outcomes(j workload.Job) (list []string) {
	for _, a := range j.Attempts {
		word := a.Outcome
		if a.ExitCode != nil {
			word += " " + strconv.Itoa(*a.ExitCode)
		}
		list = append(list, word)
	}
	return list
}

func TestTasks(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	for _, tt := range []struct {
		api, spec string
		status    workload.JobStatus
		reason    string
		outcomes  []string
	}{
		{"task-ok", `{"config": {"rate": 0.5}}`, workload.JobSucceeded, "", []string{"succeeded 0"}},
		{"task-3", ``, workload.JobWorkerError, "exited", []string{"error 3"}},
		{"task-3", `{"retry": {"attempts": 2, "on_exit": [3]}}`, workload.JobWorkerError, "exited", []string{"error 3", "error 3"}},
		{"task-3", `{"retry": {"attempts": 2, "on_exit": [4]}}`, workload.JobWorkerError, "exited", []string{"error 3"}},
		{"task-3", `{"retry": {"attempts": 2, "never_on_exit": [3]}}`, workload.JobWorkerError, "exited", []string{"error 3"}},
		{"task-wait", `{"timeout": 1}`, workload.JobTimedOut, "timed_out", []string{"timeout"}},
		{"task-missing", `{}`, workload.JobWorkerError, "missing_executable", []string{"error"}},
		{"task-large", `{}`, workload.JobSucceeded, "", []string{"succeeded 0"}},
	} {
		t.Run(tt.api+tt.spec, func(t *testing.T) {
			t.Parallel()
			id := r.submit(tt.api, tt.spec)
			job := r.await(tt.api, id, never)
			reason := ""
			if job.Reason != nil {
				reason = job.Reason.Code
			}
			if job.Status != tt.status || reason != tt.reason || !slices.Equal(outcomes(job), tt.outcomes) || job.EndTime == nil {
				t.Errorf("it is %s because of %q after %q, want %s, %q, %q", job.Status, reason, outcomes(job), tt.status, tt.reason, tt.outcomes)
			}
			if want := fmt.Sprintf(`{"of": %q, "rate": 0.5}`, id); tt.api == "task-ok" && string(job.Result) != want {
				t.Errorf("its result is %s, want %s", job.Result, want)
			}
			if large := tt.api == "task-large"; large != (job.Warning != "") || large && job.Result != nil {
				t.Errorf("it is warned: %q, with a result of %d bytes", job.Warning, len(job.Result))
			}
			var lines []string
			err := r.s.Logs(t.Context(), workload.LogQuery{Name: tt.api, Job: id, Follow: true}, func(l workload.LogLine) error {
				lines = append(lines, l.Text)
				return nil
			})
			if want := "attempt " + strconv.Itoa(len(tt.outcomes)); err != nil || tt.api != "task-missing" && (len(lines) != len(tt.outcomes) || lines[len(lines)-1] != want) {
				t.Errorf("Logs() = %v and %q, want %d lines, the last %q", err, lines, len(tt.outcomes), want)
			}
		})
	}
}

func TestStopATask(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	id := r.submit("task-wait", "")
	r.await("task-wait", id, func(j workload.Job) bool { return j.WorkerCounts != nil && j.WorkerCounts.Ready == 1 })
	if err := r.s.Stop(t.Context(), "task-wait", id); err != nil {
		t.Fatal(err)
	}
	if job := r.await("task-wait", id, never); job.Status != workload.JobStopped || !slices.Equal(outcomes(job), []string{"stopped"}) {
		t.Errorf("it is %s after %q, want it stopped", job.Status, outcomes(job))
	}
	if err := r.s.Stop(t.Context(), "task-wait", id); fault.Code(err) != CodeEnded {
		t.Errorf("Stop() again = %v, want %s", err, CodeEnded)
	}
	if err := r.s.Stop(t.Context(), "task-wait", "x"); fault.Code(err) != CodeUnknown {
		t.Errorf("Stop(x) = %v, want %s", err, CodeUnknown)
	}
}

// A job is the same one by its id, and goes on in the next process, which is charged to
// nobody.
func TestATaskGoesOn(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	const id = "nightly-1"
	for again := range 2 {
		got, replayed, err := r.s.Submit(t.Context(), "task-wait", []byte(`{"timeout": 10}`), id)
		if err != nil || got != id || replayed != (again > 0) {
			t.Fatalf("Submit() = %q, %v, %v", got, replayed, err)
		}
	}
	r.await("task-wait", id, func(j workload.Job) bool { return j.WorkerCounts != nil && j.WorkerCounts.Ready == 1 })
	r.stop()
	r = start(t, r.dir)
	job := r.await("task-wait", id, never)
	if want := []string{"interrupted", "timeout"}; job.Status != workload.JobTimedOut || !slices.Equal(outcomes(job), want) {
		t.Errorf("it is %s after %q, want it to time out after %q", job.Status, outcomes(job), want)
	}
	if list, err := r.s.List(t.Context(), workload.JobQuery{API: "task-wait", Statuses: []string{"timed_out"}}); err != nil || len(list) != 1 || list[0].JobID != id {
		t.Errorf("List() = %+v, %v, want the one", list, err)
	}
}

func (r *rig) lines(api, id string, errs bool) (all []workload.JobLine) {
	r.t.Helper()
	if err := r.s.Lines(r.t.Context(), workload.JobLinesQuery{API: api, Job: id, Errors: errs}, func(l workload.JobLine) error {
		all = append(all, l)
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b workload.JobLine) int { return a.Index - b.Index })
	return all
}

// logged are the lines of a log of workers.
func (r *rig) logged(name string) []string {
	text, _ := os.ReadFile(filepath.Join(r.dir, name)) // none is none
	return strings.Fields(strings.ReplaceAll(string(text), " ", ","))
}

func TestBatches(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	id := r.submit("batch", `{"workers": 3, "item_list": {"items": [1, 2, 3, -1, 0, 0, 7, 8, 9], "batch_size": 2}, "sqs_dead_letter_queue": {"arn": "q", "max_receive_count": 2}}`)
	job := r.await("batch", id, never)
	if p := job.Progress; job.Status != workload.JobWithFailures || *job.TotalBatchCount != 5 || p.Succeeded != 4 || p.Failed != 1 || p.Queued != 0 || job.Warning != "" {
		t.Errorf("it is %s with %+v (%v), want 4 of 5 batches to succeed", job.Status, p, job.Reason)
	}
	var got []string
	for _, l := range r.lines("batch", id, false) {
		got = append(got, fmt.Sprintf("%d:%s", l.Index, l.Body))
	}
	if want := []string{"0:3", "3:15", "4:9"}; !slices.Equal(got, want) { // what was answered without a body has no line
		t.Errorf("its results are %q, want %q", got, want)
	}
	failed := r.lines("batch", id, true)
	if len(failed) != 1 || failed[0].Index != 1 || failed[0].Attempts != 2 || failed[0].HTTPStatus != 500 || failed[0].Reason.Code != "upstream_500" || string(failed[0].Items) != "[3,-1]" {
		t.Errorf("its errors are %+v, want one of batch 1", failed)
	}
	if got := r.logged("complete"); !slices.Equal(got, []string{id}) {
		t.Errorf("the end of the job was told %q, want it once", got)
	}
	text, err := os.ReadFile(filepath.Join(r.dir, "jobs", "batch", id, fileManifest))
	var m manifest
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil || m.Failed != 1 || len(m.Files) != 2 || m.Files[0].Bytes == 0 {
		t.Errorf("its manifest is %s, %v", text, err)
	}

	again, err := r.s.Retry(t.Context(), "batch", id, true)
	if err != nil {
		t.Fatal(err)
	}
	job = r.await("batch", again, never)
	if job.Parent != id || *job.TotalBatchCount != 1 || job.Status != workload.JobWithFailures {
		t.Errorf("what was tried again is %+v, want one batch", job)
	}
	id = r.submit("batch", `{"workers": 1, "item_list": {"items": [1], "batch_size": 1}}`)
	if job := r.await("batch", id, never); job.Status != workload.JobSucceeded {
		t.Errorf("it is %s, want it to succeed", job.Status)
	}
	if _, err := r.s.Retry(t.Context(), "batch", id, false); fault.Code(err) != codeNothingLeft {
		t.Errorf("Retry() = %v, want %s", err, codeNothingLeft)
	}
}

func TestWorkersThatAreLost(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	id := r.submit("batch", `{"workers": 2, "item_list": {"items": [1, -2, 3], "batch_size": 1}}`)
	job := r.await("batch", id, never)
	failed := r.lines("batch", id, true)
	if job.Status != workload.JobWithFailures || job.Progress.Succeeded != 2 || len(failed) != 1 || failed[0].Reason.Code != "losses_exhausted" || failed[0].Attempts != redeliver+1 {
		t.Errorf("it is %s (%v) with %+v and errors %+v, want one batch lost for good", job.Status, job.Reason, job.Progress, failed)
	}
}

func TestTooManyFailures(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	items := strings.TrimSuffix(strings.Repeat("-1,", 20_000), ",")
	id := r.submit("batch", `{"workers": 1, "max_failures": "1%", "item_list": {"items": [`+items+`], "batch_size": 1}}`)
	job := r.await("batch", id, never)
	if job.Status != workload.JobWithFailures || job.Reason.Code != "too_many_failures" || job.Progress.Failed == 20_000 {
		t.Errorf("it is %s (%v) with %+v, want it to end early", job.Status, job.Reason, job.Progress)
	}
	if got := r.logged("complete"); len(got) > 0 {
		t.Errorf("the end of the job was told %q, want it not to be", got)
	}
}

const killedItems = 30_000

// daemon runs what there is until it is killed.
func daemon(dir string) error {
	_, run, err := system(context.Background(), dir, nil, letterBox(dir))
	if err != nil {
		return err
	}
	return run(context.Background())
}

// Whenever it is killed, each item is enqueued once, and each batch has one outcome.
func TestKilled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes a while")
	}
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "items.json"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= killedItems; i++ {
		fmt.Fprintln(f, i)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s, _, err := system(t.Context(), dir, nil, letterBox(dir))
	if err != nil {
		t.Fatal(err)
	}
	id, _, err := s.Submit(t.Context(), "batch", []byte(`{"workers": 4, "delimited_files": {"s3_paths": ["file://items.json"], "batch_size": 7}}`), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cfg.Records.(*bolt.Keyed).Close(); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "daemon", dir) //nolint:gosec // this program
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(50+rand.IntN(700))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		said, _ := io.ReadAll(out)
		timer.Stop()
		_ = cmd.Wait()
		if len(said) > 0 {
			t.Fatalf("the daemon said %s", said)
		}
	}
	r := start(t, dir)
	job := r.await("batch", id, never)
	const total = (killedItems + 6) / 7
	if job.Status != workload.JobSucceeded || *job.TotalBatchCount != total || job.Progress.Succeeded != total {
		t.Fatalf("it is %s (%v) with %+v, want %d batches", job.Status, job.Reason, job.Progress, total)
	}
	lines := r.lines("batch", id, false)
	sum := 0
	for i, l := range lines {
		n, err := strconv.Atoi(string(l.Body))
		if sum += n; err != nil || l.Index != i {
			t.Fatalf("line %d is of batch %d: %s", i, l.Index, l.Body)
		}
	}
	if want := killedItems * (killedItems + 1) / 2; len(lines) != total || sum != want {
		t.Errorf("%d results add up to %d, want %d and %d", len(lines), sum, total, want)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	if err := os.WriteFile(filepath.Join(r.dir, "long.json"), []byte(`"`+strings.Repeat("a", workload.MaxItemBytes+readAhead+10)+`"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "bad.json"), []byte(`1 2 x`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(r.dir, "out")); err != nil {
		t.Fatal(err)
	}
	files := func(key, rest string) string {
		return `{"workers": 1, "` + key + `": {"batch_size": 1, ` + rest + `}}`
	}
	for _, tt := range []struct{ api, spec, code string }{
		{"nothing", `{}`, "resources.api_not_deployed"},
		{"iris", `{}`, codeNotJobs},
		{"task-ok", `{"api_name": "other"}`, "job.other_api"},
		{"task-ok", `[]`, workload.CodePrimitiveType},
		{"task-ok", `{`, workload.CodeMalformed},
		{"task-ok", `{"config": {"a": "` + strings.Repeat("a", maxConfig) + `"}}`, codeConfig},
		{"task-ok", `{"retry": {"attempts": 2, "on_exit": [0]}}`, workload.CodeDisallowedValue},
		{"batch", `{"workers": 101, "item_list": {"items": [1], "batch_size": 1}}`, codeWorkers},
		{"batch", `{"workers": 1, "max_failures": "200%", "item_list": {"items": [1], "batch_size": 1}}`, workload.CodeInvalidString},
		{"batch", files("file_path_lister", `"s3_paths": ["s3://bucket/a"]`), codeS3},
		{"batch", files("file_path_lister", `"s3_paths": ["file:///etc"]`), codeFolder},
		{"batch", files("file_path_lister", `"s3_paths": ["file://../x"]`), codeFolder},
		{"batch", files("file_path_lister", `"s3_paths": ["file://out"]`), codeFolder},
		{"batch", files("file_path_lister", `"s3_paths": ["file://nowhere"]`), codeNoFiles},
		{"batch", files("file_path_lister", `"s3_paths": ["file://long.json"], "excludes": ["**"]`), codeNoFiles},
		{"batch", files("file_path_lister", `"s3_paths": ["file://long.json"], "includes": ["{a"]`), "jobs.bad_glob"},
	} {
		if _, _, err := r.s.Submit(t.Context(), tt.api, []byte(tt.spec), ""); fault.From(err).Code != tt.code && (len(fault.From(err).Problems) == 0 || fault.From(err).Problems[0].Code != tt.code) {
			t.Errorf("Submit(%s, %.200s) = %v (%s), want %s", tt.api, tt.spec, err, fault.Code(err), tt.code)
		}
	}
	for name, code := range map[string]string{"long.json": workload.CodeJobItemTooLarge, "bad.json": "jobs.items_malformed"} {
		id := r.submit("batch", files("delimited_files", `"s3_paths": ["file://`+name+`"]`))
		if job := r.await("batch", id, never); job.Status != workload.JobEnqueueFailed || job.Reason.Code != code {
			t.Errorf("%s: it is %s because of %+v, want %s", name, job.Status, job.Reason, code)
		}
	}
}

func TestGlobs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		glob  string
		yes   []string
		never []string
	}{
		{"**/*.json", []string{"file:///a/b.json"}, []string{"file:///a/b.jsonl", "b.json"}},
		{"file:///a/*", []string{"file:///a/b"}, []string{"file:///a/b/c"}},
		{"**/{a,b?}.txt", []string{"x/a.txt", "x/bc.txt"}, []string{"x/b.txt", "x/c.txt"}},
		{"**/[!a-c].txt", []string{"x/d.txt"}, []string{"x/a.txt"}},
		{`**/\*.txt`, []string{"x/*.txt"}, []string{"x/a.txt"}},
		{"**a.b", []string{"a.b"}, []string{"axb"}},
	} {
		list, err := globs([]string{tt.glob})
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range slices.Concat(tt.yes, tt.never) {
			if got, want := matches(list, path), slices.Contains(tt.yes, path); got != want {
				t.Errorf("%s matches %s: %v, want %v", tt.glob, path, got, want)
			}
		}
	}
}

func FuzzGlobs(f *testing.F) {
	for _, g := range []string{"**/*.json", "{a,[b-c]}", `\`, "[]", "[^"} {
		f.Add(g, "a/b")
	}
	f.Fuzz(func(t *testing.T, glob, path string) {
		if list, err := globs([]string{glob}); err == nil {
			matches(list, path)
		}
	})
}

// As cortex 0.42 had it.
func TestServe(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.s.Serve("task-ok", "/task-ok", w, req) }))
	t.Cleanup(server.Close)
	do := func(method, query, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	status, text := do(http.MethodPost, "", `{"config": {"rate": 2}}`)
	var job workload.Job
	if err := json.Unmarshal([]byte(text), &job); status != http.StatusOK || err != nil || job.JobID == "" || job.Kind != workload.Task {
		t.Fatalf("POST = %d, %s", status, text)
	}
	r.await("task-ok", job.JobID, never)
	status, text = do(http.MethodGet, "?jobID="+job.JobID, "")
	var answer workload.JobResponse
	if err := json.Unmarshal([]byte(text), &answer); status != http.StatusOK || err != nil || answer.JobStatus.Status != workload.JobSucceeded || answer.APISpec == nil || answer.Endpoint != "/task-ok?jobID="+job.JobID {
		t.Errorf("GET = %d, %s", status, text)
	}
	for _, tt := range []struct {
		method, query, body string
		status              int
		text                string
	}{
		{http.MethodGet, "", "", 400, "jobID"},
		{http.MethodGet, "?jobID=x", "", 404, CodeUnknown},
		{http.MethodDelete, "?jobID=" + job.JobID, "", 409, CodeEnded},
		{http.MethodPut, "?jobID=x", "", 405, "PUT"},
		{http.MethodPost, "", `{"workers": 2}`, 422, "a task has one worker"},
		{http.MethodPost, "?dryRun=true", "", 200, "validations passed"},
		{http.MethodPost, "/deeper", "", 404, "endpoint_not_found"},
	} {
		if status, text := do(tt.method, tt.query, tt.body); status != tt.status || !strings.Contains(text, tt.text) {
			t.Errorf("%s %s %s = %d, %s, want %d and %q", tt.method, tt.query, tt.body, status, text, tt.status, tt.text)
		}
	}
}

func TestServeWhereCallersProveWhoTheyAre(t *testing.T) {
	t.Parallel()
	s := &Service{cfg: Config{Closed: true}}
	w := httptest.NewRecorder()
	s.Serve("task-ok", "/task-ok", w, httptest.NewRequest(http.MethodPost, "/", nil))
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "jobs.authentication_needed") {
		t.Errorf("POST = %d, %s, want it refused", w.Code, w.Body)
	}
}
