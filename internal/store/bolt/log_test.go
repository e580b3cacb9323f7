package bolt

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/ledger/ledgertest"
	"cortex.dev/cortex/internal/store/journal"
	"go.etcd.io/bbolt"
)

// smallLog is the size of a half that a few items fill.
const smallLog = 48 << 10

func openItems(t *testing.T, cfg Config) *Items {
	t.Helper()
	items, err := OpenItems(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = items.Close() }) // harmless when it was closed before
	return items
}

// submit writes items, some of which end, and returns what all of them are.
func submit(t *testing.T, items *Items, n int, was map[string]ledger.Item) map[string]ledger.Item {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	for range n {
		item, payload := ledgertest.Sample("iris", len(was))
		item.ID, item.Accepted, item.Expires = ledger.NewID(now), now.Add(time.Duration(len(was))*time.Millisecond), now.Add(time.Hour)
		item, _, err := items.Create(t.Context(), item, ledger.Key{}, append(payload, make([]byte, 500)...))
		if err != nil {
			t.Fatal(err)
		}
		if len(was)%3 > 0 {
			if item, err = items.Apply(t.Context(), "iris", item.ID, ledger.Event{Type: ledger.Begin, At: now, Owner: "me"}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if len(was)%3 > 1 {
			e := ledger.Event{Type: ledger.Succeed, At: now, Attempt: item.Attempt, Keep: time.Hour, Result: &ledger.Content{Size: 3}}
			if item, err = items.Apply(t.Context(), "iris", item.ID, e, []byte("yes")); err != nil {
				t.Fatal(err)
			}
		}
		was[item.ID] = item
	}
	return was
}

// settle waits until nothing is on its way into the file.
func (i *Items) settle(t *testing.T) {
	t.Helper()
	if ready := i.s.log.ready; ready != nil {
		err := <-ready
		ready <- err
		if err != nil {
			t.Fatal(err)
		}
	}
}

// died is a copy of the folder as a process leaves it that is killed now.
func (i *Items) died(t *testing.T) string {
	t.Helper()
	i.settle(t)
	return copyOf(t, i.s.cfg.Dir)
}

// holdTo compares everything that a ledger has with what it must have.
func holdTo(t *testing.T, what string, items *Items, want map[string]ledger.Item) {
	t.Helper()
	open := map[string]bool{}
	if err := items.Open(t.Context(), func(i ledger.Item) error { open[i.ID] = true; return nil }); err != nil {
		t.Fatalf("%s: Open() = %v", what, err)
	}
	list, err := items.List(t.Context(), ledger.Query{API: "iris"})
	if err != nil {
		t.Fatalf("%s: List() = %v", what, err)
	}
	if len(list) != min(len(want), ledger.MaxList) || !slices.IsSortedFunc(list, func(a, b ledger.Item) int { return strings.Compare(b.ID, a.ID) }) {
		t.Fatalf("%s: List() has %d items, or not in order, want %d", what, len(list), len(want))
	}
	for id, was := range want {
		got, err := items.Get(t.Context(), "iris", id)
		if err != nil || !reflect.DeepEqual(got, was) {
			t.Fatalf("%s: Get() = %+v, %v, want %+v", what, got, err, was)
		}
		if open[id] == was.State.Ended() {
			t.Fatalf("%s: an item is %s, and among the open ones: %v", what, was.State, open[id])
		}
		if _, err := items.Payload(t.Context(), "iris", id); (err == nil) != (was.Payload != nil) {
			t.Fatalf("%s: the payload of an item that is %s: %v", what, was.State, err)
		}
		if result, err := items.Result(t.Context(), "iris", id); (err == nil) != (was.State == ledger.Succeeded) || err == nil && string(result) != "yes" {
			t.Fatalf("%s: the result of an item that is %s: %q, %v", what, was.State, result, err)
		}
	}
}

// What was acknowledged is there whenever the process dies, and after a clean end all of it is
// in a file that versions know which know of no log.
func TestLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := map[string]ledger.Item{}
	turns := uint64(0)
	for life := range 4 {
		items := openItems(t, Config{Dir: dir, log: smallLog})
		holdTo(t, fmt.Sprint("life ", life), items, want)
		for range 6 {
			submit(t, items, 7+life, want)
			holdTo(t, "as it was written", items, want)
			again := openItems(t, Config{Dir: items.died(t), log: smallLog})
			holdTo(t, "after it died", again, want)
			submit(t, again, 1, map[string]ledger.Item{})
		}
		turns += items.s.log.turns.Load()
		if m, err := inspect(t, items.died(t)); err != nil || m.Format != formatLogged || m.Log == 0 {
			t.Errorf("with a log the summary is %+v, %v", m, err)
		}
		if err := items.Close(); err != nil {
			t.Fatal(err)
		}
		logs, _ := filepath.Glob(filepath.Join(dir, "log-*"))
		if m, err := inspect(t, dir); err != nil || m.Format != 1 || m.Log != 0 || len(logs) > 0 {
			t.Errorf("after a clean end the summary is %+v, %v, and there are %q", m, err, logs)
		}
	}
	if turns < 4 {
		t.Errorf("the log was full %d times; the test proves nothing", turns)
	}
}

func inspect(t *testing.T, dir string) (m summary, _ error) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, stateFile), 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	return m, db.View(func(tx *bbolt.Tx) (err error) {
		m, err = summaryOf(&reader{b: inFile{tx.Bucket(bucket)}})
		return err
	})
}

