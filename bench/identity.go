package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/bench/proc"
	"cortex.dev/cortex/bench/row"
	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/localenv"
)

const (
	whatProven      = "request with a warm session: CPU added to the same request on the socket"
	whatOldWay      = "throughput beside one STS call per request (50 ms), 8 clients"
	whatSTSCalls    = "STS calls for 1,000 identities that work for a minute"
	whatFlood       = "rate of valid sessions under 10,000 bad proofs a second"
	whatFloodMemory = "resident memory under 10,000 bad proofs a second: growth"
	whatFloodSTS    = "STS calls under 10,000 bad proofs a second for 10 s"
	whatWarmGet     = "cortex get with a warm session, whole process"
)

// asks has workers ask as fast as they can, n times together, and returns how long
// it took.
func asks(workers, n int, ask func() error) (time.Duration, error) {
	var left atomic.Int64
	left.Store(int64(n))
	var failed atomic.Pointer[error]
	var wait sync.WaitGroup
	begun := time.Now()
	for range workers {
		wait.Go(func() {
			for left.Add(-1) >= 0 && failed.Load() == nil {
				if err := ask(); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wait.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return time.Since(begun), nil
}

// provenConnections keep a server busy: one that goes idle between two requests
// spends more on going to sleep than the difference that is looked for.
const provenConnections = 16

// cpuOf returns what a process has used.
func cpuOf(pid int) (time.Duration, error) {
	all, err := proc.Table()
	return all[pid].CPU, err
}

// provenRequests compares the CPU of the two daemons, in turns, for the same list.
func provenRequests(ctx context.Context, p *place) (rows []row.Row, err error) {
	socket, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, socket.stop()) }()
	file, err := socket.sampleFile()
	if err == nil {
		_, err = socket.run(ctx, "deploy", file)
	}
	if err != nil {
		return nil, err
	}
	t, err := p.startTeam(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, t.stop()) }()
	over := t.client(1, provenConnections)
	session, err := t.signIn(ctx, over, member(0))
	if err != nil {
		return nil, err
	}
	path := localenv.Paths(socket.config()).Socket
	unix := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: provenConnections, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}}
	n := p.Times(20_000, 4_000)
	// The server of the sample is a process of its own, and not counted.
	cost := func(pid int, ask func() error) (time.Duration, error) {
		before, err := cpuOf(pid)
		if err != nil {
			return 0, err
		}
		if _, err := asks(provenConnections, n, ask); err != nil {
			return 0, err
		}
		after, err := cpuOf(pid)
		return (after - before) / time.Duration(n), err
	}
	var plain, proven, added, way []time.Duration
	for range p.Times(7, 3) {
		var took [4]time.Duration
		for i, one := range []struct {
			pid int
			ask func() error
		}{
			{socket.daemon.Process.Pid, func() error { return look(ctx, unix, "http://cortex", "") }},
			{t.daemon.Process.Pid, func() error { return look(ctx, over, t.operator, session.Token) }},
			// What the way alone costs: nobody has to be known for these.
			{socket.daemon.Process.Pid, func() error { return ask(ctx, unix, "http://cortex/healthz", "") }},
			{t.daemon.Process.Pid, func() error { return ask(ctx, over, t.operator+"/healthz", "") }},
		} {
			if took[i], err = cost(one.pid, one.ask); err != nil {
				return nil, err
			}
		}
		plain, proven = append(plain, took[0]), append(proven, took[1])
		added, way = append(added, took[1]-took[0]), append(way, took[3]-took[2])
	}
	const most = 25 * time.Microsecond
	mid := row.Median(added)
	return []row.Row{{
		What: whatProven, Ours: us(row.Median(proven)) + " proven", Theirs: us(row.Median(plain)) + " on the socket", Ratio: "+ " + us(mid),
		Target: "≤ 25 µs added", Met: mid <= most,
		Note: fmt.Sprintf("CPU of the server's process for GET /v1/apis/NAME/describe, %d requests on %d connections, median of %d pairs; %s of it are TLS and TCP instead of the socket (GET /healthz both ways), the rest session, policy and audit", n, provenConnections, len(added), us(row.Median(way))),
	}}, nil
}

func us(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d)/1e3) }

