package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/workload"
)

// The stable codes of what can become of a container anywhere; places add their own.
const (
	CodeCrashLoop     = "crash_loop"
	CodeExited        = "exited"
	CodeKilled        = "killed"
	CodeOOM           = "oom_killed"
	CodePortInUse     = "port_in_use"
	CodeNeverListened = "never_listened"
	CodeProbe         = "probe_failing"
	CodeLiveness      = "liveness_failing"
	CodeStartFailed   = "start_failed"
	CodeVolume        = "volume_unavailable"

	CodeStarting    = "starting"    // of what is on its way
	CodeTerminating = "terminating" // likewise
)

const (
	// CrashLoop is how many ends in a row prove that a container cannot stay up.
	CrashLoop = 3
	// EvidenceLines is how many of the last log lines a reason carries.
	EvidenceLines = 10
)

// End is how a container ended, for the reason why it does not run.
type End struct {
	Container string
	Words     string   // how it ended, as the end of a sentence
	Lines     []string // the last of its log
	Liveness  string   // the failing answer for which it was ended; empty: none
	OOM       bool     // memory ran out
	PortTaken bool     // its log says that it could not have its port; see PortInUse
	Killed    bool     // by somebody else
	Times     int      // in a row
	Again     string   // when it is started again, as in "after 2s"; empty: not known
	Fixes     Fixes
}

// Fixes are what to do, where that depends on the place.
type Fixes struct{ OOM, Port, Killed string }

// Reason says why the container is not running.
func (e End) Reason() *workload.Reason {
	words := "container " + e.Container + " " + e.Words
	r := &workload.Reason{
		Code: CodeExited, Message: words,
		Evidence: append([]workload.Evidence{{Kind: "exit", Text: words}}, LogEvidence(e.Lines)...),
		Fix:      "the last log lines say what happened; a server must not end on its own",
	}
	switch {
	case e.Liveness != "":
		r.Code = CodeLiveness
		r.Message = fmt.Sprintf("container %s was restarted because its liveness probe failed: %s", e.Container, e.Liveness)
		r.Evidence = append([]workload.Evidence{{Kind: "probe", Text: e.Liveness}}, r.Evidence...)
		r.Fix = "make the probe succeed while the server works, or give it more time (initial_delay_seconds, failure_threshold)"
		return r
	case e.OOM:
		r.Code, r.Fix = CodeOOM, e.Fixes.OOM
	case e.PortTaken:
		r.Code, r.Fix = CodePortInUse, e.Fixes.Port
		r.Message = fmt.Sprintf("container %s could not listen: its port is already in use", e.Container)
		return r
	case e.Killed:
		r.Code, r.Fix = CodeKilled, e.Fixes.Killed
	}
	if e.Times >= CrashLoop {
		if r.Code == CodeExited {
			r.Code = CodeCrashLoop
		}
		r.Message += fmt.Sprintf(", for the %s time in a row", ordinal(e.Times))
		if e.Again != "" {
			r.Message += "; it is started again " + e.Again
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

// LogEvidence is the last of a log, as evidence.
func LogEvidence(lines []string) []workload.Evidence {
	var out []workload.Evidence
	for _, l := range lines[max(0, len(lines)-EvidenceLines):] {
		out = append(out, workload.Evidence{Kind: "log", Text: l})
	}
	return out
}

// PortInUse recognises the words with which servers say that they cannot have their
// port; more are those that the place itself says, in lower case.
func PortInUse(lines []string, more ...string) bool {
	words := append([]string{"address already in use", "eaddrinuse", "address in use"}, more...)
	return slices.ContainsFunc(lines, func(l string) bool {
		l = strings.ToLower(l)
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(l, w) })
	})
}
