package local

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	ready := view{name: "main", phase: phaseRunning, ready: true}
	refused := "tcp 127.0.0.1:20001: connection refused"
	missing := &StartError{Final: true, Reason: workload.Reason{Code: "missing_executable", Message: "m"}}
	pull := &StartError{Reason: workload.Reason{Code: "image_pull", Message: "m"}}
	for _, tt := range []struct {
		name     string
		views    []view
		stopping bool
		overdue  bool
		state    workload.ReplicaState
		code     string // of the reason; empty for none
		says     string // part of its message
		fatal    bool
	}{
		{name: "ready", views: []view{ready}, state: workload.Ready},
		{name: "before its start", views: []view{{name: "main"}}, state: workload.Creating, code: "starting"},
		{name: "being started", views: []view{{name: "main", phase: phaseStarting, starts: 1}}, state: workload.Creating, code: "starting"},
		{name: "being pulled", views: []view{{name: "main", phase: phaseStarting, starts: 1, doing: "pulling image x"}}, state: workload.Creating, code: "starting", says: "is being started: pulling image x"},
		{name: "asked by nobody yet", views: []view{{name: "main", phase: phaseRunning}}, state: workload.NotReady, code: "starting"},
		{
			name:  "not listening",
			views: []view{{name: "main", phase: phaseRunning, port: 20001, probe: refused, implicit: true}},
			state: workload.NotReady, code: "never_listened", says: "nothing listens on port 20001",
		},
		{
			name:  "listening elsewhere",
			views: []view{{name: "main", phase: phaseRunning, port: 20001, probe: refused, implicit: true, listening: []string{"0.0.0.0:8080"}}},
			state: workload.NotReady, code: "never_listened", says: "does not listen on port 20001 but on 0.0.0.0:8080",
		},
		{
			name: "listening elsewhere for too long", fatal: true,
			views: []view{{name: "main", phase: phaseRunning, port: 20001, probe: refused, implicit: true, listening: []string{"0.0.0.0:8080"}, misplaced: true}},
			state: workload.NotReady, code: "never_listened", says: "does not listen on port 20001 but on 0.0.0.0:8080",
		},
		{
			name:  "listening on another address",
			views: []view{{name: "main", phase: phaseRunning, port: 20001, probe: refused, implicit: true, listening: []string{"[::1]:20001"}}},
			state: workload.NotReady, code: "never_listened", says: "of 127.0.0.1; it listens on [::1]:20001",
		},
		{
			name:  "listening inside of the container only",
			views: []view{{name: "main", image: "i", phase: phaseRunning, port: 8080, probe: refused, implicit: true, listening: []string{"127.0.0.1:8080"}}},
			state: workload.NotReady, code: "never_listened", says: "from outside of the container; it listens on 127.0.0.1:8080",
		},
		{
			name:  "probe failing",
			views: []view{{name: "main", phase: phaseRunning, probe: "http x: status 500"}},
			state: workload.NotReady, code: "probe_failing", says: "http x: status 500",
		},
		{
			name: "probe failing for too long", overdue: true, fatal: true,
			views: []view{{name: "main", phase: phaseRunning, probe: "http x: status 500"}},
			state: workload.NotReady, code: "probe_failing",
		},
		{
			name:  "exited once",
			views: []view{{name: "main", phase: phaseEnded, starts: 1, ends: 1, exit: &Exit{Code: 1}, recent: []string{"no model"}}},
			state: workload.Failed, code: "exited", says: "ended with exit code 1",
		},
		{
			name:  "the end is remembered while it starts again",
			views: []view{{name: "main", phase: phaseStarting, starts: 2, ends: 1, exit: &Exit{Code: 1}}},
			state: workload.Failed, code: "exited",
		},
		{
			name: "crash loop", fatal: true,
			views: []view{{name: "main", phase: phaseEnded, starts: 3, ends: 3, exit: &Exit{Code: 1}, pause: 2 * time.Second}},
			state: workload.Failed, code: "crash_loop", says: "for the 3rd time in a row; it is started again after 2s",
		},
		{
			name:  "it served, and is back within seconds",
			views: []view{{name: "main", phase: phaseEnded, starts: 5, ends: 5, exit: &Exit{Code: 1}, served: true, pause: 8 * time.Second}},
			state: workload.Failed, code: "crash_loop", says: "started again after 8s",
		},
		{
			name: "it served, and is not back for a while", fatal: true,
			views: []view{{name: "main", phase: phaseEnded, starts: 6, ends: 6, exit: &Exit{Code: 1}, served: true, pause: 16 * time.Second}},
			state: workload.Failed, code: "crash_loop",
		},
		{
			name: "crash loop, running for the moment", fatal: true,
			views: []view{{name: "main", phase: phaseRunning, starts: 4, ends: 3, exit: &Exit{Code: 1}, probe: refused, implicit: true}},
			state: workload.NotReady, code: "crash_loop",
		},
		{
			name:  "killed by a signal",
			views: []view{{name: "main", phase: phaseEnded, starts: 1, ends: 1, exit: &Exit{Code: 137, Signal: "SIGKILL"}}},
			state: workload.Killed, code: "killed", says: "was ended by SIGKILL (exit code 137)",
		},
		{
			name:  "a crash is not a kill",
			views: []view{{name: "main", phase: phaseEnded, starts: 1, ends: 1, exit: &Exit{Code: 139, Signal: "SIGSEGV"}}},
			state: workload.Failed, code: "exited", says: "SIGSEGV",
		},
		{
			name:  "out of memory",
			views: []view{{name: "main", phase: phaseEnded, starts: 1, ends: 1, exit: &Exit{Code: 137, Signal: "SIGKILL", OOM: true}}},
			state: workload.KilledOOM, code: "oom_killed", says: "memory",
		},
		{
			name: "port in use", fatal: true,
			views: []view{{name: "main", phase: phaseEnded, starts: 3, ends: 3, exit: &Exit{Code: 1}, recent: []string{"OSError: [Errno 98] Address already in use"}}},
			state: workload.Failed, code: "port_in_use",
		},
		{
			name:  "restarted for its liveness",
			views: []view{{name: "main", phase: phaseEnded, starts: 1, ends: 1, exit: &Exit{Code: 143}, liveness: "http x: status 500"}},
			state: workload.NotReady, code: "liveness_failing", says: "status 500",
		},
		{name: "cannot start", fatal: true, views: []view{{phase: phaseEnded, starts: 1, ends: 1, failed: missing}}, state: workload.Failed, code: "missing_executable"},
		{name: "pull fails", views: []view{{phase: phaseEnded, starts: 1, ends: 1, failed: pull}}, state: workload.ErrImagePull, code: "image_pull"},
		{name: "pull fails again and again", fatal: true, views: []view{{phase: phaseEnded, starts: 3, ends: 3, failed: pull}}, state: workload.ErrImagePull, code: "image_pull"},
		{
			name:  "the worst container speaks",
			views: []view{ready, {name: "side", phase: phaseRunning, probe: "x"}, {name: "worst", phase: phaseEnded, exit: &Exit{Code: 2}}},
			state: workload.Failed, code: "exited", says: "worst",
		},
		{name: "stopping", stopping: true, views: []view{ready}, state: workload.Terminating, code: "terminating"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := judge(tt.views, tt.stopping, tt.overdue)
			if p.state != tt.state || p.fatal != tt.fatal || p.ready != (tt.state == workload.Ready) {
				t.Errorf("judge(…) = %s, ready %v, fatal %v, want %s, fatal %v", p.state, p.ready, p.fatal, tt.state, tt.fatal)
			}
			if (p.reason == nil) != (tt.code == "") {
				t.Fatalf("reason = %+v, want code %q", p.reason, tt.code)
			}
			if p.reason != nil && (p.reason.Code != tt.code || !strings.Contains(p.reason.Message, tt.says)) {
				t.Errorf("reason = %+v, want %s with %q", p.reason, tt.code, tt.says)
			}
		})
	}
}

