package bolt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/store/journal"
)

// CodeRecordDamaged is why an item ends whose record was damaged on the disk.
const CodeRecordDamaged = "record_damaged"

// damagedKept is how long an item is kept that ends so.
const damagedKept = 7 * 24 * time.Hour

// isDamage reports whether err says that the bytes of a file are not what was written.
func isDamage(err error) bool {
	return fault.Code(err) == codeCorrupt || errors.Is(err, syscall.EIO)
}

// salvageItems makes a whole ledger of a damaged one, beside which it is kept, with a text
// that says what was wrong and which items ended for it.
//
// What the tree of the newest commit still leads to is what was there. Everything else is
// looked for in all pages of the file: below a page of the tree that cannot be read, those
// are the records of the last commit; but where a leaf itself is damaged they are older
// ones, and nobody knows what the item has done since. Such an item fails, with its
// payload, so that whoever knows may have it tried again; one that had ended has ended.
func salvageItems(log *slog.Logger) func(context.Context, string, error) error {
	return func(ctx context.Context, path string, why error) error {
		now := time.Now().UTC()
		kept := path + ".damaged-" + now.Format("20060102T150405.000Z")
		r, err := salvageInto(ctx, path, path+".part", now)
		if err == nil {
			err = os.WriteFile(kept+".txt", []byte(r.text(path, kept, why)), 0o600)
		}
		// A link first: at every moment there is a file in this place, whole or damaged.
		if err == nil {
			err = os.Link(path, kept)
		}
		if err == nil {
			err = os.Rename(path+".part", path)
		}
		if err == nil { // it goes on in no log
			err = journal.Aside(filepath.Dir(path), kept)
		}
		if err != nil {
			_ = os.Remove(path + ".part") // why there is none is known
			if fault.Code(err) != "" || ctx.Err() != nil {
				return err
			}
			return folderFault(path, err)
		}
		log.Warn("the record of items was damaged; what could be read of it was taken over", "damage", why.Error(),
			"items kept", r.kept, "items that failed for it", len(r.failed), "damaged file", kept, "what was lost", kept+".txt")
		return nil
	}
}

// salvage reads what can be read.
type salvage struct {
	ctx     context.Context
	file    io.ReaderAt
	pages   uint64 // in the file
	into    *bbolt.DB
	path    string // of into
	dir     string // of the log
	now     time.Time
	batch   []found
	size    int // of batch
	err     error
	seen    map[uint64]bool
	leaves  int       // depth of leaves; -1: none was reached
	torn    []span    // of pages that could not be read, or not all of it
	root    uint64    // of the bucket, once it is known
	older   bool      // the tree may be that of the commit before the last, or there is none
	summary *summary  // of the tree; nil: it cannot be read
	latest  time.Time // at which an item in the tree was accepted
	report  salvaged
}

// found is one record that matches its checksum.
type found struct {
	key     string
	data    []byte
	current bool // the tree leads to it
}

// span is the keys that a page was for.
type span struct {
	low, high []byte
	depth     int
	kind      pageKind
}

// pageKind is what a page was that cannot be read, where that can be told.
type pageKind int

const (
	unknownPage pageKind = iota
	leafPage
	branchPage
)

type salvaged struct {
	problems []string
	kept     int // items
	failed   []string
}

// maxProblems bounds what is told of pages; a disk may have lost many.
const maxProblems = 1000

func (r *salvaged) problem(format string, args ...any) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, fmt.Sprintf(format, args...))
	}
}

func (r *salvaged) text(path, kept string, why error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "The record of items in %s was damaged:\n%v\n\nIt is kept as %s.\n%d items were taken over.\n\nDamaged:\n", path, why, kept, r.kept)
	for _, p := range r.problems {
		fmt.Fprintf(&b, "  %s\n", p)
	}
	fmt.Fprintf(&b, "\nItems that ended as failed (%s), because what became of them cannot be read: %d\n", CodeRecordDamaged, len(r.failed))
	for _, id := range r.failed {
		fmt.Fprintf(&b, "  %s\n", id)
	}
	return b.String()
}

func salvageInto(ctx context.Context, path, part string, now time.Time) (*salvaged, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if err := createFile(part, true); err != nil {
		return nil, err
	}
	db, err := openFile(part, true)
	if err != nil {
		return nil, err
	}
	s := &salvage{ctx: ctx, file: file, pages: uint64(info.Size()) / pageSize, into: db, path: part, dir: filepath.Dir(path), now: now, seen: map[uint64]bool{}, leaves: -1}
	err = s.run()
	if err == nil {
		err = db.Sync()
	}
	if closing := db.Close(); err == nil {
		err = closing
	}
	return &s.report, err
}

