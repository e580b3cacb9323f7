package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cortex.dev/cortex/internal/browsertest"
)

// pictures has TestDashboard write the pictures of the documentation too.
var pictures = flag.Bool("pictures", false, "write docs/pictures")

// axeVariable names a file with axe-core, which judges pages; scripts/axe gets it.
const axeVariable = "CORTEX_TEST_AXE"

const dashboardFile = `
- name: iris
  kind: RealtimeAPI
  pod:
    max_concurrency: 10
    containers: [{name: api, command: [server, -slow, 12ms, -say, "model iris is loaded"]}]
- name: text
  kind: RealtimeAPI
  pod: {containers: [{name: api, command: [server, -say, "<script>alert(1)</script><img src=x onerror=alert(2)>"]}]}
- name: half
  kind: TrafficSplitter
  apis: [{name: iris, weight: 80}, {name: text, weight: 20}]
- name: letters
  kind: AsyncAPI
  async: {retry: {attempts: 1}}
  pod: {containers: [{name: api, command: [server, -fails, '1']}]}
  schedules: [{name: nightly, cron: "0 3 * * *", payload: {text: go}}]
- name: resize
  kind: BatchAPI
  pod: {containers: [{name: api, command: [server, -fails, '2']}]}
- name: train
  kind: TaskAPI
  pod: {containers: [{name: api, command: [server, -task]}]}
`

// someone is a person with a browser, and a terminal beside it.
type someone struct {
	*browsertest.Page
	t    *testing.T
	work string
	env  []string
	base string // of the dashboard
	shot int
}

func (s *someone) cortex(args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "cortex"), args...)
	cmd.Env, cmd.Dir = s.env, filepath.Join(s.work, "app")
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("cortex %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (s *someone) write(file, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.work, "app", file), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// dashboard runs the command until the test ends, and opens its link.
func (s *someone) dashboard() {
	s.t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), filepath.Join(bin, "cortex"), "dashboard", "--no-open")
	cmd.Env, cmd.Dir = s.env, s.work
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		if err := cmd.Wait(); err != nil {
			s.t.Errorf("cortex dashboard after Ctrl-C: %v", err)
		}
	})
	link, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.t.Fatalf("cortex dashboard prints no link: %v", err)
	}
	link = strings.TrimSpace(link)
	s.base, _, _ = strings.Cut(link, "/?")
	s.Open(link)
}

// see goes to a screen and waits until something is there.
func (s *someone) see(hash, what, expression string) {
	s.t.Helper()
	s.Eval("location.hash = "+fmt.Sprintf("%q", hash), nil)
	s.Until(what, expression)
}

// has is true when the main part of the page has a text.
func has(text string) string {
	return fmt.Sprintf("document.getElementById('main').innerText.includes(%q)", text)
}

