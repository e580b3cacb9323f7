package top

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"cortex.dev/cortex/internal/workload"
)

// column of the table. Rank says in which order columns go when there is no room: the
// highest first, 0 never.
type column struct {
	header string
	rank   int
	right  bool
	cell   func(workload.WatchedAPI, time.Time) string
}

var columns = []column{
	{"name", 0, false, func(a workload.WatchedAPI, _ time.Time) string { return a.Name }},
	{"kind", 4, false, func(a workload.WatchedAPI, _ time.Time) string { return string(a.Kind) }},
	{"status", 0, false, func(a workload.WatchedAPI, _ time.Time) string { return status(a) }},
	{"ready", 1, true, func(a workload.WatchedAPI, _ time.Time) string {
		if a.Status == nil {
			return "-"
		}
		return fmt.Sprintf("%d/%d", a.Status.Ready, a.Status.Requested)
	}},
	{"in flight", 3, true, func(a workload.WatchedAPI, _ time.Time) string {
		if a.Status == nil || a.Status.Traffic == nil {
			return "-"
		}
		return strconv.Itoa(inFlight(a))
	}},
	{"req/s", 2, true, func(a workload.WatchedAPI, _ time.Time) string {
		if a.Rates == nil {
			return "-"
		}
		return fmt.Sprintf("%.1f", a.Rates.Requests)
	}},
	{"latency", 5, true, func(a workload.WatchedAPI, _ time.Time) string {
		if rates(a).Latency == 0 {
			return "-"
		}
		return Short(time.Duration(a.Rates.Latency * float64(time.Second)))
	}},
	{"p99", 7, true, func(a workload.WatchedAPI, _ time.Time) string {
		if rates(a).P99 == 0 {
			return "-"
		}
		return Short(time.Duration(a.Rates.P99 * float64(time.Second)))
	}},
	{"5xx", 8, true, func(a workload.WatchedAPI, _ time.Time) string {
		if rates(a).Requests == 0 && rates(a).ErrorShare == 0 {
			return "-"
		}
		return fmt.Sprintf("%.3g%%", 100*a.Rates.ErrorShare)
	}},
	{"age", 6, true, func(a workload.WatchedAPI, now time.Time) string {
		if a.LastUpdated == 0 {
			return "-"
		}
		return age(now.Sub(time.Unix(a.LastUpdated, 0)))
	}},
}

// Short has three digits at most.
func Short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.3g s", d.Seconds())
}

// age is a span in its largest unit.
func age(d time.Duration) string {
	d = max(0, d)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

const between = "  "

// Table is the lines of a table that is at most so wide; 0 is as wide as it needs to be.
// The first line has the headers.
func Table(apis []workload.WatchedAPI, now time.Time, width int, paint Paint) []string {
	cells := make([][]string, len(apis))
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = lipgloss.Width(c.header)
	}
	for i, a := range apis {
		for j, c := range columns {
			text := plain(c.cell(a, now))
			cells[i] = append(cells[i], text)
			widths[j] = max(widths[j], lipgloss.Width(text))
		}
	}
	shown := fit(widths, width)
	row := func(text func(j int) string, style func(j int, text string) string) string {
		var b strings.Builder
		for n, j := range shown {
			cell := cut(text(j), widths[j])
			space := strings.Repeat(" ", widths[j]-lipgloss.Width(cell))
			switch {
			case columns[j].right:
				b.WriteString(space + style(j, cell))
			case n == len(shown)-1:
				b.WriteString(style(j, cell))
			default:
				b.WriteString(style(j, cell) + space)
			}
			if n < len(shown)-1 {
				b.WriteString(between)
			}
		}
		return b.String()
	}
	lines := []string{row(func(j int) string { return columns[j].header }, func(_ int, t string) string { return paint.Bold(t) })}
	for i := range apis {
		lines = append(lines, row(func(j int) string { return cells[i][j] }, func(j int, t string) string {
			if columns[j].header == "status" {
				return paintStatus(t, paint)
			}
			return t
		}))
	}
	return lines
}

// fit says which columns have room, and narrows the name, which comes first, to what is
// left.
func fit(widths []int, width int) (shown []int) {
	for j := range columns {
		shown = append(shown, j)
	}
	if width == 0 {
		return shown
	}
	const least = 12 // of a name
	for {
		rest, highest := width, 0
		for n, j := range shown {
			if n > 0 {
				rest -= len(between) + widths[j]
			}
			highest = max(highest, columns[j].rank)
		}
		if rest >= min(widths[0], least) || highest == 0 {
			widths[0] = max(1, min(widths[0], rest))
			return shown
		}
		shown = slices.DeleteFunc(shown, func(j int) bool { return columns[j].rank == highest })
	}
}

func paintStatus(text string, paint Paint) string {
	switch workload.Phase(text) {
	case workload.PhaseLive:
		return paint.Green(text)
	case workload.PhaseFailed, "refused":
		return paint.Red(text)
	case workload.PhaseUpdating, workload.PhaseDegraded:
		return paint.Yellow(text)
	}
	return text
}

