package httpapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

// Patience of a client, from REFERENCE section 7. Streams have none.
const (
	infoTimeout = 10 * time.Second
	callTimeout = 600 * time.Second
	dialTimeout = 10 * time.Second
)

// maxAnswerBytes bounds what a client reads as one answer.
const maxAnswerBytes = 256 << 20

// codeConnectionLost is the code of the fault that an answer ended too early.
const codeConnectionLost = "cli.operator_connection_lost"

// CodeUntrusted is the code of the fault that the operator shows a certificate which is
// not trusted.
const CodeUntrusted = "cli.operator_untrusted"

// ClientConfig says where the operator is. Exactly one of Socket and Endpoint is set.
type ClientConfig struct {
	Socket    string // path of a Unix socket
	Endpoint  string // https://host, with or without a path; http://host:port on loopback addresses only
	UserAgent string // default "cortex"
	// TLS says what an https endpoint has to show; nil trusts the system's roots.
	TLS *tls.Config
}

// Sessions gives the token of every call; login.Login implements it.
type Sessions interface {
	Token(ctx context.Context) (string, error)
	// Renew returns another token than the one that the operator refused.
	Renew(ctx context.Context, refused string) (string, error)
}

// Client is a workload.Service that asks an operator over the wire. Its methods
// may be called at once. Their errors are those of the operator, or
// fault.Disconnected with a code of its own when there was no answer:
//
//	cli.failed_to_connect_operator   nobody answers there
//	cli.operator_connection_lost     the connection broke before the end of the answer
//	cli.operator_response_unknown    whoever answers is no operator
type Client struct {
	base   string // scheme, host and path prefix
	where  string // for messages
	socket string
	agent  string
	http   *http.Client
	date   *atomic.Int64 // of the last answer by the operator's clock, Unix seconds

	sessions Sessions // nil: calls carry no identity
}

// WithSessions returns a client of the same operator whose calls carry an identity.
func (c *Client) WithSessions(s Sessions) *Client {
	with := *c
	with.sessions = s
	return &with
}

// ServerDate is what the operator's clock showed at its last answer; zero before.
func (c *Client) ServerDate() time.Time {
	if at := c.date.Load(); at != 0 {
		return time.Unix(at, 0)
	}
	return time.Time{}
}

// NewClient checks cfg and connects to nothing yet.
func NewClient(cfg ClientConfig) (*Client, error) {
	c := &Client{agent: cfg.UserAgent, socket: cfg.Socket, date: new(atomic.Int64)}
	if c.agent == "" {
		c.agent = "cortex"
	}
	transport := &http.Transport{
		MaxIdleConns: 4, IdleConnTimeout: time.Minute,
		DisableCompression: true, // answers are small, and a stream must not wait for a block
	}
	switch {
	case (cfg.Socket == "") == (cfg.Endpoint == ""):
		return nil, fault.New(fault.Usage, "cli.invalid_operator_endpoint",
			"a client needs either a socket or an endpoint, and not both")
	case cfg.Socket != "":
		c.base, c.where = "http://cortex", cfg.Socket
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", cfg.Socket)
		}
	default:
		base, err := checkEndpoint(cfg.Endpoint)
		if err != nil {
			return nil, err
		}
		c.base, c.where = base, base
		transport.DialContext = dialer{away: operatorAway}.dial
		transport.Proxy = http.ProxyFromEnvironment
		transport.TLSClientConfig = cfg.TLS
	}
	c.http = &http.Client{
		Transport: transport,
		// An operator never redirects; whoever does is not asked a second time.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close lets idle connections go. The client stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// checkEndpoint returns endpoint without a trailing slash, or why it is none.
func checkEndpoint(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err == nil && u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		return "", fault.New(fault.Invalid, "cli.invalid_operator_endpoint", "%q is plain http, which is not encrypted", endpoint).
			WithHint("use https; plain http is for loopback addresses only")
	}
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fault.New(fault.Invalid, "cli.invalid_operator_endpoint", "%q is not the endpoint of an operator", endpoint).
			WithHint("it looks like https://host or http://host:port")
	}
	return strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), nil
}

