package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/workload"
)

func TestFromReadsZerosAsKubernetes(t *testing.T) {
	t.Parallel()
	want := Settings{Period: 10 * time.Second, Timeout: time.Second, SuccessThreshold: 1, FailureThreshold: 3, Floor: 10 * time.Millisecond}
	if diff := cmp.Diff(want, From(&workload.Probe{})); diff != "" {
		t.Errorf("From(zero) differs (-want +got):\n%s", diff)
	}
	got := From(&workload.Probe{InitialDelaySeconds: 1, PeriodSeconds: 2, TimeoutSeconds: 3, SuccessThreshold: 4, FailureThreshold: 5})
	want = Settings{InitialDelay: time.Second, Period: 2 * time.Second, Timeout: 3 * time.Second, SuccessThreshold: 4, FailureThreshold: 5, Floor: 10 * time.Millisecond}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("From differs (-want +got):\n%s", diff)
	}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	cfg := Settings{SuccessThreshold: 2, FailureThreshold: 3}
	// One letter a result (+ or -); the verdict after each: ? unknown, P passing, F failing.
	for _, tt := range []struct{ results, verdicts string }{
		{"++", "?P"},
		{"+-++", "???P"},
		{"---", "??F"},
		{"++--+---", "?PPPPPPF"},
		{"---+-++", "??FFFFP"},
		{"++---++", "?PPPFFP"},
	} {
		var s State
		var got strings.Builder
		for i, r := range tt.results {
			before := s
			var changed bool
			s, changed = s.Observe(cfg, r == '+')
			if want := s.Known && (!before.Known || before.Passing != s.Passing); changed != want {
				t.Errorf("%s: changed after %d results = %v, want %v", tt.results, i+1, changed, want)
			}
			switch {
			case !s.Known:
				got.WriteByte('?')
			case s.Passing:
				got.WriteByte('P')
			default:
				got.WriteByte('F')
			}
		}
		if got.String() != tt.verdicts {
			t.Errorf("verdicts of %s = %s, want %s", tt.results, got.String(), tt.verdicts)
		}
	}
}

// looksAt runs a probe for a while of virtual time and returns when it looked.
func looksAt(s Settings, total time.Duration, ok func(at time.Duration) bool) (looks []time.Duration, verdicts []Verdict) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), total)
	defer cancel()
	Run(ctx, s, func(context.Context) Result {
		looks = append(looks, time.Since(start))
		return Result{OK: ok(time.Since(start))}
	}, func(v Verdict) { verdicts = append(verdicts, v) })
	return looks, verdicts
}

func TestRunKeepsItsPeriod(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := Settings{InitialDelay: 3 * time.Second, Period: 2 * time.Second}
		looks, verdicts := looksAt(s, 8*time.Second, func(time.Duration) bool { return true })
		want := []time.Duration{3 * time.Second, 5 * time.Second, 7 * time.Second}
		if !slices.Equal(looks, want) {
			t.Errorf("it looked at %v, want %v", looks, want)
		}
		if !verdicts[0].Changed || verdicts[1].Changed || !verdicts[1].Passing || len(verdicts) != 3 {
			t.Errorf("verdicts = %+v, want one change, at the first", verdicts)
		}
	})
}

func TestQuickLooksOftenUntilTheFirstSuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		up := 5 * time.Second
		s := Settings{Period: 10 * time.Second, Quick: true}
		looks, verdicts := looksAt(s, 30*time.Second, func(at time.Duration) bool { return at >= up })
		first := slices.IndexFunc(verdicts, func(v Verdict) bool { return v.OK })
		if first < 0 {
			t.Fatal("it never saw the success")
		}
		if late := looks[first] - up; late > up/100+10*time.Millisecond {
			t.Errorf("the success was seen %s late, want at most 1%% of %s", late, up)
		}
		if first > 700 {
			t.Errorf("it looked %d times in %s, want far fewer", first, up)
		}
		if next := looks[first+1] - looks[first]; next != 10*time.Second {
			t.Errorf("the look after the first success came after %s, want the period", next)
		}
	})
}

func TestQuickNeverWaitsLongerThanThePeriod(t *testing.T) {
	t.Parallel()
	s := Settings{Period: time.Second, Quick: true}.defaulted()
	for _, tt := range []struct {
		succeeded bool
		waited    time.Duration
		want      time.Duration
	}{
		{false, 0, 10 * time.Millisecond},
		{false, 2 * time.Second, 20 * time.Millisecond},
		{false, time.Hour, time.Second},
		{true, 0, time.Second},
	} {
		if got := wait(s, tt.succeeded, tt.waited); got != tt.want {
			t.Errorf("wait(succeeded %v, %s) = %s, want %s", tt.succeeded, tt.waited, got, tt.want)
		}
	}
}

func TestRunGivesEachLookItsTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		start := time.Now()
		var failed time.Duration
		Run(ctx, Settings{Period: time.Second, Timeout: 2 * time.Second, FailureThreshold: 2}, func(ctx context.Context) Result {
			<-ctx.Done()
			return Result{Detail: "no answer"}
		}, func(v Verdict) {
			if v.Changed {
				failed = time.Since(start)
			}
		})
		if want := 5 * time.Second; failed != want { // two looks of two seconds, one between
			t.Errorf("it failed after %s, want %s", failed, want)
		}
	})
}

func TestRunSaysNothingAfterItsEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	Run(ctx, Settings{}, func(context.Context) Result {
		cancel() // the container is being stopped while it is asked
		return Result{Detail: "connection refused"}
	}, func(v Verdict) { t.Errorf("it reported %+v", v) })
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
		case "/moved":
			http.Redirect(w, r, "/sick", http.StatusFound)
		case "/sick":
			http.Error(w, strings.Repeat("no model\n\xff", 1000), http.StatusServiceUnavailable)
		case "/slow":
			<-r.Context().Done()
		}
		if r.Header.Get("User-Agent") != "cortex-probe" {
			t.Errorf("User-Agent of a probe = %q", r.Header.Get("User-Agent"))
		}
	})
	for _, tt := range []struct {
		path string
		ok   bool
		want string
	}{
		{"/ok", true, "200"},
		{"/moved", true, "302"},
		{"/sick", false, "status 503, body \"no model"},
		{"/slow", false, "no answer within the timeout"},
	} {
		patience := time.Minute
		if tt.path == "/slow" {
			patience = 50 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		r := HTTP(s.URL + tt.path)(ctx)
		cancel()
		if r.OK != tt.ok || !strings.Contains(r.Detail, tt.want) || len(r.Detail) > 1500 {
			t.Errorf("HTTP(%s) = %+v, want %v with %q", tt.path, r, tt.ok, tt.want)
		}
	}
}

func TestTCP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if r := TCP(addr, 0)(t.Context()); !r.OK {
		t.Errorf("TCP of a listening port = %+v, want ok", r)
	}
	_ = l.Close()
	if r := TCP(addr, 0)(t.Context()); r.OK || !strings.Contains(r.Detail, "connection refused") {
		t.Errorf("TCP of a closed port = %+v, want connection refused", r)
	}
}

func TestTCPBehindAForwarder(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	hangUp := make(chan bool, 2)
	hangUp <- true
	hangUp <- false
	var held []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if <-hangUp {
				_ = c.Close()
			} else {
				held = append(held, c)
			}
		}
	}()
	if r := TCP(l.Addr().String(), 10*time.Second)(t.Context()); r.OK {
		t.Errorf("TCP of a forwarder that hangs up = %+v, want a failure", r)
	}
	if r := TCP(l.Addr().String(), 10*time.Millisecond)(t.Context()); !r.OK {
		t.Errorf("TCP of a forwarder that reaches a server = %+v, want ok", r)
	}
	_ = l.Close()
	<-done
	for _, c := range held {
		_ = c.Close()
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	run := func(code int, err error, out string) func(context.Context, []string) ([]byte, int, error) {
		return func(context.Context, []string) ([]byte, int, error) { return []byte(out), code, err }
	}
	for _, tt := range []struct {
		name string
		run  func(context.Context, []string) ([]byte, int, error)
		ok   bool
		want string
	}{
		{"success", run(0, nil, "fine"), true, "exit code 0"},
		{"failure", run(3, nil, "no model"), false, `exit code 3, output "no model"`},
		{"not started", run(0, errors.New("no such program"), ""), false, "no such program"},
		{"bounded", run(1, nil, strings.Repeat("x", 10_000)), false, "exit code 1"},
	} {
		r := Exec([]string{"check", "model"}, tt.run)(t.Context())
		if r.OK != tt.ok || !strings.Contains(r.Detail, tt.want) || len(r.Detail) > 1000 || !strings.Contains(r.Detail, "check model") {
			t.Errorf("%s: Exec = %+v, want %v with %q", tt.name, r, tt.ok, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := Exec([]string{"x"}, run(0, nil, ""))(ctx); r.OK || !strings.Contains(r.Detail, "timeout") {
		t.Errorf("Exec past its time = %+v, want a failure", r)
	}
}