func (s *salvage) run() error {
	s.tree()
	s.flush()
	if s.err == nil {
		s.goOn()
	}
	s.classify()
	s.others()
	s.flush()
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	if s.err != nil {
		return s.err
	}
	return s.into.Update(func(tx *bbolt.Tx) error { return s.finish(tx) })
}

// tree follows the newest of the first two pages that can be read.
func (s *salvage) tree() {
	var newest *metaPage
	for i := range 2 {
		m, err := readMeta(s.file, i)
		if err != nil {
			s.older = true
			s.report.problem("page %d: %v", i, err)
		} else if newest == nil || m.commit > newest.commit {
			newest = &m
		}
	}
	if newest == nil {
		return
	}
	s.follow(newest.root, nil, nil, 0, true)
	if s.root != 0 {
		s.follow(s.root, nil, nil, 0, false)
	}
}

// follow reads a page and what is below it; buckets says that it is of the list of buckets.
func (s *salvage) follow(id uint64, low, high []byte, depth int, buckets bool) {
	if s.seen[id] || depth > maxDepth || s.ctx.Err() != nil {
		return
	}
	s.seen[id] = true
	lost := func(kind pageKind, err error) {
		s.report.problem("page %d: %v", id, err)
		if !buckets || s.root == 0 { // without the list of buckets the tree says nothing of any record
			s.torn = append(s.torn, span{low, high, depth, kind})
		}
	}
	buf, err := readPage(s.file, id, s.pages)
	if err != nil {
		lost(unknownPage, err)
		return
	}
	leaf, count, err := pageOf(buf)
	switch {
	case err != nil:
		lost(unknownPage, err)
		return
	case leaf:
		if !buckets {
			s.leaves = depth
		}
		if err := s.records(buf, count, true, buckets); err != nil {
			lost(leafPage, err)
		} else {
			s.within(id, buf)
		}
		return
	}
	_, list, err := elementsOf(buf, low, high)
	if err != nil {
		lost(branchPage, err)
		return
	}
	for i, e := range list {
		end := high
		if i+1 < len(list) {
			end = list[i+1].key
		}
		s.follow(e.page, e.key, end, depth+1, buckets)
	}
}

// within notes the pages that a page goes on in: what they hold is values of others.
func (s *salvage) within(id uint64, buf []byte) {
	for next := id + 1; next < id+uint64(len(buf)/pageSize); next++ {
		s.seen[next] = true
	}
}

// records takes what is whole of a leaf; the error says what is not.
func (s *salvage) records(buf []byte, count int, current, buckets bool) (bad error) {
	for i := range count {
		e, err := elementOf(buf, true, count, i)
		if err != nil {
			bad = err
			continue
		}
		if e.bucket {
			if bytes.Equal(e.key, bucket) && len(e.value) >= pageHeader {
				if root := native.Uint64(e.value); root != 0 && current && buckets {
					s.root = root
				} else if root == 0 { // the bucket is small, and in this page
					if _, n, err := pageOf(e.value[pageHeader:]); err == nil {
						err = s.records(e.value[pageHeader:], n, current, false)
						bad = errors.Join(bad, err)
					} else {
						bad = err
					}
				}
			}
			continue
		}
		data, _, ok := unseal(e.key, e.value)
		if !ok {
			bad = damaged("the record %q does not match its checksum", e.key[:min(len(e.key), 200)])
			continue
		}
		s.take(found{key: string(e.key), data: bytes.Clone(data), current: current})
	}
	return bad
}

// classify says of the pages that could not be read which were leaves: all leaves of a
// tree are equally deep.
func (s *salvage) classify() {
	for i := range s.torn {
		t := &s.torn[i]
		switch {
		case t.kind != unknownPage:
		case s.leaves >= 0 && t.depth == s.leaves, s.leaves < 0 && t.depth > 0, s.leaves < 0 && !s.hasBranch():
			t.kind = leafPage
		default:
			t.kind = branchPage
		}
	}
}

func (s *salvage) hasBranch() bool {
	for id := uint64(2); id < s.pages; id++ {
		if buf, err := readPage(s.file, id, s.pages); err == nil {
			if leaf, _, err := pageOf(buf); err == nil && !leaf {
				return true
			}
		}
	}
	return false
}