// A server that listens on another port is given time to come here, and then given up;
// what to do about it depends on whether the port can be said in the file.
func TestListeningElsewhere(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	v := view{name: "main", phase: phaseRunning, port: 8080, probe: "refused", implicit: true, image: "nginx"}
	for _, step := range []struct {
		after     time.Duration
		listening []string
		misplaced bool
		fix       string
	}{
		{0, nil, false, "CORTEX_PORT (8080)"},
		{5 * time.Second, []string{"0.0.0.0:80", "[::]:80"}, false, "set pod.port: 80,"},
		{34 * time.Second, []string{"0.0.0.0:80"}, false, "set pod.port: 80,"},
		{35 * time.Second, []string{"0.0.0.0:80"}, true, "set pod.port: 80,"},
		{40 * time.Second, []string{"0.0.0.0:80", "0.0.0.0:81"}, true, "CORTEX_PORT (8080)"},
		{45 * time.Second, []string{"127.0.0.1:8080"}, false, "listen on 0.0.0.0"},
		{50 * time.Second, []string{"0.0.0.0:80"}, false, "set pod.port: 80,"},
	} {
		now := start.Add(step.after)
		v.found(step.listening, now)
		if got := v.at(now); got.misplaced != step.misplaced || !strings.Contains(notAnswering(got).Fix, step.fix) {
			t.Errorf("after %v at %v: misplaced %v, fix %q; want %v, %q", step.after, step.listening, got.misplaced, notAnswering(got).Fix, step.misplaced, step.fix)
		}
	}
	v.image = ""
	if fix := notAnswering(v).Fix; strings.Contains(fix, "pod.port") {
		t.Errorf("the fix of a process is %q; its port is never that of the file", fix)
	}
}

