// Package browsertest drives a real Chromium for tests of pages, by its own protocol over a
// pipe: https://chromedevtools.github.io/devtools-protocol/.
//
// It promises a browser of the test's own, which ends with the test, and to remember every
// complaint of a page and every address that it asks. Where no Chromium is installed the
// test is skipped. Whatever it waits for, it waits for long: machines of tests are busy.
package browsertest

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long anything may take.
const patience = 2 * time.Minute

// Page is one tab. Its methods fail the test when something is not as it should be; they are
// for one goroutine.
type Page struct {
	t       testing.TB
	to      io.Writer
	session string

	mu         sync.Mutex
	next       int
	waiting    map[int]chan answer
	gone       chan struct{} // closed when the browser is
	complaints []string
	asked      []string
	received   int64
}

type answer struct {
	Result json.RawMessage `json:"result"`
	Error  *struct{ Message string }
}

// programs are the names that Chromium has.
var programs = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

// Start starts a browser with an empty tab.
func Start(t testing.TB) *Page {
	t.Helper()
	var program string
	for _, name := range programs {
		if at, err := exec.LookPath(name); err == nil {
			program = at
			break
		}
	}
	if program == "" {
		t.Skip("this machine has no Chromium to look at pages with: apt-get install chromium")
	}
	dir, err := os.MkdirTemp("", "browser")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // what is left of the browser may still write there
	theirIn, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", //nolint:gosec // of this machine
		"--user-data-dir="+dir, "--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--disable-component-update", "--disable-extensions",
		"--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-US", "--disable-features=Translate,OptimizationHints,MediaRouter", "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	cmd.Env = append(os.Environ(), "HOME="+dir, "TZ=UTC")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	p := &Page{t: t, to: to, waiting: map[int]chan answer{}, gone: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.read(from)
	}()
	t.Cleanup(func() {
		_, _ = to.WriteString(`{"id":1000000,"method":"Browser.close"}` + "\x00") // it may be gone
		to.Close()
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		<-done
		from.Close()
	})
	var target struct{ TargetID string }
	p.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	p.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	p.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Network", "Log"} {
		p.call(domain+".enable", nil, nil)
	}
	return p
}

// read takes over what the browser says until it is gone.
func (p *Page) read(from io.Reader) {
	in := bufio.NewReaderSize(from, 1<<16)
	for {
		data, err := in.ReadBytes(0)
		if err != nil {
			close(p.gone)
			return
		}
		var m struct {
			ID     int
			Method string
			Params json.RawMessage
			answer
		}
		if json.Unmarshal(data[:len(data)-1], &m) != nil {
			continue
		}
		p.mu.Lock()
		if ch := p.waiting[m.ID]; ch != nil && m.Method == "" {
			delete(p.waiting, m.ID)
			ch <- m.answer
		}
		p.event(m.Method, m.Params)
		p.mu.Unlock()
	}
}

// event remembers what a page complains of and what it asks. Its caller holds the lock.
func (p *Page) event(method string, params []byte) {
	var e struct {
		Type             string
		Args             []struct{ Value, Description any }
		Entry            struct{ Level, Text, URL string }
		Request          struct{ URL string }
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
		EncodedDataLength float64
	}
	if json.Unmarshal(params, &e) != nil {
		return
	}
	switch method {
	case "Runtime.consoleAPICalled":
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			p.complaints = append(p.complaints, fmt.Sprintf("console: %v", e.Args))
		}
	case "Runtime.exceptionThrown":
		p.complaints = append(p.complaints, "exception: "+e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
	case "Log.entryAdded":
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			p.complaints = append(p.complaints, "log: "+e.Entry.Text+" "+e.Entry.URL)
		}
	case "Network.requestWillBeSent":
		if !strings.HasPrefix(e.Request.URL, "data:") {
			p.asked = append(p.asked, e.Request.URL)
		}
	case "Network.loadingFinished":
		p.received += int64(e.EncodedDataLength)
	}
}

// Complaints is what the console has, errors and warnings.
func (p *Page) Complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.complaints...)
}

// Asked is every address that was asked, in order.
func (p *Page) Asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.asked...)
}

// Received is how many bytes came in answers that are over, their heads included.
func (p *Page) Received() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.received
}

