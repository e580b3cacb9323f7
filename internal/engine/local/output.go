package local

import (
	"bytes"
	"context"
	"sync"

	"cortex.dev/cortex/internal/workload"
)

// MaxOutput bounds what is kept of the output of a probe or hook.
const MaxOutput = 4 << 10

// Output keeps the first few kilobytes of what a command that Container.Exec runs
// writes, and swallows the rest. The zero value is ready; its methods may be called
// at once.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// brief runs a command in a container and returns the first few kilobytes of what it
// writes.
func brief(h Container) func(ctx context.Context, command []string) (output []byte, code int, err error) {
	return func(ctx context.Context, command []string) ([]byte, int, error) {
		out := &Output{}
		code, err := h.Exec(ctx, command, nil, workload.ExecStreams{Stdout: out, Stderr: out})
		return out.Bytes(), code, err
	}
}

// Write takes all of p and never fails.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p[:min(len(p), MaxOutput-o.buf.Len())])
	return len(p), nil
}

// Bytes returns a copy of what was kept.
func (o *Output) Bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.buf.Bytes())
}