func TestReasonsCarryEvidence(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range 50 {
		lines = append(lines, fmt.Sprintf("line %dth", i))
	}
	r := exited(view{name: "main", exit: &Exit{Code: 3}, recent: lines})
	if r.Evidence[0].Kind != "exit" || !strings.Contains(r.Evidence[0].Text, "exit code 3") {
		t.Errorf("the first evidence is %+v, want the exit", r.Evidence[0])
	}
	if n := len(r.Evidence) - 1; n != engine.EvidenceLines || r.Evidence[n].Text != "line 49th" {
		t.Errorf("there are %d lines and the last is %q, want %d up to the last", n, r.Evidence[n].Text, engine.EvidenceLines)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	var b Backoff
	b = b.defaulted()
	for ends, want := range map[int]time.Duration{
		0: 0, 1: 0, 2: time.Second, 3: 2 * time.Second, 4: 4 * time.Second, 10: 256 * time.Second, 11: 5 * time.Minute, 1 << 40: 5 * time.Minute,
	} {
		if got := b.wait(ends); got != want {
			t.Errorf("wait after %d ends in a row = %s, want %s", ends, got, want)
		}
	}
}

// A pause follows from how the runs before it went, and is the one that is told.
func TestPauses(t *testing.T) {
	t.Parallel()
	b := Backoff{}.defaulted()
	const s = time.Second
	for _, tt := range []struct {
		name  string
		ready bool
		run   time.Duration
		want  []time.Duration
	}{
		{"it never starts", false, 0, []time.Duration{0, s, 2 * s, 4 * s, 8 * s, 16 * s}},
		{"it serves for two seconds", true, 2 * s, []time.Duration{0, s, 2 * s, 4 * s, 8 * s, 16 * s}},
		{"it serves for twelve seconds", true, 12 * s, []time.Duration{0, 0, 0, 0}},
		{"it runs for twelve seconds and never serves", false, 12 * s, []time.Duration{0, s, 2 * s, 4 * s}},
	} {
		v := view{name: "main", exit: &Exit{Code: 1}}
		var got []time.Duration
		for range tt.want {
			v.wasReady = tt.ready
			v.end(b, tt.run)
			got = append(got, v.pause)
			if r := exited(v); v.ends >= engine.CrashLoop && !strings.HasSuffix(r.Message, "after "+v.pause.String()) {
				t.Errorf("%s: the reason is %q, want it to name %s", tt.name, r.Message, v.pause)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: the pauses are %v, want %v", tt.name, got, tt.want)
		}
	}
	v := view{ends: 9, pause: 128 * s, wasReady: true}
	if v.end(b, 300*s); v.pause != 256*s {
		t.Errorf("a run of less than three pauses is followed by %s, want 256s", v.pause)
	}
	v.wasReady = true
	if v.end(b, 800*s); v.pause != 0 {
		t.Errorf("a run of three pauses is followed by %s, want none", v.pause)
	}
}

func TestServingContainer(t *testing.T) {
	t.Parallel()
	port := int32(8080)
	plain := workload.Container{Name: "plain"}
	asked := workload.Container{Name: "asked", ReadinessProbe: &workload.Probe{TCPSocket: &workload.TCPSocket{Port: 8080}}}
	elsewhere := workload.Container{Name: "elsewhere", ReadinessProbe: &workload.Probe{HTTPGet: &workload.HTTPGet{Port: 9000}}}
	for _, tt := range []struct {
		pod  workload.Pod
		want int
	}{
		{workload.Pod{Containers: []workload.Container{plain}}, -1},
		{workload.Pod{Port: &port, Containers: []workload.Container{plain, elsewhere}}, 0},
		{workload.Pod{Port: &port, Containers: []workload.Container{elsewhere, asked}}, 1},
	} {
		if got := servingContainer(&tt.pod); got != tt.want {
			t.Errorf("servingContainer(%+v) = %d, want %d", tt.pod, got, tt.want)
		}
	}
}
