package program

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A probe of a program that starts is answered when the program is ready.
func TestStart(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		readyAfter, patience time.Duration
		status               int
		took                 time.Duration
	}{
		"at once":      {0, time.Minute, http.StatusOK, 0},
		"later":        {3 * time.Second, time.Minute, http.StatusOK, 3 * time.Second},
		"never":        {time.Hour, time.Minute, http.StatusServiceUnavailable, startWithin},
		"nobody waits": {time.Hour, time.Second, http.StatusServiceUnavailable, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var ready atomic.Bool
				if tt.readyAfter == 0 {
					ready.Store(true)
				} else {
					defer time.AfterFunc(tt.readyAfter, func() { ready.Store(true) }).Stop()
				}
				h := &Health{Ready: func() error {
					if !ready.Load() {
						return errors.New("not yet")
					}
					return nil
				}}
				ctx, cancel := context.WithTimeout(t.Context(), tt.patience)
				defer cancel()
				began, answer := time.Now(), httptest.NewRecorder()
				h.start(answer, httptest.NewRequestWithContext(ctx, http.MethodGet, "/startz", nil))
				// Of a look and a change at the same moment either may be first.
				if took := time.Since(began); answer.Code != tt.status || took < tt.took || took > tt.took+startEvery {
					t.Errorf("/startz = %d after %s, want %d after %s", answer.Code, took, tt.status, tt.took)
				}
			})
		})
	}
}
