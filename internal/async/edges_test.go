package async

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/ledger/jetstream/jetstreamtest"
	"cortex.dev/cortex/internal/ledger/s3/s3test"
	"cortex.dev/cortex/internal/workload"
)

// Roles are who dies.
const (
	roleGateway = "gateway" // who accepts items and hands them out: the daemon, on one machine
	roleReplica = "replica" // who executes them
	roleMachine = "machine" // both at once
)

// dying is a ledger in whose hands somebody dies at an edge: before something is written down,
// or when it was and nobody knows of it.
type dying struct {
	ledger.Ledger
	edge      string // such as "before begin"
	role      string
	container string
	skip      atomic.Int32
	once      sync.Once
}

// dyingAt reads an edge, how often it is passed first, and who dies: "before begin 2 gateway".
func dyingAt(text, container string, l ledger.Ledger) ledger.Ledger {
	if text == "" {
		return l
	}
	f := strings.Fields(text)
	n, _ := strconv.Atoi(f[2]) // the test wrote it
	d := &dying{Ledger: l, edge: f[0] + " " + f[1], role: f[3], container: container}
	d.skip.Store(int32(n))
	return d
}

func (d *dying) at(when, what string) {
	if d.edge != when+" "+what || d.skip.Add(-1) >= 0 {
		return
	}
	if d.role != roleGateway {
		d.once.Do(func() {
			if resp, err := http.Post("http://"+d.container+"/die", "", http.NoBody); err == nil { //nolint:noctx // it ends with the test
				_ = resp.Body.Close()
			}
		})
	}
	if d.role != roleReplica {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // never returns
		select {}
	}
}

func (d *dying) Create(ctx context.Context, item ledger.Item, key ledger.Key, payload []byte) (ledger.Item, bool, error) {
	d.at("before", "create")
	kept, replayed, err := d.Ledger.Create(ctx, item, key, payload)
	if err == nil {
		d.at("after", "create")
	}
	return kept, replayed, err
}

func (d *dying) Apply(ctx context.Context, api, id string, e ledger.Event, result []byte) (ledger.Item, error) {
	d.at("before", string(e.Type))
	next, err := d.Ledger.Apply(ctx, api, id, e, result)
	if err == nil {
		d.at("after", string(e.Type))
	}
	return next, err
}

func (d *dying) ApplyHook(ctx context.Context, api, id string, t ledger.Try) (ledger.Hook, error) {
	d.at("before", "hook")
	next, err := d.Ledger.ApplyHook(ctx, api, id, t)
	if err == nil {
		d.at("after", "hook")
	}
	return next, err
}

// edges are all at which the process may die: those of every transition of one program, of
// the acceptance and of a message.
func edges() (all []string) {
	for _, what := range []string{
		"create", string(ledger.Due), string(ledger.Begin), string(ledger.Succeed), string(ledger.Retry), string(ledger.Fail), string(ledger.Cancel), string(ledger.Expire),
		string(ledger.Again), "hook",
	} {
		all = append(all, "before "+what, "after "+what)
	}
	return all
}

// times is how often each edge is tried when all of it is wanted (make crash-matrix); 0: some
// are, once.
func times() int {
	n, err := strconv.Atoi(os.Getenv("CORTEX_TEST_TIMES"))
	if err != nil {
		return 0
	}
	return n
}

// TestEdges kills, at every edge, who hands items out, who executes them, and both at once,
// with each ledger. Whatever was acknowledged comes to its one end. Where several programs
// have the ledger one that is gone is waited for, so that only some edges are tried there
// unless all is wanted.
func TestEdges(t *testing.T) {
	t.Parallel()
	some := []string{"after create", "before succeed", "after begin"}
	for _, place := range []struct {
		name  string
		edges map[string][]string // by role, unless all is wanted
		start func(t *testing.T) []string
	}{
		{"one machine", map[string][]string{roleGateway: edges(), roleReplica: some, roleMachine: some}, func(*testing.T) []string { return nil }},
		{"nats", map[string][]string{roleGateway: some, roleReplica: some[1:2], roleMachine: some[2:]}, func(t *testing.T) []string {
			return []string{killServers + "=" + jetstreamtest.Start(t, 1)}
		}},
		{"s3", map[string][]string{roleGateway: some[1:2], roleReplica: some[2:], roleMachine: some[:1]}, func(t *testing.T) []string {
			a := s3test.Start(t)
			return []string{killBucket + "=" + a.Serve(t) + "/" + a.Bucket}
		}},
	} {
		t.Run(place.name, func(t *testing.T) {
			t.Parallel()
			env := place.start(t)
			for _, role := range []string{roleGateway, roleReplica, roleMachine} {
				n, at := 1, place.edges[role]
				if all := times(); all > 0 {
					n, at = all, edges()
				}
				matrix(t, n, at, role, env)
			}
		})
	}
}

