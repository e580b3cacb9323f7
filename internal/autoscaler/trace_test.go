package autoscaler

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"github.com/google/go-cmp/cmp"
)

func TestParseTrace(t *testing.T) {
	t.Parallel()
	text := "\xef\xbb\xbf# from a spreadsheet\r\n time , in_flight , latency\r\n\r\n0, 1.5 ,\r\n90,2,0.25\r\n2m,0,1s\r\n"
	got, err := ParseTrace("t.csv", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Trace{Name: "t.csv", Unit: InFlight, Points: []Point{
		{At: 0, Load: 1.5}, {At: 90 * time.Second, Load: 2, Latency: 250 * time.Millisecond},
		{At: 2 * time.Minute, Latency: time.Second},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseTrace(…) (-want +got):\n%s", diff)
	}
	if end := got.End(); end != 150*time.Second {
		t.Errorf("End() = %s, want 2m30s: the last point holds as long as the one before", end)
	}
}

func TestParseTraceSamples(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"day.csv", "clients.csv"} {
		f, err := os.Open("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := ParseTrace(name, f); err != nil {
			t.Errorf("ParseTrace(%s) = %v", name, err)
		}
	}
}

func TestParseTraceRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want, code string }{
		{"empty", "", "t.csv:1:1: no traffic in this file; it needs the header", "simulate.empty_trace"},
		{"header alone", "time,rps\n\n", "t.csv:2:1: no traffic in this file", "simulate.empty_trace"},
		{"no header", "0,10\n", "t.csv:1:1: the first line must be one of: time,rps", "simulate.malformed_trace"},
		{"unknown unit", "time,qps\n0,10\n", "t.csv:1:1: the first line must be one of", "simulate.malformed_trace"},
		{"too many columns", "time,rps,latency,x\n", "the first line must be one of", "simulate.malformed_trace"},
		{"missing cell", "time,rps\n0,1\n60\n", `t.csv:3:1: the header has 2 columns and this line 1; found "60"`, "simulate.malformed_trace"},
		{"no time", "time,rps\nnoon,1\n", `t.csv:2:1: time is a number of seconds or a duration such as 90s, from 0 to 744h; found "noon"`, "simulate.malformed_trace"},
		{"negative time", "time,rps\n-1,1\n", "t.csv:2:1: time is", "simulate.malformed_trace"},
		{"time that is no number", "time,rps\nNaN,1\n", "t.csv:2:1: time is", "simulate.malformed_trace"},
		{"time beyond", "time,rps\n1e300,1\n", "t.csv:2:1: time is", "simulate.malformed_trace"},
		{"time falls", "time,rps\n60,1\n30s,1\n", "t.csv:3:1: times must rise; the line before is at 1m", "simulate.malformed_trace"},
		{"time stands", "time,rps\n60,1\n60,1\n", "t.csv:3:1: times must rise", "simulate.malformed_trace"},
		{"load", "time,rps\n0, lots\n", `t.csv:2:4: rps is a number from 0 to 1000000; found "lots"`, "simulate.malformed_trace"},
		{"negative load", "time,in_flight\n0,-1\n", "t.csv:2:3: in_flight is a number", "simulate.malformed_trace"},
		{"infinite load", "time,rps\n0,Inf\n", "t.csv:2:3: rps is a number", "simulate.malformed_trace"},
		{"latency", "time,rps,latency\n0,1,0s\n", `t.csv:2:5: latency is a number of seconds or a duration such as 80ms, from 1ms to 1h; found "0s"`, "simulate.malformed_trace"},
		{"long line", "time,rps\n" + strings.Repeat("1", 5000), "t.csv:2:1: a line of a trace has at most 1024 bytes", "simulate.malformed_trace"},
		{"long cell is cut", "time,rps\n0," + strings.Repeat("x", 200) + "\n", strings.Repeat("x", 40) + `…"`, "simulate.malformed_trace"},
		{"binary", "\x00\xff\xfe\n", "the first line must be", "simulate.malformed_trace"},
		{"all problems", "time,rps\nx,1\n1,y\n", "t.csv:3:3: rps is a number", "simulate.malformed_trace"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseTrace("t.csv", strings.NewReader(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) || fault.Code(err) != tt.code {
				t.Errorf("ParseTrace(…) = %v (code %q), want %q with code %q", err, fault.Code(err), tt.want, tt.code)
			}
		})
	}
}

func TestParseTraceIsBounded(t *testing.T) {
	t.Parallel()
	comments := strings.Repeat("#"+strings.Repeat("x", 1000)+"\n", 17_000)
	if _, err := ParseTrace("t", strings.NewReader(comments)); fault.Code(err) != "simulate.trace_too_large" {
		t.Errorf("ParseTrace(17 MB) = %v, want simulate.trace_too_large", err)
	}
	var b strings.Builder
	b.WriteString("time,rps\n")
	for i := range maxTracePoints + 1 {
		fmt.Fprintf(&b, "%d,1\n", i)
	}
	if _, err := ParseTrace("t", strings.NewReader(b.String())); fault.Code(err) != "simulate.trace_too_large" {
		t.Errorf("ParseTrace(%d points) = %v, want simulate.trace_too_large", maxTracePoints+1, err)
	}
	bad := "time,rps\n" + strings.Repeat("x,x\n", 1000)
	if _, err := ParseTrace("t", strings.NewReader(bad)); len(fault.From(err).Problems) != maxTraceProblems {
		t.Errorf("ParseTrace(2000 problems) names %d, want %d", len(fault.From(err).Problems), maxTraceProblems)
	}
	if _, err := ParseTrace("t", io.MultiReader(strings.NewReader("time,rps\n"), broken{})); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("ParseTrace(a reader that breaks) = %v, want its error", err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// FuzzTrace: whatever the file, it ends in a fault with positions or in a trace
// that can be simulated and drawn.
func FuzzTrace(f *testing.F) {
	for _, name := range []string{"day.csv", "clients.csv"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("time,rps\n0,1\n1e-9,5\n")
	f.Add("time,rps,latency\n0,1000000,1ms\n31h,0,1h\n")
	f.Add("time,in_flight\n0,1e6\n5,0x1p3\n")
	f.Fuzz(func(t *testing.T, text string) {
		trace, err := ParseTrace("t.csv", strings.NewReader(text))
		if err != nil {
			problems := fault.From(err).Problems
			if len(problems) == 0 || len(problems) > maxTraceProblems {
				t.Fatalf("ParseTrace(%q) = %v with %d problems", text, err, len(problems))
			}
			for _, p := range problems {
				if p.Line < 1 || p.Column < 1 || p.Code == "" || len(p.Found) > 200 {
					t.Fatalf("ParseTrace(%q): a problem without its place, or with too much of the file: %+v", text, p)
				}
			}
			return
		}
		if trace.End() > time.Hour {
			trace.Points = trace.Points[:1]
			if trace.Points[0].At > time.Hour {
				return
			}
		}
		r, err := Simulate(simulated(defaultSpec(), 2, 10), trace, SimulateOptions{Latency: 80 * time.Millisecond})
		if err != nil {
			t.Fatalf("Simulate(%q) = %v", text, err)
		}
		if s := r.Summary; s.Requests != s.Answered+s.Dropped+s.StillInFlight {
			t.Fatalf("Simulate(%q) lost requests: %+v", text, s)
		}
		if err := r.WritePlot(io.Discard, 80); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteTable(io.Discard); err != nil {
			t.Fatal(err)
		}
	})
}
