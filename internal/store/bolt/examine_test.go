package bolt

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/ledger/ledgertest"
)

// folderOf is what the files of a folder hold.
func folderOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}

// TestExamine flips bits of a ledger. What Open would refuse is found, and what is found is
// refused; a record whose bytes are hit is named; and nothing is changed.
func TestExamine(t *testing.T) {
	t.Parallel()
	good, want := filledItems(t)
	dir := t.TempDir()
	path := filepath.Join(dir, stateFile)
	examineIt := func(what string, bad []byte) Examined {
		t.Helper()
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		_, refused := verify(t.Context(), path)
		before := folderOf(t, dir)
		e, _, err := ExamineItems(t.Context(), dir)
		if err != nil {
			t.Fatalf("%s: ExamineItems() = %v", what, err)
		}
		if (refused != nil) != (len(e.Problems) > 0) {
			t.Fatalf("%s: Open says %v, ExamineItems() %v", what, refused, e.Problems)
		}
		if !maps.Equal(before, folderOf(t, dir)) {
			t.Fatalf("%s: the folder was changed", what)
		}
		return e
	}
	if e := examineIt("whole", good); e.Records < 3*len(want) {
		t.Errorf("%d records were read of %d items", e.Records, len(want))
	}
	found := 0
	for range 30 {
		at := rand.IntN(len(good))
		bad := bytes.Clone(good)
		bad[at] ^= 1 << rand.IntN(8)
		found += len(examineIt(fmt.Sprintf("byte %d of page %d flipped", at%pageSize, at/pageSize), bad).Problems)
	}
	if found < 4 {
		t.Errorf("only %d problems were found: the test proves nothing", found)
	}
	named := func(e Examined, item ledger.Item) bool {
		return slices.ContainsFunc(e.Problems, func(p Problem) bool {
			return p.Subject == Subject{"item", item.API, item.ID} && p.Text == "its record does not match its checksum"
		})
	}
	hit, tried := 0, 0
	for _, item := range want {
		if tried++; tried > 15 {
			break
		}
		key := []byte(itemKey(keyItem, item.API, item.ID))
		bad := bytes.Clone(good)
		for at := 0; ; { // all copies, of which one is the latest
			n := bytes.Index(bad[at:], key)
			if n < 0 {
				break
			}
			at += n + len(key)
			bad[at+30] ^= 1
		}
		e := examineIt("item "+item.ID, bad)
		if named(e, item) {
			hit++
		}
		for _, other := range want {
			if other.ID != item.ID && named(e, other) {
				t.Fatalf("with %s damaged, %s is said to be", item.ID, other.ID)
			}
		}
	}
	// The keys in branches are copies too, whose damage is one of pages.
	if hit < 12 {
		t.Errorf("of 15 damaged items %d were named", hit)
	}
}

// A page that is gone has its items told by what else is known of them.
func TestExamineALostPage(t *testing.T) {
	t.Parallel()
	good, want := filledItems(t)
	dir := t.TempDir()
	lost := 0
	for id := 2; id < len(good)/pageSize; id += 1 + rand.IntN(8) {
		bad := bytes.Clone(good)
		clear(bad[id*pageSize:][:pageSize])
		if err := os.WriteFile(filepath.Join(dir, stateFile), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		e, _, err := ExamineItems(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		said := map[string]bool{}
		for _, p := range e.Problems {
			said[p.API+" "+p.Name] = true
			if p.What == "item" && p.Text == "its record is gone" {
				if _, is := want[p.API+" "+p.Name]; !is {
					t.Errorf("page %d: %s was never there", id, p.Subject)
				}
				lost++
			}
		}
		// Whatever failed for it when it is salvaged was named.
		salvagedItemsOf(t, dir, want, func(item ledger.Item) {
			if item.Reason != nil && item.Reason.Code == CodeRecordDamaged && !said[item.API+" "+item.ID] {
				t.Errorf("page %d: item %s was not named", id, item.ID)
			}
		})
	}
	if lost == 0 {
		t.Error("no page had items")
	}
}

// salvagedItemsOf opens a copy of a damaged ledger and calls fn with its items.
func salvagedItemsOf(t *testing.T, dir string, want map[string]ledger.Item, fn func(ledger.Item)) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	if err := os.WriteFile(filepath.Join(copied, stateFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	items, err := OpenItems(t.Context(), Config{Dir: copied})
	if err != nil {
		t.Fatal(err)
	}
	defer items.Close()
	for _, item := range want {
		if item, err = items.Get(t.Context(), item.API, item.ID); err != nil {
			t.Fatal(err)
		}
		fn(item)
	}
}

// TestExamineInUse examines a ledger that changes all the time: nothing of it is damaged. Where
// the writer is faster than the reader, that may be all that can be said; it is bounded, so
// that the reader comes to an end on any machine.
func TestExamineInUse(t *testing.T) {
	t.Parallel()
	const written = 1000
	dir := t.TempDir()
	items, err := OpenItems(t.Context(), Config{Dir: dir, log: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer items.Close()
	done := make(chan error, 1)
	go func() {
		for n := range written {
			item, _ := ledgertest.Sample("iris", n)
			item.Accepted = time.Now().UTC()
			item.ID = ledger.NewID(item.Accepted)
			if _, _, err := items.Create(context.WithoutCancel(t.Context()), item, ledger.Key{}, bytes.Repeat([]byte("p"), 3000)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for writing := true; writing; {
		e, _, err := ExamineItems(t.Context(), dir)
		if (err != nil && fault.Code(err) != "store.changing") || len(e.Problems) > 0 {
			t.Fatalf("ExamineItems() = %v, %v", e.Problems, err)
		}
		select {
		case err := <-done:
			if writing = false; err != nil {
				t.Fatal(err)
			}
		default:
		}
	}
	if e, _, err := ExamineItems(t.Context(), dir); err != nil || len(e.Problems) > 0 || e.Records < written {
		t.Errorf("ExamineItems() = %d records, %v, %v, once nothing is written", e.Records, e.Problems, err)
	}
}

// A record in the log is named when its bytes are damaged.
func TestExamineTheLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	items, err := OpenItems(t.Context(), Config{Dir: dir, log: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer items.Close()
	var ids []string
	for n := range 3 {
		item, _ := ledgertest.Sample("iris", n)
		item.Accepted = time.Now().UTC()
		item.ID = ledger.NewID(item.Accepted)
		if _, _, err := items.Create(t.Context(), item, ledger.Key{}, []byte("the payload")); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, item.ID)
	}
	copied := t.TempDir()
	for name, data := range folderOf(t, dir) {
		if name == "log-0" {
			at := strings.Index(data, `"id":"`+ids[1])
			if at < 0 {
				t.Fatal("the log does not have the item")
			}
			data = data[:at] + "x" + data[at+1:]
		}
		if err := os.WriteFile(filepath.Join(copied, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e, _, err := ExamineItems(t.Context(), copied)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(e.Problems, func(p Problem) bool { return p.Subject == Subject{"item", "iris", ids[1]} && p.File == "log-*" }) {
		t.Errorf("the damaged item %s is not named: %v", ids[1], e.Problems)
	}
	for _, p := range e.Problems {
		if p.Name == ids[0] || p.Name == ids[2] {
			t.Errorf("%s is said to be damaged: %s", p.Subject, p.Text)
		}
	}
}
