package tracing

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/tracing/tracingtest"
)

const (
	parentOn  = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	parentOff = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
)

// fast sends at once, and gives up soon.
var fast = timing{every: time.Millisecond, timeout: 5 * time.Second, attempts: 3, pause: time.Millisecond, longest: 2 * time.Millisecond, flush: 5 * time.Second}

// start runs a tracer for as long as the test, or until end is called.
func start(t *testing.T, cfg Config, how timing) (tracer *Tracer, end func()) {
	t.Helper()
	cfg.Service = "test"
	tracer, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tracer.timing = how
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- tracer.Run(ctx); close(ran) }()
	end = func() {
		stop()
		if err := <-ran; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	}
	t.Cleanup(end)
	return tracer, end
}

// one records one span of the given name.
func one(t *Tracer, name string) {
	s := t.Start([]byte(parentOn), true)
	s.SetName(name)
	s.End(time.Now())
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("waited in vain for " + what)
		case <-tick.C:
		}
	}
}

func page(r *telemetry.Registry) string {
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestSpansArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	c := tracingtest.New(t)
	resource, err := ParseResource("k8s.pod.name=gateway-1, k8s.cluster.name = a%2Cb ,k\xff=v")
	if err != nil {
		t.Fatal(err)
	}
	tracer, end := start(t, Config{Endpoint: c.URL, Version: "1.2.3", Resource: resource}, fast)
	began := time.Unix(1_700_000_000, 123)
	s := tracer.Start([]byte(parentOn), true)
	s.SetStart(began)
	s.SetName("POST")
	s.AppendName("/iris")
	s.Set(String("text", "a\xffb"), Int("number", -7), Int("zero", 0), Seconds("seconds", 1500*time.Millisecond), String("empty", ""))
	s.Set(Int("number", 8), String("long", strings.Repeat("ü", maxText)), String("bytes", []byte(strings.Repeat("x", 1<<20))))
	s.AddEvent(began.Add(time.Second), "waiting", String("what", "queue"))
	s.SetError("queue_full")
	child := s.Client()
	child.SetStart(began)
	child.SetName("onward")
	next := string(child.AppendTraceparent(nil))
	child.End(began.Add(time.Hour))
	s.End(began.Add(2 * time.Hour))
	end()
	all := c.Spans()
	if len(all) != 2 {
		t.Fatalf("%d spans arrived, want 2", len(all))
	}
	got, onward := all[1], all[0]
	if got.Trace != parentOn[3:35] || got.Parent != parentOn[36:52] || !got.Remote || got.Kind != "SERVER" || got.Name != "POST /iris" {
		t.Errorf("the span is %+v, want a server's of the trace and parent %s", got, parentOn)
	}
	if onward.Trace != got.Trace || onward.Parent != got.ID || onward.Remote || onward.Kind != "CLIENT" {
		t.Errorf("its child is %+v, want a client's below %s", onward, got.ID)
	}
	if want := "00-" + got.Trace + "-" + onward.ID + "-01"; next != want {
		t.Errorf("the next hop gets %q, want %q", next, want)
	}
	if !got.Began.Equal(began) || !got.Ended.Equal(began.Add(2*time.Hour)) || !got.Failed || got.Message != "queue_full" {
		t.Errorf("the span is %+v", got)
	}
	for key, want := range map[string]string{"text": "a\uFFFDb", "number": "8", "zero": "0", "seconds": "1.5", "empty": "",
		"long": strings.Repeat("ü", maxText/2), "bytes": strings.Repeat("x", maxText)} {
		if v, ok := got.Attributes[key]; !ok || v != want {
			t.Errorf("%s = %.40q, want %.40q", key, v, want)
		}
	}
	if len(got.Events) != 1 || got.Events[0] != "waiting" {
		t.Errorf("events %q, want waiting", got.Events)
	}
	for key, want := range map[string]string{"service.name": "test", "service.version": "1.2.3", "k8s.pod.name": "gateway-1", "k8s.cluster.name": "a,b", "k\uFFFD": "v"} {
		if v := got.Resource[key]; v != want {
			t.Errorf("the resource's %s = %q, want %q", key, v, want)
		}
	}
}

