package cli

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// By what rows of usage are added up.
const (
	byCaller = "caller"
	byAPI    = "api"
	byHour   = "hour"
	byDay    = "day"
)

func (a *app) usageCommand() *cobra.Command {
	var env string
	var out output
	var q workload.CallsQuery
	by, asCSV := []string{byCaller, byAPI}, false
	since := dayDuration(30 * 24 * time.Hour)
	cmd := &cobra.Command{
		Use:   "usage [API_NAME]",
		Short: "show who called which API how often",
		Long: "Show who called which API how often, of APIs that ask who calls (networking.auth).\n" +
			"A row adds up what --by says; hours and days are those of UTC.",
		Example: "  cortex usage\n" +
			"  cortex usage iris --by day,caller --since 7d\n" +
			"  cortex usage --caller alice --csv",
		Args:              between(0, "API_NAME"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, word := range by {
				if !slices.Contains([]string{byCaller, byAPI, byHour, byDay}, word) {
					return fault.New(fault.Usage, "cli.wrong_arguments", "usage cannot be added up by %q", word).WithHint("--by caller, api, hour or day, or several with commas between them")
				}
			}
			if len(args) > 0 {
				q.API = args[0]
			}
			q.Since = time.Duration(since)
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			all, err := t.Calls(cmd.Context(), q)
			if err != nil {
				return err
			}
			switch {
			case out != pretty:
				if all == nil {
					all = []workload.Calls{}
				}
				return a.print(out, all)
			case asCSV:
				return a.callsCSV(callRows(all, by), by)
			case len(all) == 0:
				a.say("nobody has called an API that asks who calls, in this time")
				return nil
			}
			callTable(callRows(all, by), by).write(a.streams.Out, a.paint)
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	cmd.Flags().StringSliceVar(&by, "by", by, "add up by caller, api, hour or day, or by several")
	cmd.Flags().StringVar(&q.Caller, "caller", "", "of one caller only")
	cmd.Flags().Var(&since, "since", "how far back, such as 30d or 12h")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print the rows with commas, for a spreadsheet")
	return cmd
}

// callRow is what was added up for some values of what it is added up by.
type callRow struct {
	by []string
	workload.CallCounts
}

// callRows adds up, in the order of the values.
func callRows(all []workload.Calls, by []string) []callRow {
	sums := map[string]*callRow{}
	for _, c := range all {
		var values []string
		for _, word := range by {
			values = append(values, map[string]string{
				byCaller: c.Caller, byAPI: c.API, byHour: c.Hour.UTC().Format("2006-01-02 15:00"), byDay: c.Hour.UTC().Format(time.DateOnly),
			}[word])
		}
		key := strings.Join(values, "\x00")
		if sums[key] == nil {
			sums[key] = &callRow{by: values}
		}
		sums[key].Add(c.CallCounts)
	}
	rows := make([]callRow, 0, len(sums))
	for _, r := range sums {
		rows = append(rows, *r)
	}
	slices.SortFunc(rows, func(a, b callRow) int { return slices.Compare(a.by, b.by) })
	return rows
}

var callColumns = []string{"requests", "succeeded", "4xx", "5xx", "broken", "limited", "mean time"}

func (r *callRow) cells() []string {
	mean := "-"
	if r.Requests > 0 {
		mean = (time.Duration(r.Seconds/float64(r.Requests)*1e6) * time.Microsecond).Round(100 * time.Microsecond).String()
	}
	cells := slices.Clone(r.by)
	for _, n := range []int64{r.Requests, r.Succeeded, r.ClientErrors, r.ServerErrors, r.Broken, r.Limited} {
		cells = append(cells, strconv.FormatInt(n, 10))
	}
	return append(cells, mean)
}

func callTable(rows []callRow, by []string) table {
	t := table{headers: append(slices.Clone(by), callColumns...)}
	for i := range rows {
		t.rows = append(t.rows, rows[i].cells())
	}
	return t
}

// callsCSV prints rows for a spreadsheet: times in seconds, and no cell that it would take
// for a formula.
func (a *app) callsCSV(rows []callRow, by []string) error {
	w := csv.NewWriter(a.streams.Out)
	lines := [][]string{append(slices.Clone(by), "requests", "succeeded", "client_errors", "server_errors", "broken", "limited", "seconds")}
	for _, r := range rows {
		line := slices.Clone(r.by)
		for i, cell := range line {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
				line[i] = "'" + cell
			}
		}
		for _, n := range []int64{r.Requests, r.Succeeded, r.ClientErrors, r.ServerErrors, r.Broken, r.Limited} {
			line = append(line, strconv.FormatInt(n, 10))
		}
		lines = append(lines, append(line, fmt.Sprintf("%.3f", r.Seconds)))
	}
	return cmp.Or(w.WriteAll(lines), w.Error())
}
