package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// jobsDemo is the showing of work that takes longer than a request.
type jobsDemo struct {
	*demo
	dir string // a copy of the example
	ids []string
}

const (
	demoItems   = 200
	demoFlowers = 10_000
)

// showJobs plays items, batches, a task and a schedule, and kills the daemon in the middle.
func showJobs(ctx context.Context, out io.Writer, home string) (err error) {
	d := &jobsDemo{demo: newDemo(out, append(os.Environ(), "CORTEX_CLI_CONFIG_DIR="+home)), dir: filepath.Join(home, "jobs")}
	defer func() { err = errors.Join(err, d.leaveNothing(home)) }()
	begun := time.Now()
	for _, scene := range []func(context.Context) error{d.buildJobs, d.startJobs, d.items, d.killed, d.batch, d.mend, d.task, d.scheduled, d.cleanUpJobs} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	d.title(fmt.Sprintf("That was all, in %d seconds. Nothing is left running. Now you:", int(time.Since(begun).Seconds())))
	d.say(`
  make build && export PATH="$PWD/bin:$PATH" && cd examples/jobs
  cortex deploy                                # starts your own local environment
  bin/worker items 10000 items && cortex submit classify batch.json --wait
  cortex submit train train.json --wait
  cortex jobs

  examples/jobs/README.md   the same, step by step        docs/batch.md, tasks.md, async.md, schedules.md   all of it`)
	return nil
}

func (d *jobsDemo) buildJobs(ctx context.Context) error {
	d.title("Build the command line, and the example's worker")
	if err := d.show(ctx, "go", "build", "-o", cortexBin, "./cmd/cortex"); err != nil {
		return err
	}
	for from, to := range map[string]string{"examples/jobs": d.dir, "examples/iris": filepath.Join(filepath.Dir(d.dir), "iris")} {
		if err := copyFiles(to, from); err != nil {
			return err
		}
	}
	return d.show(ctx, "go", "build", "-o", filepath.Join(d.dir, "bin", "worker"), "./examples/jobs/worker")
}

// copyFiles copies the files of a folder, not those of the folders in it.
func copyFiles(to, from string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	for _, e := range entries {
		if err != nil || !e.Type().IsRegular() {
			continue
		}
		var data []byte
		if data, err = os.ReadFile(filepath.Join(from, e.Name())); err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), data, 0o600)
		}
	}
	return err
}

var startArgs = []string{"local", "start", "--api-port", "0", "--autoscaling-tick", "1s"}

func (d *jobsDemo) startJobs(ctx context.Context) error {
	d.title("Start the local environment: no cloud, no Docker. Deploy an AsyncAPI, a BatchAPI and a TaskAPI")
	if err := d.show(ctx, cortexBin, startArgs...); err != nil {
		return err
	}
	return d.show(ctx, cortexBin, "deploy", filepath.Join(d.dir, "cortex.yaml"))
}

// endpointOf is where an API is now.
func (d *demo) endpointOf(ctx context.Context, name string) (string, error) {
	a, err := d.getOf(ctx, name)
	return a.Endpoint, err
}

// items submits items, of which one cannot succeed, one would take a minute, and one comes
// twice.
func (d *jobsDemo) items(ctx context.Context) error {
	d.title(fmt.Sprintf("Submit %d items to the AsyncAPI, which is at zero", demoItems))
	url, err := d.endpointOf(ctx, "later")
	if err != nil {
		return err
	}
	d.ids = make([]string, demoItems)
	errs := make([]error, demoItems)
	var all sync.WaitGroup
	turns := make(chan struct{}, 16)
	for i := range demoItems {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			body := fmt.Sprintf(`{"sepal_length": 5.%d, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2, "take": "150ms"}`, i%10)
			switch i {
			case 0: // first, so that it is running when it is cancelled
				body = strings.Replace(body, "150ms", "60s", 1)
			case 7:
				body = `{"sepal_length": 5.1}`
			}
			d.ids[i], errs[i] = post(ctx, url, body, fmt.Sprintf("demo-%d", i))
		})
		if i == 0 {
			all.Wait()
		}
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	again, err := post(ctx, url, `{"sepal_length": 5.9, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2, "take": "150ms"}`, "demo-199")
	if err != nil || again != d.ids[199] {
		return errors.Join(err, fmt.Errorf("the same request with the same key is another item: %s, %s", again, d.ids[199]))
	}
	d.say("%d ids, each on the disk before it was given away. One request came twice, with the same Idempotency-Key: one item.", demoItems)
	d.title("Cancel the one that takes a minute, while it runs")
	if err := d.until(ctx, "the first item to run", func() (bool, error) {
		out, err := d.output(ctx, cortexBin, "item", "later", d.ids[0])
		return strings.Contains(out, ": running"), err
	}); err != nil {
		return err
	}
	return d.show(ctx, cortexBin, "cancel", "later", d.ids[0])
}

