package deploy_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"cortex.dev/cortex/internal/auth/authtest"
	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/controlapi"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/kube/gatewayd"
	"cortex.dev/cortex/internal/kube/ledgerd"
	"cortex.dev/cortex/internal/kube/operatord"
	"cortex.dev/cortex/internal/sidecar"
	"cortex.dev/cortex/internal/solo"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/workload"
)

// The APIs of the test below are this program, with a status to answer.
func init() { //nolint:gochecknoinits // before the flags of the tests are read
	status, err := strconv.Atoi(os.Getenv("ANSWER_STATUS"))
	if err != nil {
		return
	}
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("CORTEX_PORT"), ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
	os.Exit(1)
}

// Every query of the dashboard, and every alert, is asked of Prometheus's own engine about
// pages of the real programs: it returns something, alerts are silent while all is well
// and fire when it is not, and promtool's checks find nothing.
func TestQueriesOfDashboardAndAlerts(t *testing.T) {
	t.Parallel()
	engine := prometheus(t)
	// In trouble any time is slow.
	rules, strict := rulesOf(t, 30), rulesOf(t, 0.001)
	p := startPrograms(t)

	p.deploy(api("fine", 200, ""), api("errs", 500, ""), api("asleep", 200, "min_replicas: 0, init_replicas: 0, "))
	p.deploy("{name: both, kind: TrafficSplitter, apis: [{name: fine, weight: 100}, {name: errs, weight: 100, shadow: true}]}")
	p.reach("fine", workload.PhaseLive)
	p.reach("errs", workload.PhaseLive)
	before := p.pages()
	p.call(200, "/fine", "/fine", "/asleep")
	good := p.pages()

	// What the operator and the gateway on Kubernetes lack here is an API server, so they
	// are as in trouble.
	well := map[string]string{
		`(?m)^cortex_operator_leading 0$`:         "cortex_operator_leading 1",
		`(?m)^cortex_gateway_operator_reached 0$`: "cortex_gateway_operator_reached 1",
		// By the clock of this test a certificate of today ends soon.
		`(?m)^cortex_certificate_expiry_timestamp_seconds .*$`: fmt.Sprintf("cortex_certificate_expiry_timestamp_seconds %d", epoch.Add(300*24*time.Hour).Unix()),
	}
	alerts := alertsOf(engine.ask(question{rules: rules}))
	for name, query := range alerts {
		got := engine.ask(question{before: doctored(before, well), after: doctored(good, well), rules: rules, queries: []string{query}})
		if len(got.Values[0]) > 0 {
			t.Errorf("the alert %s fires while all is well: %v", name, got.Values[0])
		}
	}

	p.deploy(`{name: fails, kind: RealtimeAPI, pod: {containers: [{name: api, command: [sh, -c, exit 3]}]}}`)
	p.reach("fails", workload.PhaseFailed)
	p.deploy(strings.Replace(api("later", 200, ""), "RealtimeAPI", "AsyncAPI", 1))
	p.work("/later")
	p.begin()
	bad := func() map[string]string {
		p.call(200, "/fine", "/both")
		p.call(500, "/errs", "/errs")
		p.call(503, "/fails", "/fails")
		p.call(404, "/nobody")
		return p.pages()
	}
	before = bad() // a rate is of a series that was there before
	after := bad()
	// What is not done to the programs here is written into their pages.
	trouble := map[string]string{
		`(?m)^(cortex_api_status\{api_name="errs",status=")live`: "${1}degraded",
		`(?m)^(cortex_autoscaler_errors_total|cortex_auth_sts_calls_total\{result="failed"\}|cortex_auth_policy_reload_failures_total|cortex_audit_dropped_total) 0$`: "$1 7",
		`(?m)^cortex_certificate_expiry_timestamp_seconds .*$`: fmt.Sprintf("cortex_certificate_expiry_timestamp_seconds %d", epoch.Add(24*time.Hour).Unix()),
	}
	for name, query := range alertsOf(engine.ask(question{rules: strict})) {
		got := engine.ask(question{before: before, after: doctored(after, trouble), restarts: true, rules: strict, queries: []string{query}})
		if len(got.Values[0]) == 0 {
			t.Errorf("the alert %s does not fire in trouble: %s", name, query)
		}
		for _, v := range got.Values[0] {
			if strings.HasPrefix(name, "CortexAPI") && v.Labels["api_name"] == "" {
				t.Errorf("the alert %s does not say which API: %v", name, v.Labels)
			}
		}
	}
	got := engine.ask(question{before: before, after: after, rules: rules, queries: queriesOf(t)})
	for i, values := range got.Values {
		if len(values) == 0 {
			t.Errorf("a query of the dashboard returns nothing: %s", got.Asked[i])
		}
	}
	for _, problem := range slices.Concat(got.Problems, got.Warnings) {
		t.Errorf("promtool or the engine says: %s", problem)
	}

	everyMetricIsThere(t, p.pages())
}

