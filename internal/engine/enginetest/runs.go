package enginetest

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
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
	begin := func(run engine.Run, c workload.Container) engine.Running {
		c.Name = "main"
		run.Revision = s.revision("task", "r1", func(to *workload.Container) { *to = c })
		run.Revision.Pod.Port = nil
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
	e := end(begin(engine.Run{Name: "task.1"}, s.Container("check", "/nothing")))
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
	runner.ForgetRuns("task.1")
	if got := read("task.1"); len(got) > 0 {
		s.Errorf("RunLogs() = %q after they were forgotten", got)
	}

	// It finds its files, and nobody starts it again.
	path := filepath.Join(s.TempDir(), "job.json")
	if err := os.WriteFile(path, []byte("{}"), 0o644); err != nil { //nolint:gosec // whatever user a container has
		s.Fatal(err)
	}
	files := []engine.RunFile{{Source: path, Target: "/cortex/spec/job.json", Variable: "CORTEX_JOB_SPEC", ReadOnly: true}}
	if e := end(begin(engine.Run{Name: "task.2", Files: files}, s.Container("check", "$(CORTEX_JOB_SPEC)"))); e.Code != 0 || e.Stopped || e.Reason != nil {
		s.Errorf("End() = %+v, want exit code 0: logs %q", e, read("task.2"))
	}

	// It can be stopped.
	r := begin(engine.Run{Name: "task.3"}, s.Container("sleep", "1h"))
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
		if e := end(begin(engine.Run{Name: "task.4"}, c)); !e.Unmade || e.Reason == nil || e.Reason.Code != code {
			s.Errorf("End() of %s = %+v, want why it did not start", code, e)
		}
	}
}
