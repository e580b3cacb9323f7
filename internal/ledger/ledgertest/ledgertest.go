// Package ledgertest is the suite that every implementation of ledger.Ledger passes.
//
// It promises that a Ledger which passes can stand in for any other: it asserts what the
// port says and nothing else. It must not know any implementation.
package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
)

// Open opens one ledger, which is empty the first time; what it returns closes it. Calling
// it again after that opens the same ledger.
type Open func(t *testing.T) (l ledger.Ledger, closing func())

// Run runs the suite. New makes a ledger of its own for every test.
func Run(t *testing.T, newLedger func(t *testing.T) Open) {
	t.Helper()
	for _, tt := range []struct {
		name string
		test func(*testing.T, Open)
	}{
		{"WhatIsAcceptedIsKept", testAccepted},
		{"AKeyMakesTwoOne", testKeys},
		{"KeysEnd", testKeysEnd},
		{"ItemsChangeByTheTable", testTable},
		{"OneOfManyBegins", testMany},
		{"EndsDropAndKeepContents", testContents},
		{"ListsAreNewestFirst", testList},
		{"OpenItemsAreFoundAgain", testOpen},
		{"WhatIsOverIsForgotten", testForget},
		{"EndedItemsArePurged", testPurge},
		{"EndsHaveTheirMessages", testHooks},
		{"UnknownItems", testUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, newLedger(t))
		})
	}
}

// Noon is a time that every implementation keeps exactly.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// Sample returns a queued item that was accepted some seconds after noon, and its payload.
func Sample(api string, seconds int) (ledger.Item, []byte) {
	at := noon.Add(time.Duration(seconds) * time.Second)
	payload := fmt.Appendf(nil, `{"n": %d}`, seconds)
	return ledger.Item{
		API: api, ID: ledger.NewID(at), State: ledger.Queued, Version: 1, Accepted: at, Updated: at, Expires: at.Add(time.Hour), Timeout: time.Minute,
		Request: ledger.Request{Host: "localhost", Fields: [][2]string{{"Accept", "text/plain"}, {"X-Mine", "\u00e4"}}},
		Payload: &ledger.Content{Type: "application/json", Size: int64(len(payload)), Digest: "d"},
	}, payload
}

func create(t *testing.T, l ledger.Ledger, api string, seconds int) ledger.Item {
	t.Helper()
	item, payload := Sample(api, seconds)
	kept, replayed, err := l.Create(t.Context(), item, ledger.Key{}, payload)
	if err != nil || replayed {
		t.Fatalf("Create() = %v, replayed %v", err, replayed)
	}
	return kept
}

func apply(t *testing.T, l ledger.Ledger, item ledger.Item, e ledger.Event, result []byte) ledger.Item {
	t.Helper()
	next, err := l.Apply(t.Context(), item.API, item.ID, e, result)
	if err != nil {
		t.Fatalf("Apply(%s) = %v", e.Type, err)
	}
	return next
}

// same compares by what is kept: Times may have lost their monotonic clock.
func same(t *testing.T, got, want ledger.Item) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the item is\n%+v, want\n%+v", got, want)
	}
}

func testAccepted(t *testing.T, open Open) {
	l, closing := open(t)
	want := create(t, l, "iris", 1)
	closing()
	l, closing = open(t)
	defer closing()
	got, err := l.Get(t.Context(), "iris", want.ID)
	if err != nil {
		t.Fatalf("Get() = %v", err)
	}
	same(t, got, want)
	if p, err := l.Payload(t.Context(), "iris", want.ID); err != nil || string(p) != `{"n": 1}` {
		t.Errorf("Payload() = %q, %v", p, err)
	}
}

func testKeys(t *testing.T, open Open) {
	l, closing := open(t)
	key := ledger.Key{Text: "order 7/\u00e4", Fingerprint: "one", Until: noon.Add(24 * time.Hour)}
	first, payload := Sample("iris", 1)
	if _, _, err := l.Create(t.Context(), first, key, payload); err != nil {
		t.Fatal(err)
	}
	closing()
	l, closing = open(t)
	defer closing()
	again, payload := Sample("iris", 60)
	if kept, replayed, err := l.Create(t.Context(), again, key, payload); err != nil || !replayed || kept.ID != first.ID {
		t.Errorf("Create() once more = %s, replayed %v, %v; want %s", kept.ID, replayed, err, first.ID)
	}
	if _, err := l.Get(t.Context(), "iris", again.ID); fault.Code(err) != ledger.CodeUnknown {
		t.Errorf("Get() of what was replayed = %v, want %s", err, ledger.CodeUnknown)
	}
	other := key
	other.Fingerprint = "two"
	if _, _, err := l.Create(t.Context(), again, other, payload); fault.Code(err) != ledger.CodeMismatch || !fault.Is(err, fault.Invalid) {
		t.Errorf("Create() of something else = %v, want %s", err, ledger.CodeMismatch)
	}
	elsewhere, payload := Sample("lily", 60)
	if _, replayed, err := l.Create(t.Context(), elsewhere, other, payload); err != nil || replayed {
		t.Errorf("Create() at another API = replayed %v, %v; want a new item", replayed, err)
	}
}