func matrix(t *testing.T, times int, edges []string, role string, env []string) {
	t.Helper()
	var items, again atomic.Int64
	turns := make(chan struct{}, 8)
	var all sync.WaitGroup
	for range times {
		for _, edge := range edges {
			turns <- struct{}{}
			all.Go(func() {
				defer func() { <-turns }()
				m := newEdgeRun(t, edge, role, env)
				m.run()
				items.Add(int64(len(m.mine)))
				again.Add(m.again.Load())
			})
		}
	}
	all.Wait()
	t.Logf("%s: %d deaths at %d edges: %d items were acknowledged and came to one end each, %d of them executed more than once", role, times*len(edges), len(edges), items.Load(), again.Load())
}

// edgeRun is one death.
type edgeRun struct {
	*killed
	edge, role string
	gone       chan struct{} // closed when the container was told to die
	dies       sync.Once
	server     *httptest.Server

	lock  sync.Mutex
	mine  map[string]string        // by id, of which kind it is
	ended map[string]workload.Item // what has been seen to have ended
	tried map[string]int           // executions by id, as the container counts them
	told  *told
	raced map[string]bool // retried by hand: may have ended once more
}

func newEdgeRun(t *testing.T, edge, role string, env []string) *edgeRun {
	t.Helper()
	m := &edgeRun{edge: edge, role: role, gone: make(chan struct{}), mine: map[string]string{}, ended: map[string]workload.Item{}, tried: map[string]int{}, told: &told{ids: map[string]bool{}}, raced: map[string]bool{}}
	m.server = httptest.NewServer(http.HandlerFunc(m.contain))
	t.Cleanup(m.server.Close)
	dir := filepath.Join(t.TempDir(), fmt.Sprintf("edge%d", rand.Uint32()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	m.killed = &killed{t: t, dir: dir, container: m.server.Listener.Addr().String(), want: map[string]int{}, ends: map[string]string{}, env: env}
	return m
}

// contain is the container.
func (m *edgeRun) contain(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch r.URL.Path {
	case "/hook":
		m.told.add(body)
		return
	case "/die": // what it works on is lost; another one is at its address at once
		m.dies.Do(func() {
			close(m.gone)
			go m.server.CloseClientConnections()
		})
		return
	}
	id := r.Header.Get("X-Cortex-Request-ID")
	m.lock.Lock()
	m.tried[id]++
	n := m.tried[id]
	m.lock.Unlock()
	switch kind := string(body); {
	case kind == "retried" && n == 1:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case kind == "failing" && n == 1:
		w.WriteHeader(http.StatusBadRequest)
		return
	case kind == "cancelled":
		select {
		case <-r.Context().Done():
		case <-time.After(time.Second):
		}
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"for": %q}`, id)
}

// run has a process die at the edge while items do everything that they can, starts another
// one, and looks at all that was acknowledged.
func (m *edgeRun) run() {
	plain := m.env
	m.env = append(slices.Clone(plain), fmt.Sprintf("%s=%s %d %s", killEdge, m.edge, rand.IntN(3), m.role))
	stop := m.start()
	defer func() { stop() }()
	dead, die := context.WithCancel(m.t.Context())
	defer die()
	var all sync.WaitGroup
	for range 3 { // so that an edge can be passed before it is the last
		for _, do := range []func(context.Context){m.plain, m.cancelled, m.failing, m.expiring} {
			all.Go(func() { do(dead) })
		}
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	died := m.died
	if m.role == roleReplica {
		died = m.gone
	}
	select {
	case <-died:
	case <-late.C:
		m.t.Errorf("%s: the %s did not die", m.edge, m.role)
	}
	die()
	all.Wait()
	if m.role != roleReplica {
		m.env = plain
		stop = m.start()
	}
	for id, kind := range m.mine {
		m.judge(id, kind)
	}
	limit := time.After(3 * patience) // a try may take 15 s, and the next one comes after 5
	for id := range m.mine {
		for !m.told.of(id) {
			select {
			case <-limit:
				m.t.Errorf("%s: nobody was told of the end of an item, %s", m.edge, m.mine[id])
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

// send submits an item and notes that it was acknowledged; empty: it was not.
func (m *edgeRun) send(ctx context.Context, kind string, header ...string) (id string) {
	var answer struct{ ID string }
	if m.ask(ctx, http.MethodPost, "/", kind, &answer, header...) != http.StatusOK {
		return ""
	}
	m.lock.Lock()
	m.mine[answer.ID] = kind
	m.lock.Unlock()
	return answer.ID
}

func (m *edgeRun) ask(ctx context.Context, method, path, body string, into any, header ...string) (status int) {
	req, err := http.NewRequestWithContext(ctx, method, m.at()+path, strings.NewReader(body))
	if err != nil {
		m.t.Error(err)
		return 0
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if json.NewDecoder(resp.Body).Decode(into) != nil {
		return 0
	}
	return resp.StatusCode
}

// until waits for the end of an item, and notes it.
func (m *edgeRun) until(ctx context.Context, id string) {
	var item workload.Item
	if id != "" && m.ask(ctx, http.MethodGet, "/"+id+"?wait=30s", "", &item) == http.StatusOK && (item.Status == "completed" || item.Status == "failed") {
		m.lock.Lock()
		m.ended[id] = item
		m.lock.Unlock()
	}
}

func (m *edgeRun) plain(ctx context.Context) {
	m.until(ctx, m.send(ctx, "plain"))
	m.until(ctx, m.send(ctx, "retried"))
	m.until(ctx, m.send(ctx, "delayed", "X-Cortex-Not-Before", "+50ms"))
}

func (m *edgeRun) cancelled(ctx context.Context) {
	for range 3 {
		id := m.send(ctx, "cancelled")
		for n := 0; id != "" && n == 0 && ctx.Err() == nil; {
			m.lock.Lock()
			n = m.tried[id]
			m.lock.Unlock()
			wait(ctx, time.Millisecond)
		}
		var item workload.Item
		if id != "" {
			m.ask(ctx, http.MethodDelete, "/"+id, "", &item)
		}
		m.until(ctx, id)
	}
}

func (m *edgeRun) failing(ctx context.Context) {
	for range 2 {
		id := m.send(ctx, "failing")
		m.until(ctx, id)
		if id != "" && ctx.Err() == nil {
			m.lock.Lock()
			m.raced[id] = true
			m.lock.Unlock()
			var item workload.Item
			m.ask(ctx, http.MethodPost, "/"+id+"/retry", "", &item)
		}
	}
}

// expiring has an item wait that nothing is started for.
func (m *edgeRun) expiring(ctx context.Context) {
	m.until(ctx, m.send(ctx, "expiring", "X-Cortex-Priority", "idle", "X-Cortex-Expire-After", "1s"))
}

// may is how an item of a kind may end.
var may = map[string][]string{
	"plain": {"succeeded"}, "retried": {"succeeded"}, "delayed": {"succeeded"},
	"cancelled": {"succeeded", "cancelled"}, "failing": {"succeeded", "failed"},
	"expiring": {"expired", "succeeded"}, // a place that another one waited for may be left over
}

// judge holds an item to what it may be.
func (m *edgeRun) judge(id, kind string) {
	var item, later workload.Item
	for _, into := range []*workload.Item{&item, &later} {
		if status := m.ask(m.t.Context(), http.MethodGet, "/"+id+"?wait=60s", "", into); status != http.StatusOK {
			m.t.Errorf("%s: an item, %s, was acknowledged, and asking for it is answered %d", m.edge, kind, status)
			return
		}
	}
	if !slices.Contains(may[kind], item.State) {
		m.t.Errorf("%s: an item, %s, has ended as %s: %+v", m.edge, kind, item.State, item)
	}
	was, seen := m.ended[id]
	if !item.Timestamp.Equal(later.Timestamp) || item.State != later.State || seen && !m.raced[id] && (!was.Timestamp.Equal(item.Timestamp) || was.State != item.State) {
		m.t.Errorf("%s: an item, %s, has ended as %s at %s, before that as %s at %s, and later as %s at %s", m.edge, kind, item.State, item.Timestamp, was.State, was.Timestamp, later.State, later.Timestamp)
	}
	succeeded := 0
	for _, a := range item.Attempts {
		if a.Outcome == string(ledger.OK) {
			succeeded++
		}
	}
	var result struct{ For string }
	if item.State == "succeeded" && (succeeded != 1 || json.Unmarshal(item.Result, &result) != nil || result.For != id) || item.State != "succeeded" && succeeded > 0 {
		m.t.Errorf("%s: an item, %s, is %s with %d successful executions and the result %s", m.edge, kind, item.State, succeeded, item.Result)
	}
	if len(item.Attempts) > 1 {
		m.again.Add(1)
	}
}
