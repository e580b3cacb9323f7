package program

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/fault"
)

// secretServer is an API server that has the Secret cortex/ledger with the given data, and
// no other.
func secretServer(t *testing.T, data map[string]string) *rest.Config {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method != http.MethodGet || r.URL.Path != "/api/v1/namespaces/cortex/secrets/ledger" {
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, r.URL.Path).Status())
			return
		}
		s := &corev1.Secret{TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}, Data: map[string][]byte{}}
		for key, value := range data {
			s.Data[key] = []byte(value)
		}
		_ = json.NewEncoder(w).Encode(s)
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL, QPS: -1}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	quiet := slog.New(slog.DiscardHandler)
	for name, tt := range map[string]struct {
		data map[string]string
		code string
		says string
	}{
		"both":        {data: map[string]string{"username": "u", "password": "p\n"}},
		"no password": {map[string]string{"username": "u"}, CodeSecretInvalid, "cortex/ledger has no password"},
		"empty":       {map[string]string{"username": "", "password": "p"}, CodeSecretInvalid, "cortex/ledger has no username"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, p, err := Credentials(t.Context(), secretServer(t, tt.data), "cortex", "ledger", quiet)
			if tt.code == "" && (u != "u" || p != "p\n" || err != nil) {
				t.Errorf("Credentials() = %q, %q, %v, want what the secret has, unchanged", u, p, err)
			}
			if tt.code != "" && (fault.Code(err) != tt.code || !strings.Contains(err.Error(), tt.says) || u+p != "") {
				t.Errorf("Credentials() = %q, %q, %v, want the fault %s with %q", u, p, err, tt.code, tt.says)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Credentials(ctx, secretServer(t, nil), "cortex", "another", quiet); !errors.Is(err, context.Canceled) {
		t.Errorf("Credentials() with an ended context = %v, want its end", err)
	}
}

// What changes by itself is waited for, and said once; a refusal that stays is a fault.
func TestAwaitSecret(t *testing.T) {
	t.Parallel()
	resource := schema.GroupResource{Resource: "secrets"}
	missing := apierrors.NewNotFound(resource, "ledger")
	forbidden := apierrors.NewForbidden(resource, "ledger", errors.New("no role"))
	away := errors.New("connection refused")
	for name, tt := range map[string]struct {
		err   error         // until
		until time.Duration // the secret is there
		took  time.Duration
		code  string // "": none
		said  int
	}{
		"at once":              {nil, 0, 0, "", 0},
		"made later":           {missing, 90 * time.Second, 90 * time.Second, "", 1},
		"after an outage":      {away, 90 * time.Second, 90 * time.Second, "", 1},
		"a right arrives":      {forbidden, 5 * time.Second, 5 * time.Second, "", 1},
		"a right is not given": {forbidden, time.Hour, secretRefused, CodeSecretRefused, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				began := time.Now()
				data, err := awaitSecret(t.Context(), "cortex/ledger", slog.New(slog.NewTextHandler(&log, nil)), func(context.Context) (map[string][]byte, error) {
					if time.Since(began) < tt.until {
						return nil, tt.err
					}
					return map[string][]byte{"username": []byte("u")}, nil
				})
				if fault.Code(err) != tt.code || tt.code == "" && (err != nil || string(data["username"]) != "u") {
					t.Errorf("awaitSecret() = %q, %v, want code %q", data, err, tt.code)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("awaitSecret() took %s, want %s", took, tt.took)
				}
				if said := strings.Count(log.String(), "\n"); said != tt.said {
					t.Errorf("it was said %d times, want %d:\n%s", said, tt.said, &log)
				}
			})
		})
	}
}
