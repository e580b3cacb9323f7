package report

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/bench/row"
)

func TestWriteTable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	err := writeTable(&b, []row.Row{
		{What: "latency", Ours: "1 µs", Theirs: "2 µs", Ratio: "0.50 ×", Target: "≤ 1.3 ×", Met: true, Note: "median"},
		{What: "memory of it all", Ours: "81 MB", Target: "≤ 80 MB"},
		{What: "speed", Ours: "9/s", Target: "≥ 0.7 × HAProxy", Note: "HAProxy is not installed"},
		{What: "looked at", Ours: "3 %"},
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
looked at         3 %
lost                                                      NOT MEASURED

latency: median
speed: HAProxy is not installed
lost: could not be measured: no daemon
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("writeTable(…) (-want +got):\n%s", diff)
	}
}

// What fails leaves a row, what was not asked for is not measured, and the rest is.
func TestRunMeasuresWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	o, ok := Parse("bench", []string{"-run", "fine|broken"}, &errs, nil)
	if !ok {
		t.Fatal(errs.String())
	}
	measured := map[string]bool{}
	of := func(name string, err error) Measurement {
		return Measurement{Rows: []string{name}, Measure: func(context.Context) ([]row.Row, error) {
			measured[name] = true
			if err != nil {
				return nil, err
			}
			return []row.Row{{What: name, Ours: "1", Target: "1", Met: true}, {What: "unasked", Ours: "2"}}, nil
		}}
	}
	code := o.Run(t.Context(), []Measurement{of("broken", errors.New("no node\nat all")), of("left out", nil), of("fine", nil)}, &out)
	if code != ExitFailed || measured["left out"] || !measured["fine"] {
		t.Errorf("Run(…) = %d and measured %v, want %d, and all but what was left out", code, measured, ExitFailed)
	}
	if want := "bench: fine: 1\n"; !strings.Contains(errs.String(), want) {
		t.Errorf("Run(…) says %q while it measures, want %q among it", errs.String(), want)
	}
	for want, is := range map[string]bool{"NOT MEASURED": true, "could not be measured: no node\n": true, "at all": false, "met": true, "unasked": false} {
		if strings.Contains(out.String(), want) != is {
			t.Errorf("Run(…) printed %q: %t, want %t:\n%s", want, !is, is, &out)
		}
	}
}
