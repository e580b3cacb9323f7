package process

import (
	"os/exec"

	"cortex.dev/cortex/internal/workload"
)

// overTerminal refuses: this system hands out terminals through its C library only.
func (c *conversation) overTerminal(*exec.Cmd, workload.TTY, workload.ExecStreams) error {
	return startError("no_terminal", nil, "processes get no terminal on macOS", "leave -t out; commands that need none work, also with a standard input")
}
