package bolt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/storetest"
	"cortex.dev/cortex/internal/workload"
)

// crashDir tells a copy of the test binary to write into that folder until it is
// killed, crashClaims to claim there.
const (
	crashDir    = "CORTEX_TEST_CRASH_DIR"
	crashClaims = "CORTEX_TEST_CRASH_CLAIMS"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Println("error", writeUntilKilled(dir))
		os.Exit(1)
	}
	if dir := os.Getenv(crashClaims); dir != "" {
		fmt.Println("error", claimUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const crashNames = 4

// writeUntilKilled changes crashNames workloads at once. It says on standard
// output what it is about to do and, once that is acknowledged, that it is done.
func writeUntilKilled(dir string) error {
	ctx := context.Background()
	s, err := Open(ctx, Config{Dir: dir})
	if err != nil {
		return err
	}
	fmt.Println("open", os.Getpid())
	failed := make(chan error)
	for n := range crashNames {
		go func() { failed <- writeOne(ctx, s, fmt.Sprintf("w%d", n)) }()
	}
	return <-failed
}

func writeOne(ctx context.Context, s *Store, name string) error {
	past, err := s.History(ctx, name)
	if err != nil {
		return err
	}
	n := 0
	if len(past) > 0 {
		if n, err = strconv.Atoi(past[0].Cause); err != nil {
			return err
		}
	}
	for {
		n++
		w, err := s.Get(ctx, name)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		next := storetest.Sample(name, n)
		next.Version = w.Version
		for _, step := range []struct {
			what string
			do   func() error
		}{
			{"put", func() error { v, err := s.Put(ctx, next); next.Version = v; return err }},
			{"remember", func() error { return s.Remember(ctx, store.Past{Revision: next.Revision, Cause: strconv.Itoa(n)}) }},
			{"record", func() error { return s.Record(ctx, workload.Event{API: name, Message: strconv.Itoa(n)}) }},
			{"delete", func() error {
				if n%5 != 0 {
					return nil
				}
				return s.Delete(ctx, name, next.Version, true)
			}},
		} {
			fmt.Println("try", step.what, name, n)
			if err := step.do(); err != nil {
				return fmt.Errorf("%s %s %d: %w", step.what, name, n, err)
			}
			fmt.Println("done", step.what, name, n)
		}
	}
}

// promise is what is known to have been acknowledged for one workload, and what
// was under way.
type promise struct {
	done, tried map[string]int // by step: the last n
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	const rounds = 55
	dir := t.TempDir()
	promises := map[string]*promise{}
	for n := range crashNames {
		promises[fmt.Sprintf("w%d", n)] = &promise{done: map[string]int{}, tried: map[string]int{}}
	}
	acknowledged := 0
	for round := range rounds {
		acknowledged += writeAndKill(t, dir, promises)
		checkPromises(t, dir, promises)
		if t.Failed() {
			t.Fatalf("after round %d", round)
		}
	}
	t.Logf("%d acknowledged writes in %d lives", acknowledged, rounds)
	if acknowledged < rounds {
		t.Errorf("%d writes were acknowledged in %d lives; the test proves nothing", acknowledged, rounds)
	}
}

// writeAndKill lets a child write and kills it: after some writes, or some
// milliseconds after its start, whatever comes first.
func writeAndKill(t *testing.T, dir string, promises map[string]*promise) (acknowledged int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), crashDir+"="+dir, "GOCOVERDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var killed atomic.Bool
	kill := sync.OnceFunc(func() {
		killed.Store(true)
		_ = cmd.Process.Kill() // it may have ended already
	})
	defer kill()
	// One life in three dies at some moment of its start; the others after some writes.
	enough := 1 + rand.IntN(80)
	if rand.IntN(3) == 0 {
		timer := time.AfterFunc(time.Duration(rand.IntN(60_000))*time.Microsecond, kill)
		defer timer.Stop()
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch f[0] {
		case "open":
			second, err := Open(t.Context(), Config{Dir: dir})
			switch {
			case err == nil && killed.Load():
				_ = second.Close() // never fails
			case err == nil:
				_ = second.Close()
				t.Errorf("Open() beside process %s succeeded", f[1])
			case fault.Code(err) != "store.state_in_use" || !strings.Contains(err.Error(), "process "+f[1]):
				t.Errorf("Open() beside process %s = %v, want store.state_in_use with its name", f[1], err)
			}
		case "try", "done":
			n, err := strconv.Atoi(f[3])
			if err != nil {
				t.Fatal(err)
			}
			p := promises[f[2]]
			if f[0] == "try" {
				p.tried[f[1]] = n
			} else if p.done[f[1]] = n; acknowledged < enough {
				if acknowledged++; acknowledged == enough {
					kill()
				}
			}
		case "error":
			t.Errorf("the writer said: %s", lines.Text())
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed, which is an error
	return acknowledged
}

// checkPromises wants every workload at what was acknowledged last, or at what was under way.
func checkPromises(t *testing.T, dir string, promises map[string]*promise) {
	t.Helper()
	s := open(t, Config{Dir: dir})
	defer func() { _ = s.Close() }() // never fails
	for name, p := range promises {
		w, err := s.Get(t.Context(), name)
		deleted := p.done["put"]%5 == 0 && p.done["delete"] == p.done["put"]
		deleting := p.tried["delete"]%5 == 0 && p.tried["delete"] == p.done["put"]
		switch {
		case fault.Is(err, fault.NotFound):
			if p.done["put"] != 0 && !deleted && !deleting {
				t.Errorf("%s is lost; put %d was acknowledged", name, p.done["put"])
			}
		case err != nil:
			t.Errorf("Get(%s) = %v", name, err)
		case deleted && p.tried["put"] == p.done["put"]:
			t.Errorf("%s is at %d; its deletion was acknowledged", name, w.Replicas)
		case w.Replicas != p.done["put"] && w.Replicas != p.tried["put"]:
			t.Errorf("%s is at %d, want %d or %d", name, w.Replicas, p.done["put"], p.tried["put"])
		}
		past, err := s.History(t.Context(), name)
		if err != nil {
			t.Errorf("History(%s) = %v", name, err)
		}
		newest := 0
		for i, e := range past {
			n, err := strconv.Atoi(e.Cause)
			if err != nil {
				t.Fatal(err)
			}
			newest = max(newest, n)
			if older := i + 1; older < len(past) && past[older].Cause >= e.Cause && len(past[older].Cause) == len(e.Cause) {
				t.Errorf("History(%s) has %s after %s", name, e.Cause, past[older].Cause)
			}
		}
		if want := p.done["remember"]; newest != want && newest != p.tried["remember"] || len(past) < min(want, store.MaxHistory) {
			t.Errorf("History(%s) has %d entries to number %d, want %d or %d", name, len(past), newest, want, p.tried["remember"])
		}
		if got := lastEvent(t, s, name); got < p.done["record"] {
			t.Errorf("Events(%s) end with number %d, want at least %d", name, got, p.done["record"])
		}
		// What was under way is settled now; the next life goes on from there.
		p.done["remember"], p.tried["remember"] = newest, newest
		p.done["put"], p.tried["put"] = w.Replicas, w.Replicas
		p.done["delete"], p.tried["delete"] = 0, 0
		if w.Version == 0 {
			p.done["put"] = 0
		}
	}
}

// lastEvent returns the greatest number among the events of a workload.
func lastEvent(t *testing.T, s *Store, name string) int {
	t.Helper()
	last := 0
	if err := s.Events(t.Context(), workload.EventQuery{Name: name}, func(e workload.Event) error {
		n, err := strconv.Atoi(e.Message)
		last = max(last, n)
		return err
	}); err != nil {
		t.Errorf("Events(%s) = %v", name, err)
	}
	return last
}
