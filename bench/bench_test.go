package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/bench/row"
	"cortex.dev/cortex/internal/manifest"
	"github.com/google/go-cmp/cmp"
)

func TestWriteTable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	err := writeTable(&b, []row.Row{
		{What: "latency", Ours: "1 µs", Theirs: "2 µs", Ratio: "0.50 ×", Target: "≤ 1.3 ×", Met: true, Note: "median"},
		{What: "memory of it all", Ours: "81 MB", Target: "≤ 80 MB"},
		{What: "speed", Ours: "9/s", Target: "≥ 0.7 × HAProxy", Note: "HAProxy is not installed"},
		{What: "lost", Note: "could not be measured: no daemon"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `what              ours   theirs  ratio   target
───────────────────────────────────────────────────────────────────────
latency           1 µs   2 µs    0.50 ×  ≤ 1.3 ×          met
memory of it all  81 MB                  ≤ 80 MB          MISSED
speed             9/s                    ≥ 0.7 × HAProxy  no competitor
lost                                                      NOT MEASURED

latency: median
speed: HAProxy is not installed
lost: could not be measured: no daemon
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("writeTable(…) (-want +got):\n%s", diff)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for want, ds := range map[time.Duration][]time.Duration{0: nil, 3: {9, 1, 3}, 2: {1, 3}} {
		if got := median(ds); got != want {
			t.Errorf("median(%v) = %v, want %v", ds, got, want)
		}
	}
}

// server answers, refuses and breaks in turns.
func server(t *testing.T) string {
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) % 4 {
		case 0:
			panic(http.ErrAbortHandler)
		case 1:
			http.Error(w, "full", http.StatusServiceUnavailable)
		default:
			fmt.Fprint(w, "fine")
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestBurstCountsEveryRequest(t *testing.T) {
	t.Parallel()
	o, err := burst(t.Context(), server(t), "/x", 40)
	if err != nil {
		t.Fatal(err)
	}
	if o.answered != 20 || o.refused != 10 || o.lost != 10 || o.refusal != "full" || !strings.Contains(o.loss, "EOF") {
		t.Errorf("burst(…) = %+v, want 20 answered, 10 refused, 10 lost", o)
	}
}

func TestLoadCountsFailures(t *testing.T) {
	t.Parallel()
	l := startLoad(t.Context(), server(t), "/x", 2, 2000)
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for l.sent.Load() < 40 {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("40 requests were not sent within 20 s")
		}
	}
	l.end()
	sent, failed, fine := l.sent.Load(), l.failed.Load(), int64(l.seen["fine"])
	if sent != failed+fine || failed < sent/2-1 || failed > sent/2+2 {
		t.Errorf("of %d requests %d failed and %d were answered, want every second one of each", sent, failed, fine)
	}
	if len(l.failures) != 5 {
		t.Errorf("%d failures are described, want 5", len(l.failures))
	}
}

func TestProcessesLeavesOutTheServer(t *testing.T) {
	t.Parallel()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("no sleep program to start:", err)
	}
	for range 2 {
		cmd := exec.Command(sleep, "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	}
	with, err := processes(os.Getpid(), "none")
	if err != nil {
		t.Fatal(err)
	}
	without, err := processes(os.Getpid(), sleep)
	if err != nil {
		t.Fatal(err)
	}
	if with.count-without.count != 2 || without.count < 1 || without.resident < 1<<20 {
		t.Errorf("processes(…) = %+v with the servers and %+v without, want two fewer", with, without)
	}
}

func TestPSTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"0:01.50": 1500 * time.Millisecond, "1:02:03": 3723 * time.Second} {
		if got := psTime(text); got != want {
			t.Errorf("psTime(%q) = %v, want %v", text, got, want)
		}
	}
}

// The files the benchmark deploys must be ones the product accepts.
func TestSpecsAreValid(t *testing.T) {
	t.Parallel()
	for _, text := range []string{plainSpec("a", "/bin/server", 3, "1"), idleSpec("b", "/bin/server", 50, 950, "-start", "1s")} {
		if _, err := manifest.Parse("cortex.yaml", []byte(text)); err != nil {
			t.Errorf("Parse(%s) = %v", text, err)
		}
	}
}

func TestRunRefusesWrongArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-run", "("}, {"extra"}, {"-nosuch"}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != 2 || errs.Len() == 0 {
			t.Errorf("run(%q) = %d and says %q, want 2 and why", args, code, errs.String())
		}
	}
}
