package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/yaml"

	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/internal/manifest"
)

// The files the benchmark deploys must be ones the product accepts.
func TestSpecsAreValid(t *testing.T) {
	t.Parallel()
	const image = "cortex.dev/bench-server:0123456789abcdef"
	for _, text := range []string{
		plainSpec("bench-a", image, 3, "1", "-work", "2ms"), idleSpec("bench-b", image), fastSpec("bench-c", image),
		simulatedSpec("bench-d", image, "/bench-d", 5),
	} {
		if _, err := manifest.Parse("cortex.yaml", []byte(text)); err != nil {
			t.Errorf("Parse(%s) = %v", text, err)
		}
	}
}

func TestStagesAreYAML(t *testing.T) {
	t.Parallel()
	kinds := map[string]bool{}
	for doc := range strings.SplitSeq(string(stages), "\n---\n") {
		var stage struct {
			Kind string
			Spec struct{ ResourceRef struct{ Kind string } }
		}
		if err := yaml.Unmarshal([]byte(doc), &stage); err != nil || stage.Kind != "Stage" && stage.Kind != "KwokConfiguration" {
			t.Errorf("a document of stages.yaml is a %q, %v, want a Stage or KWOK's configuration", stage.Kind, err)
		}
		kinds[stage.Spec.ResourceRef.Kind] = true
	}
	if !kinds["Node"] || !kinds["Pod"] {
		t.Errorf("stages.yaml plays %v, want nodes and pods", kinds)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		size size
		ok   bool
	}{
		{size{500, 1000, 5}, true},
		{size{1, 4, 4}, true},
		{size{1, 17, 1}, false}, // one more than it takes
		{size{0, 1, 1}, false},
		{size{1, 1, -1}, false},
	} {
		if err := tt.size.check(); (err == nil) != tt.ok {
			t.Errorf("check(%+v) = %v, want fine: %t", tt.size, err, tt.ok)
		}
	}
	if got, want := (size{500, 1000, 5}).names()[0], "1,000 APIs, 5,000 replicas: resident memory of the operator"; got != want {
		t.Errorf("names()[0] = %q, want %q", got, want)
	}
}

func TestSumOfAMetric(t *testing.T) {
	t.Parallel()
	const text = `# HELP asked_total what was asked
asked_total{flow_schema="bench-operator",level="low"} 3
asked_total{flow_schema="bench-operator",level="high"} 1e+02
asked_total{flow_schema="other",level="low"} 7
asked_total_created{flow_schema="bench-operator"} 1000
asked_total{flow_schema="bench-operator"} none
`
	for _, tt := range []struct {
		parts []string
		want  float64
	}{{nil, 110}, {[]string{`flow_schema="bench-operator"`}, 103}, {[]string{`flow_schema="bench-operator"`, `level="low"`}, 3}, {[]string{"absent"}, 0}} {
		if got := sum(text, "asked_total", tt.parts...); got != tt.want {
			t.Errorf("sum(…, %q) = %v, want %v", tt.parts, got, tt.want)
		}
	}
}

func TestRequestsSince(t *testing.T) {
	t.Parallel()
	now := time.Now()
	before := requests{at: now, by: map[string]float64{"operator": 10, "gateway": 1}, overall: 100}
	after := requests{at: now.Add(2 * time.Second), by: map[string]float64{"operator": 30, "gateway": 1}, overall: 200}
	if o, g, all := after.since(before); o != 10 || g != 0 || all != 50 {
		t.Errorf("since(…) = %v, %v, %v, want 10, 0, 50 a second", o, g, all)
	}
}

func TestFirstOfAHost(t *testing.T) {
	t.Parallel()
	now := time.Now()
	seen := map[string]load.Seen{
		`{"version":"1","host":"a","pid":1}`: {First: now.Add(2)},
		`{"version":"2","host":"a","pid":1}`: {First: now.Add(1)},
		`{"version":"1","host":"b","pid":1}`: {First: now},
		"not JSON":                           {First: now},
	}
	if got := firstOf(seen, "a"); !got.Equal(now.Add(1)) {
		t.Errorf("firstOf(…, a) = %v, want the earlier of its two", got)
	}
	if got := firstOf(seen, "c"); !got.IsZero() {
		t.Errorf("firstOf(…, c) = %v, want none", got)
	}
}

// A gateway knows an endpoint when it does not say 404 any more, whatever it says;
// that it closes a connection in between changes nothing.
func TestFirstKnown(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch asked.Add(1) {
		case 1:
			http.NotFound(w, nil)
		case 2:
			w.Header().Set("Connection", "close")
			http.NotFound(w, nil)
		case 3:
			panic(http.ErrAbortHandler)
		default:
			http.Error(w, "nobody listens", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(s.Close)
	before := time.Now()
	at, err := firstKnown(t.Context(), s.URL, "/x")
	if err != nil || at.Before(before) || asked.Load() != 4 {
		t.Errorf("firstKnown(…) = %v, %v after %d requests, want the time of the fourth", at, err, asked.Load())
	}
}

func TestRunRefusesWrongArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-run", "("}, {"extra"}, {"-nosuch"}, {"-nodes", "1", "-apis", "100"}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != 2 || errs.Len() == 0 {
			t.Errorf("run(%q) = %d and says %q, want 2 and why", args, code, errs.String())
		}
	}
}
