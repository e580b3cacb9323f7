package async

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"cortex.dev/cortex/internal/ledger/jetstream"
	"cortex.dev/cortex/internal/ledger/s3"
	"cortex.dev/cortex/internal/ledger/s3/s3test"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/webhook"
	"cortex.dev/cortex/internal/workload"
)

// killDir tells a copy of the test binary to serve from that folder until it is killed,
// and killContainer where the container is.
const (
	killDir       = "CORTEX_TEST_ASYNC_DIR"
	killContainer = "CORTEX_TEST_ASYNC_CONTAINER"
	killEdge      = "CORTEX_TEST_ASYNC_EDGE"    // where who dies; empty: nobody does
	killServers   = "CORTEX_TEST_ASYNC_SERVERS" // of NATS
	killBucket    = "CORTEX_TEST_ASYNC_BUCKET"  // address/bucket of S3 and SQS; where both are empty the ledger is in the folder
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		fmt.Println("error", serveUntilKilled(dir, os.Getenv(killContainer)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// serveUntilKilled is a daemon, as far as items are concerned.
func serveUntilKilled(dir, container string) error {
	ctx := context.Background()
	cfg, err := killLedger(ctx, dir)
	if err != nil {
		return err
	}
	cfg.Ledger = dyingAt(os.Getenv(killEdge), container, cfg.Ledger)
	places := make(chan struct{}, 4)
	s, err := New(Config{
		Ledger: cfg.Ledger, Blobs: cfg.Blobs, Others: cfg.Others, Deployed: always{"http://" + container + "/hook"}, Webhooks: killHooks(),
		Acquire: func(ctx context.Context, _ string, wake bool) (Place, error) {
			if !wake {
				return nil, errors.New("nothing is started for it")
			}
			select {
			case places <- struct{}{}:
				return &killPlace{container: container, places: places}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { ended <- s.Run(ctx) }()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listening", ln.Addr())
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.Serve("iris", "/iris", w, r) })}
	go func() { ended <- server.Serve(ln) }()
	return <-ended
}

// killLedger is where the process that is killed keeps items.
func killLedger(ctx context.Context, dir string) (Config, error) {
	if url := os.Getenv(killServers); url != "" {
		conn, err := nats.Connect(url, nats.MaxReconnects(-1))
		if err != nil {
			return Config{}, err
		}
		l, err := jetstream.Open(jetstream.Config{Conn: conn, Name: filepath.Base(dir), Replicas: 1})
		if err != nil {
			return Config{}, err
		}
		return Config{Ledger: l, Blobs: l.Contents(), Others: l.Members(slog.New(slog.DiscardHandler))}, nil
	}
	if at := os.Getenv(killBucket); at != "" {
		slash := strings.LastIndex(at, "/")
		address, bucket := at[:slash], at[slash+1:]
		l := s3.Open(s3.Config{
			Client: s3test.Remote(address), Bucket: bucket, Prefix: filepath.Base(dir) + "/", Queues: "cx-" + filepath.Base(dir) + "-", Log: slog.New(slog.DiscardHandler),
			Times: quickTimes,
		})
		go func() {
			if err := l.Run(ctx); err != nil {
				fmt.Println("error", err)
			}
		}()
		return Config{Ledger: l, Blobs: l.Contents(), Others: l}, nil
	}
	items, err := bolt.OpenItems(ctx, bolt.Config{Dir: filepath.Join(dir, "items")})
	if err != nil {
		return Config{}, err
	}
	return Config{Ledger: items, Blobs: NewFolder(filepath.Join(dir, "contents"))}, nil
}

// always has one API deployed.
type always struct{ hook string }

// killHooks delivers to this machine.
func killHooks() Webhooks {
	allowed, err := webhook.ParseAllowed(webhook.Loopback())
	if err != nil {
		panic(err)
	}
	return Webhooks{
		Send: webhook.NewSender(allowed).Send, CheckURL: allowed.CheckURL,
		Secret: func(context.Context, string) (string, error) { return testSecret, nil },
	}
}

func (a always) Watch(ctx context.Context, fn func(store.Change)) error {
	spec := workload.Spec{Name: "iris", Kind: workload.Async, Async: workload.NewAsynchronous()}
	spec.Async.Webhook = &workload.Webhook{URL: a.hook, Secret: "hook"}
	if !strings.HasSuffix(os.Getenv(killEdge), roleReplica) {
		spec.Async.Redeliver = 0 // what a kill interrupts is charged to nobody
	}
	spec.Async.Retry.Attempts, spec.Async.Retry.MinDelay = 2, workload.Duration(20*time.Millisecond)
	fn(store.Change{Name: "iris", Workload: &store.Workload{Revision: &workload.Revision{Spec: spec}}})
	fn(store.Change{})
	<-ctx.Done()
	return ctx.Err()
}

type killPlace struct {
	container string
	places    chan struct{}
	once      sync.Once
}

func (p *killPlace) Replica() (id, revision string) { return "r1", "v1" }
func (p *killPlace) Cut() bool                      { return false }
func (p *killPlace) Done()                          { p.once.Do(func() { <-p.places }) }
func (p *killPlace) Unreached(error)                { p.Done() }
func (p *killPlace) Keeps() bool                    { return false }
func (p *killPlace) Attach(context.Context, string) (*http.Response, error) {
	return nil, errors.New("nothing is kept")
}
func (p *killPlace) Forget(context.Context, string) error { return nil }
func (p *killPlace) Execute(r *http.Request, _ string) (*http.Response, error) {
	r.URL.Host = p.container
	return http.DefaultTransport.RoundTrip(r)
}

// kills is how often TestKill kills.
const kills = 12

// Items are submitted while the process that accepts them is killed again and again: each
// whose id was given away comes to its end, to one end, and with its own result.
func TestKill(t *testing.T) {
	t.Parallel()
	heard := &told{ids: map[string]bool{}}
	container := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/hook" {
			heard.add(body)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"for": %q, "of": %s}`, r.Header.Get("X-Cortex-Request-ID"), body)
	}))
	t.Cleanup(container.Close)
	k := &killed{t: t, dir: t.TempDir(), container: container.Listener.Addr().String(), want: map[string]int{}, ends: map[string]string{}}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	for round := range kills {
		stop, before := k.start(), k.accepted()
		var all sync.WaitGroup
		dead, die := context.WithCancel(t.Context())
		for range 4 {
			all.Go(func() {
				for dead.Err() == nil {
					k.submit(dead)
				}
			})
		}
		all.Go(func() { k.look(dead) })
		if round%2 == 1 { // every other one is killed while it accepts, and not maybe before
			k.awaitMore(before)
		}
		moment := time.NewTimer(time.Duration(20+random.IntN(150)) * time.Millisecond)
		<-moment.C
		stop()
		die()
		all.Wait()
	}
	stop := k.start()
	defer stop()
	if len(k.want) < kills {
		t.Fatalf("only %d items were accepted", len(k.want))
	}
	for id := range k.want {
		item, ok := k.get(t.Context(), id, "?wait=60s")
		if !ok {
			t.Fatalf("%s was accepted, and is not there", id)
		}
		k.end(id, item)
	}
	late := time.After(patience)
	for id := range k.want {
		for !heard.of(id) {
			select {
			case <-late:
				t.Fatalf("nobody was told of the end of %s", id)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	t.Logf("%d items, %d executed more than once", len(k.want), k.again.Load())
}

// told is which items there were messages about.
type told struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (h *told) add(body []byte) {
	var message struct{ Data struct{ ID string } }
	if json.Unmarshal(body, &message) == nil {
		h.mu.Lock()
		h.ids[message.Data.ID] = true
		h.mu.Unlock()
	}
}

func (h *told) of(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ids[id]
}

type killed struct {
	t              *testing.T
	dir, container string
	env            []string // of the process besides

	mu    sync.Mutex
	url   string
	died  chan struct{}     // is closed when the process has ended
	want  map[string]int    // by id, what was submitted
	ends  map[string]string // by id, the end that was seen first
	next  atomic.Int64
	again atomic.Int64
}

// accepted is how many items there are.
func (k *killed) accepted() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.want)
}

// awaitMore waits until there are more than n.
func (k *killed) awaitMore(n int) {
	k.t.Helper()
	tick, late := time.NewTicker(5*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for k.accepted() <= n {
		select {
		case <-tick.C:
		case <-late:
			k.t.Fatal("no item was accepted within a minute")
		}
	}
}

// start starts a process and returns how to kill it.
func (k *killed) start() (stop func()) {
	k.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		k.t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), killDir+"="+k.dir, killContainer+"="+k.container), k.env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if err != nil || !ok {
		k.t.Fatalf("the process says %q, %v", line, err)
	}
	k.mu.Lock()
	k.url, k.died = "http://"+addr, make(chan struct{})
	died := k.died
	k.mu.Unlock()
	go func() {
		defer close(died)
		_ = cmd.Wait() // it is killed, or kills itself
	}()
	return func() {
		_ = cmd.Process.Kill() // it may be dead
		<-died
	}
}

func (k *killed) at() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.url
}

// submit submits one item; what has no answer was not promised.
func (k *killed) submit(ctx context.Context) {
	n := int(k.next.Add(1))
	body := fmt.Sprint(n)
	if n%7 == 0 { // one that is no record
		body += strings.Repeat(" ", 70_000)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.at()+"/", strings.NewReader(body))
	if err != nil {
		k.t.Error(err)
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	var answer struct{ ID string }
	if json.NewDecoder(resp.Body).Decode(&answer) != nil || answer.ID == "" {
		return
	}
	k.mu.Lock()
	k.want[answer.ID] = n
	k.mu.Unlock()
}

// look notes ends that it sees.
func (k *killed) look(ctx context.Context) {
	for ctx.Err() == nil {
		k.mu.Lock()
		var some []string
		for id := range k.want {
			if some = append(some, id); len(some) == 5 {
				break
			}
		}
		k.mu.Unlock()
		for _, id := range some {
			if item, ok := k.get(ctx, id, ""); ok && (item.Status == "completed" || item.Status == "failed") {
				k.end(id, item)
			}
		}
	}
}

func (k *killed) get(ctx context.Context, id, query string) (item workload.Item, ok bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.at()+"/"+id+query, nil)
	if err != nil {
		k.t.Error(err)
		return item, false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return item, false
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		k.t.Errorf("%s was accepted, and is not there", id)
	}
	return item, json.NewDecoder(resp.Body).Decode(&item) == nil && item.ID == id
}

// end holds an item that has ended to what it must be, and to what it was before.
func (k *killed) end(id string, item workload.Item) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var result struct {
		For string
		Of  int
	}
	if item.State != "succeeded" || json.Unmarshal(item.Result, &result) != nil || result.For != id || result.Of != k.want[id] {
		k.t.Errorf("%s, of %d, is %+v with %s", id, k.want[id], item, item.Result)
		return
	}
	succeeded := 0
	for _, a := range item.Attempts {
		if a.Outcome == "succeeded" {
			succeeded++
		}
	}
	now := fmt.Sprint(item.Timestamp, len(item.Attempts))
	if was, seen := k.ends[id]; succeeded != 1 || seen && was != now {
		k.t.Errorf("%s has %d successful executions, and ended at %s, before that at %s", id, succeeded, now, was)
	}
	if k.ends[id] == "" && len(item.Attempts) > 1 {
		k.again.Add(1)
	}
	k.ends[id] = now
}
