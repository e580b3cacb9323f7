package controlapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
)

// How often load is reported, and how long one call may take: a report that is
// late is worth less than the next one, and a wake-up is asked for again anyway.
const (
	reportEvery    = time.Second
	reportTimeout  = 2 * time.Second
	wakeTimeout    = 5 * time.Second
	connectTimeout = time.Second
	maxAnswer      = 4 << 10
	wakesAtOnce    = 8 // a thousand wake-ups need no thousand connections, and reports do not wait for them
)

// ClientConfig says where the operator is, and how a gateway proves itself there.
type ClientConfig struct {
	Operator  string // https://host:port
	TokenFile string // replaced by the kubelet before the token in it expires
	CAFile    string // authorities of the operator's certificate; may appear later
	Gateway   string // name of this pod
	// Samples is the present load; only Run calls it, once each second.
	Samples func() []autoscaler.Sample
	// InFlight is how many requests each replica of a workload works on; nil when
	// that is not known. Only Run calls it, after Samples.
	InFlight func(workload string) map[string]int
	// Uses is what was used of limits since it was called before; nil: nothing. Only Run calls
	// it, once each second.
	Uses      func() []access.Use
	Told      func(Told) // hears what reports are answered with; nil: nobody does
	Telemetry *telemetry.Registry
	Log       *slog.Logger
}

// Client is a gateway's end. Its methods may be called at once.
type Client struct {
	cfg   ClientConfig
	base  string
	every time.Duration // between reports
	wakes chan struct{} // has an element for each wake-up under way

	mu   sync.Mutex
	ca   []byte // that client trusts
	http *http.Client

	// What is told of limits; only Run uses these.
	seq   uint64       // of the latest report
	uses  []access.Use // in it
	heeds bool         // it was heard
	later kept         // what is to be in the next one

	away   atomic.Bool // the operator could not be reached, which has been said
	failed atomic.Int64
}

