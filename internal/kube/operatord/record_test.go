package operatord

import (
	"bytes"
	"strings"
	"sync"
)

// record is a log that can be read while it is written.
type record struct {
	mu      sync.Mutex
	written bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.written.Write(p)
}

func (r *record) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.written.String()
}

func (r *record) has(text string) bool { return strings.Contains(r.text(), text) }
