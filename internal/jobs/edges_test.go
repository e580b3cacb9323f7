package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"cortex.dev/cortex/internal/engine/local"
	"cortex.dev/cortex/internal/engine/process"
	"cortex.dev/cortex/internal/ledger/jetstream"
	"cortex.dev/cortex/internal/ledger/jetstream/jetstreamtest"
	"cortex.dev/cortex/internal/ledger/s3"
	"cortex.dev/cortex/internal/ledger/s3/s3test"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

// edgePlace says where a process of TestEdges keeps jobs: empty: in its folder; nats:URL, or
// s3:address/bucket.
const edgePlace = "CORTEX_TEST_JOBS_PLACE"

// edgeAccepted has what the process before it said.
const edgeAccepted = "CORTEX_TEST_JOBS_ACCEPTED"

// openEdge opens what jobs are kept in.
func openEdge(ctx context.Context, dir, place string) (Records, Files, func() error, error) {
	kind, at, _ := strings.Cut(place, ":")
	switch kind {
	case "nats":
		conn, err := nats.Connect(at)
		if err != nil {
			return nil, nil, nil, err
		}
		l, err := jetstream.Open(jetstream.Config{Conn: conn, Name: filepath.Base(dir), Replicas: 1})
		if err != nil {
			return nil, nil, nil, err
		}
		return l.Records(), l.Files(), func() error { l.Close(); conn.Close(); return nil }, nil
	case "s3":
		slash := strings.LastIndex(at, "/")
		l := s3.Open(s3.Config{Client: s3test.Remote(at[:slash]), Bucket: at[slash+1:], Prefix: filepath.Base(dir) + "/", Queues: "cx-", Log: slog.New(slog.DiscardHandler)})
		return l.Records(), l.Files(), func() error { return nil }, nil
	}
	records, err := bolt.OpenKeyed(ctx, bolt.Config{Dir: filepath.Join(dir, "records")})
	if err != nil {
		return nil, nil, nil, err
	}
	return records, Folder(filepath.Join(dir, "jobs")), records.Close, nil
}

// dying is what jobs are kept in, in whose hands the process dies at a write: before it, or
// when it was made and nobody knows of it.
type dying struct {
	Records
	Files
	after bool
	left  atomic.Int64
}

// write makes a write, or dies.
func (d *dying) write(do func() error) error {
	last := d.left.Add(-1) == 0
	die := func() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // never returns
		select {}
	}
	if last && !d.after {
		die()
	}
	err := do()
	if last {
		die()
	}
	return err
}

func (d *dying) Write(ctx context.Context, doing string, changes map[string][]byte) error {
	return d.write(func() error { return d.Records.Write(ctx, doing, changes) })
}

func (d *dying) Append(ctx context.Context, name string, at int64, data []byte) error {
	return d.write(func() error { return d.Files.Append(ctx, name, at, data) })
}

func (d *dying) Put(ctx context.Context, name string, r io.Reader) (n int64, err error) {
	err = d.write(func() error {
		n, err = d.Files.Put(ctx, name, r)
		return err
	})
	return n, err
}

// edgeJobs are what TestEdges submits, by API. Of the batches the third fails, the first time
// and the second.
var edgeJobs = map[string]string{
	"task-ok": `{"config": {"rate": 1}}`,
	"batch":   `{"workers": 2, "item_list": {"items": [1, 2, -1, 4, 5, 6, 7, 8], "batch_size": 1}}`,
}

