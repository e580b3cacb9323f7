package httpapi_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// A stream that ends with its session is taken up again with a new one: no line is
// missed, none is told twice, and an end for any other reason is an end.
func TestFollowingOutlivesASession(t *testing.T) {
	t.Parallel()
	line := func(n int) string {
		data, err := json.Marshal(workload.LogLine{Time: time.Unix(int64(1000+n), 0).UTC(), Replica: "r", Text: fmt.Sprint(n)})
		if err != nil {
			t.Fatal(err)
		}
		return string(data) + "\n"
	}
	over := `{"end":true,"error":{"kind":"unproven","code":"` + auth.CodeNotProven + `","message":"over","request_id":"1"}}` + "\n"
	done := `{"end":true}` + "\n"
	gone := `{"end":true,"error":{"kind":"not_found","code":"resources.api_not_deployed","message":"gone","request_id":"1"}}` + "\n"
	for _, tt := range []struct {
		name    string
		streams []string // one after the other; each is of one session
		want    string
		code    string
	}{
		{"one session", []string{line(1) + line(2) + done}, "1 2", ""},
		{"taken up again", []string{line(1) + line(2) + over, line(2) + line(3) + over, line(2) + line(3) + line(4) + done}, "1 2 3 4", ""},
		{"before the first line", []string{over, line(1) + done}, "1", ""},
		{"the same line twice in one stream", []string{line(1) + line(1) + done}, "1 1", ""},
		{"another end", []string{line(1) + gone}, "1", "resources.api_not_deployed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var queries []string
			_, c := operatorAt(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != fmt.Sprintf("Bearer s%d", len(queries)) {
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(http.StatusUnauthorized)
					_, _ = io.WriteString(w, `{"kind":"unproven","code":"endpoints.auth_invalid","message":"no","request_id":"1"}`)
					return
				}
				w.Header().Set("Content-Type", "application/x-ndjson")
				_, _ = io.WriteString(w, tt.streams[len(queries)])
				queries = append(queries, r.URL.RawQuery)
			})
			var sessions []string
			for i := range tt.streams {
				sessions = append(sessions, fmt.Sprintf("s%d", i))
			}
			var got []string
			err := c.WithSessions(&tokens{next: sessions}).Logs(t.Context(), workload.LogQuery{Name: "iris", Follow: true, Tail: 5},
				func(l workload.LogLine) error { got = append(got, l.Text); return nil })
			if strings.Join(got, " ") != tt.want || fault.Code(err) != tt.code {
				t.Errorf("Logs() told %v and returned %v, want %s and code %q", got, err, tt.want, tt.code)
			}
			for i, q := range queries {
				if again := i > 0; strings.Contains(q, "since=") != again || strings.Contains(q, "tail=") == again {
					t.Errorf("stream %d was asked for with %s, want a tail first and then what came since", i, q)
				}
			}
		})
	}
}

// A caller whose new session is no good either is told so, and does not ask for ever.
func TestFollowingEndsWithoutASession(t *testing.T) {
	t.Parallel()
	asked := 0
	_, c := operatorAt(t, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"kind":"unproven","code":"endpoints.auth_invalid","message":"no","request_id":"1"}`)
	})
	err := c.WithSessions(&tokens{next: []string{"a", "b", "c"}}).Events(t.Context(), workload.EventQuery{Follow: true},
		func(workload.Event) error { return nil })
	if fault.Code(err) != auth.CodeNotProven || asked != 2 {
		t.Errorf("Events() = %v after %d requests, want the refusal after 2", err, asked)
	}
}
