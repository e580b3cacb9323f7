package guard_test

import (
	"net/http"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/iam"
)

// works reports whether a session opens the door, in one line of the audit.
func (w *world) works(t *testing.T, token string) bool {
	t.Helper()
	resp, body := w.do(t, http.MethodGet, "/v1/info", token)
	w.seen.answer("GET /v1/info", resp, body, "")
	return resp.StatusCode == http.StatusOK
}

// TestOutage has STS be away for five minutes, throttle, and come back by itself:
// whoever is in stays in.
func TestOutage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		begin, end func(*world)
		want       outcome
	}{
		"down": {func(w *world) { w.sts.SetDown(true) }, func(w *world) { w.sts.SetDown(false) }, away(iam.ReasonDown, 2)},
		"throttling": {func(w *world) { w.sts.SetThrottle(true) }, func(w *world) { w.sts.SetThrottle(false) },
			throttled(iam.ReasonThrottled, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			token := w.login(t, "alice").Token
			c.begin(w)
			for range 10 {
				w.clock.Add(30 * time.Second)
				w.attack(t, attack{name: "a login", want: c.want})
				w.attack(t, attack{name: "another's", who: "role", want: c.want})
				if !w.works(t, token) {
					t.Fatalf("a session stopped working while STS was %s", name)
				}
			}
			c.end(w)
			w.attack(t, attack{name: "a login afterwards", want: granted(aliceARN)})
			w.attack(t, attack{name: "another's afterwards", who: "role", want: granted(adminARN)})
		})
	}
}

// TestClockMoves has the operator's clock, alone, be off by an hour: dates no
// longer fit until it is right again.
func TestClockMoves(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		by      time.Duration
		session bool // that was given out before still works
	}{
		"an hour ahead":  {time.Hour, false},
		"an hour behind": {-time.Hour, true},
		"10 min ahead":   {10 * time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			off := &clock{now: start}
			w := newWorld(t, func(s *setup) { s.now = off.Now })
			// The client's clock is w.clock, and right.
			login := func(want outcome) auth.Session {
				off.Add(2 * time.Second)
				return w.attack(t, attack{name: "a login", want: want})
			}
			token := login(granted(aliceARN)).Token
			off.Add(c.by)
			login(refused(iam.ReasonDate, 0))
			if got := w.works(t, token); got != c.session {
				t.Errorf("a session works = %v, want %v", got, c.session)
			}
			off.Add(-c.by)
			if again := login(granted(aliceARN)).Token; !w.works(t, again) || !w.works(t, token) {
				t.Error("sessions do not work after the clock is right again")
			}
		})
	}
}

// TestClockStepsBack has the operator's clock be set back: a proof that was used
// does not become fresh by that.
func TestClockStepsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var used []byte
	w.attack(t, attack{name: "used", body: func(b []byte) []byte { used = b; return b }, want: granted(aliceARN)})
	w.clock.Add(50 * time.Second)
	for range 24 {
		w.clock.Add(-4 * time.Second) // the runner adds two
		want := refused(iam.ReasonReplay, 0)
		if age := w.clock.Now().Sub(start); age < -3*time.Second {
			want = refused(iam.ReasonNonce, 0) // from the future, by now
		}
		w.attack(t, attack{name: "again", body: fixed(string(used)), want: want})
	}
}

// TestStoreIsAway has the state be gone: nobody gets in on a promise, and sessions
// that exist keep working.
func TestStoreIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.login(t, "alice").Token
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	w.attack(t, attack{name: "a login", want: away(iam.ReasonStore, 0)})
	if !w.works(t, token) {
		t.Error("a session stopped working without the store")
	}
	if w.use(t, "a token of a key that is not known", bearer("cx1.2.e30.AAAA")) {
		t.Error("a token of an unknown key was taken")
	}
}
