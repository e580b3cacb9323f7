package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Check asks once. It returns when it has an answer or ctx ends.
type Check func(ctx context.Context) Result

// maxEvidence bounds how much of an answer is kept.
const maxEvidence = 200

// TCP succeeds when a connection to addr (host:port) opens. With lingering set,
// the connection must also not be closed at once by the other side, which is how
// a port that a forwarder holds open for a silent container looks.
func TCP(addr string, lingering time.Duration) Check {
	return func(ctx context.Context) Result {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return Result{Detail: fmt.Sprintf("tcp %s: %s", addr, reasonOf(ctx, err))}
		}
		defer func() { _ = conn.Close() }()
		if lingering > 0 {
			_ = conn.SetReadDeadline(time.Now().Add(lingering))
			var b [1]byte
			if _, err := conn.Read(b[:]); err != nil && !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
				return Result{Detail: fmt.Sprintf("tcp %s: the connection opened and was closed at once; nothing listens behind it", addr)}
			}
		}
		return Result{OK: true, Detail: "tcp " + addr + ": connected"}
	}
}

// HTTP succeeds when GET url answers with a status from 200 to 399. Redirects are
// not followed. The connection is not kept, so that a probe never occupies a
// server that serves one connection at a time.
func HTTP(url string) Check {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) Result {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return Result{Detail: fmt.Sprintf("http %s: %v", url, err)}
		}
		req.Header.Set("User-Agent", "cortex-probe")
		req.Header.Set("X-Cortex-Probe", "true")
		resp, err := client.Do(req)
		if err != nil {
			return Result{Detail: fmt.Sprintf("http %s: %s", url, reasonOf(ctx, err))}
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode >= 200 && resp.StatusCode < 400 {
			return Result{OK: true, Detail: fmt.Sprintf("http %s: %d", url, resp.StatusCode)}
		}
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxEvidence))
		return Result{Detail: fmt.Sprintf("http %s: status %d, body %q", url, resp.StatusCode, printable(body))}
	}
}

// Exec succeeds when run, which executes command in the container, exits 0.
func Exec(command []string, run func(ctx context.Context, command []string) (output []byte, code int, err error)) Check {
	name := strings.Join(command, " ")
	if len(name) > maxEvidence {
		name = name[:maxEvidence] + "…"
	}
	return func(ctx context.Context) Result {
		out, code, err := run(ctx, command)
		switch {
		case ctx.Err() != nil:
			return Result{Detail: fmt.Sprintf("exec %s: no end within the timeout", name)}
		case err != nil:
			return Result{Detail: fmt.Sprintf("exec %s: %v", name, err)}
		case code != 0:
			return Result{Detail: fmt.Sprintf("exec %s: exit code %d, output %q", name, code, printable(out))}
		}
		return Result{OK: true, Detail: "exec " + name + ": exit code 0"}
	}
}

func printable(b []byte) string {
	if len(b) > maxEvidence {
		b = b[:maxEvidence]
	}
	return strings.ToValidUTF8(strings.TrimSpace(string(b)), "\uFFFD")
}

// reasonOf is the part of a network error that says why; address and operation
// are in the caller's text already.
func reasonOf(ctx context.Context, err error) string {
	if isTimeout(err) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "no answer within the timeout"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	text := err.Error()
	if _, rest, ok := strings.Cut(text, "connect: "); ok {
		return rest
	}
	if len(text) > maxEvidence {
		text = text[:maxEvidence] + "…"
	}
	return text
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
