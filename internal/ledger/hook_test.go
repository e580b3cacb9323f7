package ledger

import (
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
)

// An item has a message about each of its ends that is told of, and about nothing else.
func TestHookOf(t *testing.T) {
	t.Parallel()
	to := &Webhook{URL: "https://example.com", Secret: "hook", States: []State{Failed, Succeeded}}
	ended := Item{API: "iris", ID: NewID(start), State: Succeeded, Generation: 2, Ended: start, Webhook: to, Request: Request{Host: "h"}, Result: &Content{Type: "application/json; charset=utf-8"}}
	with := func(change func(*Item)) Item { i := ended; change(&i); return i }
	large := `"` + strings.Repeat("x", MaxHookResult) + `"`
	for _, tt := range []struct {
		name   string
		was    State
		next   Item
		result string
		want   bool
		inline string
	}{
		{"an end", Running, ended, `{"a": 1}`, true, `{"a": 1}`},
		{"a result that is no JSON", Running, with(func(i *Item) { i.Result = &Content{Type: "text/plain"} }), `{}`, true, ""},
		{"a result that says it is JSON", Running, ended, `{`, true, ""},
		{"a result that is too large", Running, ended, large, true, ""},
		{"one that nobody is told of", Running, with(func(i *Item) { i.State = Cancelled }), "", false, ""},
		{"no end", Running, with(func(i *Item) { i.State = Retrying }), "", false, ""},
		{"no change of an end", Failed, ended, "", false, ""},
		{"nobody", Running, with(func(i *Item) { i.Webhook = nil }), "", false, ""},
	} {
		h := HookOf(Item{State: tt.was}, tt.next, []byte(tt.result))
		if (h != nil) != tt.want {
			t.Errorf("%s: HookOf() = %v, want one: %v", tt.name, h, tt.want)
			continue
		}
		if h != nil && (h.Result != tt.inline || h.ID != ended.ID+".2" || !LegalHookID(h.ID) || h.Item.Request.Host != "" || h.State != HookPending || !h.Due.Equal(start)) {
			t.Errorf("%s: HookOf() = %+v", tt.name, h)
		}
	}
}

// TestNextHook tries a message until it is given up, in three days.
func TestNextHook(t *testing.T) {
	t.Parallel()
	no := &Reason{Code: "webhook_refused", Message: "the receiver answered 500"}
	h := Hook{ID: NewID(start) + ".0", State: HookPending, Version: 1, Due: start}
	now, fresh := start, h
	var waited []string
	for h.State == HookPending {
		waited = append(waited, h.Due.Sub(now).String())
		now = h.Due
		was := h
		var err error
		if h, err = NextHook(h, Try{At: now, Version: h.Version, Status: 500, Reason: no}); err != nil {
			t.Fatal(err)
		}
		if _, err := NextHook(h, Try{At: now, Version: was.Version}); fault.Code(err) != CodeFenced {
			t.Fatalf("NextHook() of a try that was overtaken = %v, want %s", err, CodeFenced)
		}
	}
	if got, want := strings.Join(waited, " "), "0s 5s 5m0s 30m0s 2h0m0s 5h0m0s 10h0m0s 14h0m0s 20h0m0s 24h0m0s"; got != want {
		t.Errorf("it was tried after %s, want %s", got, want)
	}
	if h.State != HookGaveUp || h.Reason.Code != "webhook_gave_up" || h.Forget.Before(now) || h.Tries != 10 {
		t.Errorf("after the last try it is %+v", h)
	}
	again, err := NextHook(h, Try{At: now.Add(time.Hour), Again: true})
	if err != nil || again.State != HookPending || again.Tries != 0 || !again.Forget.IsZero() || !again.Due.Equal(now.Add(time.Hour)) {
		t.Errorf("asked for again it is %+v, %v", again, err)
	}
	gone, err := NextHook(fresh, Try{At: now, Version: 1, Status: 410, Never: true, Reason: &Reason{Code: "webhook_gone"}})
	if err != nil || gone.State != HookGaveUp || gone.Reason.Code != "webhook_gone" {
		t.Errorf("after 410 it is %+v, %v", gone, err)
	}
	good, err := NextHook(fresh, Try{At: now, Version: 1, Status: 200})
	if err != nil || good.State != HookDelivered || good.Reason != nil || good.Forget.IsZero() {
		t.Errorf("after 200 it is %+v, %v", good, err)
	}
}