// newSomeone has an environment with dashboardFile in it, and a browser at its dashboard.
func newSomeone(t *testing.T) *someone {
	t.Helper()
	s := &someone{t: t, Page: browsertest.Start(t)}
	work, err := os.MkdirTemp("", "cxd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	s.work = work
	for _, dir := range []string{"cfg", "app"} {
		if err := os.Mkdir(filepath.Join(work, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(work, "cfg", "cli.yaml"), []byte("environments:\n- name: local\n  api_port: 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"HOME=" + work, "CORTEX_CLI_CONFIG_DIR=" + filepath.Join(work, "cfg"), "PATH=" + bin + ":" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "TZ=UTC", "GORACE=" + raceOptions(work)}
	t.Cleanup(func() { solo{}.finish(work, s.env) })
	s.write("cortex.yaml", dashboardFile)
	s.cortex("deploy")
	s.dashboard()
	return s
}

// TestDashboard is a walk through every screen, with a real browser, program and containers.
func TestDashboard(t *testing.T) {
	t.Parallel()
	if p, err := here(); err != nil || p.name() != "solo" {
		t.Skip("the dashboard is looked at on this machine only")
	}
	s := newSomeone(t)
	s.Look(1280, 860, "light", true)
	s.Until("the stream is heard", "document.getElementById('link').textContent === 'live'")
	if *pictures {
		s.busy()
	}

	// Everything that is deployed, and nothing of it as markup.
	s.Until("six APIs", "document.querySelectorAll('table.apis tbody tr').length === 6")
	s.Until("iris is live", rowHas("iris", "live"))
	var painted float64
	s.Eval("performance.getEntriesByName('first-contentful-paint')[0]?.startTime", &painted)
	t.Logf("first paint after %.0f ms, %d bytes until home was whole", painted, s.Received())
	s.look("home")

	// A version that cannot start: on the screen with its explanation, soon after it is known.
	s.write("bad.yaml", "- {name: iris, kind: RealtimeAPI, pod: {containers: [{name: api, command: [server, -crash-after, 1ms, -say, 'no model.bin here']}]}}\n")
	s.Eval(`window.since = null; (function look() { if (document.querySelector(".worry")) { window.since = Date.now(); return; } setTimeout(look, 20); })()`, nil)
	s.cortex("deploy", "bad.yaml", "--no-wait")
	s.Until("home says that iris is not fine, and why", "document.querySelector('.worry')?.innerText.includes('iris')")
	known := s.knownSince("iris")
	var seen float64
	s.Eval("window.since", &seen)
	t.Logf("the explanation was on the screen %.1f s after it was known", seen/1000-known)
	s.look("trouble")
	s.Click(".worry", "iris")
	s.Until("the cause", "document.querySelector('.explain.bad')")
	s.Until("the evidence", has("no model.bin here"))
	s.Until("what to do", has("What to do"))
	s.look("cause")

	// Back to what worked: a question, then the change.
	s.Click("button", "Roll back")
	s.Until("a question", "document.querySelector('dialog[open]')?.innerText.includes('v1')")
	s.judge("question")
	s.Click("dialog button", "Roll back")
	s.Until("iris is live again", "document.querySelector('h1').innerText.includes('live') && document.querySelector('.explain.good')")
	s.Until("version 3", has("v3"))
	s.Until("charts", "document.querySelectorAll('.chart').length === 4")
	s.look("api")

	// Logs, as text, with a search.
	s.see("#/api/text/logs", "its lines", "document.querySelectorAll('.log li').length > 0")
	s.Until("a script is a text", has("<script>alert(1)</script>"))
	s.Type(".tools input[type=search]", "ONERROR")
	s.Until("what was found is marked", "document.querySelector('mark')?.textContent === 'onerror' && document.querySelectorAll('.log li').length === 1")
	s.look("logs")

	// An item that fails, and works when it is tried again.
	s.write("job.json", `{"n": 1}`)
	s.cortex("submit", "letters", "job.json")
	s.see("#/api/letters/items", "the item has failed", "document.querySelector('main tbody .chip')?.textContent === 'failed'")
	s.look("items")
	s.Click("main tbody th a", "")
	s.Until("why it failed", has("attempt 1"))
	s.Click("button", "Retry")
	s.Click("dialog button", "Try it again")
	s.Until("it succeeded", "document.querySelector('h2 .chip')?.textContent === 'succeeded'")
	s.look("item")

	// A job of which batches fail, and the one that tries them again.
	s.write("batch.json", `{"workers": 1, "item_list": {"items": [1,2,3,4,5,6,7,8], "batch_size": 1}}`)
	s.cortex("submit", "resize", "batch.json")
	s.see("#/api/resize/jobs", "the job is over", "document.querySelector('main tbody .chip')?.textContent.includes('failures')")
	s.Click("main tbody th a", "")
	s.Until("the batches that failed, by why", has("Batches that failed"))
	s.look("job")
	s.Click("button", "Retry failed")
	s.Click("dialog button", "Submit it")
	s.Until("another job", has("Tries again"))
	s.Until("it is over", "/succeeded|failures/.test(document.querySelector('h2 .chip')?.textContent)")

	// The rest of the screens.
	for _, screen := range []struct{ hash, name, has string }{
		{"#/api/half", "splitter", "half"},
		{"#/api/iris/events", "api-events", "Deployed"},
		{"#/api/iris/config", "config", "max_concurrency: 10"},
		{"#/api/letters/schedules", "schedule", "nightly"},
		{"#/events", "events", "iris"},
		{"#/schedules", "schedules", "nightly"},
		{"#/callers", "callers", "There are no keys"},
		{"#/environment", "environment", "What answers"},
		{"#/audit", "audit", "no audit"},
	} {
		s.see(screen.hash, screen.name, has(screen.has))
		s.look(screen.name)
	}
	s.see("#/api/text/try", "a form", "document.querySelector('form.try')")
	s.Type("form.try textarea", `{"x": 1}`)
	s.Click("form.try button", "Send")
	s.Until("the answer", has("200 in"))
	s.look("try")
	s.see("#/simulate/iris", "sliders, and what would have been", "document.querySelector('main input[type=range]') && document.querySelectorAll('.chart').length === 3")
	s.look("simulate")

	// Without a mouse: the filter, the first row, its page.
	s.see("#/", "home", "document.querySelectorAll('table.apis tbody tr').length === 6")
	s.Key("/")
	s.Until("the filter has the focus", "document.activeElement.type === 'search'")
	for _, letter := range "text" {
		s.Key(string(letter))
	}
	s.Until("one row", "document.querySelectorAll('table.apis tbody tr').length === 1")
	s.Eval("document.activeElement.blur()", nil)
	s.Key("j")
	s.Key("Enter")
	s.Until("its page", "document.querySelector('h1')?.innerText.startsWith('text')")

	s.narrowAndWide()

	t.Logf("%d bytes were received", s.Received())
	for _, c := range s.Complaints() {
		t.Errorf("the console has: %s", c)
	}
	for _, a := range s.Asked() {
		if !strings.HasPrefix(a, s.base+"/") && a != "about:blank" {
			t.Errorf("the page asked %s", a)
		}
	}

	// The environment goes away, which is said; and comes back.
	s.see("#/", "home", "document.querySelectorAll('table.apis tbody tr').length > 0")
	s.cortex("local", "stop")
	s.Until("away", "document.getElementById('link').textContent === 'away'")
	s.cortex("local", "start")
	s.Until("live again", "document.getElementById('link').textContent === 'live' && document.querySelectorAll('table.apis tbody tr').length > 0")
}

func rowHas(name, text string) string {
	return fmt.Sprintf("[...document.querySelectorAll('table.apis tbody tr')].some(r => r.querySelector('a').textContent === %q && r.innerText.includes(%q))", name, text)
}

// knownSince is when the environment first said that an API is not fine, by its events.
func (s *someone) knownSince(name string) float64 {
	var last float64
	for line := range strings.Lines(s.cortex("events", name, "-o", "json")) {
		var e struct {
			Time   time.Time
			Reason string
		}
		if json.Unmarshal([]byte(line), &e) == nil && (e.Reason == "Degraded" || e.Reason == "Failed") && last == 0 {
			last = float64(e.Time.UnixMilli()) / 1000
		}
	}
	return last
}

// look keeps a picture of what is seen, and judges it.
func (s *someone) look(name string) {
	s.t.Helper()
	s.shot++
	dir := filepath.Join("..", "bin", "dashboard")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // for people to look at
		s.t.Fatal(err)
	}
	s.Picture(filepath.Join(dir, fmt.Sprintf("%02d-%s.png", s.shot, name)))
	s.judge(name)
	if *pictures {
		for _, p := range []string{"home", "cause", "api"} {
			if p == name {
				s.Picture(filepath.Join("..", "docs", "pictures", "dashboard-"+name+".png"))
			}
		}
	}
}

// rules is what every screen has to be: names for what can be used, one heading, contrast.
const rules = `(() => {
  const bad = [];
  const seen = (e) => e.getClientRects().length > 0;
  const named = (e) => (e.getAttribute("aria-label") || e.innerText || e.labels?.[0]?.innerText || e.title || "").trim();
  for (const e of document.querySelectorAll("button, a, input, select, textarea")) if (seen(e) && !named(e) && !e.querySelector("img[alt]")) bad.push("no name: " + e.outerHTML.slice(0, 120));
  if (document.querySelectorAll("h1").length !== 1) bad.push(document.querySelectorAll("h1").length + " headings of the first rank");
  for (const e of document.querySelectorAll("img:not([alt])")) bad.push("an image without a text");
  for (const e of document.querySelectorAll("table")) if (!e.caption) bad.push("a table without a caption");
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) bad.push("two elements with the id " + id);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (c) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => { const f = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const under = (e) => { for (let n = e; n; n = n.parentElement) { const c = rgb(getComputedStyle(n).backgroundColor); if (c[3] > 250) return c; } return rgb(getComputedStyle(document.body).backgroundColor); };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walk.nextNode(); n; n = walk.nextNode()) {
    const e = n.parentElement;
    if (!n.data.trim() || !seen(e) || e.closest(".heard, .skip, noscript, script, :disabled, svg")) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(under(e))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) bad.push("contrast " + contrast.toFixed(2) + ": " + n.data.trim().slice(0, 40));
  }
  if (document.documentElement.scrollWidth > innerWidth) bad.push("it is wider than the window: " + document.documentElement.scrollWidth);
  return [...new Set(bad)].slice(0, 10);
})()`

var axe = sync.OnceValues(func() (string, error) {
	file := os.Getenv(axeVariable)
	if file == "" {
		return "", nil
	}
	data, err := os.ReadFile(file)
	return string(data), err
})

// judge holds a screen to the rules, and to those of axe-core where that is here, in light
// and in dark.
func (s *someone) judge(name string) {
	s.t.Helper()
	for _, scheme := range []string{"dark", "light"} {
		s.Look(1280, 860, scheme, true)
		var bad []string
		s.Eval(rules, &bad)
		for _, b := range bad {
			s.t.Errorf("%s, %s: %s", name, scheme, b)
		}
	}
	source, err := axe()
	switch {
	case err != nil:
		s.t.Fatal(err)
	case source == "":
		return
	}
	s.Eval("window.axe || (() => {"+source+"})(), true", nil)
	var found []string
	s.Eval(`axe.run(document, { resultTypes: ["violations"] }).then((r) => r.passes.length === 0 ? ["it has judged nothing"] : r.violations.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => v.id + ": " + v.nodes.map((n) => n.html.slice(0, 100)).join(" | ")))`, &found)
	for _, f := range found {
		s.t.Errorf("%s: axe: %s", name, f)
	}
}

// narrowAndWide looks at two screens on a telephone and on a wall.
func (s *someone) narrowAndWide() {
	s.t.Helper()
	for _, size := range []struct{ w, h int }{{360, 740}, {3840, 2160}} {
		for _, screen := range [][2]string{{"#/", "table.apis tbody tr"}, {"#/api/iris", ".explain"}, {"#/api/iris/logs", ".log li"}, {"#/api/letters/items", "main tbody tr"}} {
			hash := screen[0]
			s.Look(size.w, size.h, "dark", true)
			s.see(hash, hash, "document.querySelector("+fmt.Sprintf("%q", screen[1])+")")
			var wide int
			s.Eval("document.documentElement.scrollWidth - innerWidth", &wide)
			if wide > 0 {
				s.t.Errorf("%s is %d pixels wider than a window of %d", hash, wide, size.w)
			}
			s.shot++
			s.Picture(filepath.Join("..", "bin", "dashboard", fmt.Sprintf("%02d-%d%s.png", s.shot, size.w, strings.NewReplacer("#", "", "/", "-").Replace(hash))))
		}
	}
	s.Look(1280, 860, "light", true)
}

// busy has callers for pictures: charts of nothing show nothing.
func (s *someone) busy() {
	s.t.Helper()
	var apis []struct{ Endpoint string }
	if err := json.Unmarshal([]byte(s.cortex("get", "iris", "-o", "json")), &apis); err != nil || len(apis) == 0 {
		var one struct{ Endpoint string }
		if err := json.Unmarshal([]byte(s.cortex("get", "iris", "-o", "json")), &one); err != nil {
			s.t.Fatal(err)
		}
		apis = append(apis, one)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	var callers sync.WaitGroup
	s.t.Cleanup(func() { cancel(); callers.Wait() })
	for i := range 3 {
		callers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				path := apis[0].Endpoint
				if n%40 == 7 {
					path += "/eaten?fails"
				}
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
				if err != nil {
					return
				}
				if resp, err := http.DefaultClient.Do(req); err == nil {
					resp.Body.Close()
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(20+10*((n/50+i)%9)) * time.Millisecond):
				}
			}
		})
	}
	deadline := time.After(100 * time.Second)
	select {
	case <-deadline:
	case <-ctx.Done():
	}
}
