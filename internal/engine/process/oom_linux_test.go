package process_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/engine/enginetest"
	"cortex.dev/cortex/internal/workload"
)

// smallMemory makes a group of processes that get little memory and returns the
// file through which a process enters it.
func smallMemory(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("cortex-test-%d", os.Getpid())
	for root, limit := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		dir := filepath.Join(root, name)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		if os.WriteFile(filepath.Join(dir, limit), []byte("33554432"), 0o600) == nil {
			return filepath.Join(dir, "cgroup.procs")
		}
	}
	t.Skip("memory cannot be limited here: no control group with a memory limit can be made")
	return ""
}

func TestOutOfMemoryIsToldFromAKill(t *testing.T) {
	t.Parallel()
	group := smallMemory(t)
	server, err := enginetest.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h, err := harness(enginetest.Options{StateDir: t.TempDir(), Server: server, Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	port := int32(8080)
	rev := &workload.Revision{ID: "r1", PodID: "p", Directory: t.TempDir(), Spec: workload.Spec{Name: "iris", Kind: workload.Realtime, Pod: &workload.Pod{
		Port: &port,
		Containers: []workload.Container{{
			Name: "main", Command: []string{"/bin/sh", "-c"}, Args: []string{"echo $$$$ > " + group + " && exec " + server},
			Env: map[string]string{"SERVER_EAT": "1"},
		}},
	}}}
	if err := h.Engine.Apply(t.Context(), engine.Deployment{Revision: rev, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	go func() { ended <- h.Engine.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
	}()
	_ = h.Engine.Watch(ctx, func(st engine.Status) {
		if st.Failed == nil {
			return
		}
		if st.Failed.Code != "oom_killed" || st.Replicas[0].State != workload.KilledOOM && st.Replicas[0].State != workload.NotReady {
			t.Errorf("Failed = %+v in state %s, want oom_killed, killed_oom", st.Failed, st.Replicas[0].State)
		}
		cancel()
	})
}
