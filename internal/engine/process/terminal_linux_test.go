package process

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/engine/local"
	"cortex.dev/cortex/internal/workload"
)

// asked writes to a terminal what its answer to what was read before says.
type asked struct {
	to   *io.PipeWriter
	size chan workload.TTY
	text bytes.Buffer
	step int
}

func (a *asked) Write(p []byte) (int, error) {
	a.text.Write(p)
	switch {
	case a.step == 0 && strings.Contains(a.text.String(), "24 80"):
		a.step++
		a.size <- workload.TTY{Rows: 50, Cols: 132}
		_, _ = io.WriteString(a.to, "go on\n")
	case a.step == 1 && strings.Contains(a.text.String(), "50 132"):
		a.step++
		_, _ = io.WriteString(a.to, "\x03") // Ctrl-C
	}
	return len(p), nil
}

func TestExecOverATerminal(t *testing.T) {
	t.Parallel()
	_, c, err := start(t, local.ContainerSpec{Name: "main", Directory: t.TempDir(), Command: shell("sleep 1000")})
	if err != nil {
		t.Fatal(err)
	}
	in, to := io.Pipe()
	defer to.Close()
	a := &asked{to: to, size: make(chan workload.TTY)}
	script := "trap 'exit 5' INT; echo $TERM; stty size; read answer; until [ \"$(stty size)\" = '50 132' ]; do :; done; stty size; while :; do sleep 1; done"
	code, err := c.Exec(t.Context(), shell(script), &workload.TTY{Rows: 24, Cols: 80, Term: "xterm-test"}, workload.ExecStreams{Stdin: in, Stdout: a, Resize: a.size})
	if err != nil || code != 5 || !strings.Contains(a.text.String(), "xterm-test\r\n24 80\r\n") {
		t.Errorf("Exec = %d, %v, %q; want 5 after Ctrl-C, the terminal's name and both sizes", code, err, a.text.String())
	}
}
