package local

import (
	"bytes"
	"sync"
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
