package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/awsrest"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/ledger/ledgertest"
	"cortex.dev/cortex/internal/ledger/s3/s3test"
)

// life is what one program does with two items, one of which has a key and a message, and is
// tried again; and what of it was promised to somebody.
type life struct {
	ctx      context.Context //nolint:containedctx // of the test
	l        *Ledger
	key      ledger.Key
	promised map[string]bool   // accepted, and not forgotten
	ended    map[string]string // by the id of its message, an end that somebody was told of
}

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// at is a time of these tests.
func at(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

func (f *life) apply(i ledger.Item, e ledger.Event, result string) (ledger.Item, error) {
	e.Attempt, e.Keep, e.Expires = i.Attempt, time.Hour, at(1000)
	var inline []byte
	if e.Type == ledger.Succeed {
		e.Result, inline = &ledger.Content{Size: int64(len(result))}, []byte(result)
	}
	next, err := f.l.Apply(f.ctx, i.API, i.ID, e, inline)
	if err == nil && next.State.Ended() && next.Webhook != nil {
		f.ended[ledger.HookID(next)] = string(next.State)
	}
	return next, err
}

// run goes as far as it comes.
func (f *life) run() error {
	ctx := f.ctx
	var items [2]ledger.Item
	for n := range items {
		item, payload := ledgertest.Sample("iris", n)
		key := ledger.Key{}
		if n == 0 {
			item.Webhook, key = &ledger.Webhook{URL: "https://example.com"}, f.key
		}
		kept, _, err := f.l.Create(ctx, item, key, payload)
		if err != nil {
			return err
		}
		f.promised[kept.ID], items[n] = true, kept
	}
	for n, e := range []ledger.Event{
		{Type: ledger.Begin, At: at(1)}, {Type: ledger.Cancel, At: at(1)},
		{Type: ledger.Fail, At: at(2)}, {Type: ledger.Again, At: at(2)},
		{Type: ledger.Again, At: at(3)}, {Type: ledger.Begin, At: at(3)},
		{Type: ledger.Begin, At: at(4)}, {Type: ledger.Fail, At: at(4)},
		{Type: ledger.Succeed, At: at(5)},
	} {
		next, err := f.apply(items[n%2], e, "yes")
		if err != nil {
			return fmt.Errorf("%s: %w", e.Type, err)
		}
		items[n%2] = next
	}
	if err := f.l.flush(ctx); err != nil {
		return err
	}
	for generation := range 2 {
		id := fmt.Sprintf("%s.%d", items[0].ID, generation)
		if _, err := f.l.ApplyHook(ctx, "iris", id, ledger.Try{At: at(6), Version: 1}); err != nil {
			return err
		}
	}
	clear(f.promised)
	_, err := f.l.Forget(ctx, at(100), 100)
	return err
}

// A program is cut off after each of its writes, and another one finds everything: whatever
// was accepted comes to one end, of each end there is its message, and when all of it is over
// nothing is left.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	a := s3test.Start(t)
	for writes := int64(0); ; writes++ {
		p := a.Program()
		p.CutAfter(writes)
		cfg := Config{Client: a.Client(p), Bucket: a.Bucket, Prefix: fmt.Sprint("cut", writes, "/"), Queues: "cx-test-", Times: quick}
		f := &life{l: Open(cfg), key: ledger.Key{Text: "k", Fingerprint: "f", Until: at(60)}, promised: map[string]bool{}, ended: map[string]string{}}
		f.ctx = t.Context()
		err := f.run()
		if err == nil {
			if writes < 30 {
				t.Errorf("a life has %d writes: not much was cut", writes)
			}
			return
		}
		if !p.IsCut() {
			t.Fatalf("after %d writes: %v", writes, err)
		}
		cfg.Client = a.Client(nil)
		mend(t, fmt.Sprintf("cut after %d writes", writes), cfg, f)
	}
}