// begin has a schedule, a webhook and jobs do what they are counted for.
func (p *programs) begin() {
	p.t.Helper()
	if _, err := p.client.SetSecret(p.t.Context(), "hook", []byte("whsec_"+base64.StdEncoding.EncodeToString(make([]byte, 32)))); err != nil {
		p.t.Fatal(err)
	}
	often := strings.Replace(api("often", 200, ""), "RealtimeAPI", `AsyncAPI, async: {webhook: {url: "http://127.0.0.1:1/", secret: hook}}, schedules: [{name: tick, every: 1s, payload: {text: a}}]`, 1)
	all := strings.Replace(strings.Replace(api("all", 200, ""), "RealtimeAPI", "BatchAPI", 1), "autoscaling: {max_replicas: 1}, ", "", 1)
	p.deploy(often, all, `{name: once, kind: TaskAPI, pod: {containers: [{name: api, command: ["true"]}]}}`,
		`{name: long, kind: TaskAPI, pod: {containers: [{name: api, command: [sleep, "1000"]}]}}`)
	for name, job := range map[string]string{"once": `{}`, "long": `{}`, "all": `{"workers": 1, "item_list": {"items": [1], "batch_size": 1}}`} {
		if _, err := p.client.SubmitJob(p.t.Context(), name, workload.JobRequest{Job: json.RawMessage(job)}); err != nil {
			p.t.Fatal(err)
		}
	}
	p.until("what was begun is counted", func() bool {
		all := strings.Join(slices.Collect(maps.Values(p.pages())), "")
		for _, pattern := range []string{`cortex_schedule_runs_total\{.*\} [1-9]`, `cortex_async_webhooks_total\{.*\} [1-9]`, `cortex_jobs_in_progress\{.*\} 1`, `cortex_task_succeeded\{.*\} 1`, `cortex_batch_succeeded\{.*\} 1`} {
			if !regexp.MustCompile(pattern).MatchString(all) {
				return false
			}
		}
		return true
	})
}

// everyMetricIsThere compares the table of docs/watching.md with pages.
func everyMetricIsThere(t *testing.T, pages map[string]string) {
	t.Helper()
	guide, err := os.ReadFile("../docs/watching.md")
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(slices.Collect(maps.Values(pages)), "")
	rows := regexp.MustCompile("(?m)^\\| `(cortex_[a-z_]+)` \\| (counter|gauge|histogram) \\|").FindAllStringSubmatch(string(guide), -1)
	if len(rows) < 25 {
		t.Fatalf("docs/watching.md has %d metrics, want many", len(rows))
	}
	known := map[string]bool{}
	for _, row := range rows {
		known[row[1]] = true
		// What an operator that leads counts of its gateways is looked at on a cluster; what is
		// counted of certificates of host names, where a machine has some.
		elsewhere := strings.HasPrefix(row[1], "cortex_operator_gateway") || strings.HasPrefix(row[1], "cortex_acme") || strings.HasPrefix(row[1], "cortex_host_certificate")
		if !elsewhere && !strings.Contains(all, "# TYPE "+row[1]+" "+row[2]+"\n") {
			t.Errorf("docs/watching.md has the %s %s, which no program shows", row[2], row[1])
		}
	}
	for _, shown := range regexp.MustCompile(`(?m)^# TYPE (cortex_[a-z_]+) `).FindAllStringSubmatch(all, -1) {
		if !known[shown[1]] {
			t.Errorf("a program shows %s, which docs/watching.md does not have", shown[1])
		}
	}
	for program := range pages {
		if program, _, _ = strings.Cut(program, " "); !strings.Contains(all, `program="`+program+`",version="test"} 1`) {
			t.Errorf("no page says that it is of %s", program)
		}
	}
}