// Render is a screen: height lines, none wider than width.
func (m *Model) Render(width, height int, now time.Time, paint Paint) []string {
	width, height = max(width, 1), max(height, 1)
	var body []string
	if m.page != nil {
		body = m.renderPage(width, height, paint)
	} else {
		body = m.renderTable(width, height, now, paint)
	}
	for len(body) < height {
		body = append(body, "")
	}
	// A screen of two lines has no room for what is said around; cut whatever is painted.
	cutter := lipgloss.NewStyle().MaxWidth(width)
	for i := range body {
		if lipgloss.Width(body[i]) > width {
			body[i] = cutter.Render(body[i])
		}
	}
	return body[:height]
}

// head is the first line: where, how much, and whether anything is heard.
func (m *Model) head(width int, now time.Time, paint Paint) string {
	if m.away != nil {
		return paint.Red(cut(fmt.Sprintf("%s is away since %s: %s", m.Env, m.since.Format(time.TimeOnly), plain(m.away.Error())), width))
	}
	if !m.known {
		return cut("waiting for "+m.Env, width)
	}
	ill := 0
	for _, a := range m.apis {
		if trouble(a) > 0 {
			ill++
		}
	}
	text := fmt.Sprintf("%s  %s", m.Env, counted(len(m.apis), "API"))
	if ill > 0 {
		text += fmt.Sprintf(", %d not live", ill)
	}
	text += "  by " + orders[m.order].name + "  " + now.Format(time.TimeOnly)
	return paint.Bold(cut(text, width))
}

func (m *Model) renderTable(width, height int, now time.Time, paint Paint) []string {
	apis := m.Shown()
	at := slices.IndexFunc(apis, func(a workload.WatchedAPI) bool { return a.Name == m.chosen })
	if at < 0 && len(apis) > 0 {
		at, m.chosen = 0, apis[0].Name
	}
	lines := []string{m.head(width, now, paint)}
	table := Table(apis, now, max(1, width-2), paint)
	foot := m.foot(apis, at, width, paint)
	m.rows = max(1, height-2-len(foot))
	m.first = max(0, min(m.first, at, len(apis)-m.rows))
	if at >= m.first+m.rows {
		m.first = at - m.rows + 1
	}
	lines = append(lines, "  "+table[0])
	for i := m.first; i < min(len(apis), m.first+m.rows); i++ {
		if i == at {
			lines = append(lines, paint.Chosen(">")+" "+table[i+1])
			continue
		}
		lines = append(lines, "  "+table[i+1])
	}
	if len(apis) == 0 && m.known {
		text := "  no apis are deployed"
		if len(m.apis) > 0 {
			text = "  none of them has " + strconv.Quote(m.filter)
		}
		lines = append(lines, text)
	}
	for len(lines) < height-len(foot) {
		lines = append(lines, "")
	}
	return append(lines[:max(0, min(len(lines), height-len(foot)))], foot...)
}

// foot is what is said below the table: of the chosen workload, and which keys there are.
func (m *Model) foot(apis []workload.WatchedAPI, at, width int, paint Paint) []string {
	var foot []string
	if at >= 0 {
		a := apis[at]
		if text := why(a); text != "" {
			foot = append(foot, cut(plain(a.Name+" is "+text), width))
		}
		if e := a.LastEvent; e != nil {
			foot = append(foot, paint.Dim(cut(plain(fmt.Sprintf("%s %s %s", e.Time.Local().Format(time.TimeOnly), e.Reason, e.Message)), width)))
		}
		if len(foot) == 0 && a.Endpoint != "" {
			foot = append(foot, paint.Dim(cut(a.Endpoint, width)))
		}
	}
	switch {
	case m.typing:
		foot = append(foot, cut("/"+m.filter+"_", width))
	case m.filter != "":
		foot = append(foot, paint.Dim(cut("/"+m.filter+"  esc all", width)))
	default:
		foot = append(foot, paint.Dim(cut("enter why  l logs  e events  / filter  s sort  ? keys  q quit", width)))
	}
	return foot
}

func (m *Model) renderPage(width, height int, paint Paint) []string {
	p := m.page
	var text []string
	for _, l := range p.lines {
		text = append(text, wrap(l, width)...)
	}
	m.rows = max(1, height-2)
	last := max(0, len(text)-m.rows)
	if p.follow {
		p.first = last
	}
	p.first = min(p.first, last)
	lines := []string{paint.Bold(cut(p.title, width))}
	lines = append(lines, text[p.first:min(len(text), p.first+m.rows)]...)
	for len(lines) < height-1 {
		lines = append(lines, "")
	}
	hint := "esc back  up and down scroll"
	if m.away != nil {
		hint = fmt.Sprintf("%s is away since %s  esc back", m.Env, m.since.Format(time.TimeOnly))
	}
	return append(lines, paint.Dim(cut(hint, width)))
}

// wrap is text in lines of some width.
func wrap(text string, width int) (lines []string) {
	text = strings.ReplaceAll(text, "\t", "    ")
	for lipgloss.Width(text) > width {
		head := cutAt(text, width)
		if head == "" { // a character that is wider than the screen
			break
		}
		lines = append(lines, head)
		text = text[len(head):]
	}
	return append(lines, cut(text, width))
}

// cut is text as far as it fits, with a mark if that is not all.
func cut(text string, width int) string {
	if lipgloss.Width(text) <= width {
		return text
	}
	return cutAt(text, width-1) + "…"
}

// cutAt is the longest beginning of text that fits. It is not painted.
func cutAt(text string, width int) string {
	used := 0
	for i, r := range text {
		if used += lipgloss.Width(string(r)); used > width {
			return text[:i]
		}
	}
	return text
}

// plain is text on one line.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
