package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	callers     = 4
	callEvery   = 15 * time.Millisecond
	freshEvery  = 8                // calls until a caller connects anew
	callWithin  = 10 * time.Second // less than any fault lasts: what waits for its end fails
	toldAtMost  = 5                // failures, in words
	leastAnswer = 20               // answers without which a load proves nothing
)

// load is callers who call an API without a pause and look at each answer: it must
// come, be of the very request, and say what the server was sent.
type load struct {
	t      *testing.T
	url    string
	within time.Duration
	stop   context.CancelFunc
	all    sync.WaitGroup

	mu       sync.Mutex
	answered int
	failed   int
	slowest  time.Duration
	told     []string
}

// load begins to call an API at the front door.
func (p *place) load(t *testing.T, name string) *load {
	t.Helper()
	return callAt(t, p.apis+"/"+name, callWithin)
}

func callAt(t *testing.T, url string, within time.Duration) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{t: t, url: url, within: within, stop: stop}
	for who := range callers {
		l.all.Go(func() { l.work(ctx, who) })
	}
	t.Cleanup(func() { stop(); l.all.Wait() })
	return l
}

func (l *load) work(ctx context.Context, who int) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: l.within}
	tick := time.NewTicker(callEvery)
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		if i%freshEvery == 0 {
			transport.CloseIdleConnections()
		}
		began := time.Now()
		err := l.call(client, who, i)
		l.note(time.Since(began), err)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// call makes one request, which is answered also when the load is to end.
func (l *load) call(client *http.Client, who, i int) error {
	size := 1 + (i*977)%4096
	path := fmt.Sprintf("/caller/%d/%d", who, i)
	resp, err := client.Post(l.url+path, "application/octet-stream", bytes.NewReader(make([]byte, size))) //nolint:noctx // the client has a timeout
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	var said struct {
		Path  string
		Bytes int
	}
	switch err := json.Unmarshal(text.Bytes(), &said); {
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(text.String()))
	case err != nil:
		return fmt.Errorf("the answer is not the server's: %w", err)
	case said.Path != path || said.Bytes != size:
		return fmt.Errorf("the answer is of %s with %d bytes, want %s with %d", said.Path, said.Bytes, path, size)
	}
	return nil
}

func (l *load) note(took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowest = max(l.slowest, took)
	if err == nil {
		l.answered++
		return
	}
	l.failed++
	if len(l.told) < toldAtMost {
		l.told = append(l.told, fmt.Sprintf("%s after %s: %v", time.Now().Format("15:04:05.000"), took.Round(time.Millisecond), err))
	}
}

// end stops the callers after their last answers, of which there must be some, and
// fails the test when more than so many requests were not answered as they should.
func (l *load) end(mayFail int) {
	l.t.Helper()
	until(l.t, fmt.Sprintf("%d answers of %s", leastAnswer, l.url), func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if n := l.answered + l.failed; n < leastAnswer {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	l.stop()
	l.all.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t.Logf("%d requests to %s: %d not answered well; the slowest took %s", l.answered+l.failed, l.url, l.failed, l.slowest.Round(time.Millisecond))
	if l.failed > 0 && l.failed <= mayFail {
		l.t.Logf("which may be:\n%s", strings.Join(l.told, "\n"))
	}
	if l.failed > mayFail {
		l.t.Errorf("%d of %d requests were not answered, want at most %d:\n%s", l.failed, l.answered+l.failed, mayFail, strings.Join(l.told, "\n"))
	}
	if l.answered < leastAnswer {
		l.t.Errorf("%d requests were answered, want at least %d", l.answered, leastAnswer)
	}
}