func (p *Page) call(method string, params map[string]any, into any) {
	p.t.Helper()
	ch := make(chan answer, 1)
	p.mu.Lock()
	p.next++
	id := p.next
	p.waiting[id] = ch
	p.mu.Unlock()
	if params == nil {
		params = map[string]any{}
	}
	m := map[string]any{"id": id, "method": method, "params": params}
	if p.session != "" {
		m["sessionId"] = p.session
	}
	data, err := json.Marshal(m)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.to.Write(append(data, 0)); err != nil {
		p.t.Fatalf("%s: the browser is gone: %v", method, err)
	}
	select {
	case a := <-ch:
		if a.Error != nil {
			p.t.Fatalf("%s: %s", method, a.Error.Message)
		}
		if into != nil {
			if err := json.Unmarshal(a.Result, into); err != nil {
				p.t.Fatalf("%s: %v", method, err)
			}
		}
	case <-p.gone:
		p.t.Fatalf("%s: the browser has ended", method)
	case <-time.After(patience):
		p.t.Fatalf("%s: no answer within %s", method, patience)
	}
}

// Open goes to an address.
func (p *Page) Open(url string) {
	p.t.Helper()
	var went struct{ ErrorText string }
	p.call("Page.navigate", map[string]any{"url": url}, &went)
	if went.ErrorText != "" {
		p.t.Fatalf("opening %s: %s", url, went.ErrorText)
	}
}

// Eval evaluates an expression in the page, waits for it if it is a promise, and reads its
// value; into may be nil.
func (p *Page) Eval(expression string, into any) {
	p.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	p.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &r)
	if r.ExceptionDetails != nil {
		p.t.Fatalf("%.200s: %s %s", expression, r.ExceptionDetails.Text, r.ExceptionDetails.Exception.Description)
	}
	if into != nil && r.Result.Value != nil {
		if err := json.Unmarshal(r.Result.Value, into); err != nil {
			p.t.Fatalf("%.200s: %v", expression, err)
		}
	}
}

// Until waits until an expression is true in the page.
func (p *Page) Until(what, expression string) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var ok bool
		p.Eval("(() => { try { return !!("+expression+"); } catch { return false; } })()", &ok)
		if ok {
			return
		}
		if time.Now().After(deadline) {
			var text string
			p.Eval("document.body.innerText", &text)
			p.t.Fatalf("not within %s: %s. The page has:\n%s\ncomplaints: %v", patience, what, text, p.Complaints())
		}
		<-tick.C
	}
}

// Click clicks the first element that a selector finds, and whose text has words if there
// are any, as soon as it is there.
func (p *Page) Click(selector, words string) {
	p.t.Helper()
	s, w := quoted(selector), quoted(words)
	find := "[...document.querySelectorAll(" + s + ")].find(e => e.textContent.includes(" + w + ") && e.getClientRects().length)"
	p.Until("something to click: "+selector+" with "+words, find)
	p.Eval("("+find+").click()", nil)
}

// Type sets a field to a text as a user does.
func (p *Page) Type(selector, text string) {
	p.t.Helper()
	p.Until("a field "+selector, "document.querySelector("+quoted(selector)+")")
	p.Eval("(() => { const e = document.querySelector("+quoted(selector)+"); e.focus(); e.value = "+quoted(text)+"; e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true})); })()", nil)
}

// Key presses a key by its name, such as Tab or Enter, or a letter.
func (p *Page) Key(key string) {
	p.t.Helper()
	codes := map[string]int{"Tab": 9, "Enter": 13, "Escape": 27}
	params := map[string]any{"type": "keyDown", "key": key, "windowsVirtualKeyCode": codes[key]}
	switch {
	case len(key) == 1:
		params["text"] = key
	case key == "Enter":
		params["text"] = "\r"
	}
	p.call("Input.dispatchKeyEvent", params, nil)
	p.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "windowsVirtualKeyCode": codes[key]}, nil)
}

// Look sets the size of the window, and what its user prefers: light or dark, and whether
// things may move.
func (p *Page) Look(width, height int, scheme string, still bool) {
	p.t.Helper()
	p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
	motion := "no-preference"
	if still {
		motion = "reduce"
	}
	p.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": motion}}}, nil)
}

// Picture writes what is seen to a file, as PNG.
func (p *Page) Picture(file string) {
	p.t.Helper()
	var r struct{ Data string }
	p.call("Page.captureScreenshot", map[string]any{"format": "png"}, &r)
	data, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil { //nolint:gosec // for people to look at
		p.t.Fatal(err)
	}
}

func quoted(text string) string {
	data, _ := json.Marshal(text) // a string has JSON
	return string(data)
}
