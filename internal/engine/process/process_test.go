package process_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/engine/enginetest"
	"cortex.dev/cortex/internal/engine/local"
	"cortex.dev/cortex/internal/engine/process"
	"cortex.dev/cortex/internal/volumes"
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
	kept := volumes.New(volumes.Config{Dir: filepath.Join(o.StateDir, "volumes")})
	e, err := local.New(local.Config{
		StateDir: o.StateDir, Process: rt, Drain: o.Drain, InFlight: o.InFlight, Env: o.Env, Secret: o.Secret, Volumes: kept, Version: enginetest.Version,
		Grace: o.Grace, ProgressDeadline: o.Deadline, Steady: o.Steady,
		Backoff: local.Backoff{First: enginetest.BackoffFirst, Max: enginetest.BackoffMax},
	})
	return enginetest.Harness{
		Engine: e,
		Container: func(args ...string) workload.Container {
			return workload.Container{Command: []string{o.Server}, Args: args}
		},
		Self:         []string{o.Server},
		DiesWithUs:   true,
		DeleteVolume: kept.Delete,
		BoundsMemory: process.CanBoundMemory(),
		Alive:        alive,
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

// A state folder that cannot be written is the reason of the replicas that need it.
func TestUnwritableStateIsExplained(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h, err := harness(enginetest.Options{StateDir: dir, Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	ended := make(chan error, 1)
	go func() { ended <- h.Engine.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
	}()
	apply := func(name string) {
		rev := &workload.Revision{ID: "r1", PodID: "p", Directory: dir, Spec: workload.Spec{Name: name, Kind: workload.Realtime, Pod: &workload.Pod{
			Containers: []workload.Container{{Name: "main", Command: []string{"sleep", "1000"}}},
		}}}
		if err := h.Engine.Apply(ctx, engine.Deployment{Revision: rev, Replicas: 1}); err != nil {
			t.Fatal(err)
		}
	}
	apply("rose")
	var failed *workload.Reason
	_ = h.Engine.Watch(ctx, func(st engine.Status) {
		ready, _ := st.Ready()
		switch {
		case st.Name == "rose" && ready == 1 && failed == nil:
			failed = &workload.Reason{}
			if err := os.WriteFile(filepath.Join(dir, "replicas", "iris"), nil, 0o600); err != nil {
				t.Error(err)
			}
			apply("iris")
		case st.Failed != nil:
			failed = st.Failed
			cancel()
		}
	})
	if failed == nil || failed.Code != "state_dir_unwritable" || !strings.Contains(failed.Message, "not a directory") || !strings.Contains(failed.Fix, dir) {
		t.Errorf("Failed = %+v, want state_dir_unwritable with the cause and the folder", failed)
	}
}
