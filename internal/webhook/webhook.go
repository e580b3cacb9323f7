// Package webhook sends messages to addresses that users name, signed by the Standard
// Webhooks specification (https://www.standardwebhooks.com).
//
// It promises that a message goes to where whoever runs the environment lets it go and
// nowhere else: the address that a name leads to is looked at when it is dialled, so that
// there is no moment between the look and the connection; redirects are not followed, no
// proxy is asked, and what the receiver answers is not read.
//
// It must not know what a message is about, or decide when it is sent again.
package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Timeout is how long a receiver has to answer.
const Timeout = 15 * time.Second

// Message is what is sent.
type Message struct {
	URL     string
	ID      string // the same each time it is sent
	At      time.Time
	Body    []byte
	Secrets [][]byte // it is signed with each
}

// Sender sends messages. All methods may be called at once.
type Sender struct {
	allowed *Allowed
	client  *http.Client
}

// NewSender returns one that sends to public addresses, and to those that are allowed
// besides.
func NewSender(allowed *Allowed) *Sender {
	s := &Sender{allowed: allowed}
	s.client = &http.Client{
		Timeout:       Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: s.dial, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2, MaxIdleConns: 64, IdleConnTimeout: 30 * time.Second,
			TLSHandshakeTimeout: Timeout, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
		},
	}
	return s
}

// dial connects to an address that a message may go to, whatever its name leads to now.
func (s *Sender) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{ControlContext: s.allowed.control(host)}
	return d.DialContext(ctx, network, address)
}

// Send sends a message and returns the status of the answer; an error says that there was
// none, in words that may be shown to whoever manages the API.
func (s *Sender) Send(ctx context.Context, m Message) (int, error) {
	if err := s.allowed.CheckURL(m.URL); err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL, strings.NewReader(string(m.Body)))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "cortex-webhooks")
	req.Header.Set("Webhook-Id", m.ID)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(m.At.Unix(), 10))
	signatures := make([]string, len(m.Secrets))
	for i, secret := range m.Secrets {
		signatures[i] = Sign(secret, m.ID, m.At, m.Body)
	}
	req.Header.Set("Webhook-Signature", strings.Join(signatures, " "))
	resp, err := s.client.Do(req)
	if err != nil {
		var refused *refusedError
		var timeout interface{ Timeout() bool }
		switch {
		case errors.As(err, &refused):
			return 0, refused
		case errors.As(err, &timeout) && timeout.Timeout():
			return 0, fmt.Errorf("it was not answered within %s", Timeout)
		}
		return 0, errors.New("it was not answered: " + withoutURL(err))
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

// Fetch gets a document of at most so many bytes from an address that a message may go to.
func (s *Sender) Fetch(ctx context.Context, url string, most int) ([]byte, error) {
	if err := s.allowed.CheckURL(url); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		var refused *refusedError
		if errors.As(err, &refused) {
			return nil, refused
		}
		return nil, errors.New("it was not answered: " + withoutURL(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %d", resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, int64(most)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the answer: %w", err)
	case len(text) > most:
		return nil, fmt.Errorf("the answer has more than %d bytes", most)
	}
	return text, nil
}

// withoutURL is what an error of a client says besides the address, which may have a
// password in its query.
func withoutURL(err error) string {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	return err.Error()
}

// Sign returns the signature of a message, as Webhook-Signature has it.
func Sign(secret []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%d.", id, at.Unix()) // a hash never fails
	_, _ = mac.Write(body)                    // as above
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Bounds of a secret, as the specification has them, and of how many there are at a time.
const (
	minSecret  = 24
	maxSecret  = 64
	maxSecrets = 2
	prefix     = "whsec_"
)

// Secrets reads the value of a secret: one that messages are signed with, or two with a
// space between them, of which receivers may know either.
func Secrets(text string) (secrets [][]byte, _ error) {
	for _, one := range strings.Fields(text) {
		encoded, ok := strings.CutPrefix(one, prefix)
		secret, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(secret) < minSecret || len(secret) > maxSecret {
			return nil, fmt.Errorf("a secret of webhooks is %s and then %d to %d bytes as base64", prefix, minSecret, maxSecret)
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 || len(secrets) > maxSecrets {
		return nil, fmt.Errorf("there are %d secrets, and there may be one, or two with a space between them", len(secrets))
	}
	return secrets, nil
}
