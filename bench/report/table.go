package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"cortex.dev/cortex/bench/row"
)

// writeTable prints the rows in columns, the notes below them.
func writeTable(w io.Writer, rows []row.Row) error {
	cells := [][]string{{"what", "ours", "theirs", "ratio", "target", ""}}
	var notes []string
	for _, r := range rows {
		verdict := "MISSED"
		switch {
		case r.Ours != "" && r.Target == "":
			verdict = ""
		case r.Met:
			verdict = "met"
		case r.Ours == "":
			verdict = "NOT MEASURED"
		case r.Absent, r.Theirs == "" && strings.Contains(r.Target, "HAProxy"):
			verdict = "no competitor"
		}
		if r.Note != "" {
			notes = append(notes, r.What+": "+r.Note)
		}
		cells = append(cells, []string{r.What, r.Ours, r.Theirs, r.Ratio, r.Target, verdict})
	}
	widths := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, c := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for n, line := range cells {
		var text strings.Builder
		for i, c := range line {
			text.WriteString(c + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)+2))
		}
		b.WriteString(strings.TrimRight(text.String(), " ") + "\n")
		if n == 0 {
			total := 0
			for _, width := range widths {
				total += width + 2
			}
			b.WriteString(strings.Repeat("─", total-2) + "\n")
		}
	}
	if len(notes) > 0 {
		b.WriteString("\n")
	}
	for _, n := range notes {
		b.WriteString(n + "\n")
	}
	_, err := fmt.Fprint(w, b.String())
	return err
}
