package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

// cluster is where runs outlive the process that began them, as they do on Kubernetes.
type cluster struct {
	mu   sync.Mutex
	runs map[engine.RunName]*worker0
	// How often each request was worked on, and each run began, by its name.
	worked map[string]int
	begun  map[string]int
	takes  time.Duration             // each request
	answer func(index string) string // nil: the id of the request
}

// worker0 is a run of it.
type worker0 struct {
	c       *cluster
	name    engine.RunName
	mu      sync.Mutex
	answers map[string]chan struct{} // by the ids of requests: closed when one is answered
	over    chan struct{}            // closed when it has ended
	once    sync.Once
}

func (w *worker0) end() { w.once.Do(func() { close(w.over) }) }

func (c *cluster) StartRun(_ context.Context, r engine.Run) (engine.Running, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.runs[r.RunName]
	if w == nil {
		w = &worker0{c: c, name: r.RunName, answers: map[string]chan struct{}{}, over: make(chan struct{})}
		c.runs[r.RunName] = w
		c.begun[r.Name]++
		if r.Result != nil { // a task
			time.AfterFunc(c.takes, w.end)
		}
	}
	f := &followed{worker0: w, left: make(chan struct{}), done: make(chan struct{})}
	go func() {
		select {
		case <-w.over:
		case <-f.left:
		}
		close(f.done)
	}()
	return f, nil
}

func (c *cluster) Runs(context.Context) ([]engine.RunName, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.runs)), nil
}

func (c *cluster) EndRun(_ context.Context, r engine.RunName) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.runs[r]; w != nil {
		w.end()
	}
	delete(c.runs, r)
	return nil
}

func (c *cluster) RunLogs(context.Context, string, workload.LogQuery, func(workload.LogLine) error) error {
	return nil
}

func (c *cluster) ForgetRuns(context.Context, string) {}

// followed is a run, for one process.
type followed struct {
	*worker0
	leaving sync.Once
	left    chan struct{}
	done    chan struct{}
	stopped atomic.Bool
}

func (f *followed) ID() string                      { return f.name.ID }
func (f *followed) AwaitReady(context.Context) bool { return true }
func (f *followed) Reason() *workload.Reason        { return nil }
func (f *followed) Done() <-chan struct{}           { return f.done }
func (f *followed) Leave()                          { f.leaving.Do(func() { close(f.left) }) }

func (f *followed) Stop(string) {
	f.stopped.Store(true)
	f.end()
}

func (f *followed) End() engine.RunEnd {
	select {
	case <-f.left:
		return engine.RunEnd{Stopped: true, Left: true}
	default:
		return engine.RunEnd{Stopped: f.stopped.Load()}
	}
}

// Send works on a request once, whoever waits for the answer.
func (f *followed) Send(req *http.Request, id string) (*http.Response, error) {
	f.mu.Lock()
	answered, known := f.answers[id]
	if !known {
		answered = make(chan struct{})
		f.answers[id] = answered
		f.c.mu.Lock()
		f.c.worked[f.name.Name+"/"+strings.TrimSuffix(id, ".1")]++
		f.c.mu.Unlock()
		time.AfterFunc(f.c.takes, func() { close(answered) })
	}
	f.mu.Unlock()
	select {
	case <-answered:
	case <-f.over:
		return nil, &net.OpError{Op: "dial", Err: errors.New("it has ended")}
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	said := strconv.Quote(id)
	if f.c.answer != nil {
		said = f.c.answer(strings.TrimSuffix(id, ".1"))
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(said))}, nil
}

func (f *followed) Sent(context.Context) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.answers)), nil
}

func (f *followed) Settle(_ context.Context, ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		delete(f.answers, id)
	}
}

func (f *followed) Result(context.Context, int) ([]byte, error) { return []byte(`{"ok": true}`), nil }

func (f *followed) Forget(ctx context.Context) { _ = f.c.EndRun(ctx, f.name) }

// mortal is what a process writes, until it is dead.
type mortal struct {
	Records
	Files
	dead atomic.Bool
}