func TestWhoIsRecorded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		ratio       float64
		traceparent string
		given       bool
		want        bool
		after       string // the traceparent; empty: as before
	}{
		{name: "the caller's is", ratio: 0, traceparent: parentOn, given: true, want: true},
		{name: "the caller's is not", ratio: 1, traceparent: parentOff, given: true},
		{name: "our own, all", ratio: 1, traceparent: parentOn, want: true},
		{name: "our own, none", ratio: 0, traceparent: parentOn, after: parentOff},
		{name: "of a later version", traceparent: "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", given: true, want: true},
		{name: "flags of the future are not ours", traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-f8", given: true},
		{name: "no traceparent", ratio: 1, traceparent: "00-zz", given: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tracer, err := New(Config{Endpoint: "http://a", Ratio: tt.ratio, Service: "x"})
			if err != nil {
				t.Fatal(err)
			}
			traceparent := []byte(tt.traceparent)
			if got := tracer.Start(traceparent, tt.given); (got != nil) != tt.want {
				t.Errorf("Start(%q, %v) = %v, want a span: %v", tt.traceparent, tt.given, got, tt.want)
			}
			if tt.after == "" {
				tt.after = tt.traceparent
			}
			if string(traceparent) != tt.after {
				t.Errorf("Start leaves %q, want %q", traceparent, tt.after)
			}
		})
	}
}

// TestRatio: among many traces the ratio is kept, by their ids alone, so that every
// program that decides decides alike.
func TestRatio(t *testing.T) {
	t.Parallel()
	tracer, err := New(Config{Endpoint: "http://a", Ratio: 0.25, Service: "x"})
	if err != nil {
		t.Fatal(err)
	}
	const traces = 20_000
	n := 0
	for i := range uint64(traces) {
		id := fmt.Sprintf("00-4bf92f3577b34da6%016x-00f067aa0ba902b7-01", i*0x9e3779b97f4a7c15)
		if tracer.Start([]byte(id), false) != nil {
			n++
		}
	}
	if share := float64(n) / traces; math.Abs(share-0.25) > 0.02 {
		t.Errorf("%v of the traces are recorded, want a quarter", share)
	}
}

func TestNothingIsSpentOnOthers(t *testing.T) { // not parallel: it counts allocations
	tracer, err := New(Config{Endpoint: "http://a", Ratio: 0, Service: "x"})
	if err != nil {
		t.Fatal(err)
	}
	var off *Tracer
	traceparent := []byte(parentOn)
	if n := testing.AllocsPerRun(100, func() {
		off.Start(traceparent, true)
		copy(traceparent, parentOn)
		tracer.Start(traceparent, false)
		copy(traceparent, parentOff)
		tracer.Start(traceparent, true)
	}); n != 0 {
		t.Errorf("requests that are not recorded allocate %v times, want 0", n)
	}
}

func TestACollectorThatIsAwayForAMoment(t *testing.T) {
	t.Parallel()
	c := tracingtest.New(t)
	c.Answer(func(n int, w http.ResponseWriter) bool {
		if n < 3 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return n < 3
	})
	metrics := telemetry.New("test", "")
	tracer, _ := start(t, Config{Endpoint: c.URL, Telemetry: metrics}, fast)
	one(tracer, "kept")
	until(t, "the span", func() bool { return len(c.Spans()) == 1 })
	until(t, "its count", func() bool { return strings.Contains(page(metrics), "cortex_traces_sent_total 1") })
	if got := page(metrics); !strings.Contains(got, `cortex_traces_dropped_total{reason="unsent"} 0`) {
		t.Errorf("metrics say\n%s\nwant nothing dropped", got)
	}
}

// TestWhatIsDropped: each way in which spans are lost is counted.
func TestWhatIsDropped(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		answer   func(n int, w http.ResponseWriter) bool
		dropped  string
		requests int
	}{
		{"the collector is away", func(_ int, w http.ResponseWriter) bool {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}, `{reason="unsent"} 1`, 3},
		{"it does not want them", func(_ int, w http.ResponseWriter) bool {
			w.WriteHeader(http.StatusBadRequest)
			return true
		}, `{reason="refused"} 1`, 1},
		{"it sends us elsewhere", func(_ int, w http.ResponseWriter) bool {
			w.Header().Set("Location", "/v1/traces")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}, `{reason="refused"} 1`, 1},
		{"it takes a part", func(_ int, w http.ResponseWriter) bool {
			body, err := proto.Marshal(&collector.ExportTraceServiceResponse{PartialSuccess: &collector.ExportTracePartialSuccess{RejectedSpans: 1, ErrorMessage: "too old"}})
			if err == nil {
				_, err = w.Write(body)
			}
			return err == nil
		}, `{reason="refused"} 1`, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := tracingtest.New(t)
			c.Answer(tt.answer)
			metrics := telemetry.New("test", "")
			tracer, _ := start(t, Config{Endpoint: c.URL, Telemetry: metrics}, fast)
			one(tracer, "lost")
			until(t, "its count", func() bool { return strings.Contains(page(metrics), "cortex_traces_dropped_total"+tt.dropped) })
			if n := c.Requests(); n != tt.requests {
				t.Errorf("it was sent %d times, want %d", n, tt.requests)
			}
		})
	}
}

