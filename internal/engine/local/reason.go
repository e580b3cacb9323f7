package local

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// The stable codes of reasons given here; runtimes add those of a StartError:
// missing_executable, not_executable, bad_working_directory, start_failed,
// image_pull, image_not_found, docker_unavailable, devices_unavailable. A replica
// that is on its way has starting or terminating.
const (
	codeCrashLoop     = "crash_loop"
	codeExited        = "exited"
	codeKilled        = "killed"
	codeOOM           = "oom_killed"
	codePortInUse     = "port_in_use"
	codeNeverListened = "never_listened"
	codeProbe         = "probe_failing"
	codeLiveness      = "liveness_failing"

	codeStateUnwritable = "state_dir_unwritable"
	codeDiskFull        = "disk_full"
)

// evidenceLines is how many of the last log lines a reason carries.
const evidenceLines = 10

// noRuntime is the error of a container whose kind cannot run here.
func noRuntime(image string) error {
	if image == "" {
		return &StartError{Final: true, Reason: workload.Reason{
			Code: "processes_unavailable", Message: "containers without an image cannot run here", Fix: "give the container an image",
		}}
	}
	return &StartError{Final: true, Reason: workload.Reason{
		Code: "docker_unavailable", Message: "image " + image + " needs Docker, which is not available here",
		Fix: "install and start Docker, or replace image by a command that runs as a process",
	}}
}

// words says how a container ended, as the end of a sentence.
func (e Exit) words() string {
	switch {
	case e.OOM:
		return "was killed because memory ran out"
	case e.Signal != "":
		return fmt.Sprintf("was ended by %s (exit code %d)", e.Signal, e.Code)
	}
	return fmt.Sprintf("ended with exit code %d", e.Code)
}

// exited says why a container that ended is not running.
func exited(v view) *workload.Reason {
	r := &workload.Reason{Code: codeExited, Evidence: logEvidence(v.recent)}
	r.Evidence = append([]workload.Evidence{{Kind: "exit", Text: fmt.Sprintf("container %s %s", v.name, v.exit.words())}}, r.Evidence...)
	r.Message = fmt.Sprintf("container %s %s", v.name, v.exit.words())
	r.Fix = "the last log lines say what happened; a server must not end on its own"
	switch {
	case v.liveness != "":
		r.Code = codeLiveness
		r.Message = fmt.Sprintf("container %s was restarted because its liveness probe failed: %s", v.name, v.liveness)
		r.Evidence = append([]workload.Evidence{{Kind: "probe", Text: v.liveness}}, r.Evidence...)
		r.Fix = "make the probe succeed while the server works, or give it more time (initial_delay_seconds, failure_threshold)"
		return r
	case v.exit.OOM:
		r.Code, r.Fix = codeOOM, "let the container use less memory, or run fewer replicas on this machine"
	case mentionsPortInUse(v.recent):
		r.Code = codePortInUse
		r.Message = fmt.Sprintf("container %s could not listen: its port is already in use", v.name)
		r.Fix = "listen on the port in CORTEX_PORT instead of a fixed one, which only one program of a machine can have"
		return r
	case exitState(v) == workload.Killed:
		r.Code, r.Fix = codeKilled, "something other than Cortex ended it; look for what sends signals on this machine"
	}
	if v.ends >= crashLoop {
		if r.Code == codeExited {
			r.Code = codeCrashLoop
		}
		r.Message += fmt.Sprintf(", for the %s time in a row", ordinal(v.ends))
		if v.pause > 0 {
			r.Message += "; it is started again every " + v.pause.Round(time.Millisecond).String()
		}
	}
	return r
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}

// notAnswering says why a container that runs is not ready.
func notAnswering(v view) *workload.Reason {
	if v.probe == "" {
		return &workload.Reason{Code: "starting", Message: "container " + v.name + " runs; its probes have not answered yet"}
	}
	r := &workload.Reason{Code: codeProbe, Evidence: []workload.Evidence{{Kind: "probe", Text: v.probe}}}
	if !v.implicit {
		r.Message = fmt.Sprintf("container %s runs, but its readiness probe fails: %s", v.name, v.probe)
		r.Fix = "make the server answer the probe, or correct readiness_probe"
	} else {
		r.Code = codeNeverListened
		r.Message = fmt.Sprintf("container %s runs, but nothing listens on port %d", v.name, v.port)
		r.Fix = fmt.Sprintf("let the server listen on the port in CORTEX_PORT (%d)", v.port)
	}
	if len(v.listening) > 0 {
		r.Evidence = append(r.Evidence, workload.Evidence{Kind: "port", Text: "it listens on " + strings.Join(v.listening, ", ")})
		r.Message, r.Fix = elsewhere(v, r.Message, r.Fix)
	}
	return r
}

// elsewhere sharpens message and fix by where the container does listen.
func elsewhere(v view, message, fix string) (string, string) {
	port := strconv.Itoa(int(v.port))
	here := slices.ContainsFunc(v.listening, func(a string) bool {
		_, p, err := net.SplitHostPort(a)
		return err == nil && p == port
	})
	switch {
	case !here && v.implicit:
		return fmt.Sprintf("container %s does not listen on port %d but on %s", v.name, v.port, strings.Join(v.listening, ", ")), fix
	case here && v.implicit && v.image != "":
		return message + " that can be reached from outside of the container; it listens on " + strings.Join(v.listening, ", "), "listen on 0.0.0.0 instead of localhost"
	case here && v.implicit:
		return message + " of 127.0.0.1; it listens on " + strings.Join(v.listening, ", "), "listen on 127.0.0.1 or 0.0.0.0"
	}
	return message, fix
}

func logEvidence(lines []string) []workload.Evidence {
	var out []workload.Evidence
	for _, l := range lines[max(0, len(lines)-evidenceLines):] {
		out = append(out, workload.Evidence{Kind: "log", Text: l})
	}
	return out
}

// mentionsPortInUse recognises the words with which servers say that they cannot
// have their port.
func mentionsPortInUse(lines []string) bool {
	return slices.ContainsFunc(lines, func(l string) bool {
		l = strings.ToLower(l)
		return strings.Contains(l, "address already in use") || strings.Contains(l, "eaddrinuse") ||
			strings.Contains(l, "address in use") || strings.Contains(l, "port is already allocated")
	})
}