func testKeysEnd(t *testing.T, open Open) {
	l, closing := open(t)
	defer closing()
	key := ledger.Key{Text: "k", Fingerprint: "one", Until: noon.Add(time.Minute)}
	first, payload := Sample("iris", 1)
	if _, _, err := l.Create(t.Context(), first, key, payload); err != nil {
		t.Fatal(err)
	}
	later, payload := Sample("iris", 120)
	next := ledger.Key{Text: "k", Fingerprint: "two", Until: noon.Add(time.Hour)}
	if kept, replayed, err := l.Create(t.Context(), later, next, payload); err != nil || replayed || kept.ID != later.ID {
		t.Fatalf("Create() after the key is over = replayed %v, %v; want a new item", replayed, err)
	}
	if _, err := l.Forget(t.Context(), noon.Add(10*time.Minute), 100); err != nil {
		t.Fatal(err)
	}
	third, payload := Sample("iris", 180)
	if kept, replayed, err := l.Create(t.Context(), third, next, payload); err != nil || !replayed || kept.ID != later.ID {
		t.Errorf("Create() = %s, replayed %v, %v: the key of later was forgotten with the first one's", kept.ID, replayed, err)
	}
}

func testTable(t *testing.T, open Open) {
	l, closing := open(t)
	item := create(t, l, "iris", 1)
	began := apply(t, l, item, ledger.Event{Type: ledger.Begin, At: noon.Add(time.Minute), Owner: "me", Replica: "r", Revision: "v"}, nil)
	if began.State != ledger.Running || began.Attempt != 1 || began.Owner != "me" {
		t.Errorf("after it began it is %+v", began)
	}
	for e, code := range map[ledger.EventType]string{ledger.Begin: ledger.CodeRefused, ledger.Succeed: ledger.CodeFenced} {
		if _, err := l.Apply(t.Context(), "iris", item.ID, ledger.Event{Type: e, Attempt: 7, At: noon.Add(2 * time.Minute)}, nil); fault.Code(err) != code {
			t.Errorf("Apply(%s) = %v, want %s", e, err, code)
		}
	}
	closing()
	l, closing = open(t)
	defer closing()
	got, err := l.Get(t.Context(), "iris", item.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, began)
}