// IsLoopback reports whether a host is this machine by an address of its own, to
// which plain http may go.
func IsLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// call is one request; out may be nil.
type call struct {
	method, path string
	query        url.Values
	body, out    any
	timeout      time.Duration // 0 is callTimeout
	after        string        // the id of the last line that is had of a stream; empty: none
	upgrade      string        // the protocol that the connection is to go on with; empty: none
}

func (k call) content() string {
	if _, isSecret := k.body.(rawSecret); isSecret {
		return contentBytes
	}
	return contentJSON
}

// do sends one request and reads its whole answer into call.out.
func (c *Client) do(ctx context.Context, k call) error {
	if k.timeout == 0 {
		k.timeout = callTimeout
	}
	limited, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	resp, err := c.send(limited, k)
	if err != nil {
		return c.explain(ctx, k, err)
	}
	return c.read(ctx, k, resp)
}

// read reads a whole answer into call.out.
func (c *Client) read(ctx context.Context, k call, resp *http.Response) error {
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return c.explain(ctx, k, err)
	case len(data) > maxAnswerBytes:
		return c.unknown(ctx, resp, fmt.Sprintf("more than %d bytes", maxAnswerBytes))
	case resp.StatusCode != http.StatusOK:
		return c.refused(ctx, resp, data)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber() // for what has no type of its own: a YAML integer stays one
	if err := dec.Decode(k.out); err != nil {
		return c.unknown(ctx, resp, "not what was asked for: "+err.Error())
	}
	return nil
}

// stream sends one request and hands each line of its answer to fn.
func stream[T any](ctx context.Context, c *Client, k call, fn func(T) error) error {
	_, err := streamOnce(ctx, c, k, fn)
	return err
}

// streamOnce also says whether there was a stream at all, rather than a refusal.
func streamOnce[T any](ctx context.Context, c *Client, k call, fn func(T) error) (begun bool, err error) {
	resp, err := c.send(ctx, k)
	if err != nil {
		return false, ended(ctx, c.explain(ctx, k, err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false, c.readLines(ctx, k, resp, nil)
	}
	return true, c.readLines(ctx, k, resp, func(body io.Reader) error { return readStream(body, fn) })
}

// readLines reads the answer to a stream: its lines, or why there are none.
func (c *Client) readLines(ctx context.Context, k call, resp *http.Response, lines func(io.Reader) error) error {
	if resp.StatusCode != http.StatusOK {
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxLineBytes))
		if err != nil {
			return ended(ctx, c.explain(ctx, k, err))
		}
		return c.refused(ctx, resp, data)
	}
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media != contentNDJSON {
		return c.unknown(ctx, resp, "no stream of lines")
	}
	err := lines(resp.Body)
	if errors.Is(err, errCutOff) {
		return ended(ctx, c.explain(ctx, k, err))
	}
	return err
}

// ended is err, unless the caller wanted the end: a stream that its context ends is done.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// send sends one request. When the operator does not know the caller any more, the
// caller proves itself again, once.
func (c *Client) send(ctx context.Context, k call) (*http.Response, error) {
	var data []byte
	var err error
	secret, isSecret := k.body.(rawSecret)
	switch {
	case isSecret:
		data = append([]byte{}, secret.value...)
	case k.body != nil:
		if data, err = encodeJSON(k.body); err != nil {
			return nil, fmt.Errorf("writing the request: %w", err)
		}
	}
	return c.prove(ctx, k, data)
}

