package main

import (
	"testing"

	"cortex.dev/cortex/internal/manifest"
)

func TestItemSpecsAreValid(t *testing.T) {
	t.Parallel()
	for _, text := range []string{itemSpec("a", "/bin/server", 0), itemSpec("b", "/bin/server", 1, "-clock")} {
		if _, err := manifest.Parse("cortex.yaml", []byte(text)); err != nil {
			t.Errorf("Parse(%s) = %v", text, err)
		}
	}
}

// A row is met when it is beside everyone, missed when it is not beside one, and neither when
// somebody is not installed.
func TestRowsBesideSeveral(t *testing.T) {
	t.Parallel()
	turns := map[string][]figures{
		"":    {{rate: 100, p50: 3000}, {rate: 300, p50: 1000}, {rate: 200, p50: 2000}},
		river: {{rate: 100, p50: 3000}, {rate: 100, p50: 3000}, {rate: 100, p50: 3000}},
		asynq: {{rate: 400, p50: 1000}, {rate: 400, p50: 1000}, {rate: 400, p50: 1000}},
	}
	faster, sooner := measure{rate, aSecond, false}, measure{p50, inMillis, true}
	for name, tt := range map[string]struct {
		measure     measure
		most        float64
		targets     []target
		absent      string
		met, lacks  bool
		ratio, note string
	}{
		"beside both":      {measure: faster, targets: []target{{river, 2}, {asynq, 0.5}}, met: true, ratio: "2.00 ×, 0.50 ×"},
		"not beside one":   {measure: faster, targets: []target{{river, 1}, {asynq, 0.6}}, ratio: "2.00 ×, 0.50 ×"},
		"less is better":   {measure: sooner, most: 2000, targets: []target{{river, 0.7}}, met: true, ratio: "0.67 ×"},
		"by itself missed": {measure: sooner, most: 1999, targets: []target{{river, 0.7}}, ratio: "0.67 ×"},
		"absent":           {measure: faster, targets: []target{{river, 1}, {asynq, 0.5}}, absent: asynq, lacks: true, ratio: "2.00 ×", note: "it is away, so Asynq is not measured"},
		"absent, missed":   {measure: faster, targets: []target{{river, 3}, {asynq, 0.5}}, absent: asynq, ratio: "2.00 ×", note: "it is away, so Asynq is not measured"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := contest{&peers{absent: map[string]string{tt.absent: "it is away"}}, turns}
			if tt.absent == "" {
				c.absent = nil
			}
			r := c.row("what", tt.measure, tt.most, tt.targets...)
			if r.Met != tt.met || r.Absent != tt.lacks || r.Ratio != tt.ratio || r.Note != tt.note {
				t.Errorf("row() = %+v, want met %v, absent %v, %q, %q", r, tt.met, tt.lacks, tt.ratio, tt.note)
			}
		})
	}
}