// TestNobodyWaits: with a collector that never answers, spans are dropped past the
// bound, and the end comes all the same.
func TestNobodyWaits(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // it takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	metrics := telemetry.New("test", "")
	how := fast
	how.timeout, how.flush = time.Hour, 10*time.Millisecond
	tracer, end := start(t, Config{Endpoint: "http://" + ln.Addr().String(), Telemetry: metrics}, how)
	const spans = maxQueue + 3*maxBatch
	for i := range spans {
		one(tracer, fmt.Sprint("span ", i))
	}
	if got := page(metrics); strings.Contains(got, `cortex_traces_dropped_total{reason="queue_full"} 0`) {
		t.Errorf("metrics say\n%s\nwant some dropped: the queue is full", got)
	}
	end() // hangs if the end is not bounded
	one(tracer, "too late")
	n := uint64(0)
	for i := range tracer.dropped {
		n += tracer.dropped[i].Load()
	}
	if n != spans+1 || tracer.dropped[ended].Load() != 1 {
		t.Errorf("%d were dropped, %d of them after the end; want %d and 1", n, tracer.dropped[ended].Load(), spans+1)
	}
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"http://collector:4318":       "http://collector:4318/v1/traces",
		"https://collector/":          "https://collector/v1/traces",
		"http://[::1]:4318/otlp/here": "http://[::1]:4318/otlp/here",
		"collector:4318":              "",
		"grpc://collector:4317":       "",
		"http://":                     "",
		"http://a/?key=1":             "",
		"http://user:secret@a":        "",
	} {
		got, err := parseEndpoint(text)
		if got != want || (err == nil) != (want != "") || (CheckEndpoint(text) == nil) != (want != "") {
			t.Errorf("parseEndpoint(%q) = %q, %v; want %q", text, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("parseEndpoint(%q) tells the password: %v", text, err)
		}
	}
	if off, err := New(Config{}); off != nil || err != nil || CheckEndpoint("") != nil {
		t.Errorf("New() without an endpoint = %v, %v; want none", off, err)
	}
	for _, ratio := range []float64{-0.1, 1.1, math.NaN()} {
		if _, err := New(Config{Endpoint: "http://a", Ratio: ratio, Service: "x"}); err == nil {
			t.Errorf("New() with the ratio %v succeeds", ratio)
		}
	}
	for _, text := range []string{"a", "=b", "a=%zz"} {
		if _, err := ParseResource(text); err == nil {
			t.Errorf("ParseResource(%q) succeeds", text)
		}
	}
}

// TestSpansAreBounded: what callers send cannot make a span large.
func TestSpansAreBounded(t *testing.T) {
	t.Parallel()
	c := tracingtest.New(t)
	tracer, end := start(t, Config{Endpoint: c.URL}, fast)
	s := tracer.Start([]byte(parentOn), true)
	s.SetName(strings.Repeat("n", 2*maxText))
	for i := range 2 * maxAttributes {
		s.Set(Int(fmt.Sprint(i), int64(i)))
	}
	for range 2 * maxEvents {
		s.AddEvent(time.Now(), "again")
	}
	s.End(time.Now())
	end()
	got := c.Spans()[0]
	if len(got.Name) != maxText || len(got.Attributes) != maxAttributes || len(got.Events) != maxEvents {
		t.Errorf("a name of %d, %d attributes, %d events; want %d, %d, %d", len(got.Name), len(got.Attributes), len(got.Events), maxText, maxAttributes, maxEvents)
	}
}

func FuzzAnswer(f *testing.F) {
	body, err := proto.Marshal(&collector.ExportTraceServiceResponse{PartialSuccess: &collector.ExportTracePartialSuccess{RejectedSpans: 300, ErrorMessage: "too old"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, answer []byte) {
		n, why := rejected(answer)
		if n < 0 || len(why) > 3*maxText {
			t.Errorf("rejected(%x) = %d, %d bytes", answer, n, len(why))
		}
	})
}

func FuzzTraceparent(f *testing.F) {
	f.Add([]byte(parentOn))
	f.Add([]byte(parentOff))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, ok := parseTraceparent(text)
		if !ok {
			return
		}
		again, ok := parseTraceparent(c.appendTraceparent(nil))
		if !ok || again != c {
			t.Errorf("parseTraceparent(%q) = %+v, and what is written of it %+v, %v", text, c, again, ok)
		}
	})
}
