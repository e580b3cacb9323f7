package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
)

// painter puts colour and weight on text, or nothing where nobody can see it.
type painter struct{ on bool }

func newPainter(stream any, getenv func(string) string) painter {
	if getenv == nil || getenv("NO_COLOR") != "" || getenv("TERM") == "dumb" {
		return painter{}
	}
	_, ok := terminal(stream)
	return painter{ok}
}

var (
	styleBold   = lipgloss.NewStyle().Bold(true)
	styleDim    = lipgloss.NewStyle().Faint(true)
	styleRed    = lipgloss.NewStyle().Foreground(lipgloss.Red)
	styleGreen  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	styleYellow = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
)

func (p painter) with(style lipgloss.Style, text string) string {
	if !p.on || text == "" {
		return text
	}
	return style.Inline(true).Render(text)
}

func (p painter) bold(text string) string   { return p.with(styleBold, text) }
func (p painter) dim(text string) string    { return p.with(styleDim, text) }
func (p painter) red(text string) string    { return p.with(styleRed, text) }
func (p painter) green(text string) string  { return p.with(styleGreen, text) }
func (p painter) yellow(text string) string { return p.with(styleYellow, text) }

func textWidth(text string) int { return lipgloss.Width(text) }

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-textWidth(text)))
}

// table is rows of text under headers, in columns as wide as their widest cell.
type table struct {
	headers []string
	rows    [][]string
}

func (t table) write(w io.Writer, paint painter) {
	widths := make([]int, len(t.headers))
	for i, h := range t.headers {
		widths[i] = textWidth(h)
		for _, row := range t.rows {
			widths[i] = max(widths[i], textWidth(row[i]))
		}
	}
	line := func(cells []string, style func(string) string) {
		var b strings.Builder
		for i, cell := range cells {
			if i > 0 {
				b.WriteString("   ")
			}
			b.WriteString(style(cell) + strings.Repeat(" ", widths[i]-textWidth(cell)))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	line(t.headers, paint.bold)
	for _, row := range t.rows {
		line(row, func(cell string) string { return cell })
	}
}

// without returns t without the named column.
func (t table) without(header string) table {
	for i, h := range t.headers {
		if h != header {
			continue
		}
		cut := func(cells []string) []string { return append(append([]string{}, cells[:i]...), cells[i+1:]...) }
		out := table{headers: cut(t.headers)}
		for _, row := range t.rows {
			out.rows = append(out.rows, cut(row))
		}
		return out
	}
	return t
}

// timeFormat is how points in time are shown.
const timeFormat = "02 Jan 06 15:04:05 MST"

// sinceUnix is since a moment in Unix seconds; 0 is never.
func sinceUnix(at int64, now time.Time) string {
	if at == 0 {
		return since(time.Time{}, now)
	}
	return since(time.Unix(at, 0), now)
}

// since is a span in the two largest units, as in "1h22m".
func since(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := max(0, now.Sub(t)).Truncate(time.Second)
	days, hours, minutes, seconds := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case days > 0:
		return fmt.Sprintf("%dd%dh", days, hours)
	case hours > 0:
		return fmt.Sprintf("%dh%dm", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%dm%ds", minutes, seconds)
	default:
		return fmt.Sprintf("%ds", seconds)
	}
}

// count is "1 API" or "2 APIs".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
