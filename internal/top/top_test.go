package top

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/workload"
)

var (
	noPaint = func() Paint {
		same := func(s string) string { return s }
		return Paint{same, same, same, same, same, same}
	}()
	now = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
)

func api(name string, phase workload.Phase, inFlight int, perSecond float64) workload.WatchedAPI {
	return workload.WatchedAPI{
		Metadata: workload.Metadata{Name: name, Kind: workload.Realtime, ID: "1", LastUpdated: now.Add(-3 * time.Hour).Unix()},
		Status:   &workload.Status{Ready: 1, Requested: 2, Phase: phase, Reason: "because", Traffic: &workload.Traffic{InFlight: inFlight}},
		Rates:    &workload.Rates{Requests: perSecond, Latency: 0.0123},
	}
}

func sample() *Model {
	m := &Model{Env: "local"}
	two := 2
	m.Line(workload.Watched{Snapshot: true, APIs: []workload.WatchedAPI{
		api("iris", workload.PhaseLive, 3, 12.34),
		{Metadata: workload.Metadata{Name: "split", Kind: workload.Splitter, ID: "2"}, Targets: &two},
		api("sick", workload.PhaseFailed, 0, 0),
		{Metadata: workload.Metadata{Name: "odd", Kind: workload.Task}, Refused: &workload.Refused{Resource: "taskapis.cortex.dev/odd", Message: "no\x1b[2J\ncommand"}},
	}})
	return m
}

func TestTableAtEightyColumns(t *testing.T) {
	t.Parallel()
	want := `local  4 APIs, 2 not live  by trouble  12:00:00
  name   kind             status   ready  in flight  req/s  latency  p99  age
> sick   RealtimeAPI      failed     1/2          0    0.0  12.3 ms    -   3h
  odd    TaskAPI          refused      -          -      -        -    -    -
  iris   RealtimeAPI      live       1/2          3   12.3  12.3 ms    -   3h
  split  TrafficSplitter  -            -          -      -        -    -    -


sick is failed: because
enter why  l logs  e events  / filter  s sort  ? keys  q quit`
	if diff := cmp.Diff(want, strings.Join(sample().Render(80, 10, now, noPaint), "\n")); diff != "" {
		t.Errorf("Render() (-want +got):\n%s", diff)
	}
}

// Whatever the size, a screen has as many lines, none of them too long, and the names stay.
func TestEveryScreenFits(t *testing.T) {
	t.Parallel()
	m := sample()
	m.Line(workload.Watched{APIs: []workload.WatchedAPI{api(strings.Repeat("日本", 40), workload.PhaseLive, 1e9, 1e9)}})
	for i := range 100 {
		m.Line(workload.Watched{APIs: []workload.WatchedAPI{api(fmt.Sprintf("api-%02d", i), workload.PhaseIdle, 0, 0)}})
	}
	marked := Paint{}
	for _, f := range []*func(string) string{&marked.Bold, &marked.Dim, &marked.Red, &marked.Green, &marked.Yellow, &marked.Chosen} {
		*f = func(s string) string { return "\x1b[1m" + s + "\x1b[m" }
	}
	pages := map[string]func(){
		"table": func() {}, "filter": func() { m.Key("/"); m.Key("x") }, "nothing": func() { m.Key("日"); m.Key("enter") }, "away": func() { m.Away(errors.New("no\nanswer"), now) },
		"all again": func() { m.Key("esc"); m.Key("end") }, "page": func() { m.Open("logs of x", true); m.Text(strings.Repeat("日x\t", 300), "", "end") },
	}
	for _, name := range []string{"table", "filter", "nothing", "away", "all again", "page"} {
		pages[name]()
		for _, width := range []int{1, 2, 10, 20, 39, 40, 79, 80, 200} {
			for _, height := range []int{1, 2, 3, 4, 24, 200} {
				lines := m.Render(width, height, now, marked)
				if len(lines) != height {
					t.Fatalf("%s at %dx%d has %d lines", name, width, height, len(lines))
				}
				for _, l := range lines {
					if got := lipgloss.Width(l); got > width || strings.ContainsAny(l, "\n\t") {
						t.Errorf("%s at %dx%d: %d columns or a control character in %q", name, width, height, got, l)
					}
				}
				if name == "table" && width >= 20 && height >= 24 && !strings.Contains(strings.Join(lines, "\n"), "sick") {
					t.Errorf("at %dx%d the first one is not shown:\n%s", width, height, strings.Join(lines, "\n"))
				}
			}
		}
	}
}

func press(m *Model, keys ...string) (last Wish) {
	for _, k := range keys {
		last = m.Key(k)
		m.Render(80, 24, now, noPaint)
	}
	return last
}

