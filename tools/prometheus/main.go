// Command prometheus is what the tests of metrics need of Prometheus: its engine for
// queries, its readers of pages and of rules, and the checks of promtool. It reads a Job
// as JSON from its input, and writes a Result.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// Job is what is asked for.
type Job struct {
	Scrapes []Scrape
	At      time.Time // at which the queries are asked
	Queries []string
	Rules   string // a file of rules; empty: none
}

// Scrape is a page of metrics that was read at a time.
type Scrape struct {
	At     time.Time
	Target map[string]string // its labels, such as job and instance
	Page   string
}

// Result has what came of each query, and everything that the checks found.
type Result struct {
	Values   [][]Value // of each query
	Warnings []string  // of queries
	Problems []string  // what promtool check metrics and check rules would say
	Alerts   []Alert
}

// Value is one element of a vector.
type Value struct {
	Labels map[string]string
	Value  float64
}

// Alert is a rule.
type Alert struct{ Name, Query string }

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	var job Job
	if err := json.NewDecoder(in).Decode(&job); err != nil {
		return fmt.Errorf("reading the job: %w", err)
	}
	var r Result
	pages := &pages{series: map[string]*series{}}
	for _, s := range job.Scrapes {
		if err := pages.add(s); err != nil {
			return fmt.Errorf("reading the page of %v: %w", s.Target, err)
		}
		problems, err := promlint.New(bytes.NewBufferString(s.Page)).Lint()
		if err != nil {
			return fmt.Errorf("checking the page of %v: %w", s.Target, err)
		}
		for _, p := range problems {
			r.Problems = append(r.Problems, fmt.Sprintf("metric %s of %v: %s", p.Metric, s.Target, p.Text))
		}
	}
	if job.Rules != "" {
		r.checkRules(job.Rules)
	}
	engine := promql.NewEngine(promql.EngineOpts{Logger: slog.New(slog.DiscardHandler), MaxSamples: 10_000_000, Timeout: time.Minute, EnableAtModifier: true, EnableNegativeOffset: true})
	for _, text := range job.Queries {
		values, warnings, err := ask(engine, pages, text, job.At)
		if err != nil {
			return fmt.Errorf("the query %s: %w", text, err)
		}
		r.Values, r.Warnings = append(r.Values, values), append(r.Warnings, warnings...)
	}
	return json.NewEncoder(out).Encode(r)
}

// checkRules is promtool check rules, with all of its lints.
func (r *Result) checkRules(text string) {
	groups, errs := rulefmt.Parse([]byte(text), false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		r.Problems = append(r.Problems, "rules: "+err.Error())
	}
	if groups == nil {
		return
	}
	seen := map[string]bool{}
	for _, g := range groups.Groups {
		for _, rule := range g.Rules {
			r.Alerts = append(r.Alerts, Alert{rule.Alert, rule.Expr})
			if seen[rule.Alert] {
				r.Problems = append(r.Problems, "rules: "+rule.Alert+" is there twice")
			}
			seen[rule.Alert] = true
		}
	}
}

func ask(engine *promql.Engine, from storage.Queryable, text string, at time.Time) ([]Value, []string, error) {
	q, err := engine.NewInstantQuery(context.Background(), from, nil, text, at)
	if err != nil {
		return nil, nil, err
	}
	defer q.Close()
	got := q.Exec(context.Background())
	var warnings []string
	for _, err := range got.Warnings.AsErrors() {
		warnings = append(warnings, text+": "+err.Error())
	}
	vector, err := got.Vector()
	if err != nil {
		return nil, nil, err
	}
	values := []Value{}
	for _, s := range vector {
		values = append(values, Value{s.Metric.Map(), finite(s.F)})
	}
	return values, warnings, nil
}

// finite makes a number of what JSON has none for.
func finite(f float64) float64 {
	if f != f || f > 1e300 || f < -1e300 {
		return -1
	}
	return f
}

// pages is a storage that has what was read.
type pages struct{ series map[string]*series }

type series struct {
	labels  labels.Labels
	samples []chunks.Sample
}

// add reads one page as a scrape does: with the labels of its target.
func (p *pages) add(s Scrape) error {
	reader, err := textparse.New([]byte(s.Page), "text/plain; version=0.0.4", nil, textparse.ParserOptions{})
	if err != nil {
		return err
	}
	for {
		entry, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, value := reader.Series()
		var own labels.Labels
		reader.Labels(&own)
		b := labels.NewBuilder(own)
		for _, name := range slices.Sorted(maps.Keys(s.Target)) {
			b.Set(name, s.Target[name])
		}
		all := b.Labels()
		to := p.series[all.String()]
		if to == nil {
			to = &series{labels: all}
			p.series[all.String()] = to
		}
		to.samples = append(to.samples, sample{timestamp.FromTime(s.At), value})
	}
}

type sample struct {
	t int64
	f float64
}

func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.f }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// Querier implements storage.Queryable.
func (p *pages) Querier(int64, int64) (storage.Querier, error) { return querier{p}, nil }

type querier struct{ *pages }

func (q querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &found{}
	for _, key := range slices.Sorted(maps.Keys(q.series)) {
		s := q.series[key]
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.labels.Get(m.Name)) }) {
			set.all = append(set.all, storage.NewListSeries(s.labels, s.samples))
		}
	}
	return set
}

func (querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.New("no query asks for it")
}

func (querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.New("no query asks for it")
}

func (querier) Close() error { return nil }

type found struct {
	all []storage.Series
	at  storage.Series
}

func (f *found) Next() bool {
	if len(f.all) == 0 {
		return false
	}
	f.at, f.all = f.all[0], f.all[1:]
	return true
}

func (f *found) At() storage.Series                { return f.at }
func (f *found) Err() error                        { return nil }
func (f *found) Warnings() annotations.Annotations { return nil }