// post submits an item and returns its id.
func post(ctx context.Context, url, body, key string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var accepted struct{ ID string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&accepted); err != nil || accepted.ID == "" {
		return "", errors.Join(err, fmt.Errorf("%s was not accepted: %s", key, resp.Status))
	}
	return accepted.ID, nil
}

// until asks until it is so, for at most a minute.
func (d *jobsDemo) until(ctx context.Context, what string, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("waited a minute for "+what))
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := so(); ok && err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// states counts the items by state.
func (d *jobsDemo) states(ctx context.Context) (map[string]int, error) {
	out, err := d.output(ctx, cortexBin, "items", "later", "--limit", "1000", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list []struct{ State string }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	states := map[string]int{}
	for _, i := range list {
		states[i.State]++
	}
	return states, nil
}

// killed kills the daemon in the middle of the work, and shows that nothing is lost.
func (d *jobsDemo) killed(ctx context.Context) error {
	d.title("Kill the daemon in the middle of it")
	if err := d.until(ctx, "some items to end", func() (bool, error) {
		states, err := d.states(ctx)
		return states["succeeded"] > demoItems/10, err
	}); err != nil {
		return err
	}
	out, err := d.output(ctx, cortexBin, "local", "status", "-o", "json")
	var status struct{ PID int }
	if err == nil {
		err = json.Unmarshal([]byte(out), &status)
	}
	if err != nil || status.PID <= 1 {
		return errors.Join(err, fmt.Errorf("cortex local status does not say which process it is: %s", out))
	}
	states, err := d.states(ctx)
	if err != nil {
		return err
	}
	d.typed("kill", "-9", fmt.Sprint(status.PID))
	if err := syscall.Kill(status.PID, syscall.SIGKILL); err != nil {
		return err
	}
	d.say("%d of %d had succeeded.", states["succeeded"], demoItems)
	if err := d.show(ctx, cortexBin, startArgs...); err != nil {
		return err
	}
	if err := d.until(ctx, "every item to end", func() (bool, error) {
		states, err = d.states(ctx)
		return states["succeeded"]+states["failed"]+states["cancelled"] == demoItems, err
	}); err != nil {
		return err
	}
	d.say("All %d have ended: %d succeeded, %d failed, %d was cancelled.", demoItems, states["succeeded"], states["failed"], states["cancelled"])
	if states["succeeded"] != demoItems-2 || states["failed"] != 1 || states["cancelled"] != 1 {
		return errors.New("that is not how they were to end")
	}
	return d.show(ctx, cortexBin, "items", "later", "--state", "failed,cancelled")
}

// submitted submits a job and returns its id.
func (d *jobsDemo) submitted(ctx context.Context, args ...string) (string, error) {
	d.typed(cortexBin, args...)
	out, err := d.output(ctx, cortexBin, args...)
	fmt.Fprint(d.out, out)
	return strings.TrimSpace(out), err
}

// job is what the demo reads of a job.
type job struct {
	Status   string
	Progress struct{ Total, Succeeded, Failed int }
}

func (d *jobsDemo) job(ctx context.Context, id string) (j job, _ error) {
	out, err := d.output(ctx, cortexBin, "get", "classify", id, "-o", "json")
	if err != nil {
		return j, err
	}
	var r struct {
		JobStatus job `json:"job_status"`
	}
	err = json.Unmarshal([]byte(out), &r)
	return r.JobStatus, err
}

func (j job) over() bool {
	return j.Status != "pending" && j.Status != "enqueuing" && j.Status != "running"
}

func (d *jobsDemo) batch(ctx context.Context) error {
	d.title(fmt.Sprintf("A job of %d items from files, of which three are broken", demoFlowers))
	if _, err := d.output(ctx, filepath.Join(d.dir, "bin", "worker"), "items", fmt.Sprint(demoFlowers), filepath.Join(d.dir, "items")); err != nil {
		return err
	}
	id, err := d.submitted(ctx, "submit", "classify", filepath.Join(d.dir, "batch.json"))
	if err != nil {
		return err
	}
	shown := false
	if err := d.until(ctx, "the job to end", func() (bool, error) {
		j, err := d.job(ctx, id)
		if done := j.Progress.Succeeded; err == nil && !shown && done > demoFlowers/10 && !j.over() {
			shown = true
			return false, d.show(ctx, cortexBin, "get", "classify", id)
		}
		return j.over(), err
	}); err != nil {
		return err
	}
	if err := d.show(ctx, cortexBin, "get", "classify", id); err != nil {
		return err
	}
	if j, err := d.job(ctx, id); err != nil || j.Progress.Succeeded != demoFlowers-3 || j.Progress.Failed != 3 {
		return errors.Join(err, fmt.Errorf("the job ended with %+v", j))
	}
	d.ids = []string{id}
	return d.show(ctx, cortexBin, "results", "classify", id, "--errors")
}

// mend deploys a better worker and has only what failed done again.
func (d *jobsDemo) mend(ctx context.Context) error {
	d.title("Mend the worker, and try only those three again")
	if err := d.show(ctx, cortexBin, "deploy", filepath.Join(d.dir, "mended.yaml")); err != nil {
		return err
	}
	id, err := d.submitted(ctx, "retry", "classify", d.ids[0], "--failed")
	if err != nil {
		return err
	}
	if err := d.until(ctx, "the job to end", func() (bool, error) {
		j, err := d.job(ctx, id)
		return j.over(), err
	}); err != nil {
		return err
	}
	if err := d.show(ctx, cortexBin, "results", "classify", id); err != nil {
		return err
	}
	if j, err := d.job(ctx, id); err != nil || j.Status != "succeeded" || j.Progress.Total != 3 {
		return errors.Join(err, fmt.Errorf("the job ended with %+v", j))
	}
	return d.show(ctx, cortexBin, "jobs", "classify")
}

func (d *jobsDemo) task(ctx context.Context) error {
	d.title("Train a model: a task, which runs to its end once")
	if err := d.show(ctx, cortexBin, "submit", "train", filepath.Join(d.dir, "train.json"), "--wait"); err != nil {
		return err
	}
	out, err := d.output(ctx, cortexBin, "jobs", "train", "-o", "json")
	var list []struct {
		ID string `json:"job_id"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &list)
	}
	if err != nil || len(list) != 1 {
		return errors.Join(err, fmt.Errorf("cortex jobs train does not list one job: %s", out))
	}
	d.say("What it wrote stays when it is gone:")
	return d.show(ctx, cortexBin, "logs", "train", list[0].ID)
}

// scheduled has the task run by a clock, and shows that what was due began, once each.
func (d *jobsDemo) scheduled(ctx context.Context) error {
	d.title("Train again every three seconds: a schedule")
	if err := d.show(ctx, cortexBin, "deploy", filepath.Join(d.dir, "scheduled.yaml")); err != nil {
		return err
	}
	type run struct {
		Time, Began time.Time
		State       string
	}
	var runs []run
	if err := d.until(ctx, "two runs of the schedule", func() (bool, error) {
		out, err := d.output(ctx, cortexBin, "schedules", "list", "train", "-o", "json")
		var list []struct {
			Runs []struct {
				run
				BeganAt time.Time `json:"began_at"`
			}
		}
		if err == nil {
			err = json.Unmarshal([]byte(out), &list)
		}
		if err != nil || len(list) != 1 {
			return false, err
		}
		runs = runs[:0]
		for _, r := range list[0].Runs {
			r.Began = r.BeganAt
			if r.State == "succeeded" {
				runs = append(runs, r.run)
			}
		}
		return len(runs) >= 2, nil
	}); err != nil {
		return err
	}
	due := map[time.Time]bool{}
	for _, r := range runs {
		if due[r.Time] {
			return fmt.Errorf("what was due at %s began twice", r.Time)
		}
		due[r.Time] = true
		d.say("due at %s, began %d ms later: %s", r.Time.Local().Format(time.TimeOnly), r.Began.Sub(r.Time).Milliseconds(), r.State)
	}
	if err := d.show(ctx, cortexBin, "schedules", "pause", "train", "again"); err != nil {
		return err
	}
	if err := d.show(ctx, cortexBin, "schedules", "list", "train"); err != nil {
		return err
	}
	return d.show(ctx, cortexBin, "jobs", "train")
}

func (d *jobsDemo) cleanUpJobs(ctx context.Context) error {
	d.title("Take it away again")
	return d.show(ctx, cortexBin, "local", "stop")
}
