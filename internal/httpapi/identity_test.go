package httpapi_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
)

// tokens hands out tokens in order, and notes which were refused.
type tokens struct {
	mu      sync.Mutex
	next    []string
	refused []string
	err     error
}

func (s *tokens) Token(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next[0], s.err
}

func (s *tokens) Renew(_ context.Context, refused string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, refused)
	s.next = s.next[1:]
	return s.next[0], s.err
}

// operatorAt serves over TLS and returns a client that trusts it.
func operatorAt(t *testing.T, h http.HandlerFunc) (*httptest.Server, *httpapi.Client) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c, err := httpapi.NewClient(httpapi.ClientConfig{Endpoint: server.URL, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	return server, c
}

// A refused session is renewed once, and the call sent again whole; a second
// refusal is the answer.
func TestCallsCarryASession(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		next    []string
		want    []string // tokens that the operator saw
		refused []string
		code    string
	}{
		{"warm", []string{"good"}, []string{"good"}, nil, ""},
		{"renewed", []string{"old", "good"}, []string{"old", "good"}, []string{"old"}, ""},
		{"refused again", []string{"old", "older", "good"}, []string{"old", "older"}, []string{"old"}, auth.CodeNotProven},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var seen, bodies []string
			_, c := operatorAt(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
				seen, bodies = append(seen, token), append(bodies, string(body))
				w.Header().Set("Content-Type", "application/json")
				if token != "good" {
					w.WriteHeader(http.StatusUnauthorized)
					_, _ = io.WriteString(w, `{"kind":"unproven","code":"endpoints.auth_invalid","message":"no","request_id":"1"}`)
					return
				}
				_, _ = io.WriteString(w, `{"message":"updating"}`)
			})
			s := &tokens{next: tt.next}
			_, err := c.WithSessions(s).Refresh(t.Context(), "iris", true)
			if fault.Code(err) != tt.code || !slices.Equal(seen, tt.want) || !slices.Equal(s.refused, tt.refused) {
				t.Errorf("Refresh() = %v after tokens %v, renewed after %v; want code %q, %v, %v", err, seen, s.refused, tt.code, tt.want, tt.refused)
			}
			for _, body := range bodies {
				if body != `{"force":true}`+"\n" {
					t.Errorf("a body was %q, want it whole each time", body)
				}
			}
		})
	}
}

// What keeps a caller from proving an identity is told as it is.
func TestNoIdentityIsItsOwnError(t *testing.T) {
	t.Parallel()
	_, c := operatorAt(t, func(http.ResponseWriter, *http.Request) { t.Error("the operator was asked without an identity") })
	want := fault.New(fault.Unproven, "auth.no_credentials", "there are none")
	_, err := c.WithSessions(&tokens{next: []string{""}, err: want}).List(t.Context())
	if !errors.Is(err, want) || fault.From(err).Message != want.Message {
		t.Errorf("List() = %v, want %v itself", err, want)
	}
}

func TestChallengeTellsWhichCertificateWasSeen(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	server, c := operatorAt(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", at.Format(http.TimeFormat))
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"cluster_id":"c","tls_fingerprint":"sha256:of-somebody-else"}`)
	})
	challenge, seen, err := c.Challenge(t.Context())
	if want := auth.Fingerprint(server.Certificate().Raw); err != nil || seen != want || challenge.ClusterID != "c" {
		t.Errorf("Challenge() = %+v, %s, %v, want what was seen: %s", challenge, seen, err, want)
	}
	if got := c.ServerDate(); !got.Equal(at) {
		t.Errorf("ServerDate() = %v, want %v", got, at)
	}
}

func TestNoChallengeInTheClear(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{}`)
	}))
	t.Cleanup(server.Close)
	c, err := httpapi.NewClient(httpapi.ClientConfig{Endpoint: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Challenge(t.Context()); fault.Code(err) != "cli.invalid_operator_endpoint" {
		t.Errorf("Challenge() over http = %v, want that it takes https", err)
	}
}

// Nothing of the caller is sent to an operator whose certificate nobody vouches for: it
// is asked only whether it is one of an old release, as anybody may ask.
func TestUntrustedOperator(t *testing.T) {
	t.Parallel()
	server, _ := operatorAt(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/verifycortex" || r.Header.Get("Authorization") != "" || r.ContentLength != 0 {
			t.Errorf("it was asked %s %s with %v", r.Method, r.URL, r.Header)
		}
		http.NotFound(w, r)
	})
	c, err := httpapi.NewClient(httpapi.ClientConfig{Endpoint: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.WithSessions(&tokens{next: []string{"secret"}}).List(t.Context())
	if f := fault.From(err); f.Code != "cli.operator_untrusted" || !strings.Contains(f.Message, auth.Fingerprint(server.Certificate().Raw)) {
		t.Errorf("List() = %v, want that the certificate is not trusted, and which it is", err)
	}
}

func TestPlainHTTPIsForThisMachine(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]bool{
		"http://localhost:1": true, "http://127.0.0.1:1": true, "http://[::1]:1": true, "https://operator.example.com": true,
		"http://operator.example.com": false, "http://10.0.0.1:8889": false, "http://localhost.example.com": false,
	} {
		if _, err := httpapi.NewClient(httpapi.ClientConfig{Endpoint: endpoint}); (err == nil) != want {
			t.Errorf("NewClient(%s) = %v, want it accepted: %v", endpoint, err, want)
		}
	}
}
