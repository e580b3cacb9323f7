package cli

import "golang.org/x/sys/unix"

// The requests that read and change the settings of a terminal.
const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
)
