// Package top is what `cortex top` shows, as data: the table of workloads, the pages
// behind it, what each key does, and the lines of a screen of some size.
//
// It promises that every line fits the screen, whatever a workload is called or says,
// that states are words and never a colour alone, and that what it keeps is bounded. It
// must not know a terminal, a clock or a service: it is handed what they say.
package top

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// Paint puts weight and colour on text, or nothing where nobody can see it.
type Paint struct {
	Bold, Dim, Red, Green, Yellow, Chosen func(string) string
}

// What a key asks for that the model cannot do by itself.
type What int

// The wishes of a key.
const (
	Nothing What = iota
	Quit
	Explain // of the chosen workload; the others likewise
	Logs
	Events
	Close // whatever writes to the page that was open
)

// Wish is what a key asks for, and of which workload.
type Wish struct {
	What What
	Name string
}

// maxPageLines is how much of logs and events is kept.
const maxPageLines = 5000

// Model is everything that is on the screen. The zero value waits for the first line.
type Model struct {
	Env string // the name of the environment

	apis  map[string]workload.WatchedAPI
	known bool // there was a line

	away  error // why nothing is heard; nil: it is
	since time.Time

	filter string
	typing bool
	order  int
	chosen string // name of the workload that the cursor is on
	first  int    // row at the top of the screen
	rows   int    // rows that the screen had when it was drawn last
	page   *page
}

// page is text above the table: an explanation, logs, events or the keys.
type page struct {
	title  string
	lines  []string
	first  int
	follow bool // shows the end, where more comes
}

// Line takes over what the stream of changes says.
func (m *Model) Line(w workload.Watched) {
	if w.Snapshot || m.apis == nil {
		m.apis = map[string]workload.WatchedAPI{}
	}
	for _, a := range w.APIs {
		m.apis[a.Name] = a
	}
	for _, name := range w.Gone {
		delete(m.apis, name)
	}
	m.known, m.away = true, nil
}

// Away says that nothing is heard since at, and why.
func (m *Model) Away(err error, at time.Time) {
	if m.away == nil {
		m.since = at
	}
	m.away = err
}

// Open shows a page; follow shows its end while text comes.
func (m *Model) Open(title string, follow bool) { m.page = &page{title: title, follow: follow} }

// Text adds lines to the page that is open.
func (m *Model) Text(lines ...string) {
	if m.page == nil {
		return
	}
	for _, l := range lines {
		m.page.lines = append(m.page.lines, strings.Split(strings.TrimRight(l, "\n"), "\n")...)
	}
	if over := len(m.page.lines) - maxPageLines; over > 0 {
		m.page.lines = slices.Clone(m.page.lines[over:])
		m.page.first = max(0, m.page.first-over)
	}
}

// Key does what a key does: a printable character as itself, or one of the words of Keys.
func (m *Model) Key(key string) Wish {
	switch {
	case key == "ctrl-c":
		return Wish{What: Quit}
	case m.typing:
		m.typed(key)
		return Wish{}
	case m.page != nil:
		return m.pageKey(key)
	}
	shown := m.Shown()
	at := slices.IndexFunc(shown, func(a workload.WatchedAPI) bool { return a.Name == m.chosen })
	move := func(to int) Wish {
		if len(shown) > 0 {
			m.chosen = shown[min(max(to, 0), len(shown)-1)].Name
		}
		return Wish{}
	}
	of := func(w What) Wish {
		if at < 0 {
			return Wish{}
		}
		return Wish{w, m.chosen}
	}
	switch key {
	case "q":
		return Wish{What: Quit}
	case "up", "k":
		return move(at - 1)
	case "down", "j":
		return move(at + 1)
	case "page-up":
		return move(at - max(1, m.rows))
	case "page-down":
		return move(at + max(1, m.rows))
	case "home", "g":
		return move(0)
	case "end", "G":
		return move(len(shown) - 1)
	case "/":
		m.typing = true
	case "esc":
		m.filter = ""
	case "s":
		m.order = (m.order + 1) % len(orders)
	case "enter":
		return of(Explain)
	case "l":
		return of(Logs)
	case "e":
		return of(Events)
	case "?":
		m.Open("keys", false)
		m.Text(help...)
	}
	return Wish{}
}

