package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func logScenes() []test {
	return []test{
		{name: "LogsMergeReplicas", play: logsMerge},
		{name: "LogsFollow", play: logsFollow},
		{name: "LogsOfThePreviousRun", play: logsPrevious},
	}
}

func logsMerge(s *scene) {
	s.apply(s.revision("iris", "r1", env("SERVER_PRINT", "hello")), 2)
	st := s.settled("iris", 2)
	a, b := st.Replicas[0], st.Replicas[1]
	for i, r := range []engine.Replica{a, b, a, b} {
		text := fmt.Sprintf("line %d", i)
		s.print(r, text)
		// The time of a line is that of its arrival: one after the other.
		s.eventually(text, func() bool { return slices.Contains(texts(s.logs(workload.LogQuery{Name: "iris"})), text) })
	}
	lines := s.logs(workload.LogQuery{Name: "iris"})
	if !slices.IsSortedFunc(lines, func(x, y workload.LogLine) int { return x.Time.Compare(y.Time) }) {
		s.Errorf("the lines %v are not in order of time", lines)
	}
	var printed []string
	streams := map[string]bool{}
	for _, l := range lines {
		if strings.HasPrefix(l.Text, "line ") {
			printed = append(printed, l.Replica+" "+l.Text)
		}
		if l.Container != "main" || l.Time.IsZero() {
			s.Errorf("line %+v, want container main and a time", l)
		}
		streams[l.Stream+" "+l.Text] = true
	}
	if want := []string{a.ID + " line 0", b.ID + " line 1", a.ID + " line 2", b.ID + " line 3"}; !slices.Equal(printed, want) {
		s.Errorf("lines %q, want %q", printed, want)
	}
	if !streams["stdout hello"] || !streams["stderr hello (stderr)"] && !(s.OneStream && streams["stdout hello (stderr)"]) {
		s.Errorf("streams and lines are %v, want both streams told apart", streams)
	}
	if got := texts(s.logs(workload.LogQuery{Name: "iris", Tail: 2})); !slices.Equal(got, []string{"line 2", "line 3"}) {
		s.Errorf("Tail 2 gives %q, want the last two", got)
	}
	if got := texts(s.logs(workload.LogQuery{Name: "iris", Replica: a.ID[:6], Tail: 2})); !slices.Equal(got, []string{"line 0", "line 2"}) {
		s.Errorf("Tail 2 of one replica gives %q, want its last two", got)
	}
	if got := s.logs(workload.LogQuery{Name: "iris", Since: time.Nanosecond}); len(got) != 0 {
		s.Errorf("Since a moment ago gives %v, want nothing", got)
	}
	if got := s.logs(workload.LogQuery{Name: "iris", Since: time.Hour}); len(got) != len(lines) {
		s.Errorf("Since an hour ago gives %d lines, want all %d", len(got), len(lines))
	}
	err := s.Engine.Logs(context.Background(), workload.LogQuery{Name: "iris"}, func(workload.LogLine) error { return errEnough })
	if !errors.Is(err, errEnough) {
		s.Errorf("Logs = %v, want the error of the function", err)
	}
	s.apply(s.revision("iris", "r1", env("SERVER_PRINT", "hello")), 0)
	s.settled("iris", 0)
	if !s.LogsEndWithReplica {
		if got := texts(s.logs(workload.LogQuery{Name: "iris", Replica: a.ID})); !slices.Contains(got, "line 2") {
			s.Errorf("the log of a replica that is gone is %q, want its lines kept", got)
		}
	}
	for name, q := range map[string]workload.LogQuery{
		"an unknown replica":  {Name: "iris", Replica: "nobody"},
		"an unknown workload": {Name: "rose"},
	} {
		err = s.Engine.Logs(context.Background(), q, func(workload.LogLine) error { return nil })
		if !fault.Is(err, fault.NotFound) {
			s.Errorf("Logs of %s = %v, want not found", name, err)
		}
	}
}

func logsFollow(s *scene) {
	rev := s.revision("iris", "r1", nil)
	s.apply(rev, 1)
	r := s.settled("iris", 1).Replicas[0]
	s.print(r, "before")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	got := make(chan workload.LogLine, 1000)
	result := make(chan error, 1)
	go func() {
		result <- s.Engine.Logs(ctx, workload.LogQuery{Name: "iris", Follow: true}, func(l workload.LogLine) error {
			got <- l
			return nil
		})
	}()
	deadline := time.After(patience)
	await := func(text string) {
		s.T.Helper()
		for {
			select {
			case l := <-got:
				if l.Text == text {
					return
				}
			case <-deadline:
				s.Fatalf("never saw %q", text)
			}
		}
	}
	await("before")
	s.print(r, "after")
	await("after")
	s.apply(rev, 2) // a replica that comes later is followed too
	st := s.settled("iris", 2)
	s.print(st.Replicas[1], "from the second")
	await("from the second")
	cancel()
	if err := <-result; err != nil {
		s.Errorf("Logs = %v after its context ended, want nil", err)
	}
}

func logsPrevious(s *scene) {
	s.apply(s.revision("iris", "r1", nil), 1)
	r := s.settled("iris", 1).Replicas[0]
	if got := s.logs(workload.LogQuery{Name: "iris", Previous: true}); len(got) != 0 {
		s.Errorf("the previous run of a first one has the lines %v, want none", got)
	}
	s.print(r, "in the first run")
	_, _, _ = s.get(r, "/exit?code=1")
	st := s.until("the restart", "iris", func(st engine.Status) bool {
		ready, _ := st.Ready()
		return ready == 1 && st.Replicas[0].Restarts == 1
	})
	s.print(st.Replicas[0], "in the second run")
	s.eventually("the line of the second run", func() bool {
		return slices.Contains(texts(s.logs(workload.LogQuery{Name: "iris"})), "in the second run")
	})
	got := texts(s.logs(workload.LogQuery{Name: "iris", Previous: true}))
	if !slices.Contains(got, "in the first run") || slices.Contains(got, "in the second run") {
		s.Errorf("the previous run has the lines %q, want those of the first run only", got)
	}
}
