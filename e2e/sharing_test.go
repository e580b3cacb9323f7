package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// sharing is store.Shared of another process, over HTTP: what replicas in processes of
// their own share in these tests, as they share a cluster's API elsewhere.
type sharing struct{ url string }

type sharedCall struct {
	Do   string
	Key  string
	TTL  time.Duration
	Data []byte
	At   store.Version
}

type sharedAnswer struct {
	Data  []byte
	At    store.Version
	Kind  fault.Kind
	Code  string
	Error string
}

// share serves s, and returns where.
func share(t *testing.T, s store.Shared) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c sharedCall
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var a sharedAnswer
		var err error
		switch c.Do {
		case "claim":
			err = s.Claim(r.Context(), c.Key, c.TTL)
		case "get":
			a.Data, a.At, err = s.Value(r.Context(), c.Key)
		case "set":
			a.At, err = s.SetValue(r.Context(), c.Key, c.Data, c.At)
		}
		if f := fault.From(err); err != nil {
			a.Kind, a.Code, a.Error = f.Kind, fault.Code(err), err.Error()
		}
		_ = json.NewEncoder(w).Encode(a) // a replica that was killed does not read it
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func (s sharing) call(ctx context.Context, c sharedCall) (a sharedAnswer, _ error) {
	body, err := json.Marshal(c)
	if err != nil {
		return a, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return a, fmt.Errorf("what is shared answers %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, fault.New(a.Kind, a.Code, "%s", a.Error)
	}
	return a, nil
}

func (s sharing) Claim(ctx context.Context, key string, ttl time.Duration) error {
	_, err := s.call(ctx, sharedCall{Do: "claim", Key: key, TTL: ttl})
	return err
}

func (s sharing) Value(ctx context.Context, name string) ([]byte, store.Version, error) {
	a, err := s.call(ctx, sharedCall{Do: "get", Key: name})
	return a.Data, a.At, err
}

func (s sharing) SetValue(ctx context.Context, name string, data []byte, at store.Version) (store.Version, error) {
	a, err := s.call(ctx, sharedCall{Do: "set", Key: name, Data: data, At: at})
	return a.At, err
}