// mend does what programs do that come later, and holds what they find to what was promised.
func mend(t *testing.T, when string, cfg Config, f *life) {
	t.Helper()
	ctx := t.Context()
	l := Open(cfg)
	fail := func(format string, args ...any) { t.Helper(); t.Errorf(when+": "+format, args...) }
	later := &life{ctx: ctx, l: l, promised: f.promised, ended: f.ended}
	if err := l.Open(ctx, func(i ledger.Item) error {
		if i.State == ledger.Queued {
			var err error
			if i, err = later.apply(i, ledger.Event{Type: ledger.Begin, At: at(50)}, ""); err != nil {
				return err
			}
		}
		_, err := later.apply(i, ledger.Event{Type: ledger.Succeed, At: at(51)}, "late")
		return err
	}); err != nil {
		fail("Open() = %v", err)
	}
	for id := range f.promised {
		if i, err := l.Get(ctx, "iris", id); err != nil || !i.State.Ended() {
			fail("%s is %s, %v; want an end", id, i.State, err)
		}
	}
	if err := l.Open(ctx, func(i ledger.Item) error { return fmt.Errorf("%s is %s", i.ID, i.State) }); err != nil {
		fail("after all has ended: %v", err)
	}
	// Whoever submits again with the key gets the item that was promised, or one that is.
	again, payload := ledgertest.Sample("iris", 10)
	kept, replayed, err := l.Create(ctx, again, f.key, payload)
	if err != nil {
		fail("Create() with the key once more = %v", err)
	}
	first := ""
	for id := range f.promised {
		if first == "" || id < first {
			first = id
		}
	}
	if first != "" && (!replayed || kept.ID != first) {
		fail("Create() with the key once more = %s, replayed %v; want %s", kept.ID, replayed, first)
	}
	if _, err := later.apply(kept, ledger.Event{Type: ledger.Cancel, At: at(52)}, ""); err != nil && fault.Code(err) != ledger.CodeRefused {
		fail("Apply() = %v", err)
	}
	for id, state := range f.ended {
		h, err := l.Hook(ctx, "iris", id)
		if err != nil && len(f.promised) > 0 || err == nil && string(h.Item.State) != state {
			fail("the message %s is about %s, %v; want %s", id, h.Item.State, err, state)
		}
	}
	clean(t, when, l)
}

// clean has everything forgotten, and looks what is left in the bucket.
func clean(t *testing.T, when string, l *Ledger) {
	t.Helper()
	ctx := t.Context()
	if err := l.flush(ctx); err != nil {
		t.Fatal(err)
	}
	l.orphanAfter, l.keysLast = -time.Hour, -time.Hour // what nobody writes any more
	for range 2 {                                      // what the first look finds to be over is forgotten after it
		if err := l.OpenHooks(ctx, func(h ledger.Hook) error {
			_, err := l.ApplyHook(ctx, h.API, h.ID, ledger.Try{At: at(100), Version: h.Version})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := l.Open(ctx, func(i ledger.Item) error { return errors.New(i.ID + " is open") }); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if _, err := l.Forget(ctx, at(60*24*365), 1000); err != nil {
			t.Fatal(err)
		}
		l.pruned = time.Time{}
	}
	var left []string
	if _, err := l.bucket.List(ctx, "", "", func(o awsrest.Listed) bool {
		left = append(left, o.Key)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(left, " "); text != "gone/iris" && text != "" {
		t.Errorf("%s: %s is left", when, text)
	}
}

// How much an item of 64 KiB costs: what S3 has one price for, four times, and a few for many
// items together.
func TestCost(t *testing.T) {
	t.Parallel()
	a := s3test.Start(t)
	l := open(t, a, "uid/")
	const items, together = 40, 8
	before, messages := a.Calls("PUT"), a.Calls("SQS")
	for n := range items {
		item, _ := ledgertest.Sample("iris", n)
		if _, _, err := l.Create(t.Context(), item, ledger.Key{}, make([]byte, ledger.MaxInline)); err != nil {
			t.Fatal(err)
		}
		for _, e := range []ledger.Event{{Type: ledger.Begin, At: at(2)}, {Type: ledger.Succeed, At: at(3), Attempt: 1, Keep: time.Hour, Result: &ledger.Content{}}} {
			if _, err := l.Apply(t.Context(), "iris", item.ID, e, make([]byte, ledger.MaxInline)); err != nil {
				t.Fatal(err)
			}
		}
	}
	each := a.Calls("PUT") - before
	gone, err := l.Forget(t.Context(), at(100), items)
	if err != nil || len(gone) != items {
		t.Fatalf("Forget() = %d items, %v", len(gone), err)
	}
	all := a.Calls("PUT") - before
	t.Logf("%d items: %d calls, and %d for what is over; %d messages", items, each, all-each, a.Calls("SQS")-messages)
	if each > 4*items || all > 4*items+together {
		t.Errorf("%d items had %d calls, and %d more when they were over; want at most 4 each and %d", items, each, all-each, together)
	}
}
