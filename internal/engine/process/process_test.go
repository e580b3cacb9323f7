package process_test

import (
	"os"
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
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, func(t *testing.T, o enginetest.Options) enginetest.Harness {
		rt, err := process.New(process.Config{StateDir: o.StateDir})
		if err != nil {
			t.Fatal(err)
		}
		e, err := local.New(local.Config{
			StateDir: o.StateDir, Process: rt, Drain: o.Drain, Env: o.Env, Grace: o.Grace, Version: enginetest.Version,
			Backoff: local.Backoff{First: enginetest.BackoffFirst, Max: enginetest.BackoffMax},
		})
		if err != nil {
			t.Fatal(err)
		}
		return enginetest.Harness{
			Engine: e,
			Container: func(args ...string) workload.Container {
				return workload.Container{Command: []string{o.Server}, Args: args}
			},
			Self: []string{o.Server},
		}
	})
}
