// Package s3test puts a ledger before a simulator of S3 and SQS that others have written, and
// breaks what is between them.
//
// It promises that what one program asks for is refused, lost, doubled or late as a test
// says, and that what the simulator does in two steps, and S3 in one, is one here: a write
// on a condition. It must not be linked by a program.
package s3test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/awsrest"
	"cortex.dev/cortex/internal/mototest"
)

// AWS is one simulator, with a bucket.
type AWS struct {
	at      string
	keys    map[string]string
	Bucket  string
	writes  [64]sync.Mutex // by key: the simulator looks at a condition first and writes then
	faulty  atomic.Int64   // of a thousand requests, how many go wrong
	calls   sync.Map       // by kind, *atomic.Int64
	faulted atomic.Int64
}

// Start starts a simulator.
func Start(t testing.TB) *AWS {
	t.Helper()
	return at(t, mototest.Start(t))
}

// The identity of everybody here.
const (
	keyID  = "AKIAIOSFODNN7EXAMPLE"                     //nolint:gosec // of AWS's documentation
	secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" //nolint:gosec // of AWS's documentation
)

func at(t testing.TB, address string) *AWS {
	t.Helper()
	a := &AWS{at: address, keys: map[string]string{"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": secret}, Bucket: "items"}
	if _, err := a.Client(nil).Bucket(a.Bucket, "").Put(t.Context(), "", nil, awsrest.If{}); err != nil { // the bucket itself
		t.Fatal(err)
	}
	return a
}