// theOldWay stands a server of the old kind beside ours: it asks STS for every
// request. The work is to know who is calling; what is done then costs both the same.
func theOldWay(ctx context.Context, p *place) (rows []row.Row, err error) {
	const delay, clients = 50 * time.Millisecond, 8
	t, err := p.startTeam(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, t.stop()) }()
	t.sts.SetDelay(delay)
	ours := t.client(1, clients)
	session, err := t.signIn(ctx, ours, member(0))
	if err != nil {
		return nil, err
	}
	challenge := auth.Challenge{Region: teamRegion, ClusterID: "old", Nonce: "unused"}
	proof, err := sign(ctx, member(0), challenge, "old")
	if err != nil {
		return nil, err
	}
	toSTS := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	old := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := auth.CallerIdentity(r.Context(), t.stsURL, auth.Binding{
			Host: t.sts.Host(), Region: teamRegion, ClusterID: challenge.ClusterID, TLSFingerprint: "old", Nonce: challenge.Nonce,
		}, proof.AMZDate, "")
		if err == nil {
			auth.Complete(req, proof, teamRegion)
			var resp *http.Response
			if resp, err = toSTS.Do(req); err == nil {
				defer resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					err = fmt.Errorf("status %d", resp.StatusCode)
				}
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("[]\n"))
	}))
	defer old.Close()
	theirs := old.Client()
	theirs.Transport.(*http.Transport).MaxIdleConnsPerHost = clients
	rate := func(n int, ask func() error) (float64, error) {
		took, err := asks(clients, n, ask)
		return float64(n) / took.Seconds(), err
	}
	fast, err := rate(p.Times(40_000, 8_000), func() error { return ask(ctx, ours, t.operator+"/v1/whoami", session.Token) })
	if err != nil {
		return nil, err
	}
	slow, err := rate(p.Times(800, 160), func() error { return ask(ctx, theirs, old.URL, "") })
	if err != nil {
		return nil, err
	}
	ratio := fast / slow
	return []row.Row{{
		What: whatOldWay, Ours: fmt.Sprintf("%.0f/s", fast), Theirs: fmt.Sprintf("%.0f/s 0.42's way", slow),
		Ratio: fmt.Sprintf("%.0f ×", ratio), Target: "≥ 50 ×", Met: ratio >= 50, Note: "who is calling, over TLS: GET /v1/whoami, and a server that asks the same STS for each request and answers with nothing",
	}}, nil
}

// manyIdentities has each identity sign in once and come back all along.
func manyIdentities(ctx context.Context, p *place) (rows []row.Row, err error) {
	people := p.Times(1000, 100)
	span := time.Duration(p.Times(60, 6)) * time.Second
	t, err := p.startTeam(ctx, people, "--sts-calls-per-second", "1000")
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, t.stop()) }()
	before := t.sts.Calls().GetCallerIdentity
	var asked atomic.Int64
	var mu sync.Mutex
	var problems []error
	var wait sync.WaitGroup
	end := time.Now().Add(span)
	for i := range people {
		wait.Go(func() {
			c := t.client(i/4, 1)
			defer c.CloseIdleConnections()
			begin := time.NewTimer(span * time.Duration(i) / time.Duration(2*people))
			<-begin.C
			session, err := t.signIn(ctx, c, member(i))
			for err == nil && ctx.Err() == nil && time.Now().Before(end) {
				err = look(ctx, c, t.operator, session.Token)
				asked.Add(1)
				again := time.NewTimer(span / 20)
				<-again.C
			}
			if err != nil {
				mu.Lock()
				problems = append(problems, err)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if len(problems) > 0 {
		return nil, fmt.Errorf("%d identities had a problem, the first: %w", len(problems), problems[0])
	}
	calls := t.sts.Calls().GetCallerIdentity - before
	return []row.Row{{
		What: whatSTSCalls, Ours: fmt.Sprint(calls), Ratio: fmt.Sprintf("%.2f per identity", float64(calls)/float64(people)),
		Target: fmt.Sprint(people), Met: calls == people, Note: fmt.Sprintf("%d requests in %s, from 250 addresses", asked.Load(), span),
	}}, errors.Join(problems...)
}

// warmGets times the whole command.
func warmGets(ctx context.Context, p *place) (rows []row.Row, err error) {
	t, err := p.startTeam(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, t.stop()) }()
	get := func() error { return t.asMember(ctx, "get", "--env", "bench") }
	if err := get(); err != nil {
		return nil, err
	}
	calls := t.sts.Calls().GetCallerIdentity
	var took []time.Duration
	for range p.Times(25, 7) {
		begun := time.Now()
		if err := get(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	const most = 60 * time.Millisecond
	mid := row.Median(took)
	if more := t.sts.Calls().GetCallerIdentity - calls; more != 0 {
		return nil, fmt.Errorf("%d calls to STS by commands with a warm session", more)
	}
	return []row.Row{{
		What: whatWarmGet, Ours: row.Millis(mid), Ratio: row.Times(mid, most) + " of target", Target: "≤ 60 ms", Met: mid <= most,
		Note: fmt.Sprintf("median of %d, at most %s", len(took), row.Millis(slices.Max(took))),
	}}, nil
}
