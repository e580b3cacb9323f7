package bolt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/ledger/ledgertest"
)

// filledItems is a closed ledger of several hundred items in all states, written in many
// commits, with what it must have.
func filledItems(t *testing.T) (file []byte, want map[string]ledger.Item) {
	t.Helper()
	dir := t.TempDir()
	items, err := OpenItems(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	want = map[string]ledger.Item{}
	for n := range 120 {
		item, _ := ledgertest.Sample([]string{"iris", "lily"}[n%2], n)
		item.Accepted = now.Add(time.Duration(n) * time.Millisecond)
		item.ID, item.Expires = ledger.NewID(item.Accepted), now.Add(time.Hour)
		item.Webhook = &ledger.Webhook{URL: "https://example.com", Secret: "hook"}
		key := ledger.Key{}
		if n%5 == 0 {
			key = ledger.Key{Text: fmt.Sprint("key", n), Fingerprint: "f", Until: now.Add(time.Hour)}
		}
		item, _, err := items.Create(t.Context(), item, key, bytes.Repeat([]byte("p"), 20+n%3*1500))
		if err != nil {
			t.Fatal(err)
		}
		step := func(e ledger.Event, result []byte) {
			e.At, e.Attempt, e.Keep = now.Add(time.Minute), item.Attempt, time.Hour
			if item, err = items.Apply(t.Context(), item.API, item.ID, e, result); err != nil {
				t.Fatal(err)
			}
		}
		if n%4 > 0 {
			step(ledger.Event{Type: ledger.Begin, Owner: "me"}, nil)
		}
		switch n % 4 {
		case 2:
			step(ledger.Event{Type: ledger.Succeed, Result: &ledger.Content{Size: 3}}, []byte("yes"))
		case 3:
			step(ledger.Event{Type: ledger.Fail, Reason: &ledger.Reason{Code: "upstream_500", Message: "no"}}, nil)
		}
		want[item.API+" "+item.ID] = item
	}
	if err := items.Close(); err != nil {
		t.Fatal(err)
	}
	file, err = os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	return file, want
}

// TestDamagedItems damages the file everywhere. Every item is what it was, or has failed
// and says so; only those fail whose bytes are gone; and the file is kept.
func TestDamagedItems(t *testing.T) {
	t.Parallel()
	good, want := filledItems(t)
	pages := len(good) / pageSize
	var opened, failed, worst int
	try := func(what string, bad []byte, most int) {
		t.Helper()
		path := filepath.Join(t.TempDir(), stateFile)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := verify(t.Context(), path); err == nil {
			return // TestDamageIsNoticedOrDoesNoHarm has what that means
		}
		n := salvagedItems(t, what, path, bad, want)
		opened++
		failed += n
		worst = max(worst, n)
		if n > most {
			t.Fatalf("%s: %d of %d items failed, want at most %d", what, n, len(want), most)
		}
	}
	const page = 40 // items whose records, or names, are in one leaf
	for range 80 {
		at := rand.IntN(len(good))
		bad := bytes.Clone(good)
		bad[at] ^= 1 << rand.IntN(8)
		try(fmt.Sprintf("byte %d of page %d flipped", at%pageSize, at/pageSize), bad, page)
	}
	for id := rand.IntN(4); id < pages; id += 4 {
		bad := bytes.Clone(good)
		clear(bad[id*pageSize : id*pageSize+512])
		try(fmt.Sprintf("the first sector of page %d zero", id), bad, page)
		bad = bytes.Clone(good)
		clear(bad[id*pageSize : (id+1)*pageSize])
		try(fmt.Sprintf("page %d zero", id), bad, page)
	}
	var newest metaPage // whose root, the list of buckets, is one page of all that lead to items
	for i := range 2 {
		if m, err := readMeta(bytes.NewReader(good), i); err == nil && m.commit > newest.commit {
			newest = m
		}
	}
	for _, n := range []int{512, pageSize} {
		bad := bytes.Clone(good)
		clear(bad[int(newest.root)*pageSize:][:n])
		try(fmt.Sprintf("the first %d bytes of the list of buckets zero", n), bad, page)
	}
	bad := bytes.Clone(good)
	clear(bad[:2*pageSize])
	try("both first pages zero", bad, page)
	t.Logf("%d pages; %d damaged files were taken over, of which %d items failed, at most %d of one", pages, opened, failed, worst)
	if opened < 50 || failed == 0 {
		t.Errorf("the test proves nothing")
	}
}

// salvagedItems opens a damaged ledger, holds it to what it must have, and returns how
// many items failed.
func salvagedItems(t *testing.T, what, path string, bad []byte, want map[string]ledger.Item) (failed int) {
	t.Helper()
	items, err := OpenItems(t.Context(), Config{Dir: filepath.Dir(path)})
	if err != nil {
		t.Fatalf("%s: OpenItems() = %v", what, err)
	}
	defer func() {
		if err := items.Close(); err != nil {
			t.Error(err)
		}
	}()
	aside, _ := filepath.Glob(path + ".damaged-*Z")
	if len(aside) != 1 {
		t.Fatalf("%s: %q are kept, want one file", what, aside)
	}
	if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, bad) {
		t.Errorf("%s: the damaged file was not kept as it was (%v)", what, err)
	}
	told, err := os.ReadFile(aside[0] + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]bool{}
	if err := items.Open(t.Context(), func(i ledger.Item) error { open[i.API+" "+i.ID] = true; return nil }); err != nil {
		t.Fatalf("%s: Open() = %v", what, err)
	}
	for name, was := range want {
		got, err := items.Get(t.Context(), was.API, was.ID)
		if err != nil {
			t.Fatalf("%s: Get(%s), which was %s, = %v\n%s", what, name, was.State, err, told)
		}
		if got.Reason != nil && got.Reason.Code == CodeRecordDamaged && got.State == ledger.Failed {
			failed++
			if !strings.Contains(string(told), name) {
				t.Fatalf("%s: %s failed, and is not told of:\n%s", what, name, told)
			}
		} else if !reflect.DeepEqual(got, was) {
			t.Fatalf("%s: %s is silently\n%+v, want\n%+v\n%s", what, name, got, was, told)
		}
		// Without its record nobody knows whom to tell.
		if _, err := items.Hook(t.Context(), got.API, ledger.HookID(got)); got.Webhook != nil && (err == nil) != got.State.Ended() {
			t.Fatalf("%s: %s is %s, and the message about it: %v\n%s", what, name, got.State, err, told)
		}
		if open[name] == got.State.Ended() {
			t.Fatalf("%s: %s is %s, and among the open ones: %v", what, name, got.State, open[name])
		}
		if _, err := items.Payload(t.Context(), was.API, was.ID); err != nil && fault.Code(err) != ledger.CodeUnknown {
			t.Fatalf("%s: Payload(%s) = %v", what, name, err)
		}
	}
	if rand.IntN(10) > 0 {
		return failed
	}
	item, payload := ledgertest.Sample("iris", 1)
	if _, _, err := items.Create(t.Context(), item, ledger.Key{}, payload); err != nil {
		t.Fatalf("%s: Create() = %v", what, err)
	}
	return failed
}

// TestTornItems cuts the end of the file off.
func TestTornItems(t *testing.T) {
	t.Parallel()
	good, want := filledItems(t)
	for end := 0; end < len(good); end += len(good)/12 + 1 {
		path := filepath.Join(t.TempDir(), stateFile)
		if err := os.WriteFile(path, good[:end], 0o600); err != nil {
			t.Fatal(err)
		}
		items, err := OpenItems(t.Context(), Config{Dir: filepath.Dir(path)})
		if err != nil {
			t.Fatalf("cut after %d bytes: OpenItems() = %v", end, err)
		}
		kept := 0
		for name, was := range want {
			got, err := items.Get(t.Context(), was.API, was.ID)
			switch {
			case err == nil && (reflect.DeepEqual(got, was) || got.Reason != nil && got.Reason.Code == CodeRecordDamaged):
				kept++
			case err == nil && got.Version > was.Version, err != nil && fault.Code(err) != ledger.CodeUnknown:
				t.Errorf("cut after %d bytes: %s is %+v, %v", end, name, got, err)
			}
		}
		t.Logf("cut after %d of %d bytes: %d of %d items", end, len(good), kept, len(want))
		if err := items.Close(); err != nil {
			t.Error(err)
		}
	}
}