// StartVersity starts another simulator of S3, which has no queues but looks at signatures:
// versitygw, where it is installed. Elsewhere the test is skipped.
func StartVersity(t testing.TB) *AWS {
	t.Helper()
	program, err := exec.LookPath("versitygw")
	if err != nil {
		t.Skip("no versitygw to speak to: go install github.com/versity/versitygw/cmd/versitygw@latest")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "--access", keyID, "--secret", secret, "--port", address, "--quiet", "posix", t.TempDir()) //nolint:gosec // of this machine
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	for deadline := time.Now().Add(time.Minute); ; {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			return at(t, "http://"+address)
		}
		if time.Now().After(deadline) {
			t.Fatal("versitygw does not listen")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Serve is the simulator's address for programs that ask it by themselves.
func (a *AWS) Serve(t testing.TB) string {
	t.Helper()
	to, err := url.Parse(a.at)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(&httputil.ReverseProxy{Transport: a.Program(), Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }})
	t.Cleanup(server.Close)
	return server.URL
}

// Remote asks a simulator at an address that Serve returned, in another program than its own.
func Remote(address string) *awsrest.Client {
	keys := map[string]string{"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": secret}
	return awsrest.New(awsrest.Config{
		Region: "us-east-1", S3: address, SQS: address, HTTP: &http.Client{}, Attempts: 8,
		Credentials: &awsrest.Credentials{Getenv: func(name string) string { return keys[name] }},
	})
}

// Break has so many of a thousand requests go wrong from now on: refused, throttled, done and
// not answered; messages lost, doubled or delivered late.
func (a *AWS) Break(thousandths int64) { a.faulty.Store(thousandths) }

// Faults is how many requests went wrong.
func (a *AWS) Faults() int64 { return a.faulted.Load() }

// Calls is how many requests of a kind there were: "PUT" is what S3 has one price for (PUT,
// COPY, POST and lists), then "GET", "DELETE", which costs nothing, and "SQS".
func (a *AWS) Calls(kind string) int64 {
	n, _ := a.calls.LoadOrStore(kind, &atomic.Int64{})
	return n.(*atomic.Int64).Load() //nolint:forcetypeassert // nothing else is in it
}

func kindOf(r *http.Request) string {
	switch {
	case r.Header.Get("X-Amz-Target") != "":
		return "SQS"
	case r.Method == http.MethodPut, r.Method == http.MethodPost, r.URL.Query().Has("list-type"):
		return "PUT"
	case r.Method == http.MethodDelete:
		return "DELETE"
	}
	return "GET"
}

// Program is one program that asks, which can be cut off.
type Program struct {
	a    *AWS
	left atomic.Int64 // writes until it is cut off
	cut  atomic.Bool
}

// Program returns one that is not cut off.
func (a *AWS) Program() *Program {
	p := &Program{a: a}
	p.left.Store(never)
	return p
}

const never = 1 << 60

// CutAfter cuts it off after so many writes: the last one is done, and it does not hear so.
func (p *Program) CutAfter(writes int64) {
	p.left.Store(writes)
	p.cut.Store(writes == 0)
}

// Cut cuts it off.
func (p *Program) Cut() { p.cut.Store(true) }

// IsCut reports whether it is cut off.
func (p *Program) IsCut() bool { return p.cut.Load() }

// Client asks for a program; nil: for one of its own.
func (a *AWS) Client(p *Program) *awsrest.Client {
	if p == nil {
		p = a.Program()
	}
	attempts := 8 // more goes wrong here than elsewhere
	if p.left.Load() < never/2 {
		attempts = 1 // it is about to be cut off
	}
	return awsrest.New(awsrest.Config{
		Region: "us-east-1", S3: a.at, SQS: a.at, HTTP: &http.Client{Transport: p}, Attempts: attempts,
		Credentials: &awsrest.Credentials{Getenv: func(name string) string { return a.keys[name] }},
	})
}

var errCut = errors.New("the connection is closed")

// transport is kept by all: connections to the simulator.
var transport = func() *http.Transport {
	t, _ := http.DefaultTransport.(*http.Transport)
	t = t.Clone()
	t.MaxIdleConnsPerHost = 64
	return t
}()

// RoundTrip is http.RoundTripper's.
func (p *Program) RoundTrip(r *http.Request) (*http.Response, error) {
	last := r.Method != http.MethodGet && r.Method != http.MethodHead && p.left.Add(-1) == 0
	if p.cut.Load() {
		return nil, errCut
	}
	resp, err := p.a.broken(r)
	if last {
		p.cut.Store(true)
	}
	if p.cut.Load() && err == nil {
		_ = resp.Body.Close()
		return nil, errCut
	}
	return resp, err
}

// ask asks the simulator.
func (a *AWS) ask(r *http.Request) (*http.Response, error) {
	n, _ := a.calls.LoadOrStore(kindOf(r), &atomic.Int64{})
	n.(*atomic.Int64).Add(1) //nolint:forcetypeassert // nothing else is in it
	if r.Method == http.MethodPut || r.Method == http.MethodDelete {
		var h uint32
		for _, c := range []byte(r.URL.Path) {
			h = h*31 + uint32(c)
		}
		mu := &a.writes[h%uint32(len(a.writes))]
		mu.Lock()
		defer mu.Unlock()
	}
	return transport.RoundTrip(r)
}

// broken asks the simulator, and has that go wrong.
func (a *AWS) broken(r *http.Request) (*http.Response, error) {
	if rand.Int64N(1000) >= a.faulty.Load() {
		return a.ask(r)
	}
	a.faulted.Add(1)
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".SendMessage") {
		return a.letter(r)
	}
	switch rand.IntN(4) {
	case 0:
		return answer(r, http.StatusInternalServerError, "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"), nil
	case 1:
		return answer(r, http.StatusServiceUnavailable, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"), nil
	case 2:
		return nil, errCut
	}
	resp, err := a.ask(r)
	if err == nil { // it was done, and nobody hears of it
		_ = resp.Body.Close()
	}
	return nil, errCut
}

// letter has a message lost, doubled, or come after others.
func (a *AWS) letter(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	again := func() {
		once := r.Clone(context.WithoutCancel(r.Context()))
		once.Body = io.NopCloser(bytes.NewReader(body))
		if resp, err := a.ask(once); err == nil {
			_ = resp.Body.Close()
		}
	}
	switch rand.IntN(3) {
	case 0:
	case 1:
		again()
		again()
	case 2:
		go again()
	}
	return answer(r, http.StatusOK, "{}"), nil
}

func answer(r *http.Request, status int, text string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)), Request: r,
	}
}
