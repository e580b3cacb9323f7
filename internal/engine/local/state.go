package local

import (
	"slices"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// phase is what a container is doing.
type phase int

const (
	phaseWaiting  phase = iota // not started yet
	phaseStarting              // its runtime works on it
	phaseRunning
	phaseEnded   // to be started again
	phaseStopped // not to be started again
)

// view is what is observed of one container.
type view struct {
	name    string
	command []string // with its arguments
	image   string
	port    int32 // where it is expected to listen; 0 for nowhere

	phase   phase
	doing   string // what a start that takes long is busy with
	starts  int
	ends    int  // that were not wanted, in a row
	served  bool // it was ready in the run that ended
	failed  *StartError
	exit    *Exit
	started time.Time
	pause   time.Duration // before the next start
	recent  []string      // last lines of the run that ended

	ready     bool
	wasReady  bool     // in this run
	probe     string   // the last failing answer to a readiness probe; empty when there was none
	implicit  bool     // that answer is of the probe that was added
	liveness  string   // the failing answer for which it was restarted; else empty
	listening []string // where it was found to listen
	looked    time.Time
	elsewhere time.Time // since when it listens, and only where nobody asks; zero: it does not
	misplaced bool      // for so long that it will not come here any more
	portTaken bool      // it could not listen because somebody else does
}

// pod is what follows from the views of a replica's containers.
type pod struct {
	state  workload.ReplicaState
	reason *workload.Reason // nil when ready
	ready  bool
	fatal  bool // the revision has proven unable to become ready
}

// judge decides the state of a replica. Overdue says that it was never ready and
// has had the time it is given.
func judge(views []view, stopping, overdue bool) pod {
	worst := pod{state: workload.Ready, ready: true}
	for _, v := range views {
		if p := judgeContainer(v, overdue); severity(p) > severity(worst) {
			worst = p
		}
	}
	if stopping {
		return pod{state: workload.Terminating, reason: &workload.Reason{Code: "terminating", Message: "the replica is being stopped"}}
	}
	return worst
}

// severity orders what containers of one replica say: the worst speaks for it.
func severity(p pod) int {
	switch {
	case p.fatal:
		return 4
	case p.ready:
		return 0
	case p.state == workload.Creating:
		return 1
	case p.state == workload.NotReady:
		return 2
	}
	return 3
}

func judgeContainer(v view, overdue bool) pod {
	fatal := overdue || v.ends >= engine.CrashLoop && !v.isBackSoon() || v.misplaced
	switch {
	case v.phase == phaseRunning && v.ready:
		return pod{state: workload.Ready, ready: true}
	case v.phase == phaseRunning:
		reason := notAnswering(v)
		if v.ends >= engine.CrashLoop && v.exit != nil {
			reason = exited(v)
		}
		return pod{state: workload.NotReady, reason: reason, fatal: fatal}
	case v.failed != nil:
		state := workload.Failed
		if v.failed.Reason.Code == CodeImagePull || v.failed.Reason.Code == CodeImageNotFound {
			state = workload.ErrImagePull
		}
		reason := v.failed.Reason
		return pod{state: state, reason: &reason, fatal: fatal || v.failed.Final}
	case v.exit != nil:
		return pod{state: exitState(v), reason: exited(v), fatal: fatal}
	}
	message := "container " + v.name + " is being started"
	if v.doing != "" {
		message += ": " + v.doing
	}
	return pod{state: workload.Creating, reason: &workload.Reason{Code: "starting", Message: message}, fatal: overdue}
}

// shortPause is how long requests rather wait for a container that has served than be
// refused.
const shortPause = 10 * time.Second

// isBackSoon reports whether the container served in the run that ended, and is started
// again so soon that requests can wait for it.
func (v view) isBackSoon() bool { return v.served && v.pause <= shortPause }

// end takes over that the container ended after a run, 0 when it did not start, and
// with it how long it is not started again.
func (v *view) end(b Backoff, run time.Duration) {
	v.served, v.wasReady = v.wasReady, false
	if v.served && b.wipes(run, v.pause) {
		v.ends = 0
	}
	v.ends++
	v.pause = b.wait(v.ends)
}

// misplacedAfter is how long a server that listens on another port is waited for: some
// open one for metrics before they have loaded their model.
const misplacedAfter = 30 * time.Second

// at is the view as it is judged at a time.
func (v view) at(now time.Time) view {
	v.misplaced = !v.elsewhere.IsZero() && now.Sub(v.elsewhere) >= misplacedAfter
	return v
}

// exitState is the word for a container that ended (REFERENCE 4.5).
func exitState(v view) workload.ReplicaState {
	switch {
	case v.liveness != "":
		return workload.NotReady
	case v.exit.OOM:
		return workload.KilledOOM
	case slices.Contains([]int{129, 130, 137, 143}, v.exit.Code):
		return workload.Killed
	}
	return workload.Failed
}