var errDead = fault.New(fault.Unavailable, "dead", "the process is dead") // so it waits, and does nothing

func (m *mortal) Write(ctx context.Context, doing string, changes map[string][]byte) error {
	if m.dead.Load() {
		return errDead
	}
	return m.Records.Write(ctx, doing, changes)
}

func (m *mortal) Append(ctx context.Context, name string, at int64, data []byte) error {
	if m.dead.Load() {
		return errDead
	}
	return m.Files.Append(ctx, name, at, data)
}

func (m *mortal) Put(ctx context.Context, name string, r io.Reader) (int64, error) {
	if m.dead.Load() {
		return 0, errDead
	}
	return m.Files.Put(ctx, name, r)
}

// Where workers outlive the process that began them, the next one goes on where it was: no
// task begins again, and no batch is worked on twice, whether it ended in order or died with
// what it had not written down.
func TestWhatOutlivesAProcessDoesNotBeginAgain(t *testing.T) {
	t.Parallel()
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprint("dies=", dies), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			records, err := bolt.OpenKeyed(t.Context(), bolt.Config{Dir: filepath.Join(dir, "records")})
			if err != nil {
				t.Fatal(err)
			}
			defer records.Close()
			c := &cluster{runs: map[engine.RunName]*worker0{}, worked: map[string]int{}, begun: map[string]int{}, takes: 10 * time.Millisecond}
			const batches = 400
			items := strings.TrimSuffix(strings.Repeat("1,", batches), ",")
			ids := map[string]string{} // by API
			for life := 0; ; life++ {
				kept := &mortal{Records: records, Files: Folder(filepath.Join(dir, "jobs"))}
				s, err := Open(t.Context(), Config{Records: kept, Files: kept, Runner: c, Deployed: apis{dir}, CommitEvery: 20 * time.Millisecond, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
				if err != nil {
					t.Fatal(err)
				}
				if life == 0 {
					c.takes = 300 * time.Millisecond
					if ids["task-ok"], _, err = s.Submit(t.Context(), "task-ok", nil, ""); err != nil {
						t.Fatal(err)
					}
					if ids["batch"], _, err = s.Submit(t.Context(), "batch", []byte(`{"workers": 3, "item_list": {"items": [`+items+`], "batch_size": 1}}`), ""); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- s.Run(ctx) }()
				over := true
				deadline := time.After(time.Duration(50+rand.IntN(100)) * time.Millisecond)
				if life > 60 || dies && life > 4 { // the dead take five seconds to go
					deadline = nil // let it come to its end
				}
			waiting:
				for {
					over = true
					for api, id := range ids {
						status, err := s.Status(t.Context(), api, id)
						over = over && err == nil && !status.InProgress()
					}
					if over {
						break
					}
					select {
					case <-deadline:
						break waiting
					case <-time.After(5 * time.Millisecond):
					}
				}
				kept.dead.Store(dies && !over)
				cancel()
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				c.mu.Lock()
				c.takes = 10 * time.Millisecond
				c.mu.Unlock()
				if !over {
					continue
				}
				job, _, err := s.Get(t.Context(), "task-ok", ids["task-ok"])
				if err != nil || job.Status != workload.JobSucceeded || len(job.Attempts) != 1 || !bytes.Equal(job.Result, []byte(`{"ok": true}`)) {
					t.Errorf("the task is %+v, %v; want that it succeeded in one run", job, err)
				}
				job, _, err = s.Get(t.Context(), "batch", ids["batch"])
				if err != nil || job.Status != workload.JobSucceeded || job.Progress.Succeeded != batches {
					t.Errorf("the job is %+v, %v; want that all %d batches succeeded", job, err, batches)
				}
				lines := map[int]int{}
				if err := s.Lines(t.Context(), workload.JobLinesQuery{API: "batch", Job: ids["batch"]}, func(l workload.JobLine) error {
					lines[l.Index]++
					return nil
				}); err != nil || len(lines) != batches {
					t.Errorf("there are results of %d batches, %v", len(lines), err)
				}
				break
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.runs) > 0 {
				t.Errorf("%d workers are left", len(c.runs))
			}
			for request, n := range c.worked {
				if n != 1 {
					t.Errorf("%s was worked on %d times", request, n)
				}
			}
			if n := c.begun["task-ok."+ids["task-ok"]]; n != 1 {
				t.Errorf("the task began %d times", n)
			}
			if n := c.begun["batch."+ids["batch"]]; n != 3 {
				t.Errorf("%d workers began, want the 3 of the job", n)
			}
		})
	}
}

