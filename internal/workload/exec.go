package workload

import "io"

// ExecRequest says which command is to run in which container of an API.
type ExecRequest struct {
	Name      string   `json:"-"`
	Replica   string   `json:"replica,omitempty" doc:"the replica, by its id or a unique prefix of it; absent: the oldest that runs"`
	Container string   `json:"container,omitempty" doc:"the container of its pod; absent: the first"`
	Command   []string `json:"command" doc:"the program and its arguments; no shell reads them"`
	Stdin     bool     `json:"stdin,omitempty" doc:"the caller sends a standard input"`
	TTY       *TTY     `json:"tty,omitempty" doc:"the command gets a terminal, of this size"`
}

// TTY is a terminal.
type TTY struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
	Term string `json:"term,omitempty" doc:"the variable TERM"`
}

// ExecStreams are the ends of a command that are the caller's. Stdin may be read after
// the command has ended: whoever gives it ends it.
type ExecStreams struct {
	Stdin  io.Reader // nil: none
	Stdout io.Writer
	Stderr io.Writer  // gets nothing where there is a terminal
	Resize <-chan TTY // another size of the terminal; nil: it stays
}

// MaxExecBytes and MaxExecWords bound a command line.
const (
	MaxExecBytes = 64 << 10
	MaxExecWords = 1000
)
