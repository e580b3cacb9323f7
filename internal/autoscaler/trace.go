package autoscaler

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
)

// Bounds of a trace file.
const (
	maxTraceBytes    = 16 << 20
	maxTraceLine     = 1024
	maxTracePoints   = 500_000
	maxTraceProblems = 10
	maxTraceTime     = 31 * 24 * time.Hour
	maxTraceLoad     = 1e6
	maxTraceLatency  = time.Hour
)

// Trace is traffic over time. Each point holds until the next one.
type Trace struct {
	Name   string // of the file
	Unit   Unit
	Points []Point // in order of time, at least one
}

// Unit says what the load of a trace counts.
type Unit string

// The units: the header of the second column.
const (
	RPS      Unit = "rps"       // requests that arrive per second
	InFlight Unit = "in_flight" // clients that each have one request under way
	Items    Unit = "items"     // that are submitted at that moment
)

// Point is the load from one moment on.
type Point struct {
	At      time.Duration
	Load    float64
	Latency time.Duration // what the server takes for one request; 0 = not given
}

// End is when the trace ends: its last point holds as long as the one before did.
func (t Trace) End() time.Duration {
	n := len(t.Points)
	if n == 0 {
		return 0
	}
	last := t.Points[n-1].At
	if n == 1 {
		return last + time.Minute
	}
	return last + (last - t.Points[n-2].At)
}

// ParseTrace reads traffic as CSV. The header is time,rps or time,in_flight, with
// an optional third column latency. A time is a number of seconds or a duration
// such as 1m30s, and rises from line to line; empty lines and lines that begin
// with # are left out. The error is a fault that carries the problems of the
// file, each with its line and column; name is how the user called the file.
func ParseTrace(name string, r io.Reader) (Trace, error) {
	p := &traceParser{trace: Trace{Name: name}}
	lines := bufio.NewScanner(io.LimitReader(r, maxTraceBytes+1))
	lines.Buffer(make([]byte, 0, 4096), maxTraceLine)
	size := 0
	for lines.Scan() {
		p.line++
		if size += len(lines.Bytes()) + 1; size > maxTraceBytes {
			p.problem(1, "simulate.trace_too_large", "", "a trace has at most %d MiB", maxTraceBytes>>20)
			break
		}
		text := lines.Bytes()
		if p.line == 1 {
			text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // written by spreadsheets
		}
		p.read(string(text))
		if p.lost || len(p.problems) >= maxTraceProblems {
			break
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		p.line++
		p.problem(1, "simulate.malformed_trace", "", "a line of a trace has at most %d bytes", maxTraceLine)
	case err != nil:
		return Trace{}, fault.New(fault.Invalid, "simulate.unreadable_trace", "reading %s: %w", name, err).
			WithHint("a trace is a CSV file with the header time,rps")
	}
	if len(p.problems) == 0 && len(p.trace.Points) == 0 {
		p.line = max(p.line, 1)
		p.problem(1, "simulate.empty_trace", "", "no traffic in this file; it needs the header time,rps or time,in_flight and a line below it")
	}
	if err := fault.OfProblems(p.problems); err != nil {
		return Trace{}, err
	}
	return p.trace, nil
}

type traceParser struct {
	trace    Trace
	line     int
	columns  int  // of the header; 0 before it
	lost     bool // the header cannot be read, so nothing below it can
	problems []fault.Problem
}

func (p *traceParser) problem(column int, code, found, format string, args ...any) {
	if len(p.problems) >= maxTraceProblems {
		return
	}
	if found != "" {
		found = strconv.QuoteToGraphic(clip(found))
	}
	p.problems = append(p.problems, fault.Problem{
		File: p.trace.Name, Line: p.line, Column: column, Code: code, Found: found,
		Message: fmt.Sprintf(format, args...),
	})
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

func (p *traceParser) malformed(column int, found, format string, args ...any) {
	p.problem(column, "simulate.malformed_trace", found, format, args...)
}

func (p *traceParser) read(line string) {
	line = strings.TrimSuffix(line, "\r")
	if trimmed := strings.TrimSpace(line); trimmed == "" || strings.HasPrefix(trimmed, "#") {
		return
	}
	cells := strings.Split(line, ",")
	at := make([]int, len(cells)) // column of each cell, from 1
	column := 1
	for i, c := range cells {
		at[i] = column + len(c) - len(strings.TrimLeft(c, " \t"))
		column += len(c) + 1
		cells[i] = strings.TrimSpace(c)
	}
	if p.columns == 0 {
		p.header(line, cells, at)
		return
	}
	if len(cells) != p.columns {
		p.malformed(1, line, "the header has %d columns and this line %d", p.columns, len(cells))
		return
	}
	p.point(cells, at)
}

func (p *traceParser) header(line string, cells []string, at []int) {
	p.columns = len(cells)
	known := len(cells) >= 2 && cells[0] == "time" && (len(cells) == 2 || len(cells) == 3 && cells[2] == "latency")
	if known {
		p.trace.Unit = Unit(cells[1])
	}
	if !known || p.trace.Unit != RPS && p.trace.Unit != InFlight && p.trace.Unit != Items {
		p.lost = true
		p.malformed(at[0], line, "the first line must be one of: time,rps  time,in_flight  time,items, and ,latency may follow")
	}
}

func (p *traceParser) point(cells []string, at []int) {
	before := len(p.problems)
	var pt Point
	var err error
	if pt.At, err = moment(cells[0]); err != nil {
		p.malformed(at[0], cells[0], "time is a number of seconds or a duration such as 90s, from 0 to %s", words(maxTraceTime))
	} else if n := len(p.trace.Points); n > 0 && pt.At <= p.trace.Points[n-1].At {
		p.malformed(at[0], cells[0], "times must rise; the line before is at %s", words(p.trace.Points[n-1].At))
	}
	load, err := strconv.ParseFloat(cells[1], 64)
	if err != nil || math.IsNaN(load) || load < 0 || load > maxTraceLoad {
		p.malformed(at[1], cells[1], "%s is a number from 0 to %d", p.trace.Unit, int(maxTraceLoad))
	}
	pt.Load = load
	if len(cells) > 2 && cells[2] != "" {
		pt.Latency, err = moment(cells[2])
		if err != nil || pt.Latency < time.Millisecond || pt.Latency > maxTraceLatency {
			p.malformed(at[2], cells[2], "latency is a number of seconds or a duration such as 80ms, from 1ms to %s", words(maxTraceLatency))
		}
	}
	if len(p.trace.Points) >= maxTracePoints {
		p.problem(1, "simulate.trace_too_large", "", "a trace has at most %d points", maxTracePoints)
		p.problems = append(p.problems[:before], p.problems[len(p.problems)-1])
		return
	}
	if len(p.problems) == before {
		p.trace.Points = append(p.trace.Points, pt)
	}
}

var errNoTime = errors.New("not a time")

// moment reads seconds or a duration, from 0 to maxTraceTime.
func moment(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		s, err := strconv.ParseFloat(text, 64)
		if err != nil || !(s >= 0 && s <= maxTraceTime.Seconds()) {
			return 0, errNoTime
		}
		d = time.Duration(math.Round(s * 1e9))
	}
	if d < 0 || d > maxTraceTime {
		return 0, errNoTime
	}
	return d, nil
}
