package drainerd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// metadata is the instance metadata service of EC2, in its second version.
type metadata struct {
	base  string
	http  *http.Client
	token string
}

// Bounds of the questions to it.
const (
	tokenSeconds = "21600"
	answerWithin = 4 * time.Second
	maxAnswer    = 64 << 10
)

// get is what is at a path, and whether anything is.
func (m *metadata) get(ctx context.Context, path string) (text string, there bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	for range 2 {
		if m.token == "" {
			token, status, err := m.ask(ctx, http.MethodPut, "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", tokenSeconds)
			switch {
			case err != nil:
				return "", false, fmt.Errorf("asking instance metadata for a token: %w", err)
			case status != http.StatusOK:
				return "", false, fmt.Errorf("asking instance metadata for a token: status %d", status)
			}
			m.token = token
		}
		text, status, err := m.ask(ctx, http.MethodGet, "/latest/meta-data/"+path, "X-aws-ec2-metadata-token", m.token)
		switch {
		case err != nil:
			return "", false, fmt.Errorf("asking instance metadata for %s: %w", path, err)
		case status == http.StatusNotFound:
			return "", false, nil
		case status == http.StatusOK:
			return strings.TrimSpace(text), true, nil
		case status != http.StatusUnauthorized:
			return "", false, fmt.Errorf("asking instance metadata for %s: status %d", path, status)
		}
		m.token = "" // it has run out
	}
	return "", false, fmt.Errorf("asking instance metadata for %s: it takes no token", path)
}

func (m *metadata) ask(ctx context.Context, method, path, header, value string) (text string, status int, err error) {
	r, err := http.NewRequestWithContext(ctx, method, m.base+path, nil)
	if err != nil {
		return "", 0, err
	}
	r.Header.Set(header, value)
	resp, err := m.http.Do(r)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return string(body), resp.StatusCode, err
}

// end is that of the machine.
type end struct {
	at  time.Time
	why string
}

// endOf reads when the machine ends, from what its metadata say: action is a notice of EC2 that
// it takes a spot instance back, state where its scaling group wants to have it. Either may be
// empty. A recommendation to rebalance is no end, and nothing is done about one.
func endOf(action, state string, now time.Time) (end, bool) {
	if action != "" {
		var notice struct{ Action, Time string }
		e := end{now.Add(hookTime), "EC2 takes this spot instance back"}
		if err := json.Unmarshal([]byte(action), &notice); err == nil {
			if at, err := time.Parse(time.RFC3339, notice.Time); err == nil && at.Before(e.at) {
				e.at = at
			}
		}
		return e, true
	}
	// Terminated, or Warmed:… where the group has a warm pool, which ours has not.
	if state == "Terminated" {
		return end{now.Add(hookTime), "its scaling group ends this instance"}, true
	}
	return end{}, false
}

// hookTime is what EC2 and the hook of the scaling group give a machine.
const hookTime = 2 * time.Minute

// ending asks whether the machine is to end.
func (m *metadata) ending(ctx context.Context) (end, bool, error) {
	action, _, err := m.get(ctx, "spot/instance-action")
	if err != nil {
		return end{}, false, err
	}
	state, _, err := m.get(ctx, "autoscaling/target-lifecycle-state")
	if err != nil && action == "" {
		return end{}, false, err
	}
	e, is := endOf(action, state, time.Now())
	return e, is, nil
}
