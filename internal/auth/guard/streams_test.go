package guard_test

import (
	"bufio"
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth/iam"
)

// TestStreamsEnd follows events that never end: whoever is no longer proven hears
// no more of them.
func TestStreamsEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		left time.Duration // of the session when it is used
		end  func(t *testing.T, w *world)
	}{
		"when the session is over": {time.Second, func(*testing.T, *world) {}},
		"when sessions are revoked": {iam.DefaultSessionTTL, func(t *testing.T, w *world) {
			if err := w.iam.Revoke(t.Context()); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The clock is the real one, but while the session is made.
			var off atomic.Int64
			off.Store(int64(c.left - iam.DefaultSessionTTL))
			now := func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
			w := newWorld(t, func(s *setup) { s.now = now })
			w.clock.now = now().Add(-2 * time.Second)
			token := w.login(t, "alice").Token
			off.Store(0)

			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/v1/events?follow=true", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := w.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("GET events = %d, want 200", resp.StatusCode)
			}
			lines, ended := 0, bufio.NewScanner(resp.Body)
			for ended.Scan() {
				if lines++; lines == 1 {
					c.end(t, w)
				}
			}
			if lines == 0 || ctx.Err() != nil {
				t.Errorf("the stream went on for %d lines until its reader left, want an end", lines)
			}
		})
	}
}