func TestKeysOfTheTable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		keys []string
		want Wish
	}{
		{[]string{"enter"}, Wish{Explain, "sick"}},
		{[]string{"down", "l"}, Wish{Logs, "odd"}},
		{[]string{"j", "j", "k", "e"}, Wish{Events, "odd"}},
		{[]string{"G", "e"}, Wish{Events, "split"}},
		{[]string{"end", "down", "enter"}, Wish{Explain, "split"}},
		{[]string{"end", "home", "up", "enter"}, Wish{Explain, "sick"}},
		{[]string{"page-down", "enter"}, Wish{Explain, "split"}},
		{[]string{"s", "g", "enter"}, Wish{Explain, "iris"}},              // by name
		{[]string{"s", "s", "g", "enter"}, Wish{Explain, "iris"}},         // in flight
		{[]string{"/", "s", "p", "l", "enter", "l"}, Wish{Logs, "split"}}, // l is text while it is typed
		{[]string{"/", "x", "x", "enter", "enter"}, Wish{}},               // nothing is chosen
		{[]string{"/", "x", "backspace", "enter", "enter"}, Wish{Explain, "sick"}},
		{[]string{"/", "x", "esc", "enter"}, Wish{Explain, "sick"}},
		{[]string{"/", "q"}, Wish{}},
		{[]string{"/", "ctrl-c"}, Wish{What: Quit}},
		{[]string{"q"}, Wish{What: Quit}},
		{[]string{"?", "q"}, Wish{What: Close}},
		{[]string{"?", "esc", "enter"}, Wish{Explain, "sick"}},
		{[]string{"?", "ctrl-c"}, Wish{What: Quit}},
		{[]string{"é", "f5"}, Wish{}},
	} {
		m := sample()
		m.Render(80, 24, now, noPaint)
		if got := press(m, tt.keys...); got != tt.want {
			t.Errorf("after %v the wish is %+v, want %+v", tt.keys, got, tt.want)
		}
	}
}

// The cursor stays with its workload while others come, go and change places.
func TestTheCursorStays(t *testing.T) {
	t.Parallel()
	m := sample()
	m.Render(80, 24, now, noPaint)
	press(m, "down", "down")
	m.Line(workload.Watched{APIs: []workload.WatchedAPI{api("bad", workload.PhaseFailed, 0, 0)}, Gone: []string{"odd"}})
	if got := press(m, "enter"); got.Name != "iris" {
		t.Errorf("the cursor is on %q, want iris", got.Name)
	}
	m.Line(workload.Watched{Gone: []string{"iris"}})
	m.page = nil
	m.Render(80, 24, now, noPaint)
	if got := press(m, "enter"); got.Name != "bad" {
		t.Errorf("the cursor of one that is gone is on %q, want the first", got.Name)
	}
}

// A page with logs shows its end until somebody scrolls, and keeps a bounded part.
func TestPages(t *testing.T) {
	t.Parallel()
	m := sample()
	m.Open("logs of iris", true)
	for i := range maxPageLines + 100 {
		m.Text(fmt.Sprintf("line %d", i))
	}
	shown := func() string { return strings.Join(m.Render(30, 5, now, noPaint), "|") }
	last := maxPageLines + 99
	if got, want := shown(), fmt.Sprintf("logs of iris|line %d|line %d|line %d|esc back  up and down scroll", last-2, last-1, last); got != want {
		t.Errorf("the page shows %q, want %q", got, want)
	}
	m.Key("g")
	if got := shown(); !strings.HasPrefix(got, "logs of iris|line 100|line 101|") {
		t.Errorf("its beginning is %q, want that of what is kept", got)
	}
	m.Text("one more")
	m.Key("down")
	if got := shown(); !strings.HasPrefix(got, "logs of iris|line 102|") { // the first has gone
		t.Errorf("after it was scrolled it shows %q, want where it was", got)
	}
	m.Key("G")
	if got := shown(); !strings.Contains(got, "|one more|") {
		t.Errorf("at its end it shows %q", got)
	}
}

func TestAway(t *testing.T) {
	t.Parallel()
	m := sample()
	m.Away(errors.New("nobody answers"), now)
	m.Away(errors.New("still nobody"), now.Add(time.Minute))
	if got, want := m.Render(80, 24, now, noPaint)[0], "local is away since 12:00:00: still nobody"; got != want {
		t.Errorf("the first line is %q, want %q", got, want)
	}
	m.Line(workload.Watched{})
	if got := m.Render(80, 24, now, noPaint)[0]; !strings.HasPrefix(got, "local  4 APIs") {
		t.Errorf("after it has come back the first line is %q", got)
	}
}

func TestKeysOfATerminal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		input string
		over  bool
		want  string
		rest  string
	}{
		{"jk/", false, "j k /", ""},
		{"\x1b[A\x1bOB\x1b[5~\x1b[6~", false, "up down page-up page-down", ""},
		{"\x1b", false, "", "\x1b"},
		{"\x1b", true, "esc", ""},
		{"\x1b[", false, "", "\x1b["},
		{"\x1b[", true, "esc", ""},
		{"\x1b[1;5", false, "", "\x1b[1;5"},
		{"\x1b[1;5Cq", false, "q", ""}, // a key without a meaning
		{"\x1b\x1b[A", false, "esc up", ""},
		{"\x1bq", false, "esc q", ""},
		{"\r\x7f\x03", false, "enter backspace ctrl-c", ""},
		{"é\xc3", false, "é", "\xc3"},
		{"\xff\x00q", false, "q", ""},
		{"\x1b[" + strings.Repeat("1", 40) + "q", false, "q", ""}, // too long for any key: it ends there
	} {
		keys, rest := Keys([]byte(tt.input), tt.over)
		if got := strings.Join(keys, " "); got != tt.want && len(tt.input) < maxSequence || string(rest) != tt.rest {
			t.Errorf("Keys(%q, %v) = %q, rest %q; want %q, rest %q", tt.input, tt.over, got, rest, tt.want, tt.rest)
		}
	}
}

func FuzzKeys(f *testing.F) {
	for _, s := range []string{"j\x1b[A", "\x1b", "\xc3\xa9", "\x1b[1;5", "\x1bO\x1b["} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		_, rest := Keys(input, false)
		if len(rest) >= maxSequence {
			t.Errorf("Keys(%q) leaves %d bytes, want less than %d", input, len(rest), maxSequence)
		}
		if _, rest := Keys(input, true); len(rest) > 0 {
			t.Errorf("Keys(%q, true) leaves %q", input, rest)
		}
	})
}