// lost reports whether the tree does not say what is under a key, and unsure whether the
// latest record was in bytes that are gone, so that any other one is older.
func (s *salvage) lost(key string) (lost, unsure bool) {
	for _, t := range s.torn {
		if key >= string(t.low) && (t.high == nil || key < string(t.high)) {
			lost, unsure = true, unsure || t.kind == leafPage
		}
	}
	return lost, unsure
}

// forgottenMargin is how much older than the latest one an item is, at least, that is not
// of the last commit: requests are not read for as long.
const forgottenMargin = 24 * time.Hour

// wasThere reports whether an item that the tree does not have, and that had not ended by
// then, can be one of today: others were forgotten.
func (s *salvage) wasThere(t *txn, i ledger.Item) bool {
	key := itemKey(keyOpen, i.API, i.ID)
	if t.b.Get([]byte(key)) != nil {
		return true
	}
	if lost, _ := s.lost(key); lost {
		return true
	}
	return s.older && i.Accepted.After(s.latest.Add(-forgottenMargin))
}

// others reads every page that the tree did not lead to.
func (s *salvage) others() {
	for id := uint64(2); id < s.pages && s.ctx.Err() == nil; id++ {
		if s.seen[id] {
			continue
		}
		buf, err := readPage(s.file, id, s.pages)
		if err != nil {
			continue
		}
		if leaf, count, err := pageOf(buf); err == nil && leaf && s.records(buf, count, false, false) == nil {
			s.within(id, buf)
		}
	}
}

// Bounds of what is written at once.
const (
	batchRecords = 2000
	batchBytes   = 8 << 20
)

func (s *salvage) take(f found) {
	if f.key == keySummary && f.current {
		var m summary
		if json.Unmarshal(f.data, &m) == nil {
			s.summary = &m
		}
		return
	}
	s.batch = append(s.batch, f)
	if s.size += len(f.data); len(s.batch) >= batchRecords || s.size >= batchBytes {
		s.flush()
	}
}