// typed is a key while a filter is typed.
func (m *Model) typed(key string) {
	switch key {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		if r := []rune(m.filter); len(r) > 0 {
			m.filter = string(r[:len(r)-1])
		}
	default:
		if r := []rune(key); len(r) == 1 && len(m.filter) < 64 {
			m.filter += key
		}
	}
}

func (m *Model) pageKey(key string) Wish {
	p := m.page
	scroll := func(by int) Wish {
		p.first, p.follow = max(0, p.first+by), false
		return Wish{}
	}
	switch key {
	case "esc", "q", "enter":
		m.page = nil
		return Wish{What: Close}
	case "up", "k":
		return scroll(-1)
	case "down", "j":
		return scroll(1)
	case "page-up":
		return scroll(-max(1, m.rows))
	case "page-down", " ":
		return scroll(max(1, m.rows))
	case "home", "g":
		return scroll(-p.first)
	case "end", "G":
		p.follow = true
	}
	return Wish{}
}

var help = []string{
	"up, k  down, j     choose an API, or scroll",
	"page up, page down",
	"home, g  end, G    the first, the last; in logs and events the end, as it grows",
	"enter              why it is as it is: what cortex explain says",
	"l                  its logs, as they come",
	"e                  its events, as they come",
	"/                  show those only whose name, kind or status has a text; esc shows all",
	"s                  sort by the next: " + orderNames(),
	"esc, q             back from a page",
	"q, Ctrl-C          quit",
}

// orders are what the table can be sorted by, and what comes first in each.
var orders = []struct {
	name    string
	compare func(a, b workload.WatchedAPI) int
}{
	{"trouble", func(a, b workload.WatchedAPI) int { return cmp.Compare(trouble(b), trouble(a)) }},
	{"name", func(_, _ workload.WatchedAPI) int { return 0 }},
	{"in flight", func(a, b workload.WatchedAPI) int { return cmp.Compare(inFlight(b), inFlight(a)) }},
	{"requests", func(a, b workload.WatchedAPI) int { return cmp.Compare(rates(b).Requests, rates(a).Requests) }},
	{"latency", func(a, b workload.WatchedAPI) int { return cmp.Compare(rates(b).Latency, rates(a).Latency) }},
	{"age", func(a, b workload.WatchedAPI) int { return cmp.Compare(b.LastUpdated, a.LastUpdated) }},
}

func orderNames() string {
	var names []string
	for _, o := range orders {
		names = append(names, o.name)
	}
	return strings.Join(names, ", ")
}

// trouble is how urgently somebody should look.
func trouble(a workload.WatchedAPI) int {
	words := []string{string(workload.PhaseUpdating), string(workload.PhaseDegraded), "refused", string(workload.PhaseFailed)}
	return slices.Index(words, status(a)) + 1
}

// Shown are the workloads of the table, in its order.
func (m *Model) Shown() []workload.WatchedAPI {
	var list []workload.WatchedAPI
	want := strings.ToLower(m.filter)
	for _, name := range slices.Sorted(maps.Keys(m.apis)) {
		a := m.apis[name]
		if strings.Contains(strings.ToLower(a.Name+" "+string(a.Kind)+" "+status(a)), want) {
			list = append(list, a)
		}
	}
	slices.SortStableFunc(list, orders[m.order].compare)
	return list
}

func status(a workload.WatchedAPI) string {
	switch {
	case a.Refused != nil && a.ID == "": // nothing was ever deployed
		return "refused"
	case a.Status != nil:
		return string(a.Status.Phase)
	case a.RunningJobs != nil && *a.RunningJobs > 0:
		return strconv.Itoa(*a.RunningJobs) + " running"
	}
	return "-"
}

func rates(a workload.WatchedAPI) workload.Rates {
	if a.Rates == nil {
		return workload.Rates{}
	}
	return *a.Rates
}

func inFlight(a workload.WatchedAPI) int {
	if a.Status == nil || a.Status.Traffic == nil {
		return 0
	}
	return a.Status.Traffic.InFlight
}

// why is a sentence about a workload that is not as it should be.
func why(a workload.WatchedAPI) string {
	switch {
	case a.Refused != nil:
		return fmt.Sprintf("%s was refused: %s", a.Refused.Resource, a.Refused.Message)
	case a.Status == nil:
		return ""
	case a.Status.Reason != "" && a.Status.Phase != workload.PhaseLive:
		return fmt.Sprintf("%s: %s", a.Status.Phase, a.Status.Reason)
	}
	return a.Status.Warning
}