// slow takes its time after a record is on the disk.
type slow struct{ Records }

func (s slow) Write(ctx context.Context, doing string, changes map[string][]byte) error {
	err := s.Records.Write(ctx, doing, changes)
	<-time.After(200 * time.Millisecond) // in which somebody asks
	return err
}

// A job that can be read can be stopped, however fresh it is.
func TestStopOfAJobThatIsBeingAccepted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	records, err := bolt.OpenKeyed(t.Context(), bolt.Config{Dir: filepath.Join(dir, "records")})
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	s, err := Open(t.Context(), Config{Records: slow{records}, Files: Folder(filepath.Join(dir, "jobs")), Runner: &cluster{}, Deployed: apis{dir}})
	if err != nil {
		t.Fatal(err)
	}
	submitted := make(chan error, 1)
	go func() {
		_, _, err := s.Submit(t.Context(), "task-ok", nil, "fresh")
		submitted <- err
	}()
	for {
		if _, err := s.Status(t.Context(), "task-ok", "fresh"); err == nil {
			break
		}
	}
	if err := s.Stop(t.Context(), "task-ok", "fresh"); err != nil {
		t.Errorf("Stop() = %v", err)
	}
	if err := <-submitted; err != nil {
		t.Error(err)
	}
}

// last is what a process writes until something is in what it writes: then it is dead.
type last struct {
	*mortal
	words []byte
}

func (l *last) Write(ctx context.Context, doing string, changes map[string][]byte) error {
	err := l.mortal.Write(ctx, doing, changes)
	for _, data := range changes {
		if bytes.Contains(data, l.words) {
			l.dead.Store(true)
		}
	}
	return err
}

// A process that dies between what became of a run and what became of its task leaves a task
// that has ended: the next one says so, and runs nothing.
func TestATaskWhoseRunHasEndedDoesNotBeginAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	records, err := bolt.OpenKeyed(t.Context(), bolt.Config{Dir: filepath.Join(dir, "records")})
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	c := &cluster{runs: map[engine.RunName]*worker0{}, worked: map[string]int{}, begun: map[string]int{}, takes: 10 * time.Millisecond}
	id := ""
	for life := range 2 {
		kept := &mortal{Records: records, Files: Folder(filepath.Join(dir, "jobs"))}
		cfg := Config{Records: kept, Files: kept, Runner: c, Deployed: apis{dir}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
		if life == 0 {
			cfg.Records = &last{mortal: kept, words: []byte(`"outcome":"succeeded"`)}
		}
		s, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if life == 0 {
			if id, _, err = s.Submit(t.Context(), "task-ok", nil, ""); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		for over := false; !over; {
			<-time.After(5 * time.Millisecond)
			status, err := s.Status(t.Context(), "task-ok", id)
			over = kept.dead.Load() || err == nil && !status.InProgress()
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if life == 0 {
			continue
		}
		job, _, err := s.Get(t.Context(), "task-ok", id)
		if err != nil || job.Status != workload.JobSucceeded || len(job.Attempts) != 1 || !bytes.Equal(job.Result, []byte(`{"ok": true}`)) {
			t.Errorf("the task is %+v, %v; want that it succeeded in one run", job, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.begun["task-ok."+id]; n != 1 || len(c.runs) > 0 {
		t.Errorf("the task began %d times, and %d workers are left", n, len(c.runs))
	}
}
