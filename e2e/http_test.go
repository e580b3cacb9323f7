package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/rogpeppe/go-internal/testscript"
)

const patience = time.Minute

// cmdHTTP sends one request and prints status, headers and body:
//
//	http [-H 'Name: value']... METHOD URL [BODY]
//
// A header may be what a file has: -H @FILE.
// It fails when there is no answer; "! http" when there is one.
func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	for i, arg := range args {
		if i > 0 && args[i-1] == "-H" && strings.HasPrefix(arg, "@") {
			args[i] = strings.TrimSpace(ts.ReadFile(arg[1:]))
		}
	}
	out, err := exchange(args)
	if (err != nil) != neg {
		ts.Fatalf("http %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	fmt.Fprint(ts.Stdout(), out)
}

func exchange(args []string) (string, error) { return exchangeOver(http.DefaultTransport, args) }

func exchangeOver(transport http.RoundTripper, args []string) (string, error) {
	header := http.Header{}
	for len(args) > 1 && args[0] == "-H" {
		name, value, _ := strings.Cut(args[1], ":")
		header.Add(name, strings.TrimSpace(value))
		args = args[2:]
	}
	if len(args) < 2 {
		return "", errors.New("usage: http [-H header]... METHOD URL [BODY]")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, args[0], args[1], strings.NewReader(strings.Join(args[2:], " ")))
	if err != nil {
		return "", err
	}
	maps.Copy(req.Header, header)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d\n", resp.StatusCode)
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(resp.Header[name], ", "))
	}
	b.WriteByte('\n')
	_, err = io.Copy(&b, io.LimitReader(resp.Body, 1<<20))
	return b.String(), err
}

// cmdLoad keeps requests under way while a program runs, and accepts no failure:
//
//	load [-c clients] N URL -- program args...
//
// At least N requests are made, and as many as it takes until the program has
// ended, which must succeed. It prints how many answers came from each version.
func cmdLoad(ts *testscript.TestScript, neg bool, args []string) {
	clients := 8
	if len(args) > 2 && args[0] == "-c" {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		clients, args = n, args[2:]
	}
	if neg || len(args) < 4 || args[2] != "--" {
		ts.Fatalf("usage: load [-c clients] N URL -- program args...")
	}
	least, err := strconv.Atoi(args[0])
	ts.Check(err)
	l := newLoad(args[1], least)
	l.start(clients)
	err = ts.Exec(args[3], args[4:]...)
	sent, versions, failures := l.finish()
	if err != nil {
		ts.Fatalf("%s: %v", strings.Join(args[3:], " "), err)
	}
	if len(failures) > 0 {
		ts.Fatalf("%d of %d requests failed while %s ran:\n%s", len(failures), sent, strings.Join(args[3:], " "),
			strings.Join(failures[:min(len(failures), 5)], "\n"))
	}
	fmt.Fprintf(ts.Stdout(), "requests: %d\n", sent)
	for _, v := range slices.Sorted(maps.Keys(versions)) {
		fmt.Fprintf(ts.Stdout(), "version %s: %d\n", v, versions[v])
	}
}

// load is clients that send one request after the other.
type load struct {
	url      string
	least    int
	client   *http.Client
	clients  sync.WaitGroup
	mu       sync.Mutex
	sent     int
	stopping bool
	versions map[string]int
	failures []string
}

func newLoad(url string, least int) *load {
	return &load{
		url: url, least: least, versions: map[string]int{},
		client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 100}},
	}
}

func (l *load) start(clients int) {
	for range clients {
		l.clients.Go(func() {
			for l.more() {
				version, err := l.one()
				l.note(version, err)
			}
		})
	}
}

func (l *load) more() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopping && l.sent >= l.least {
		return false
	}
	l.sent++
	return true
}

func (l *load) note(version string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failures = append(l.failures, err.Error())
		return
	}
	l.versions[version]++
}

func (l *load) one() (version string, err error) {
	resp, err := l.client.Post(l.url, "application/json", strings.NewReader(`{"x": 1}`))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", resp.Status, body)
	}
	_, rest, _ := strings.Cut(string(body), `"version":"`)
	version, _, _ = strings.Cut(rest, `"`)
	return version, nil
}

// finish lets the clients stop once there were enough requests, and waits for them.
func (l *load) finish() (sent int, versions map[string]int, failures []string) {
	l.mu.Lock()
	l.stopping = true
	l.mu.Unlock()
	l.clients.Wait()
	l.client.CloseIdleConnections()
	return l.sent, l.versions, l.failures
}

// cmdSSE reads server-sent events and checks that each came by itself, not all
// at the end: sse URL. It prints the events.
func cmdSSE(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sse URL")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
	ts.Check(err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	ts.Check(err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	reads := 0
	var before time.Time
	for lines.Scan() {
		if lines.Text() == "" {
			continue
		}
		if now := time.Now(); before.IsZero() || now.Sub(before) > 20*time.Millisecond {
			reads, before = reads+1, now
		}
		fmt.Fprintln(ts.Stdout(), lines.Text())
	}
	ts.Check(lines.Err())
	if reads < 2 {
		ts.Fatalf("all events came at once")
	}
}

// cmdWebSocket sends each word and prints the answers: ws URL word...
func cmdWebSocket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: ws URL word...")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, strings.Replace(args[0], "http://", "ws://", 1), nil)
	ts.Check(err)
	defer conn.CloseNow()
	for _, word := range args[1:] {
		ts.Check(conn.Write(ctx, websocket.MessageText, []byte(word)))
		_, answer, err := conn.Read(ctx)
		ts.Check(err)
		fmt.Fprintf(ts.Stdout(), "%s\n", answer)
	}
	ts.Check(conn.Close(websocket.StatusNormalClosure, ""))
}