func testMany(t *testing.T, open Open) {
	l, closing := open(t)
	defer closing()
	item := create(t, l, "iris", 1)
	var won atomic.Int64
	var all sync.WaitGroup
	for n := range 32 {
		all.Go(func() {
			_, err := l.Apply(t.Context(), "iris", item.ID, ledger.Event{Type: ledger.Begin, At: noon.Add(time.Minute), Owner: fmt.Sprint(n)}, nil)
			switch fault.Code(err) {
			case "":
				won.Add(1)
			case ledger.CodeRefused:
			default:
				t.Errorf("Apply() = %v", err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 32 began the item, want 1", won.Load())
	}
}

// end has an item run once and end.
func end(t *testing.T, l ledger.Ledger, item ledger.Item, e ledger.Event, result []byte) ledger.Item {
	t.Helper()
	at := item.Accepted.Add(time.Minute)
	item = apply(t, l, item, ledger.Event{Type: ledger.Begin, At: at, Owner: "me"}, nil)
	e.At, e.Attempt, e.Keep = at.Add(time.Minute), item.Attempt, time.Hour
	return apply(t, l, item, e, result)
}

func testContents(t *testing.T, open Open) {
	l, closing := open(t)
	good, bad := create(t, l, "iris", 1), create(t, l, "iris", 2)
	good = end(t, l, good, ledger.Event{Type: ledger.Succeed, Result: &ledger.Content{Type: "text/plain", Size: 3}}, []byte("yes"))
	end(t, l, bad, ledger.Event{Type: ledger.Fail, Reason: &ledger.Reason{Code: "upstream_500", Message: "no"}}, nil)
	closing()
	l, closing = open(t)
	defer closing()
	if r, err := l.Result(t.Context(), "iris", good.ID); err != nil || string(r) != "yes" {
		t.Errorf("Result() = %q, %v", r, err)
	}
	if p, err := l.Payload(t.Context(), "iris", good.ID); fault.Code(err) != ledger.CodeUnknown {
		t.Errorf("Payload() of what succeeded = %q, %v; want none", p, err)
	}
	if p, err := l.Payload(t.Context(), "iris", bad.ID); err != nil || string(p) != `{"n": 2}` {
		t.Errorf("Payload() of what failed = %q, %v; it may be tried again", p, err)
	}
	if _, err := l.Result(t.Context(), "iris", bad.ID); fault.Code(err) != ledger.CodeUnknown {
		t.Errorf("Result() of what failed = %v, want none", err)
	}
}

func ids(list []ledger.Item) (all []string) {
	for _, i := range list {
		all = append(all, i.ID)
	}
	return all
}

func testList(t *testing.T, open Open) {
	l, closing := open(t)
	defer closing()
	var all []ledger.Item
	for n := range 5 {
		all = append(all, create(t, l, "iris", n))
	}
	create(t, l, "iris-2", 9)
	create(t, l, "iri", 9)
	all[1] = end(t, l, all[1], ledger.Event{Type: ledger.Fail}, nil)
	labelled, payload := Sample("iris", -1)
	labelled.Labels = map[string]string{"team": "a", "run": "7"}
	if _, _, err := l.Create(t.Context(), labelled, ledger.Key{}, payload); err != nil {
		t.Fatal(err)
	}
	all = append(all, labelled)
	for _, tt := range []struct {
		name string
		q    ledger.Query
		want []int
	}{
		{"all", ledger.Query{API: "iris"}, []int{4, 3, 2, 1, 0, 5}},
		{"the first two", ledger.Query{API: "iris", Limit: 2}, []int{4, 3}},
		{"the next two", ledger.Query{API: "iris", Limit: 2, Before: all[3].ID}, []int{2, 1}},
		{"of a state", ledger.Query{API: "iris", States: []ledger.State{ledger.Failed, ledger.Expired}}, []int{1}},
		{"since", ledger.Query{API: "iris", Since: noon.Add(3 * time.Second)}, []int{4, 3}},
		{"of nobody", ledger.Query{API: "lily"}, nil},
		{"of a label", ledger.Query{API: "iris", Labels: map[string]string{"team": "a"}}, []int{5}},
		{"of a label with another text", ledger.Query{API: "iris", Labels: map[string]string{"team": "b"}}, nil},
	} {
		var want []string
		for _, n := range tt.want {
			want = append(want, all[n].ID)
		}
		got, err := l.List(t.Context(), tt.q)
		if err != nil || !reflect.DeepEqual(ids(got), want) {
			t.Errorf("%s: List() = %v, %v, want %v", tt.name, ids(got), err, want)
		}
	}
}

func testOpen(t *testing.T, open Open) {
	l, closing := open(t)
	const many = 1203
	var all sync.WaitGroup
	for n := range many {
		all.Go(func() {
			item := create(t, l, []string{"iris", "lily"}[n%2], n)
			if n%10 == 0 {
				end(t, l, item, ledger.Event{Type: ledger.Fail}, nil)
			}
		})
	}
	all.Wait()
	closing()
	l, closing = open(t)
	defer closing()
	count, last := map[ledger.State]int{}, ""
	if err := l.Open(t.Context(), func(i ledger.Item) error {
		if at := i.API + " " + i.ID; at <= last {
			t.Errorf("%s comes after %s", at, last)
		} else {
			last = at
		}
		count[i.State]++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := many - 121; count[ledger.Queued] != want || len(count) != 1 {
		t.Errorf("Open() has %v, want %d queued", count, want)
	}
	stop := errors.New("enough")
	if err := l.Open(t.Context(), func(ledger.Item) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Open() = %v, want the error of fn", err)
	}
}

func testForget(t *testing.T, open Open) {
	l, closing := open(t)
	defer closing()
	key := ledger.Key{Text: "k", Fingerprint: "one", Until: noon.Add(time.Hour)}
	old, payload := Sample("iris", 1)
	if _, _, err := l.Create(t.Context(), old, key, payload); err != nil {
		t.Fatal(err)
	}
	old = end(t, l, old, ledger.Event{Type: ledger.Succeed, Result: &ledger.Content{Size: 1}}, []byte("x"))
	young := create(t, l, "iris", 3600)
	young = end(t, l, young, ledger.Event{Type: ledger.Fail}, nil)
	working := create(t, l, "iris", 2)

	if gone, err := l.Forget(t.Context(), old.Forget.Add(-time.Second), 10); err != nil || len(gone) != 0 {
		t.Errorf("Forget() too early = %v, %v", ids(gone), err)
	}
	gone, err := l.Forget(t.Context(), old.Forget.Add(time.Second), 10)
	if err != nil || !reflect.DeepEqual(ids(gone), []string{old.ID}) {
		t.Errorf("Forget() = %v, %v, want %s", ids(gone), err, old.ID)
	}
	for id, code := range map[string]string{old.ID: ledger.CodeGone, young.ID: "", working.ID: "", ledger.NewID(noon): ledger.CodeUnknown} {
		if _, err := l.Get(t.Context(), "iris", id); fault.Code(err) != code {
			t.Errorf("Get(%s) = %v, want %q", id, err, code)
		}
	}
	if _, err := l.Result(t.Context(), "iris", old.ID); fault.Code(err) != ledger.CodeUnknown {
		t.Errorf("Result() of what was forgotten = %v", err)
	}
	if _, err := l.Apply(t.Context(), "iris", old.ID, ledger.Event{Type: ledger.Cancel, At: noon}, nil); fault.Code(err) != ledger.CodeGone {
		t.Errorf("Apply() to what was forgotten = %v, want %s", err, ledger.CodeGone)
	}
	// What is tried again is not forgotten at the time of its earlier end.
	apply(t, l, young, ledger.Event{Type: ledger.Again, At: young.Ended.Add(time.Minute)}, nil)
	if gone, err := l.Forget(t.Context(), noon.Add(1000*time.Hour), 10); err != nil || len(gone) != 0 {
		t.Errorf("Forget() = %v, %v, want nothing: both are open", ids(gone), err)
	}
	if _, err := l.Get(t.Context(), "iris", old.ID); fault.Code(err) != ledger.CodeUnknown {
		t.Errorf("Get() of what was forgotten weeks ago = %v, want %s", err, ledger.CodeUnknown)
	}
}

func testPurge(t *testing.T, open Open) {
	l, closing := open(t)
	defer closing()
	var ended []ledger.Item
	for n := range 3 {
		ended = append(ended, end(t, l, create(t, l, "iris", n), ledger.Event{Type: ledger.Fail}, nil))
	}
	other := end(t, l, create(t, l, "lily", 0), ledger.Event{Type: ledger.Fail}, nil)
	working := create(t, l, "iris", 0)
	if gone, err := l.Purge(t.Context(), "iris", ended[2].Ended, 1); err != nil || !reflect.DeepEqual(ids(gone), ids(ended[:1])) {
		t.Errorf("Purge() of one = %v, %v, want the oldest", ids(gone), err)
	}
	if gone, err := l.Purge(t.Context(), "iris", ended[2].Ended, 10); err != nil || !reflect.DeepEqual(ids(gone), ids(ended[1:2])) {
		t.Errorf("Purge() = %v, %v, want the other that ended before", ids(gone), err)
	}
	for id, code := range map[string]string{ended[0].ID: ledger.CodeGone, ended[1].ID: ledger.CodeGone, ended[2].ID: "", working.ID: ""} {
		if _, err := l.Get(t.Context(), "iris", id); fault.Code(err) != code {
			t.Errorf("Get() = %v, want %q", err, code)
		}
	}
	if _, err := l.Get(t.Context(), "lily", other.ID); err != nil {
		t.Errorf("Get() of another API's = %v", err)
	}
	if gone, err := l.Forget(t.Context(), ended[2].Forget, 10); err != nil || len(gone) != 2 {
		t.Errorf("Forget() = %v, %v, want the two that are left", ids(gone), err)
	}
}

func testUnknown(t *testing.T, open Open) {
	l, closing := open(t)
	defer closing()
	item := create(t, l, "iris", 1)
	for _, of := range [][2]string{{"iris", ledger.NewID(noon)}, {"lily", item.ID}, {"iris", "x"}, {"iris", ""}, {"", item.ID}, {"iris\x00", item.ID}, {"iris", item.ID + "\x00"}} {
		if _, err := l.Get(t.Context(), of[0], of[1]); fault.Code(err) != ledger.CodeUnknown || !fault.Is(err, fault.NotFound) {
			t.Errorf("Get(%q, %q) = %v, want %s", of[0], of[1], err, ledger.CodeUnknown)
		}
		if _, err := l.Apply(context.WithoutCancel(t.Context()), of[0], of[1], ledger.Event{Type: ledger.Begin, At: noon}, nil); fault.Code(err) != ledger.CodeUnknown {
			t.Errorf("Apply(%q, %q) = %v, want %s", of[0], of[1], err, ledger.CodeUnknown)
		}
	}
}

func testHooks(t *testing.T, open Open) {
	l, closing := open(t)
	var all []ledger.Item
	for n := range 3 {
		item, payload := Sample("iris", n)
		item.Webhook = &ledger.Webhook{URL: "https://example.com", Secret: "hook", States: []ledger.State{ledger.Failed}}
		if _, _, err := l.Create(t.Context(), item, ledger.Key{}, payload); err != nil {
			t.Fatal(err)
		}
		all = append(all, end(t, l, item, ledger.Event{Type: []ledger.EventType{ledger.Fail, ledger.Succeed, ledger.Fail}[n], Result: &ledger.Content{}}, []byte("x")))
	}
	closing()
	l, closing = open(t)
	defer closing()
	names := func(states ...ledger.HookState) (ids []string) {
		list, err := l.Hooks(t.Context(), ledger.HookQuery{API: "iris", States: states})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range list {
			ids = append(ids, h.ID)
		}
		return ids
	}
	first, last := ledger.HookID(all[0]), ledger.HookID(all[2])
	if got := names(); !reflect.DeepEqual(got, []string{last, first}) {
		t.Errorf("Hooks() = %v, want those of what failed: %v", got, []string{last, first})
	}
	var open2 []string
	pending := func() []string {
		open2 = nil
		if err := l.OpenHooks(t.Context(), func(h ledger.Hook) error { open2 = append(open2, h.ID); return nil }); err != nil {
			t.Fatal(err)
		}
		return open2
	}
	if got := pending(); !reflect.DeepEqual(got, []string{first, last}) {
		t.Errorf("OpenHooks() = %v", got)
	}
	at := noon.Add(time.Hour)
	h, err := l.ApplyHook(t.Context(), "iris", first, ledger.Try{At: at, Version: 1})
	if err != nil || h.State != ledger.HookDelivered {
		t.Fatalf("ApplyHook() = %+v, %v", h, err)
	}
	if _, err := l.ApplyHook(t.Context(), "iris", first, ledger.Try{At: at, Version: 1}); fault.Code(err) != ledger.CodeFenced {
		t.Errorf("ApplyHook() once more = %v, want %s", err, ledger.CodeFenced)
	}
	if got := pending(); !reflect.DeepEqual(got, []string{last}) {
		t.Errorf("OpenHooks() = %v after one was delivered", got)
	}
	if got := names(ledger.HookDelivered); !reflect.DeepEqual(got, []string{first}) {
		t.Errorf("Hooks(delivered) = %v", got)
	}
	if h, err = l.ApplyHook(t.Context(), "iris", first, ledger.Try{At: at.Add(time.Minute), Again: true}); err != nil || len(pending()) != 2 {
		t.Errorf("ApplyHook(again) = %+v, %v; %v are pending", h, err, open2)
	}
	if h, err = l.ApplyHook(t.Context(), "iris", first, ledger.Try{At: at.Add(time.Minute), Version: h.Version}); err != nil {
		t.Fatal(err)
	}
	// What was tried again has a message about each end. Items are forgotten before messages.
	again := apply(t, l, all[2], ledger.Event{Type: ledger.Again, At: at, Expires: at.Add(time.Hour)}, nil)
	again.Accepted = at
	end(t, l, again, ledger.Event{Type: ledger.Fail}, nil)
	if _, err := l.Forget(t.Context(), h.Forget.Add(time.Second), 100); err != nil {
		t.Fatal(err)
	}
	if got := names(); !reflect.DeepEqual(got, []string{all[2].ID + ".1", last}) {
		t.Errorf("Hooks() = %v, want both ends of the last one", got)
	}
	for _, id := range []string{first, "x", all[0].ID, all[0].ID + ".x", ledger.NewID(noon) + ".0"} {
		if _, err := l.Hook(t.Context(), "iris", id); fault.Code(err) != ledger.CodeHookUnknown || !fault.Is(err, fault.NotFound) {
			t.Errorf("Hook(%q) = %v, want %s", id, err, ledger.CodeHookUnknown)
		}
	}
}