// A change that is larger than a log is written all the same.
func TestLargerThanTheLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	items := openItems(t, Config{Dir: dir, log: journal.MinSize})
	want := submit(t, items, 10, map[string]ledger.Item{})
	item, _ := ledgertest.Sample("iris", 1)
	item.ID = ledger.NewID(time.Now())
	large := bytes.Repeat([]byte("x"), ledger.MaxInline)
	if _, _, err := items.Create(t.Context(), item, ledger.Key{}, large); err != nil {
		t.Fatal(err)
	}
	submit(t, items, 10, want)
	again := openItems(t, Config{Dir: items.died(t), log: journal.MinSize})
	if got, err := again.Payload(t.Context(), "iris", item.ID); err != nil || !bytes.Equal(got, large) {
		t.Errorf("the payload has %d bytes, %v", len(got), err)
	}
	for id, was := range want {
		if got, err := again.Get(t.Context(), "iris", id); err != nil || !reflect.DeepEqual(got, was) {
			t.Errorf("Get() = %+v, %v, want %+v", got, err, was)
		}
	}
}

// An older version that went on after a clean end does not know of logs, and forgets that it
// ever had one. Files of one that are still there are of no account.
func TestALogThatTheFileDoesNotName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	items := openItems(t, Config{Dir: dir, log: smallLog})
	want := submit(t, items, 5, map[string]ledger.Item{})
	left := items.died(t)
	if err := items.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"log-0", "log-1"} {
		data, err := os.ReadFile(filepath.Join(left, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	items = openItems(t, Config{Dir: dir, log: smallLog})
	holdTo(t, "beside a log that is not named", items, want)
	if logs, _ := filepath.Glob(filepath.Join(dir, "log-*")); len(logs) > 0 {
		t.Errorf("%q are still there", logs)
	}
}

// TestDamagedLog damages the log everywhere. Every item is what it was, or has failed and says
// so; and the log is kept.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	items := openItems(t, Config{Dir: t.TempDir(), log: smallLog})
	want := submit(t, items, 60, map[string]ledger.Item{})
	if items.s.log.turns.Load() == 0 {
		t.Fatal("the log was never full; the test proves nothing")
	}
	died := items.died(t)
	if _, err := inspect(t, died); err != nil {
		t.Fatal(err)
	}
	var told, failed, worst int
	try := func(what, half string, damage func([]byte) []byte) {
		t.Helper()
		dir := copyOf(t, died)
		path := filepath.Join(dir, half)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := damage(data)
		if bad == nil {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, bad, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verify(t.Context(), filepath.Join(dir, stateFile)); err == nil {
			again := openItems(t, Config{Dir: dir, log: smallLog})
			holdTo(t, what, again, want)
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
			return
		}
		told++
		n := damagedLog(t, what, dir, half, bad, want)
		failed, worst = failed+n, max(worst, n)
	}
	for _, half := range []string{"log-0", "log-1"} {
		for range 60 {
			at := 4096 + rand.IntN(smallLog-4096)
			try(fmt.Sprintf("byte %d of %s flipped", at, half), half, func(b []byte) []byte { b[at] ^= 1 << rand.IntN(8); return b })
		}
		for range 20 {
			at := rand.IntN(smallLog/512) * 512
			try(fmt.Sprintf("the sector at %d of %s zero", at, half), half, func(b []byte) []byte { clear(b[at : at+512]); return b })
		}
	}
	// The summary of the last batch, which has the most records, was once taken for a record
	// that had gone.
	var last struct {
		half        string
		at, records int
	}
	for _, half := range []string{"log-0", "log-1"} {
		data, err := os.ReadFile(filepath.Join(died, half))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"records":(\d+)`).FindAllSubmatchIndex(data, -1) {
			if n, _ := strconv.Atoi(string(data[m[2]:m[3]])); n >= last.records {
				last.half, last.at, last.records = half, m[2], n
			}
		}
	}
	try("the last summary", last.half, func(b []byte) []byte { b[last.at] ^= 1; return b })
	if worst > 1 {
		t.Errorf("%d items failed of one flip or sector", worst)
	}
	try("log-0 gone", "log-0", func([]byte) []byte { return nil })
	try("log-1 cut", "log-1", func(b []byte) []byte { return b[:len(b)/2] })
	t.Logf("%d damaged logs were taken over, of which %d items failed", told, failed)
	if told < 20 || failed == 0 {
		t.Errorf("%d damaged logs were told of, and %d items failed; the test proves nothing", told, failed)
	}
}

// damagedLog opens a ledger whose log is damaged, holds it to what it must have, and returns
// how many items failed.
func damagedLog(t *testing.T, what, dir, half string, bad []byte, want map[string]ledger.Item) (failed int) {
	t.Helper()
	items := openItems(t, Config{Dir: dir, log: smallLog})
	defer func() {
		if err := items.Close(); err != nil {
			t.Error(err)
		}
	}()
	aside, _ := filepath.Glob(filepath.Join(dir, "*.damaged-*Z."+half))
	if bad != nil {
		if len(aside) != 1 {
			t.Fatalf("%s: %q are kept, want one file", what, aside)
		}
		if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, bad) {
			t.Errorf("%s: the damaged log was not kept as it was (%v)", what, err)
		}
	}
	texts, _ := filepath.Glob(filepath.Join(dir, "*.txt"))
	if len(texts) != 1 {
		t.Fatalf("%s: %q say what was wrong, want one file", what, texts)
	}
	data, err := os.ReadFile(texts[0])
	if err != nil {
		t.Fatal(err)
	}
	said := string(data)
	blind := strings.Contains(said, "cannot be told")
	for id, was := range want {
		got, err := items.Get(t.Context(), "iris", id)
		switch {
		case err == nil && reflect.DeepEqual(got, was):
		case err == nil && got.State == ledger.Failed && got.Reason != nil && got.Reason.Code == CodeRecordDamaged:
			failed++
			if !strings.Contains(said, id) {
				t.Fatalf("%s: %s failed, and is not told of:\n%s", what, id, said)
			}
		case blind:
		default:
			t.Fatalf("%s: %s is silently\n%+v, %v, want\n%+v\n%s", what, id, got, err, was, said)
		}
	}
	submit(t, items, 1, map[string]ledger.Item{})
	return failed
}

// Who reads while others write, and while layers go into the file, sees everything that was
// acknowledged, once, and in order.
func TestReadingWhileTheLogTurns(t *testing.T) {
	t.Parallel()
	items := openItems(t, Config{Dir: t.TempDir(), log: 2 * journal.MinSize})
	var mu sync.Mutex
	known := []string{}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writers, readers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for n := range 150 {
				item, payload := ledgertest.Sample("iris", 1000*w+n)
				item.ID = ledger.NewID(time.Now())
				if _, _, err := items.Create(t.Context(), item, ledger.Key{}, payload); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				known = append(known, item.ID)
				mu.Unlock()
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				must := slices.Clone(known)
				mu.Unlock()
				seen := map[string]bool{}
				last := ""
				if err := items.Open(t.Context(), func(i ledger.Item) error {
					if i.ID <= last {
						t.Errorf("%s comes after %s", i.ID, last)
					}
					seen[i.ID], last = true, i.ID
					return nil
				}); err != nil {
					t.Error(err)
				}
				for _, id := range must {
					if !seen[id] {
						t.Errorf("%s was accepted, and is not among the open ones", id)
						return
					}
				}
			}
		})
	}
	writers.Wait()
	stop()
	readers.Wait()
	if items.s.log.turns.Load() < 5 {
		t.Errorf("the log was full %d times; the test proves nothing", items.s.log.turns.Load())
	}
}

// TestItemsOnADiskThatFillsUp lets the log, and what brings it into the file, run into the end
// of a real file system.
func TestItemsOnADiskThatFillsUp(t *testing.T) {
	t.Parallel()
	dir, fill := smallDisk(t)
	items := openItems(t, Config{Dir: dir, log: 128 << 10, free: func(string) (uint64, error) { return math.MaxInt64, nil }})
	want := submit(t, items, 5, map[string]ledger.Item{})
	empty := fill()
	refused := false
	for n := range 5000 {
		item, payload := ledgertest.Sample("iris", n)
		item.ID = ledger.NewID(time.Now())
		kept, _, err := items.Create(t.Context(), item, ledger.Key{}, append(payload, make([]byte, 2000)...))
		if err != nil {
			wantCode(t, "Create() on a full disk", err, fault.Unavailable, "store.disk_full", dir)
			refused = true
			break
		}
		want[item.ID] = kept
	}
	if !refused {
		t.Fatal("5000 items went on a full disk")
	}
	holdTo(t, "on a full disk", items, want)
	again := openItems(t, Config{Dir: copyOf(t, dir), log: 128 << 10})
	holdTo(t, "after it died on a full disk", again, want)
	empty()
	submit(t, items, 5, want)
	if err := items.Close(); err != nil {
		t.Fatal(err)
	}
	holdTo(t, "with room again", openItems(t, Config{Dir: dir}), want)
}

// Layers over a file are what a map is.
func TestLayers(t *testing.T) {
	t.Parallel()
	db, err := openFile(filepath.Join(t.TempDir(), "x"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	key := func() []byte { return []byte(fmt.Sprintf("%03d", random.IntN(400))) }
	for range 30 {
		model := map[string]string{}
		layers := []*layer{newLayer(), newLayer()}
		if err := db.Update(func(tx *bbolt.Tx) error {
			_ = tx.DeleteBucket(bucket) // the first time there is none
			b, err := tx.CreateBucket(bucket)
			if err != nil {
				return err
			}
			many := random.IntN(300)
			for range many {
				k := key()
				model[string(k)] = "file"
				if err := b.Put(k, []byte("file")); err != nil {
					return err
				}
			}
			for i, name := range []string{"frozen", "active"} {
				for range random.IntN(300) {
					k := key()
					l := layered{b, layers[1-i:], layers[1-i]}
					if random.IntN(3) == 0 {
						delete(model, string(k))
						err = l.Delete(k)
					} else {
						model[string(k)] = name
						err = l.Put(k, []byte(name))
					}
					if err != nil {
						return err
					}
				}
			}
			compare(t, layered{file: b, over: layers}, model, random)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func compare(t *testing.T, l layered, model map[string]string, random *rand.Rand) {
	t.Helper()
	var keys []string
	for k, v := range model {
		keys = append(keys, k)
		if got := l.Get([]byte(k)); string(got) != v {
			t.Fatalf("Get(%s) = %q, want %q", k, got, v)
		}
	}
	slices.Sort(keys)
	from := fmt.Sprintf("%03d", random.IntN(410))
	at, _ := slices.BinarySearch(keys, from)
	up, down := keys[at:], slices.Clone(keys[:at])
	slices.Reverse(down)
	for _, way := range []struct {
		what string
		walk func([]byte, func(k, v []byte) bool)
		want []string
	}{{"ascend", l.ascend, up}, {"descend", l.descend, down}} {
		most := random.IntN(len(way.want) + 2)
		var got []string
		way.walk([]byte(from), func(k, v []byte) bool {
			if model[string(k)] != string(v) {
				t.Fatalf("%s: %s is %q, want %q", way.what, k, v, model[string(k)])
			}
			got = append(got, string(k))
			return len(got) < most
		})
		if want := way.want[:min(max(most, 1), len(way.want))]; !slices.Equal(got, want) {
			t.Fatalf("%s from %s: %v, want %v", way.what, from, got, want)
		}
	}
}

// FuzzBatch reads batches, and what is left of them, that may be anything.
func FuzzBatch(f *testing.F) {
	l := newLayer()
	sealed, _ := seal([]byte("i/iris\x001"), []byte("{}"))
	l.set(change{[]byte("i/iris\x001"), sealed})
	l.set(change{key: []byte("o/iris\x002")})
	whole, err := encodeBatch(7, 3, l, summary{Format: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, uint64(7), uint64(3))
	f.Add(whole[:len(whole)/2], uint64(7), uint64(3))
	f.Fuzz(func(t *testing.T, data []byte, id, number uint64) {
		left := map[uint64]remains{}
		remainsIn(data, id, left)
		b, err := decodeBatch(data, id, number)
		if err != nil {
			return
		}
		if r, ok := left[number]; !ok || len(r.whole)+len(r.hurt) != len(b.changes) {
			t.Errorf("what is left of a whole batch of %d changes is %d and %d", len(b.changes), len(r.whole), len(r.hurt))
		}
	})
}
