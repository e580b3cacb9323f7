package operator

import (
	"context"
	"strings"
	"unicode"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// maxTerm bounds the variable TERM.
const maxTerm = 64

// Exec runs a command in a replica, where the engine can do that.
func (o *Operator) Exec(ctx context.Context, req workload.ExecRequest, streams workload.ExecStreams) (int, error) {
	w, err := o.store.Get(ctx, req.Name)
	if err != nil {
		return 0, err
	}
	if !w.Revision.Kind.Scales() {
		return 0, onlyFor("exec", &w.Revision.Spec)
	}
	if err := checkExec(req); err != nil {
		return 0, err
	}
	inside, ok := o.engine.(engine.Executor)
	if !ok {
		return 0, fault.New(fault.Unsupported, "exec.not_here", "the operator of this environment runs no commands in replicas").
			WithHint("on Kubernetes that is the cluster's own to permit: `kubectl exec` into a pod, whose names `cortex describe %s` shows", req.Name)
	}
	if w.Stopped != nil {
		return 0, errStopped(&w, "nothing of it runs")
	}
	return inside.Exec(ctx, req, streams)
}

func checkExec(req workload.ExecRequest) error {
	bytes := 0
	for _, word := range req.Command {
		bytes += len(word) + 1
		if strings.ContainsRune(word, 0) {
			return fault.New(fault.Invalid, "exec.invalid_command", "a word of the command has a zero byte, which no command line can")
		}
	}
	switch {
	case len(req.Command) == 0 || req.Command[0] == "":
		return fault.New(fault.Invalid, "exec.invalid_command", "there is no command to run")
	case len(req.Command) > workload.MaxExecWords || bytes > workload.MaxExecBytes:
		return fault.New(fault.Invalid, "exec.invalid_command", "the command has %d words and %d bytes; it may have %d and %d",
			len(req.Command), bytes, workload.MaxExecWords, workload.MaxExecBytes)
	case req.TTY != nil && (len(req.TTY.Term) > maxTerm || strings.ContainsFunc(req.TTY.Term, func(c rune) bool { return c > unicode.MaxASCII || !unicode.IsPrint(c) })):
		return fault.New(fault.Invalid, "exec.invalid_command", "the name of the terminal has more than %d characters, or others than letters, digits and signs", maxTerm)
	}
	return nil
}
