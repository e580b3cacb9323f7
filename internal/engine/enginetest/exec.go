package enginetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// execScene runs commands in a replica, where an engine can.
func execScene(s *scene) {
	inside, ok := s.Engine.(engine.Executor)
	if !ok {
		s.Skip("this engine runs no commands in replicas")
	}
	s.apply(s.revision("iris", "r1", nil), 1)
	r := s.settled("iris", 1).Replicas[0]
	run := func(ctx context.Context, req workload.ExecRequest, words ...string) (out, errs string, code int, err error) {
		var stdout, stderr bytes.Buffer
		req.Name, req.Command = "iris", append(slices.Clone(s.Self), words...)
		code, err = inside.Exec(ctx, req, workload.ExecStreams{Stdin: strings.NewReader("well?"), Stdout: &stdout, Stderr: &stderr})
		return stdout.String(), stderr.String(), code, err
	}
	for _, req := range []workload.ExecRequest{{}, {Replica: r.ID}, {Replica: r.ID[:6], Container: "main"}} {
		out, errs, code, err := run(s.Context(), req, "answer", "7")
		if err != nil || code != 7 || out != "well?" || errs != "answered" {
			s.Errorf("Exec(%+v) = %q, %q, %d, %v; want what was said to it, its own words and 7", req, out, errs, code, err)
		}
	}
	for want, req := range map[string]workload.ExecRequest{
		"exec.replica_not_found": {Replica: "nobody"}, "exec.container_not_found": {Container: "nobody"},
	} {
		if _, _, _, err := run(s.Context(), req, "answer", "0"); fault.Code(err) != want {
			s.Errorf("Exec(%+v) = %v, want %s", req, err, want)
		}
	}
	// It sees what the replica sees.
	s.mustGet(r, "/touch?file="+s.inside("there"))
	if _, _, code, err := run(s.Context(), workload.ExecRequest{}, "check", s.inside("there")); err != nil || code != 0 {
		s.Errorf("Exec(check) = %d, %v, want the file of the replica", code, err)
	}
	// Who goes away leaves nothing running.
	ctx, cancel := context.WithTimeout(s.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, _, err := run(ctx, workload.ExecRequest{}, "sleep", "1h"); !errors.Is(err, context.DeadlineExceeded) {
		s.Errorf("Exec past its time = %v, want the error of its context", err)
	}
	// Nothing runs at zero.
	s.apply(s.revision("iris", "r1", nil), 0)
	s.until("no replica", "iris", func(st engine.Status) bool { return len(st.Replicas) == 0 })
	if _, _, _, err := run(s.Context(), workload.ExecRequest{}, "answer", "0"); fault.Code(err) != engine.CodeNothingRuns {
		s.Errorf("Exec at zero = %v, want exec.nothing_runs", err)
	}
}
