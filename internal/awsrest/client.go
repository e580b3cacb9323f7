// Package awsrest makes the few calls of Amazon S3 and SQS that a ledger of items needs, with
// the standard library alone: gateways make them, which the SDK would make half as large
// again.
//
// It promises that a request is signed with keys that are good, that one which AWS could not
// answer now is sent again a few times, and that an error says whether what was asked for may
// have happened all the same. It must not know what the objects and messages are for.
package awsrest

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config is whom to ask.
type Config struct {
	Region string
	// S3 and SQS are where they are; empty: AWS's own, in the region.
	S3, SQS     string
	Credentials *Credentials
	HTTP        *http.Client // nil: one of its own
	// Attempts is how often a request is sent at most; 4.
	Attempts int
}

// Client asks AWS. All methods may be called at once.
type Client struct{ cfg Config }

// New returns a client, which has asked for nothing yet.
func New(cfg Config) *Client {
	if cfg.HTTP == nil {
		transport, _ := http.DefaultTransport.(*http.Transport)
		transport = transport.Clone()
		transport.MaxIdleConnsPerHost, transport.ResponseHeaderTimeout = 64, patience
		cfg.HTTP = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if cfg.Attempts == 0 {
		cfg.Attempts = 4
	}
	if cfg.Credentials == nil {
		cfg.Credentials = &Credentials{}
	}
	if cfg.Credentials.HTTP == nil {
		cfg.Credentials.HTTP, cfg.Credentials.Region = cfg.HTTP, cfg.Region
	}
	return &Client{cfg}
}

// Times of a request: until its answer begins, and pauses before it is sent again.
const (
	patience   = 25 * time.Second // SQS holds one back for 20 s
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// Error is what AWS says no with.
type Error struct {
	Status        int
	Code, Message string
}

func (e *Error) Error() string {
	if e.Code == "" && e.Message == "" {
		return fmt.Sprintf("AWS answered %d", e.Status)
	}
	return strings.TrimSuffix(e.Code+": "+e.Message, ": ")
}

// Status is that of an answer which says no; 0: err is none.
func Status(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// Code is AWS's word for what is wrong; empty: err is no answer of AWS.
func Code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Refused reports whether err says that nothing was done and that asking again is of no use.
func Refused(err error) bool { return Status(err) != 0 && !passes(err) }

// errorOf reads an answer that says no: XML of S3, JSON of SQS, or nothing.
func errorOf(resp *http.Response, data []byte) *Error {
	e := &Error{Status: resp.StatusCode}
	var x struct {
		Code    string
		Message string
		Inner   struct {
			Code    string
			Message string
		} `xml:"Error"`
	}
	var j struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	switch {
	case xml.Unmarshal(data, &x) == nil:
		e.Code, e.Message = x.Code+x.Inner.Code, x.Message+x.Inner.Message
	case json.Unmarshal(data, &j) == nil:
		e.Code, e.Message = j.Type[strings.LastIndexByte(j.Type, '#')+1:], j.Message
	}
	if e.Message = strings.TrimSpace(e.Message); len(e.Message) > 500 {
		e.Message = e.Message[:500]
	}
	return e
}

// passes reports whether what AWS could not do now may go well later.
func passes(err error) bool {
	switch Code(err) {
	case "RequestTimeout", "SlowDown", "InternalError", "RequestThrottled", "Throttling", "ThrottlingException", "TooManyRequestsException", "ServiceUnavailable":
		return true
	}
	status := Status(err)
	return status == 0 || status >= 500 && status != http.StatusNotImplemented || status == http.StatusTooManyRequests
}

// stale reports whether AWS does not take the keys any more.
func stale(err error) bool {
	code := Code(err)
	return code == "ExpiredToken" || code == "ExpiredTokenException" || code == "InvalidClientTokenId" || code == "TokenRefreshRequired"
}

// asked is one request, which can be sent again.
type asked struct {
	service, method, at string
	path, query         string // encoded
	header              map[string]string
	body                []byte
}

// do sends a request until AWS answers it. The body of what is returned has to be closed.
func (c *Client) do(ctx context.Context, a asked) (*http.Response, error) {
	hash := digest(a.body)
	var last error
	for pause, n := firstPause, 0; n < c.cfg.Attempts; n++ {
		if n > 0 {
			select {
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-time.After(rand.N(pause) + pause/4):
			}
			pause = min(3*pause, lastPause)
		}
		keys, err := c.cfg.Credentials.Get(ctx)
		if err != nil {
			last = err
			if errors.Is(err, errNoKeys) {
				return nil, err
			}
			continue
		}
		resp, err := c.send(ctx, a, keys, hash)
		if err == nil {
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		last = err
		if stale(err) {
			c.cfg.Credentials.drop(keys)
			continue
		}
		if !passes(err) {
			return nil, err
		}
	}
	return nil, last
}

func (c *Client) send(ctx context.Context, a asked, keys Keys, hash string) (*http.Response, error) {
	at, err := url.Parse(a.at)
	if err != nil {
		return nil, err
	}
	decoded, err := url.PathUnescape(a.path)
	if err != nil {
		return nil, err
	}
	at.Path, at.RawPath, at.RawQuery = decoded, a.path, a.query
	r, err := http.NewRequestWithContext(ctx, a.method, at.String(), bytes.NewReader(a.body))
	if err != nil {
		return nil, err
	}
	r.URL.RawPath = a.path // as it is signed
	for name, value := range a.header {
		r.Header.Set(name, value)
	}
	sign(r, keys, c.cfg.Region, a.service, hash, time.Now())
	resp, err := c.cfg.HTTP.Do(r)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", a.service, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // the status says enough
	return nil, errorOf(resp, data)
}

// call is do, for an answer that is small. One that breaks off is asked for again by do's
// caller, if at all.
func (c *Client) call(ctx context.Context, a asked) (http.Header, []byte, error) {
	var broken error
	for range c.cfg.Attempts {
		resp, err := c.do(ctx, a)
		if err != nil {
			return nil, nil, err
		}
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxObject+1))
		_ = resp.Body.Close() // it was read
		switch {
		case err == nil && len(data) > maxObject:
			return nil, nil, fmt.Errorf("%s answers with more than %d bytes", a.service, maxObject)
		case err == nil:
			return resp.Header, data, nil
		case ctx.Err() != nil:
			return nil, nil, context.Cause(ctx)
		}
		broken = fmt.Errorf("the answer of %s breaks off: %w", a.service, err)
	}
	return nil, nil, broken
}

// maxObject is the largest object, or answer, that is read at once.
const maxObject = 64 << 20

// endpoint is where a service is.
func endpoint(service, region string) string {
	suffix := "amazonaws.com"
	switch {
	case strings.HasPrefix(region, "cn-"):
		suffix += ".cn"
	case strings.HasPrefix(region, "eusc-"):
		suffix = "amazonaws.eu"
	}
	return "https://" + service + "." + region + "." + suffix
}