// NewClient starts nothing and reads no file yet.
func NewClient(cfg ClientConfig) (*Client, error) {
	u, err := url.Parse(cfg.Operator)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%q is not the address of an operator: https://host:port", cfg.Operator)
	}
	if !gatewayName.MatchString(cfg.Gateway) {
		return nil, fmt.Errorf("%q is not the name of a pod", cfg.Gateway)
	}
	if cfg.TokenFile == "" || cfg.CAFile == "" || cfg.Samples == nil {
		return nil, errors.New("controlapi: files of a token and of authorities, and samples, are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, base: "https://" + u.Host, every: reportEvery, wakes: make(chan struct{}, wakesAtOnce), seq: firstSeq(), heeds: true, later: kept{}}
	cfg.Telemetry.Collect(telemetry.Metric{Name: "cortex_gateway_operator_call_failures_total", Type: telemetry.Counter,
		Help: "Calls of this gateway to the operator that failed; each is made again."}, func(emit telemetry.Emit) { emit(float64(c.failed.Load())) })
	cfg.Telemetry.Collect(telemetry.Metric{Name: "cortex_gateway_operator_reached", Type: telemetry.Gauge,
		Help: "Whether the latest call of this gateway to the operator succeeded."}, func(emit telemetry.Emit) {
		reached := 1.0
		if c.away.Load() {
			reached = 0
		}
		emit(reached)
	})
	return c, nil
}

// Run reports the load at once and each second until ctx ends, and returns ctx's error. An
// operator that is away is told to the log when it goes and when it is back.
func (c *Client) Run(ctx context.Context) error {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for {
		var told Told
		c.cut()
		err := c.call(ctx, pathLoad, c.report(), &told, reportTimeout)
		c.heeds = err == nil
		if c.heard(ctx, err); err == nil && c.cfg.Told != nil {
			c.cfg.Told(told)
		}
		select {
		case <-ctx.Done():
			c.close()
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// report is the present load. An API whose busy replicas would be too many says
// nothing of them.
func (c *Client) report() loadReport {
	report := loadReport{Gateway: c.cfg.Gateway, Samples: []loadSample{}, Seq: c.seq, Uses: c.uses}
	left := maxBusy
	for _, s := range c.cfg.Samples() {
		sample := loadSample{Name: s.Name, InFlight: s.InFlight}
		if s.Backlog != (workload.Backlog{}) {
			sample.Backlog = &s.Backlog
		}
		if c.cfg.InFlight != nil && s.InFlight > 0 {
			sample.Busy = c.cfg.InFlight(s.Name)
			maps.DeleteFunc(sample.Busy, func(_ string, n int) bool { return n < 1 })
		}
		if left -= len(sample.Busy); left < 0 {
			left += len(sample.Busy)
			sample.Busy = nil
		}
		report.Samples = append(report.Samples, sample)
	}
	return report
}

// firstSeq numbers the first report of this process otherwise than those of one before it that
// had its name.
func firstSeq() uint64 { return uint64(time.Now().UnixNano()) } //nolint:gosec // after 1970

// kept is what was used of quotas while the operator was away. Rates are as they were by the
// time that it is back.
type kept map[usedOf]int64

type usedOf struct{ api, limit, who string }

const maxKept = 50_000

// cut decides what of limits is told now: the same again where the report before was not heard.
func (c *Client) cut() {
	if c.cfg.Uses == nil {
		return
	}
	fresh := c.cfg.Uses()
	if !c.heeds {
		for _, u := range fresh {
			of := usedOf{u.API, u.Limit, u.Who}
			if _, known := c.later[of]; u.Kept && (known || len(c.later) < maxKept) {
				c.later[of] += u.Taken
			}
		}
		return
	}
	c.seq, c.uses = c.seq+1, fresh
	for of, n := range c.later {
		if len(c.uses) >= access.MaxUses {
			return
		}
		c.uses = append(c.uses, access.Use{API: of.api, Limit: of.limit, Who: of.who, Taken: n, Kept: true})
		delete(c.later, of)
	}
}

// Wake asks the operator for a first replica of a workload. When the operator
// cannot be reached that is no error: it is told to the log once, and whoever
// waits for the replica asks again. What the operator refuses is an error.
func (c *Client) Wake(ctx context.Context, name string) error {
	select {
	case c.wakes <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.wakes }()
	err := c.call(ctx, pathWake, wakeRequest{Name: name}, nil, wakeTimeout)
	var refused *refusedError
	if errors.As(err, &refused) && !refused.stranger() {
		return fmt.Errorf("waking %s: %w", name, err)
	}
	c.heard(ctx, err)
	return nil
}

// heard says that the operator is away, or back, when that has changed.
func (c *Client) heard(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		c.failed.Add(1)
	}
	if is := err != nil; c.away.Swap(is) == is {
		return
	}
	if err != nil {
		c.cfg.Log.Warn("the operator cannot be reached: requests are served, nothing is scaled", "error", err)
	} else {
		c.cfg.Log.Info("the operator is reached again")
	}
}

// refusedError is an answer of the operator that is no success.
type refusedError struct {
	status int
	text   string
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("the operator answered %d: %s", e.status, e.text)
}

// stranger reports whether the operator does not take us for a gateway: then
// nothing works, as when it is not there.
func (e *refusedError) stranger() bool {
	return e.status == http.StatusUnauthorized || e.status == http.StatusForbidden
}

// call makes one call, whose answer it reads into answer; nil: there is none. The token and
// the authorities are read anew: both are replaced in their files while this process lives.
func (c *Client) call(ctx context.Context, path string, body, answer any, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client, err := c.client()
	if err != nil {
		return err
	}
	token, err := os.ReadFile(c.cfg.TokenFile)
	if err != nil {
		return fmt.Errorf("reading the token: %w", err)
	}
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(data)) //nolint:gosec // base is the installation's, path one of two
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := client.Do(r) //nolint:gosec // as above
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		if answer == nil || resp.StatusCode == http.StatusNoContent {
			return nil
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxTold)).Decode(answer); err != nil {
			return fmt.Errorf("reading what the operator answered to %s: %w", path, err)
		}
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what it says is worth no second error
	var told refusal
	if json.Unmarshal(text, &told) != nil || told.Error == "" {
		told.Error = http.StatusText(resp.StatusCode)
	}
	return &refusedError{resp.StatusCode, told.Error}
}

// client trusts what the file of authorities says now.
func (c *Client) client() (*http.Client, error) {
	ca, err := os.ReadFile(c.cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the operator's authority: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http != nil && bytes.Equal(ca, c.ca) {
		return c.http, nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", c.cfg.CAFile)
	}
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
	c.ca = ca
	c.http = &http.Client{
		// A token must not follow a redirect.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
			DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSHandshakeTimeout: connectTimeout,
			MaxIdleConnsPerHost: wakesAtOnce + 1,
			IdleConnTimeout:     time.Minute,
			// No proxy: the operator is in this cluster.
		},
	}
	return c.http, nil
}

func (c *Client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
}