// prove sends one request with the session of the caller, if it has one.
func (c *Client) prove(ctx context.Context, k call, data []byte) (*http.Response, error) {
	if c.sessions == nil {
		return c.attempt(ctx, k, data, "")
	}
	token, err := c.sessions.Token(ctx)
	if err != nil {
		return nil, &proofError{err}
	}
	resp, err := c.attempt(ctx, k, data, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	resp.Body.Close()
	if token, err = c.sessions.Renew(ctx, token); err != nil {
		return nil, &proofError{err}
	}
	return c.attempt(ctx, k, data, token)
}

// proofError is why there is no identity to call with: it is told as it is.
type proofError struct{ error }

func (e *proofError) Unwrap() error { return e.error }

func (c *Client) attempt(ctx context.Context, k call, data []byte, token string) (*http.Response, error) {
	target := c.base + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	var body io.Reader
	if data != nil {
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("writing the request: %w", err)
	}
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Accept", contentJSON+", "+contentNDJSON)
	if data != nil {
		req.Header.Set("Content-Type", k.content())
	}
	if k.after != "" {
		req.Header.Set(headerLastEvent, k.after)
	}
	if k.upgrade != "" {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", k.upgrade)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err == nil {
		if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			c.date.Store(at.Unix())
		}
	}
	return resp, err
}

// refused is the fault in an answer that is no success.
func (c *Client) refused(ctx context.Context, resp *http.Response, data []byte) error {
	var e Error
	if err := json.Unmarshal(data, &e); err != nil || e.Kind == "" || e.Code == "" {
		return c.unknown(ctx, resp, "no error of an operator")
	}
	return e.fault()
}

func (c *Client) unknown(ctx context.Context, resp *http.Response, what string) error {
	return c.ofOldRelease(ctx, fault.New(fault.Disconnected, "cli.operator_response_unknown",
		"the answer of %s is %s (status %d, %s)", c.where, what, resp.StatusCode, clip(resp.Header.Get("Content-Type"))).
		WithHint("is this the address of a cortex operator of the same version?"))
}

// explain says why there was no answer. A context of the caller that ended is its own error.
func (c *Client) explain(ctx context.Context, k call, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("asking %s: %w", c.where, ctx.Err())
	}
	var dial *net.OpError
	var proof *proofError
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &proof):
		return proof.error
	case errors.As(err, &untrusted):
		return c.ofOldRelease(ctx, c.untrusted(untrusted))
	case errors.As(err, &dial) && dial.Op == "dial":
		return c.unreachable(err)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.Unavailable, "cli.operator_timeout", "%s has not answered for %s", c.where, k.timeout).
			WithHint("the operation may still be carried out; look at the result with cortex get")
	case errors.Is(err, errCutOff):
		return fault.New(fault.Disconnected, codeConnectionLost, "reading from %s: %w", c.where, err).
			WithHint("repeat the call")
	default:
		return fault.New(fault.Disconnected, codeConnectionLost,
			"the connection to %s broke before the answer: %w", c.where, rootOf(err)).
			WithHint("the operation may have been carried out; look at the result with cortex get")
	}
}

// untrusted is the fault for an operator whose certificate is not the expected one.
func (c *Client) untrusted(err *tls.CertificateVerificationError) error {
	shown := ""
	if len(err.UnverifiedCertificates) > 0 {
		shown = "; it shows " + auth.Fingerprint(err.UnverifiedCertificates[0].Raw)
	}
	return fault.New(fault.Disconnected, CodeUntrusted, "the certificate of %s is not trusted: %w%s", c.where, err.Err, shown).
		WithHint("nothing of yours was sent. If its administrator confirms that certificate, configure the environment again with " +
			"`cortex env configure NAME --operator-endpoint URL` and --ca FILE or --fingerprint")
}

// unreachable is the fault for an operator that nobody could connect to.
func (c *Client) unreachable(err error) error {
	const code = "cli.failed_to_connect_operator"
	if c.socket == "" {
		return fault.New(fault.Disconnected, code, "no answer from %s: %w", c.where, rootOf(err)).
			WithHint("check the address with cortex env list, and that the operator is running")
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fault.New(fault.Disconnected, code, "the local environment is not running: nothing listens at %s", c.where).
			WithHint("start it with cortex local start")
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Disconnected, code, "the socket %s belongs to another user", c.where).
			WithHint("use the account that started the local environment")
	default:
		return fault.New(fault.Disconnected, code, "no answer from %s: %w", c.where, rootOf(err)).
			WithHint("look at the state of the local environment with cortex local status")
	}
}

// rootOf is the innermost text of err, without the URL and the address around it.
func rootOf(err error) error {
	var call *os.SyscallError
	if errors.As(err, &call) {
		return call.Err
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
