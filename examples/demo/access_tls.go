package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/hostcert/acmetest"
)

// ownName is that of the API, in examples/access/cortex.yaml.
const ownName = "iris.example.test"

// authority starts one that gives certificates, and returns the flags that name it.
func (d *accessDemo) authority(ctx context.Context, dir string) ([]string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free: the authority has to know it before
	if err != nil {
		return nil, err
	}
	d.secure = ln.Addr().String()
	ln.Close()
	_, port, err := net.SplitHostPort(d.secure)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	d.acme, err = acmetest.Start(ctx, acmetest.Config{Root: ".", Dir: dir, TLSPort: number, HTTPPort: 1})
	if errors.Is(err, acmetest.ErrNotBuilt) {
		d.say("(no certificate is shown: %v)", err)
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	d.say("an authority (Pebble, of Let's Encrypt) gives certificates at %s", d.acme.Directory)
	return []string{"--api-tls-listen", d.secure, "--acme-directory", d.acme.Directory, "--acme-ca", d.acme.CA, "--https-redirect", port}, nil
}

// ownHost has the API answer at its own name, with a certificate that nobody made by hand.
func (d *accessDemo) ownHost(ctx context.Context) error {
	if d.acme == nil {
		return nil
	}
	d.title("It has a name of its own, " + ownName + ", and has got a certificate for it by itself")
	text, err := os.ReadFile(d.acme.Roots)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { // whatever name: it is here
			return new(net.Dialer).DialContext(ctx, "tcp", d.secure)
		},
	}
	defer tr.CloseIdleConnections()
	type answer struct {
		status int
		proto  string
		leaf   *x509.Certificate
	}
	ask := func(at string) (answer, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(aFlower))
		if err != nil {
			return answer{}, err
		}
		req.Header.Set("Authorization", "Bearer "+d.key)
		req.Header.Set("Content-Type", "application/json")
		resp, err := (&http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
		if err != nil {
			return answer{}, err
		}
		resp.Body.Close()
		return answer{resp.StatusCode, resp.Proto, resp.TLS.PeerCertificates[0]}, nil
	}
	_, port, err := net.SplitHostPort(d.secure)
	if err != nil {
		return err
	}
	own := "https://" + net.JoinHostPort(ownName, port)
	var got answer
	for begun := time.Now(); ; {
		if got, err = ask(own + "/"); err == nil {
			break
		}
		if time.Since(begun) > time.Minute {
			return fmt.Errorf("no certificate within a minute: %w", err)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.count(reply{status: got.status})
	d.say("%-40s → %d  %s  certificate of %q until %s", "POST "+own+"/", got.status, got.proto, got.leaf.Issuer.CommonName, got.leaf.NotAfter.UTC().Format(time.DateOnly))
	if got.status != http.StatusOK || got.proto != "HTTP/2.0" || got.leaf.VerifyHostname(ownName) != nil {
		return fmt.Errorf("%s answers %d by %s, with a certificate of %v", own, got.status, got.proto, got.leaf.DNSNames)
	}
	if _, err = ask("https://" + net.JoinHostPort("stranger.example.test", port)); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		return fmt.Errorf("a name that nobody has came to %w, want that it is not known", err)
	}
	d.say("%-40s → the handshake ends: the name is not known", "POST https://stranger.example.test:"+port)
	return d.redirected(ctx, own)
}

// redirected comes to the name without TLS.
func (d *accessDemo) redirected(ctx context.Context, own string) error {
	plain, err := url.Parse(d.url)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, plain.Scheme+"://"+plain.Host+"/v1", strings.NewReader(aFlower))
	if err != nil {
		return err
	}
	req.Host = net.JoinHostPort(ownName, plain.Port())
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	d.say("%-40s → %d  Location: %s", "POST http://"+req.Host+"/v1", resp.StatusCode, resp.Header.Get("Location"))
	if resp.StatusCode != http.StatusPermanentRedirect || resp.Header.Get("Location") != own+"/v1" {
		return fmt.Errorf("without TLS the answer is %s to %q", resp.Status, resp.Header.Get("Location"))
	}
	return nil
}
