package local

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// The stable codes of reasons given here only; those of engine are given too, and
// runtimes add those of a StartError:
// missing_executable, not_executable, bad_working_directory, start_failed,
// docker_unavailable, devices_unavailable and those of images. A replica that is on
// its way has starting or terminating.
const (
	CodeImagePull       = "image_pull"
	CodeImageNotFound   = "image_not_found"
	codeStateUnwritable = "state_dir_unwritable"
	codeDiskFull        = "disk_full"
)

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
	end := engine.End{
		Container: v.name, Words: v.exit.words(), Lines: v.recent, Liveness: v.liveness, OOM: v.exit.OOM,
		PortTaken: mentionsPortInUse(v.recent), Killed: exitState(v) == workload.Killed, Times: v.ends,
		Fixes: engine.Fixes{
			OOM:    "let the container use less memory, or run fewer replicas on this machine",
			Port:   "listen on the port in CORTEX_PORT instead of a fixed one, which only one program of a machine can have",
			Killed: "something other than Cortex ended it; look for what sends signals on this machine",
		},
	}
	if v.pause > 0 {
		end.Again = "after " + v.pause.Round(time.Millisecond).String()
	}
	r := end.Reason()
	if d := daemonized(v); d != nil && r.Code != engine.CodePortInUse {
		r.Code, r.Message, r.Fix = d.Code, d.Message, d.Fix
	}
	return r
}

// notAnswering says why a container that runs is not ready.
func notAnswering(v view) *workload.Reason {
	if v.probe == "" {
		return &workload.Reason{Code: "starting", Message: "container " + v.name + " runs; its probes have not answered yet"}
	}
	r := &workload.Reason{Code: engine.CodeProbe, Evidence: []workload.Evidence{{Kind: "probe", Text: v.probe}}}
	if !v.implicit {
		r.Message = fmt.Sprintf("container %s runs, but its readiness probe fails: %s", v.name, v.probe)
		r.Fix = "make the server answer the probe, or correct readiness_probe"
	} else {
		r.Code = engine.CodeNeverListened
		r.Message = fmt.Sprintf("container %s runs, but nothing listens on port %d", v.name, v.port)
		r.Fix = fmt.Sprintf("let the server listen on the port in CORTEX_PORT (%d), not on a fixed one", v.port)
	}
	if len(v.listening) > 0 {
		r.Evidence = append(r.Evidence, workload.Evidence{Kind: "port", Text: "it listens on " + strings.Join(v.listening, ", ")})
		r.Message, r.Fix = elsewhere(v, r.Message, r.Fix)
	}
	return r
}

// ports are those on which it was found to listen.
func (v view) ports() []string {
	var ports []string
	for _, a := range v.listening {
		if _, p, err := net.SplitHostPort(a); err == nil {
			ports = append(ports, p)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// found takes over where it listens.
func (v *view) found(listening []string, now time.Time) {
	v.listening, v.looked = listening, now
	switch ports := v.ports(); {
	case !v.implicit || len(ports) == 0 || slices.Contains(ports, strconv.Itoa(int(v.port))):
		v.elsewhere = time.Time{}
	case v.elsewhere.IsZero():
		v.elsewhere = now
	}
}

// elsewhere sharpens message and fix by where the container does listen.
func elsewhere(v view, message, fix string) (string, string) {
	ports := v.ports()
	here := slices.Contains(ports, strconv.Itoa(int(v.port)))
	switch {
	case !here && v.implicit:
		if v.image != "" && len(ports) == 1 { // made by somebody else, probably
			fix = fmt.Sprintf("set pod.port: %s, or let the server listen on the port in CORTEX_PORT (%d)", ports[0], v.port)
		}
		return fmt.Sprintf("container %s does not listen on port %d but on %s", v.name, v.port, strings.Join(v.listening, ", ")), fix
	case here && v.implicit && v.image != "":
		return message + " that can be reached from outside of the container; it listens on " + strings.Join(v.listening, ", "), "listen on 0.0.0.0 instead of localhost"
	case here && v.implicit:
		return message + " of 127.0.0.1; it listens on " + strings.Join(v.listening, ", "), "listen on 127.0.0.1 or 0.0.0.0"
	}
	return message, fix
}

// mentionsPortInUse also knows how Docker says that the port of the machine is taken.
func mentionsPortInUse(lines []string) bool {
	return engine.PortInUse(lines, "port is already allocated")
}
