package enginetest

import (
	"cmp"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// runScene runs pods to their end, where an engine can.
func runScene(s *scene) {
	runner, ok := s.Engine.(engine.Runner)
	if !ok {
		s.Skip("this engine runs no pods to their end")
	}
	directory := "" // empty: that of the scene
	ids, r0 := 0, (*workload.Revision)(nil)
	run := func(job string) engine.Run {
		ids++
		return engine.Run{RunName: engine.RunName{Name: "task." + job, ID: strconv.Itoa(ids)}}
	}
	begin := func(run engine.Run, c workload.Container) engine.Running {
		c.Name = "main"
		run.Revision = s.revision("task", "r1", func(to *workload.Container) { *to = c })
		if len(c.Args) > 0 || c.Image == "" && len(c.Command) > 1 { // no server
			run.Revision.Pod.Port = nil
		}
		r0 = run.Revision
		run.Revision.Directory = cmp.Or(directory, run.Revision.Directory)
		r, err := runner.StartRun(s.Context(), run)
		if err != nil {
			s.Fatal(err)
		}
		return r
	}
	end := func(r engine.Running) engine.RunEnd {
		select {
		case <-r.Done():
		case <-time.After(patience):
			s.Fatalf("the run has not ended: %+v", r.Reason())
		}
		return r.End()
	}

	// Its exit code is how it ended, and what it wrote stays.
	r := begin(run("1"), s.Container("check", "/nothing"))
	e := end(r)
	if e.Code != 3 || e.Stopped || e.Unmade || e.Reason == nil || e.Reason.Code != engine.CodeExited {
		s.Errorf("End() = %+v, want exit code 3 and why", e)
	}
	read := func(name string) (lines []string) {
		if err := runner.RunLogs(s.Context(), name, workload.LogQuery{}, func(l workload.LogLine) error {
			lines = append(lines, l.Text)
			return nil
		}); err != nil {
			s.Fatal(err)
		}
		return lines
	}
	if got := read("task.1"); !slices.Equal(got, []string{"stat /nothing: no such file or directory"}) {
		s.Errorf("RunLogs() = %q, want what it wrote", got)
	}
	r.Forget(s.Context())
	if got := read("task.1"); !slices.Equal(got, []string{"stat /nothing: no such file or directory"}) {
		s.Errorf("RunLogs() = %q of a run that is forgotten, want what it wrote", got)
	}
	runner.ForgetRuns(s.Context(), "task.1")
	if got := read("task.1"); len(got) > 0 {
		s.Errorf("RunLogs() = %q after they were forgotten", got)
	}

	// It finds its files, and nobody starts it again.
	told := run("2")
	told.Files = []engine.RunFile{{Target: "/cortex/spec/job.json", Variable: "CORTEX_JOB_SPEC", Data: []byte("{}")}}
	told.Result = &engine.RunFile{Target: "/cortex/result", Variable: "CORTEX_RESULT"}
	r = begin(told, s.Container("copy", "$(CORTEX_JOB_SPEC)", "$(CORTEX_RESULT)"))
	if e := end(r); e.Code != 0 || e.Stopped || e.Reason != nil {
		s.Errorf("End() = %+v, want exit code 0: logs %q", e, read("task.2"))
	}

	// What it leaves is its result, no more of it than is asked for.
	if got, err := r.Result(s.Context(), 10); string(got) != "{}" || err != nil {
		s.Errorf("Result() = %q, %v, want what it was told", got, err)
	}
	if got, err := r.Result(s.Context(), 0); len(got) != 1 || err != nil {
		s.Errorf("Result() = %q, %v, want one byte more than none", got, err)
	}

	// What is forgotten is not there, and can be ended once more.
	r.Forget(s.Context())
	if there, err := runner.Runs(s.Context()); slices.Contains(there, told.RunName) || err != nil {
		s.Errorf("Runs() = %v, %v, want none that is forgotten", there, err)
	}
	if err := runner.EndRun(s.Context(), told.RunName); err != nil {
		s.Error(err)
	}

	// A server gets requests; who sent one before this process is answered all the same.
	server := run("5")
	r = begin(server, s.Container())
	if !r.AwaitReady(s.Context()) {
		s.Fatalf("a server is not ready: %+v", r.Reason())
	}
	send := func(r engine.Running, id string) (int, string) {
		req, err := http.NewRequestWithContext(s.Context(), http.MethodPost, "http://worker/count", strings.NewReader("[1]"))
		if err != nil {
			s.Fatal(err)
		}
		resp, err := r.Send(req, id)
		if err != nil {
			s.Fatalf("Send() = %v", err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			s.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	status, before := send(r, "7.1")
	if status != http.StatusOK {
		s.Errorf("the server answers with status %d: %s", status, before)
	}
	r.Leave()
	if e := end(r); !e.Stopped || e.Left != s.Outlives {
		s.Errorf("End() = %+v of a run that was left", e)
	}
	if there, err := runner.Runs(s.Context()); slices.Contains(there, server.RunName) != s.Outlives || err != nil {
		s.Errorf("Runs() = %v, %v of a run that was left", there, err)
	}
	if s.Outlives {
		server.Revision = r0
		r, err := runner.StartRun(s.Context(), server)
		if err != nil {
			s.Fatal(err)
		}
		if sent, err := r.Sent(s.Context()); !slices.Equal(sent, []string{"7.1"}) || err != nil {
			s.Errorf("Sent() = %q, %v; want what was sent before", sent, err)
		}
		if _, after := send(r, "7.1"); after != before {
			s.Errorf("what was sent before is answered with %q, and was with %q", after, before)
		}
		r.Settle(s.Context(), []string{"7.1"})
		if sent, err := r.Sent(s.Context()); len(sent) > 0 || err != nil {
			s.Errorf("Sent() = %q, %v after it was settled", sent, err)
		}
		r.Stop("the test is over")
		end(r)
	}

	// It can be stopped.
	r = begin(run("3"), s.Container("sleep", "1h"))
	if !r.AwaitReady(s.Context()) {
		s.Errorf("AwaitReady() = false: %+v", r.Reason())
	}
	r.Stop("the test is over")
	if e := end(r); !e.Stopped {
		s.Errorf("End() = %+v, want it stopped", e)
	}

	// What cannot start says why.
	for code, c := range s.Broken {
		directory = ""
		if code == "bad_working_directory" {
			directory = "/never/there"
		}
		if e := end(begin(run("4"), c)); !e.Unmade || e.Reason == nil || e.Reason.Code != code {
			s.Errorf("End() of %s = %+v, want why it did not start", code, e)
		}
	}
}