// rulesOf is the file of rules that the chart makes.
func rulesOf(t *testing.T, slow float64) string {
	t.Helper()
	for _, u := range objects(t, mustRender(t, "cortex", fmt.Sprintf("metrics: {rules: {enabled: true, slowSeconds: %g}}", slow))) {
		if u.GetKind() == "PrometheusRule" {
			text, err := yaml.Marshal(u.Object["spec"])
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
	t.Fatal("the chart has no rules")
	panic("unreachable")
}

func alertsOf(a answer) map[string]string {
	alerts := map[string]string{}
	for _, alert := range a.Alerts {
		alerts[alert.Name] = alert.Query
	}
	return alerts
}

// queriesOf are those of the dashboard, as Grafana asks them.
func queriesOf(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("chart/dashboards/cortex.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	var queries []string
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			queries = append(queries, strings.NewReplacer("$__rate_interval", "1m", "$api", ".*").Replace(target.Expr))
		}
	}
	if len(queries) < 20 {
		t.Fatalf("the dashboard has %d queries, want many", len(queries))
	}
	return queries
}

// api is a RealtimeAPI that answers with status.
func api(name string, status int, scaling string) string {
	self, err := os.Executable()
	if err != nil {
		panic(err) // the system does not say what runs
	}
	return fmt.Sprintf(`{name: %s, kind: RealtimeAPI, autoscaling: {%smax_replicas: 1}, pod: {containers: [{name: api, command: [%q], env: {ANSWER_STATUS: "%d"}}]}}`,
		name, scaling, self, status)
}

// doctored is pages with what matches the keys of changes replaced.
func doctored(pages, changes map[string]string) map[string]string {
	next := maps.Clone(pages)
	for program := range next {
		for pattern, text := range changes {
			next[program] = regexp.MustCompile(pattern).ReplaceAllString(next[program], text)
		}
	}
	return next
}

// programs are all that measure, in this process.
type programs struct {
	t         *testing.T
	client    *httpapi.Client
	apis      string
	addresses map[string]string // of metrics, by the name of the program
	dir       string
}

func startPrograms(t *testing.T) *programs {
	t.Helper()
	dir, err := os.MkdirTemp("", "cx") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &programs{t: t, addresses: map[string]string{}, dir: t.TempDir()}
	quiet := slog.New(slog.DiscardHandler)
	socket := filepath.Join(dir, "s")
	p.run("cortex", func(ctx context.Context) error {
		return solo.Run(ctx, solo.Config{Version: "test", Log: quiet, Local: hostconfig.Local{
			StateDir: filepath.Join(dir, "state"), Socket: socket, APIAddress: "127.0.0.1:0", Tick: 100 * time.Millisecond}})
	})
	if p.client, err = httpapi.NewClient(httpapi.ClientConfig{Socket: socket}); err != nil {
		t.Fatal(err)
	}
	p.until("cortex answers", func() bool {
		info, err := p.client.Info(t.Context())
		p.apis = info.APIEndpoint
		return err == nil
	})
	p.addresses["cortex"] = socket

	sts := httptest.NewServer(authtest.NewSTS(authtest.Config{Region: "us-west-2"}))
	t.Cleanup(sts.Close)
	ready := make(chan hostconfig.ServerInfo, 1)
	p.run("cortex for a team", func(ctx context.Context) error {
		return solo.Serve(ctx, solo.ServerConfig{Version: "test", Log: quiet, Ready: func(info hostconfig.ServerInfo) { ready <- info }, Server: hostconfig.Server{
			Management: hostconfig.Management{Account: "111122223333", Region: "us-west-2", ClusterName: "team", STSEndpoint: sts.URL},
			StateDir:   filepath.Join(dir, "team"), Listen: "127.0.0.1:0", APIListen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0",
			Traces: tracing.Settings{Endpoint: "http://127.0.0.1:1", Ratio: 1}, // nobody is there
		}})
	})
	select {
	case info := <-ready:
		p.addresses["cortex for a team"] = info.Metrics
	case <-time.After(time.Minute):
		t.Fatal("the server for a team is not ready")
	}

	container := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(container.Close)
	_, port, _ := net.SplitHostPort(container.Listener.Addr().String())
	env := map[string]string{"CORTEX_API_NAME": "fine", "CORTEX_TARGET_PORT": port, "CORTEX_LISTEN": free(t), "CORTEX_ADMIN_LISTEN": free(t), "CORTEX_BIN_DIR": filepath.Join(dir, "bin")}
	p.run("cortex-sidecar", func(ctx context.Context) error {
		if code := sidecar.Main(ctx, nil, io.Discard, io.Discard, func(name string) string { return env[name] }, "test"); code != 0 {
			return fmt.Errorf("exit code %d", code)
		}
		return nil
	})
	p.addresses["cortex-sidecar"] = "http://" + env["CORTEX_ADMIN_LISTEN"] + "/metrics"
	p.until("the sidecar answers", func() bool { return get("http://"+env["CORTEX_LISTEN"]) == 404 })

	// An API server that does not answer: then neither of the two can do its work.
	over := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(over); silent.Close() })
	cluster := &rest.Config{Host: silent.URL}
	operator, gateway := free(t), free(t)
	p.run("cortex-operator", func(ctx context.Context) error {
		_ = operatord.Run(ctx, operatord.Config{Pod: "operator", SystemNamespace: "a", Namespace: "b", HealthListen: operator, Version: "test", Log: quiet, REST: cluster})
		return nil // that it could not begin
	})
	p.addresses["cortex-operator"] = "http://" + operator + "/metrics"
	p.run("cortex-gateway", func(ctx context.Context) error {
		_ = gatewayd.Run(ctx, gatewayd.Config{Pod: "gateway", Namespace: "b", Operator: "https://127.0.0.1:1", TokenFile: "none", CAFile: "none",
			Listen: "127.0.0.1:0", HealthListen: gateway, DrainTimeout: time.Second, Version: "test", Log: quiet, REST: cluster})
		return nil
	})
	p.addresses["cortex-gateway"] = "http://" + gateway + "/metrics"
	ledger, items := free(t), free(t)
	p.run("cortex-ledger", func(ctx context.Context) error {
		return ledgerd.Run(ctx, ledgerd.Config{Pod: "cortex-ledger-0", Namespace: "a", Servers: 1, Data: filepath.Join(dir, "items"), Listen: items, HealthListen: ledger,
			Username: "a", Password: "b", Version: "test", Log: quiet})
	})
	p.addresses["cortex-ledger"] = "http://" + ledger + "/metrics"
	p.until("the ledger keeps items", func() bool { return get("http://"+ledger+"/readyz") == 200 })
	// Without knowing what is deployed a gateway has nothing to report, so here is what
	// reports, of a second one.
	metrics := telemetry.New("cortex-gateway", "test")
	reports, err := controlapi.NewClient(controlapi.ClientConfig{
		Operator: "https://127.0.0.1:1", TokenFile: "none", CAFile: "none", Gateway: "gateway-2", Samples: func() []autoscaler.Sample { return nil }, Telemetry: metrics, Log: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.run("cortex-gateway that reports", reports.Run)
	page := httptest.NewServer(metrics.Handler())
	t.Cleanup(page.Close)
	p.addresses["cortex-gateway that reports"] = page.URL
	p.until("the gateway has missed the operator", func() bool {
		return strings.Contains(p.page("cortex-gateway that reports"), "cortex_gateway_operator_reached 0\n")
	})
	p.until("the operator tells that it does not lead", func() bool {
		return strings.Contains(p.page("cortex-operator"), "cortex_operator_leading 0\n")
	})
	return p
}

// run runs a program as long as the test.
func (p *programs) run(name string, program func(context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(p.t.Context()))
	var ended sync.WaitGroup
	ended.Go(func() {
		if err := program(ctx); err != nil && ctx.Err() == nil {
			p.t.Errorf("%s has ended: %v", name, err)
		}
	})
	p.t.Cleanup(func() { stop(); ended.Wait() })
}

func (p *programs) until(what string, ok func() bool) {
	p.t.Helper()
	deadline, tick := time.After(2*time.Minute), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			p.t.Fatal("waited in vain until " + what)
		case <-tick.C:
		}
	}
}