func (s *salvage) flush() {
	if s.err == nil && len(s.batch) > 0 {
		s.err = s.into.Update(func(tx *bbolt.Tx) error {
			return s.write(tx, func(t *txn) error {
				for _, f := range s.batch {
					if err := s.merge(t, f); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	s.batch, s.size = s.batch[:0], 0
}

func (s *salvage) write(tx *bbolt.Tx, change func(*txn) error) error {
	t := &txn{reader: reader{path: s.path, b: inFile{tx.Bucket(bucket)}}}
	var err error
	if t.summary, err = summaryOf(&t.reader); err == nil {
		err = change(t)
	}
	if err != nil {
		return err
	}
	return putSummary(t.b, t.summary)
}

// merge writes a record, unless a later one is there.
func (s *salvage) merge(t *txn, f found) error {
	kept, err := t.get(f.key)
	if err != nil {
		return err
	}
	switch f.key[:min(2, len(f.key))] {
	case keyItem:
		var item, was ledger.Item
		if json.Unmarshal(f.data, &item) != nil || legalItem(item.API, item.ID) != nil || itemKey(keyItem, item.API, item.ID) != f.key ||
			kept != nil && (json.Unmarshal(kept, &was) != nil || was.Version >= item.Version) {
			return nil
		}
		if f.current && item.Accepted.After(s.latest) {
			s.latest = item.Accepted
		}
		if f.current || item.State.Ended() {
			return t.put(f.key, f.data)
		}
		if kept == nil && !s.wasThere(t, item) {
			return nil
		}
		if _, unsure := s.lost(f.key); !unsure && (item.Expires.IsZero() || item.Expires.After(s.now)) {
			return t.put(f.key, f.data)
		}
		data, err := encode(s.fail(item))
		if err != nil {
			return err
		}
		return t.put(f.key, data)
	case keyHook:
		var next, was ledger.Hook
		if json.Unmarshal(f.data, &next) != nil || itemKey(keyHook, next.API, next.ID) != f.key || legalHook(next.API, next.ID) != nil ||
			kept != nil && (json.Unmarshal(kept, &was) != nil || was.Version >= next.Version) {
			return nil
		}
		// One that was delivered may be delivered once more; one that was forgotten is not.
		if lost, _ := s.lost(f.key); f.current || lost || s.older {
			return t.put(f.key, f.data)
		}
	case keyOnce:
		var next, was once
		if json.Unmarshal(f.data, &next) == nil && (kept == nil || json.Unmarshal(kept, &was) == nil && was.Until.Before(next.Until)) {
			return t.put(f.key, f.data)
		}
	case keyPayload, keyResult: // are written once
		if kept == nil {
			return t.put(f.key, f.data)
		}
	case keyOpen, keyForget: // which items there are
		if f.current {
			return t.put(f.key, f.data)
		}
	}
	return nil // the others are made anew
}

// fail is an item of which nobody knows what it has done.
func (s *salvage) fail(i ledger.Item) ledger.Item {
	i.State, i.Owner, i.Due = ledger.Failed, "", time.Time{}
	i.Updated, i.Ended, i.Forget = s.now, s.now, s.now.Add(damagedKept)
	i.Reason = &ledger.Reason{Code: CodeRecordDamaged, Message: "what became of it was damaged on the disk; it may have been executed"}
	if n := len(i.Attempts); n > 0 && i.Attempts[n-1].Outcome == "" {
		i.Attempts[n-1].Outcome = ledger.Interrupted
	}
	return i
}

// finish makes what follows from the records of items, and drops what is over.
func (s *salvage) finish(tx *bbolt.Tx) error {
	return s.write(tx, func(t *txn) error {
		var names []string
		for _, key := range t.keys(keyOpen) {
			names = append(names, key[len(keyOpen):])
		}
		for _, key := range t.keys(keyForget) {
			if len(key) > len(keyForget)+8 {
				names = append(names, key[len(keyForget)+8:])
			}
		}
		for _, name := range names {
			api, id, _ := strings.Cut(name, "\x00")
			if legalItem(api, id) != nil || id == "" || t.b.Get([]byte(keyItem+name)) != nil {
				continue
			}
			data, err := encode(s.fail(ledger.Item{API: api, ID: id, Version: 1, Accepted: ledger.TimeOf(id)}))
			if err != nil {
				return err
			}
			if err := t.put(keyItem+name, data); err != nil {
				return err
			}
		}
		if err := t.removeAll(append(t.keys(keyOpen), t.keys(keyForget)...)); err != nil {
			return err
		}
		for _, key := range t.keys(keyItem) {
			api, id, _ := strings.Cut(key[len(keyItem):], "\x00")
			item, err := t.item(api, id)
			if err != nil {
				return err
			}
			if err := s.settle(t, item); err != nil {
				return err
			}
		}
		for _, prefix := range []string{keyPayload, keyResult} {
			for _, key := range t.keys(prefix) {
				if t.b.Get([]byte(keyItem+key[len(prefix):])) == nil {
					if err := t.remove(key); err != nil {
						return err
					}
				}
			}
		}
		for _, key := range t.keys(keyHook) {
			api, id, _ := strings.Cut(key[len(keyHook):], "\x00")
			h, err := t.hook(api, id)
			if err == nil {
				err = t.moveHook(ledger.Hook{}, h)
			}
			if err != nil {
				return err
			}
		}
		for _, key := range t.keys(keyOnce) {
			api, text, _ := strings.Cut(key[len(keyOnce):], "\x00")
			was, err := t.usedFor(api, text)
			if err != nil {
				return err
			}
			if err := t.put(keyOver+instant(was.Until)+itemKey("", api, text), []byte{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// settle writes what goes with the record of an item.
func (s *salvage) settle(t *txn, i ledger.Item) error {
	of := func(prefix string) string { return itemKey(prefix, i.API, i.ID) }
	if i.State.Ended() && !i.Forget.After(s.now) {
		return t.removeAll([]string{of(keyItem), of(keyPayload), of(keyResult)})
	}
	s.report.kept++
	failed := i.Reason != nil && i.Reason.Code == CodeRecordDamaged && i.Ended.Equal(s.now)
	if failed {
		s.report.failed = append(s.report.failed, i.API+" "+i.ID)
	}
	if h := ledger.HookOf(ledger.Item{}, i, nil); h != nil {
		key := itemKey(keyHook, h.API, h.ID)
		// A message that is gone is sent again, with the same id.
		if lost, _ := s.lost(key); (failed || lost) && t.b.Get([]byte(key)) == nil {
			if err := t.moveHook(ledger.Hook{}, *h); err != nil {
				return err
			}
		}
	}
	if i.Payload == nil || i.Payload.Blob != "" {
		if err := t.remove(of(keyPayload)); err != nil {
			return err
		}
	}
	if i.State.Ended() {
		return t.put(keyForget+instant(i.Forget)+of(""), []byte{})
	}
	if err := t.remove(of(keyResult)); err != nil {
		return err
	}
	return t.put(of(keyOpen), []byte{})
}
