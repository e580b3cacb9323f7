package eks

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// mortal is the way to AWS of a process that is killed right after a change of its was
// made: it never hears of that, nor of anything after it.
type mortal struct {
	next aws.HTTPClient
	kill context.CancelFunc

	mu      sync.Mutex
	at      int // the change after which it dies; 0: none
	changes int
	dead    bool
}

func (m *mortal) Do(r *http.Request) (*http.Response, error) {
	m.mu.Lock()
	dead := m.dead
	m.mu.Unlock()
	if dead {
		return nil, context.Canceled
	}
	changes := isChange(r)
	resp, err := m.next.Do(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	if changes && err == nil {
		if m.changes++; m.changes == m.at {
			m.dead = true
			m.kill()
		}
	}
	if m.dead {
		return nil, context.Canceled
	}
	return resp, err
}

// isChange reports whether a request asks for anything but an answer.
func isChange(r *http.Request) bool {
	action := ""
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		_, action, _ = strings.Cut(target, ".")
	} else if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return false
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return false
		}
		action = form.Get("Action")
	} else {
		return r.Method != http.MethodGet && r.Method != http.MethodHead
	}
	for _, read := range []string{"Describe", "List", "Get"} {
		if strings.HasPrefix(action, read) {
			return false
		}
	}
	return true
}

// through runs do with a process that dies after a number of changes, and returns how many
// it had made.
func (w *world) through(at int, do func(ctx context.Context, a *Account) error) (changes int, err error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	cfg := w.aws.Config(w.key)
	m := &mortal{next: cfg.HTTPClient, kill: cancel, at: at}
	cfg.HTTPClient = m
	a, err := Open(ctx, cfg, w.kube)
	if err != nil {
		return 0, err
	}
	err = do(ctx, a)
	return m.changes, err
}

func (w *world) upBy(ctx context.Context, a *Account) error {
	facts, plan, err := w.plan(ctx, a)
	if err != nil {
		return err
	}
	return a.Up(ctx, w.config, facts, plan, w.run())
}

func (w *world) downBy(ctx context.Context, a *Account) error {
	_, err := a.Down(ctx, w.config.ClusterName, false, w.run())
	return err
}

// exhaustive reports whether every case is wanted: of all of them the race detector
// makes a quarter of an hour, so otherwise it is every seventh.
func exhaustive() bool { return os.Getenv("CORTEX_TEST_EXHAUSTIVE") != "" }

// every calls one in a bubble for each change after which a process may die; total is how
// many there are.
func every(t *testing.T, total int, one func(t *testing.T, at int)) {
	t.Helper()
	step := 1
	if !exhaustive() {
		step = 7
	}
	for at := 1; at <= total; at += step {
		synctest.Test(t, func(t *testing.T) { one(t, at) })
	}
}

// lifeOf is a life that nothing disturbs: how many changes it takes to make a cluster and
// to take it away, and what is made.
func lifeOf(t *testing.T) (up, down int, made map[string]int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		var err error
		if up, err = w.through(0, w.upBy); err != nil {
			w.tell()
			t.Fatalf("up: %v", err)
		}
		made = maps.Clone(w.aws.Made())
		if down, err = w.through(0, w.downBy); err != nil {
			t.Fatalf("down: %v", err)
		}
	})
	return up, down, made
}

// A run that is killed after any change of its is gone on with by the next, which makes
// nothing twice; and what it had made can be taken away.
func TestKilledAnywhereWhileMaking(t *testing.T) {
	t.Parallel()
	total, _, made := lifeOf(t)
	every(t, total, func(t *testing.T, at int) {
		w := newWorld(t, nil)
		if changes, err := w.through(at, w.upBy); err == nil || changes < at {
			t.Fatalf("a run that dies after change %d made %d: %v", at, changes, err)
		}
		if err := w.up(t.Context()); err != nil {
			w.tell()
			t.Fatalf("killed after change %d, then: %v", at, err)
		}
		if got := w.aws.Made(); !maps.Equal(got, made) {
			t.Errorf("killed after change %d, there were made %v; want %v", at, got, made)
		}
	})
}

// What a run that was killed has made can be taken away, whatever it was.
func TestTakenAwayFromAnywhere(t *testing.T) {
	t.Parallel()
	total, _, _ := lifeOf(t)
	every(t, total, func(t *testing.T, at int) {
		w := newWorld(t, nil)
		if _, err := w.through(at, w.upBy); err == nil {
			t.Fatalf("a run that dies after change %d came to its end", at)
		}
		found, err := w.down(t.Context())
		if err != nil {
			w.tell()
			t.Fatalf("killed after change %d, then down: %v", at, err)
		}
		if l := append(left(found), w.aws.Left()...); len(l) > 0 {
			t.Errorf("killed after change %d, down leaves %q", at, l)
		}
	})
}

// A removal that is killed after any change of its is gone on with by the next.
func TestKilledAnywhereWhileTakingAway(t *testing.T) {
	t.Parallel()
	_, total, _ := lifeOf(t)
	every(t, total, func(t *testing.T, at int) {
		w := newWorld(t, nil)
		if err := w.up(t.Context()); err != nil {
			t.Fatal(err)
		}
		if changes, err := w.through(at, w.downBy); err == nil || changes < at {
			t.Fatalf("a removal that dies after change %d made %d: %v", at, changes, err)
		}
		found, err := w.down(t.Context())
		if err != nil {
			w.tell()
			t.Fatalf("killed after change %d, then: %v", at, err)
		}
		if l := append(left(found), w.aws.Left()...); len(l) > 0 {
			t.Errorf("killed after change %d, down leaves %q", at, l)
		}
	})
}