func (p *programs) deploy(apis ...string) {
	p.t.Helper()
	results, err := p.client.Deploy(p.t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Directory: p.dir, Path: os.Getenv("PATH"), Config: "- " + strings.Join(apis, "\n- ") + "\n"})
	if err != nil {
		p.t.Fatalf("Deploy() = %+v, %v", results, err)
	}
}

func (p *programs) reach(name string, phase workload.Phase) {
	p.t.Helper()
	p.until(name+" is "+string(phase), func() bool {
		api, err := p.client.Get(p.t.Context(), name)
		return err == nil && api.Status != nil && api.Status.Phase == phase
	})
}

func get(url string) (status int) {
	resp, err := http.Get(url) //nolint:gosec,noctx // of this test
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func (p *programs) call(want int, paths ...string) {
	p.t.Helper()
	for _, path := range paths {
		if got := get(p.apis + path); got != want {
			p.t.Errorf("GET %s = %d, want %d", path, got, want)
		}
	}
}

// work submits an item and waits for its end.
func (p *programs) work(path string) {
	p.t.Helper()
	client := &http.Client{Timeout: time.Minute}
	p.until(path+" has done an item", func() bool {
		req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.apis+path, strings.NewReader("x"))
		if err != nil {
			p.t.Fatal(err)
		}
		req.Header.Set("Prefer", "wait=10")
		resp, err := client.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// page reads the metrics of one program; empty: it does not answer yet.
func (p *programs) page(program string) string {
	address, client := p.addresses[program], &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if socket := address; strings.HasPrefix(socket, "/") {
		client.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}
		address = "http://cortex/metrics"
	}
	resp, err := client.Get(address) //nolint:noctx // it is in this process
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(text)
}

func (p *programs) pages() map[string]string {
	all := map[string]string{}
	for program := range p.addresses {
		all[program] = p.page(program)
	}
	return all
}

func free(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// promEngine is tools/prometheus, built.
type promEngine struct {
	t       *testing.T
	program string
}

// prometheus builds the engine: a module of its own, so that it is not in the product's.
func prometheus(t *testing.T) *promEngine {
	t.Helper()
	e := &promEngine{t, filepath.Join(t.TempDir(), "prometheus")}
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "../tools/prometheus", "-buildvcs=false", "-o", e.program, ".") //nolint:gosec // a folder of this checkout
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if text, err := build.CombinedOutput(); err != nil {
		if os.Getenv("CI") == "" {
			t.Skipf("the engine of Prometheus is not on this machine: `go -C tools/prometheus mod download` gets it: %v\n%s", err, text)
		}
		t.Fatalf("building the engine of Prometheus: %v\n%s", err, text)
	}
	return e
}

// question is what is asked about pages that were read before something, and after it.
type question struct {
	before, after map[string]string
	restarts      bool // every program was restarted at each scrape
	rules         string
	queries       []string
}

// answer has, like the next types, the names of tools/prometheus.
type answer struct {
	Asked              []string
	Values             [][]element
	Warnings, Problems []string
	Alerts             []struct{ Name, Query string }
}

type element struct {
	Labels map[string]string
	Value  float64
}

type scrape struct {
	At     time.Time
	Target map[string]string
	Page   string
}

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func (e *promEngine) ask(q question) answer {
	e.t.Helper()
	var scrapes []scrape
	read := func(i int, pages map[string]string) {
		for program, page := range pages {
			if q.restarts {
				page = regexp.MustCompile(`(?m)^process_start_time_seconds .*$`).ReplaceAllString(page, fmt.Sprintf("process_start_time_seconds %d", i))
			}
			target := map[string]string{"job": "cortex-metrics", "instance": program, "pod": program + "-0"}
			scrapes = append(scrapes, scrape{epoch.Add(time.Duration(i) * 10 * time.Second), target, page})
		}
	}
	for i := range 3 {
		read(i, q.before)
	}
	read(3, q.after)
	job, err := json.Marshal(map[string]any{"Scrapes": scrapes, "At": epoch.Add(30 * time.Second), "Queries": q.queries, "Rules": q.rules})
	if err != nil {
		e.t.Fatal(err)
	}
	cmd := exec.CommandContext(e.t.Context(), e.program) //nolint:gosec // it was built above
	var said bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(job), &said
	out, err := cmd.Output()
	if err != nil {
		e.t.Fatalf("asking Prometheus: %v: %s", err, said.String())
	}
	a := answer{Asked: q.queries}
	if err := json.Unmarshal(out, &a); err != nil {
		e.t.Fatalf("reading the answer of Prometheus: %v", err)
	}
	return a
}
