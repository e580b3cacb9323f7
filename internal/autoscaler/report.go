package autoscaler

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// tableRows bounds a table: what a person reads.
const tableRows = 40

// WriteTable writes the result as text: one line per slice of time, the reason
// of each change under the line in which it happened, and the summary.
func (r Result) WriteTable(w io.Writer) error {
	var b strings.Builder
	rows := r.merged(round(time.Duration(r.Summary.Seconds / tableRows * float64(time.Second))))
	fmt.Fprintf(&b, "%8s  %10s  %9s  %9s  %5s  %7s  %8s  %7s\n",
		"time", r.unitWords(), "in flight", "requested", "ready", "waiting", "answered", "dropped")
	k := 0
	for i, row := range rows {
		fmt.Fprintf(&b, "%8s  %10s  %9s  %9d  %5d  %7d  %8d  %7d\n", clock(row.Seconds), number(row.Offered),
			number(row.InFlight), row.Requested, row.Ready, row.Waiting, row.Answered, row.Dropped)
		for ; k < len(r.Changes) && (i+1 == len(rows) || r.Changes[k].Seconds < rows[i+1].Seconds); k++ {
			c := r.Changes[k]
			fmt.Fprintf(&b, "%8s  %d → %d: %s\n", clock(c.Seconds), c.From, c.To, c.Reason)
		}
	}
	b.WriteString("\n" + r.Summary.text())
	_, err := io.WriteString(w, b.String())
	return err
}

func (s Summary) text() string {
	share := 0.0
	if s.Requests > 0 {
		share = 100 * float64(s.Dropped) / float64(s.Requests)
	}
	return fmt.Sprintf("%d requests in %s: %d answered, %d dropped (%s%%), %d still in flight at the end\n"+
		"waiting: %d at most, %s at most, %s on average, 95%% of them at most %s\nreplicas: %d at most, %s on average\n",
		s.Requests, clock(s.Seconds), s.Answered, s.Dropped, number(share), s.StillInFlight,
		s.MostWaiting, clock(s.LongestWait), clock(s.MeanWait), clock(s.P95Wait), s.MostReplicas, number(s.ReplicaSeconds/max(s.Seconds, 1e-9)))
}

func (r Result) unitWords() string {
	switch r.Unit {
	case InFlight:
		return "clients"
	case Items:
		return "items/s"
	}
	return "requests/s"
}

// merged sums neighbouring rows up until each covers about the given time.
func (r Result) merged(each time.Duration) []Row {
	per := max(int(math.Ceil(each.Seconds()/max(r.RowSeconds, 1e-3)-1e-9)), 1)
	var out []Row
	for i := 0; i < len(r.Rows); i += per {
		out = append(out, merge(r.Rows[i:min(i+per, len(r.Rows))]))
	}
	return out
}

// columns returns exactly n rows, merging or repeating those there are.
func (r Result) columns(n int) []Row {
	out := make([]Row, n)
	for i := range out {
		from, to := i*len(r.Rows)/n, (i+1)*len(r.Rows)/n
		out[i] = merge(r.Rows[from:max(to, from+1)])
	}
	return out
}

func merge(part []Row) Row {
	m := Row{Seconds: part[0].Seconds}
	for _, p := range part {
		m.Offered += p.Offered / float64(len(part))
		m.InFlight += p.InFlight / float64(len(part))
		m.Requested, m.Ready = p.Requested, p.Ready
		m.Waiting = max(m.Waiting, p.Waiting)
		m.Answered += p.Answered
		m.Dropped += p.Dropped
	}
	return m
}

// Bounds of a plot's width, and its height per panel.
const (
	minPlotWidth = 20
	maxPlotWidth = 400
	plotHeight   = 5
)

// WritePlot draws the result as text of at most the given width in columns: one
// panel each for the load, the replicas, the waiting and the dropped requests,
// over the same axis of time. Panels in which nothing happens are left out.
func (r Result) WritePlot(w io.Writer, width int) error {
	if len(r.Rows) == 0 {
		return nil
	}
	width = min(max(width, minPlotWidth), maxPlotWidth)
	panels := []struct {
		title string
		value func(Row) float64
		under func(Row) float64 // drawn as the filled part; nil fills all
	}{
		{r.unitWords() + " offered", func(p Row) float64 { return p.Offered }, nil},
		{"replicas (█ ready, ░ requested)", func(p Row) float64 { return float64(max(p.Requested, p.Ready)) },
			func(p Row) float64 { return float64(p.Ready) }},
		{"waiting", func(p Row) float64 { return float64(p.Waiting) }, nil},
		{"dropped", func(p Row) float64 { return float64(p.Dropped) }, nil},
	}
	labels := 0
	for _, p := range panels {
		labels = max(labels, utf8.RuneCountInString(number(r.most(p.value))))
	}
	rows := r.columns(max(width-labels-3, 8))
	var b strings.Builder
	for i, p := range panels {
		top := most(rows, p.value)
		if top == 0 && i >= 2 {
			continue
		}
		b.WriteString(clipTo(p.title, width) + "\n")
		panel(&b, rows, labels, top, p.value, p.under)
	}
	axis(&b, rows, labels, r.Summary.Seconds)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Result) most(value func(Row) float64) float64 { return most(r.Rows, value) }

func most(rows []Row, value func(Row) float64) float64 {
	top := 0.0
	for _, row := range rows {
		top = max(top, value(row))
	}
	return top
}

var eighths = []rune(" ▁▂▃▄▅▆▇█")

func panel(b *strings.Builder, rows []Row, labels int, top float64, value, under func(Row) float64) {
	for line := plotHeight - 1; line >= 0; line-- {
		label := ""
		if line == plotHeight-1 {
			label = number(top)
		} else if line == 0 {
			label = "0"
		}
		var cells strings.Builder
		for _, row := range rows {
			cell := fill(value(row), top, line)
			if under != nil {
				if solid := fill(under(row), top, line); solid != ' ' || cell == ' ' {
					cell = solid
				} else {
					cell = '░'
				}
			}
			cells.WriteRune(cell)
		}
		fmt.Fprintf(b, "%*s ┤%s\n", labels, label, strings.TrimRight(cells.String(), " "))
	}
}

// fill is the part of one cell that a bar of height v fills in a line.
func fill(v, top float64, line int) rune {
	if top <= 0 || v <= 0 {
		return ' '
	}
	part := v/top*plotHeight - float64(line)
	n := int(math.Round(part * 8))
	if line == 0 && n < 1 {
		n = 1 // what exists is visible
	}
	return eighths[min(max(n, 0), 8)]
}

func axis(b *strings.Builder, rows []Row, labels int, seconds float64) {
	fmt.Fprintf(b, "%*s └%s\n", labels, "", strings.Repeat("─", len(rows)))
	end := clock(seconds)
	fmt.Fprintf(b, "%*s  0%*s\n", labels, "", max(len(rows)-1, len(end)+1), end)
}

func clipTo(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width])
}

// clock writes seconds as a short duration.
func clock(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= time.Second:
		d = d.Round(time.Second / 10)
	default:
		d = d.Round(time.Millisecond)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
