package process_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/engine/enginetest"
	"cortex.dev/cortex/internal/engine/local"
	"cortex.dev/cortex/internal/engine/process"
	"cortex.dev/cortex/internal/workload"
)

func TestMain(m *testing.M) {
	if process.ReaperMain(os.Args[1:]) {
		return
	}
	os.Exit(enginetest.Main(m, harness))
}

func harness(o enginetest.Options) (enginetest.Harness, error) {
	rt, err := process.New(process.Config{StateDir: o.StateDir})
	if err != nil {
		return enginetest.Harness{}, err
	}
	e, err := local.New(local.Config{
		StateDir: o.StateDir, Process: rt, Drain: o.Drain, Env: o.Env, Version: enginetest.Version,
		Grace: o.Grace, ProgressDeadline: o.Deadline,
		Backoff: local.Backoff{First: enginetest.BackoffFirst, Max: enginetest.BackoffMax},
	})
	return enginetest.Harness{
		Engine: e,
		Container: func(args ...string) workload.Container {
			return workload.Container{Command: []string{o.Server}, Args: args}
		},
		Self:       []string{o.Server},
		DiesWithUs: true,
		Alive:      alive,
		Broken: map[string]workload.Container{
			"missing_executable":    {Command: []string{"./never-built"}},
			"not_executable":        {Command: []string{"/etc/hostname"}},
			"bad_working_directory": {Command: []string{o.Server}},
			"docker_unavailable":    {Image: "example.com/iris:1"},
		},
	}, err
}

// alive reports whether a process runs; one that has ended and was not collected
// does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestConformance(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, harness)
}