// edgeLife is a process that has the jobs accepted, and lives until they have ended or it
// comes to an edge: "before 3", or "after 3".
func edgeLife(dir, edge string) error {
	ctx := context.Background()
	records, files, _, err := openEdge(ctx, dir, os.Getenv(edgePlace))
	if err != nil {
		return err
	}
	d := &dying{Records: records, Files: files}
	when, n, _ := strings.Cut(edge, " ")
	d.after = when == "after"
	left, err := strconv.ParseInt(n, 10, 64)
	if err != nil {
		return err
	}
	d.left.Store(left)
	rt, err := process.New(process.Config{StateDir: dir})
	if err != nil {
		return err
	}
	eng, err := local.New(local.Config{StateDir: dir, Process: rt, Grace: 2 * time.Second})
	if err != nil {
		return err
	}
	s, err := Open(ctx, Config{Records: d, Files: d, Runner: eng, Deployed: apis{dir}, CommitEvery: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- eng.Run(ctx) }()
	go func() { failed <- s.Run(ctx) }()
	for api, job := range edgeJobs {
		if _, err := s.Status(ctx, api, "edge"); err != nil && strings.Contains(os.Getenv(edgeAccepted), "accepted "+api) {
			return fmt.Errorf("the job of %s was accepted: %w", api, err)
		}
		if _, _, err := s.Submit(ctx, api, []byte(job), "edge"); err != nil {
			return err
		}
		fmt.Println("accepted", api)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for api := range edgeJobs {
		for {
			status, err := s.Status(ctx, api, "edge")
			if err != nil {
				return err
			}
			if !status.InProgress() {
				break
			}
			select {
			case err := <-failed:
				return err
			case <-tick.C:
			}
		}
	}
	fmt.Println("done")
	return nil
}

// TestEdges kills who runs jobs, and the workers with it, before and after each single write
// that it makes of a batch and a task, on each ledger. What was accepted is there, and comes
// to the one end that it has without a death. All writes are tried, as often as it says, with
// CORTEX_TEST_TIMES (make crash-matrix), and some otherwise.
func TestEdges(t *testing.T) {
	t.Parallel()
	times, _ := strconv.Atoi(os.Getenv("CORTEX_TEST_TIMES"))
	for name, start := range map[string]func(t *testing.T) string{
		"one machine": func(*testing.T) string { return "" },
		"nats":        func(t *testing.T) string { return "nats:" + jetstreamtest.Start(t, 1) },
		"s3": func(t *testing.T) string {
			a := s3test.Start(t)
			return "s3:" + a.Serve(t) + "/" + a.Bucket
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := start(t)
			var deaths, beyond atomic.Int64
			turns := make(chan struct{}, 4)
			var all sync.WaitGroup
			defer all.Wait()
			for range max(times, 1) {
				beyond.Store(0)
				first, step := 1, 1
				if times == 0 {
					step = 8
					first += rand.IntN(step)
				}
				for n := first; beyond.Load() < 2; n += step {
					for _, when := range []string{"before", "after"} {
						turns <- struct{}{}
						all.Go(func() {
							defer func() { <-turns }()
							e := &edge{t: t, dir: filepath.Join(t.TempDir(), fmt.Sprintf("e%d", rand.Uint32())), place: place, at: fmt.Sprint(when, " ", n)}
							if e.run() {
								deaths.Add(1)
							} else {
								beyond.Add(1)
							}
						})
					}
				}
				all.Wait()
			}
			t.Logf("%d deaths: the jobs came to the end that they have without", deaths.Load())
		})
	}
}

// edge is one death.
type edge struct {
	t              *testing.T
	dir, place, at string
}

// run has a process die at the edge, and another one go on; it reports whether the first died.
func (e *edge) run() (died bool) {
	if err := os.Mkdir(e.dir, 0o700); err != nil {
		e.t.Error(err)
		return false
	}
	said, err := e.life(e.at, "")
	if died = err != nil; died {
		if _, err := e.life("never 0", said); err != nil {
			return died
		}
	}
	e.judge()
	return died
}

func (e *edge) life(at, before string) (said string, _ error) {
	ctx, cancel := context.WithTimeout(e.t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "edge", e.dir, at) //nolint:gosec // this program
	cmd.Env = append(os.Environ(), edgePlace+"="+e.place, edgeAccepted+"="+before)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = errors.New("its jobs do not end")
		e.t.Errorf("%s: %v", e.at, err)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 { // it was not killed
		e.t.Errorf("%s: the process said %s", e.at, out)
	}
	return string(out), err
}

// judge holds the jobs to what they have to come to.
func (e *edge) judge() {
	records, files, done, err := openEdge(e.t.Context(), e.dir, e.place)
	if err != nil {
		e.t.Error(err)
		return
	}
	defer func() {
		if err := done(); err != nil {
			e.t.Error(err)
		}
	}()
	s, err := Open(e.t.Context(), Config{Records: records, Files: files, Runner: &cluster{}, Deployed: apis{e.dir}})
	if err != nil {
		e.t.Error(err)
		return
	}
	task, _, err := s.Get(e.t.Context(), "task-ok", "edge")
	if err != nil || task.Status != workload.JobSucceeded || string(task.Result) != `{"of": "edge", "rate": 1}` {
		e.t.Errorf("%s: the task is %s (%v) with %s, %v", e.at, task.Status, task.Reason, task.Result, err)
	}
	job, _, err := s.Get(e.t.Context(), "batch", "edge")
	if err != nil || job.Status != workload.JobWithFailures || job.Progress.Succeeded != 7 || job.Progress.Failed != 1 || *job.TotalBatchCount != 8 {
		e.t.Errorf("%s: the job is %s (%v) with %+v, %v", e.at, job.Status, job.Reason, job.Progress, err)
		return
	}
	lines := map[int]int{}
	for _, failed := range []bool{false, true} {
		if err := s.Lines(e.t.Context(), workload.JobLinesQuery{API: "batch", Job: "edge", Errors: failed}, func(l workload.JobLine) error {
			if lines[l.Index]++; failed != (l.Index == 2) {
				e.t.Errorf("%s: batch %d has failed: %v", e.at, l.Index, failed)
			}
			return nil
		}); err != nil {
			e.t.Errorf("%s: %v", e.at, err)
		}
	}
	for i := range 8 {
		if lines[i] != 1 {
			e.t.Errorf("%s: batch %d has %d results", e.at, i, lines[i])
		}
	}
}
