package bolt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/store/journal"
)

// Problem is something in a folder of state that is damaged.
type Problem struct {
	Subject
	File string // within the folder
	Text string
}

// Subject is what a record is about, in the words of users.
type Subject struct {
	What string // such as "item"; empty: that cannot be told
	API  string
	Name string
}

// MaxProblems bounds what is said of one folder; a disk may have lost everything.
const MaxProblems = maxProblems

// Examined is what was found in a folder.
type Examined struct {
	Records  int // that match their checksums
	Problems []Problem
	More     int // problems beyond MaxProblems
}

func (e *Examined) found(p Problem) {
	if len(e.Problems) < MaxProblems {
		e.Problems = append(e.Problems, p)
	} else {
		e.More++
	}
}

// Visit sees a record that is whole, with its key; nil data: the log removes it.
type Visit func(key string, data []byte)

// ExamineState reads the folder of a Store.
func ExamineState(ctx context.Context, dir string) (Examined, error) {
	return examine(ctx, dir, stateSubjects, nil)
}

// ExamineKeyed reads the folder of a Keyed. begin is called each time that reading begins
// anew, and what it returns sees all records; the last one has seen what Examined is of.
func ExamineKeyed(ctx context.Context, dir string, subject func(key string) Subject, begin func() Visit) (Examined, error) {
	subjects := map[string]func(string) Subject{keyKeyed: func(key string) Subject { return subject(key[len(keyKeyed):]) }}
	return examine(ctx, dir, subjects, func() Visit {
		visit := begin()
		return func(key string, data []byte) { visit(strings.TrimPrefix(key, keyKeyed), data) }
	})
}

// ItemContent is a payload or a result that is kept beside the ledger.
type ItemContent struct {
	API, Item, What string
	Content         ledger.Content
}

// ExamineItems reads the folder of Items, and says which contents are kept beside it. Of what
// is lost, the entries and payloads of items that are there have their names.
func ExamineItems(ctx context.Context, dir string) (Examined, []ItemContent, error) {
	var contents map[string][]ItemContent
	var all map[string]bool // items and their entries; nil the first time, when all may be well
	again := false
	e, err := examine(ctx, dir, itemSubjects, func() Visit {
		contents = map[string][]ItemContent{}
		if again {
			all = map[string]bool{}
		}
		again = true
		return func(key string, data []byte) {
			switch key[:min(2, len(key))] {
			case keyItem:
				delete(contents, key)
			case keyOpen, keyForget:
			default:
				return
			}
			if all != nil {
				all[key] = data != nil
			}
			var item ledger.Item
			if !strings.HasPrefix(key, keyItem) || data == nil || json.Unmarshal(data, &item) != nil {
				return
			}
			if c := item.Payload; c != nil && c.Blob != "" {
				contents[key] = append(contents[key], ItemContent{item.API, item.ID, "payload", *c})
			}
			if c := item.Result; c != nil && c.Blob != "" {
				contents[key] = append(contents[key], ItemContent{item.API, item.ID, "result", *c})
			}
		}
	})
	for key, there := range all {
		if len(e.Problems) == 0 || !there || strings.HasPrefix(key, keyItem) {
			continue
		}
		if s := subjectOf(itemSubjects, key); !all[itemKey(keyItem, s.API, s.Name)] {
			e.found(Problem{s, stateFile, "its record is gone"})
		}
	}
	slices.SortStableFunc(e.Problems, func(a, b Problem) int { return strings.Compare(a.API+"\x00"+a.Name, b.API+"\x00"+b.Name) })
	var list []ItemContent
	for _, c := range contents {
		list = append(list, c...)
	}
	return e, list, err
}

// How often a folder is read anew that changes meanwhile, and the pause before that.
const (
	examineTries = 40
	examinePause = 50 * time.Millisecond
)

// examine reads the state of a folder without changing anything, also while a program uses
// the folder. What is newest in the file is never written to, so that what is damaged there
// is, if nothing newer has come meanwhile; and the log, to which is written, is believed to
// be damaged when it is so twice. Where something newer has come, everything is read anew.
func examine(ctx context.Context, dir string, subjects map[string]func(string) Subject, begin func() Visit) (Examined, error) {
	if err := refuseOld(dir); err != nil {
		return Examined{}, err
	}
	path := filepath.Join(dir, stateFile)
	var before Examined
	var commit uint64
	for range examineTries {
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return Examined{}, nil // nothing was ever kept
		} else if err != nil {
			return Examined{}, folderFault(path, err)
		}
		visit := func(string, []byte) {}
		if begin != nil {
			visit = begin()
		}
		began := newest(file)
		e, err := examineOnce(ctx, file, dir, subjects, visit)
		ended := newest(file)
		_ = file.Close() // it was only read
		switch {
		case err != nil:
			return Examined{}, err
		case len(e.Problems) == 0, began == ended && commit == began && slices.Equal(e.Problems, before.Problems):
			return e, nil
		}
		before, commit = e, ended
		select {
		case <-ctx.Done():
			return Examined{}, context.Cause(ctx)
		case <-time.After(examinePause):
		}
	}
	return Examined{}, fault.New(fault.Unavailable, "store.changing", "%s changes faster than it can be read, so that damage cannot be told from a change", path).
		WithHint("try again, or stop what uses it first")
}

// newest is the number of the latest commit; 0: it cannot be read.
func newest(file io.ReaderAt) (commit uint64) {
	for i := range 2 {
		if m, err := readMeta(file, i); err == nil {
			commit = max(commit, m.commit)
		}
	}
	return commit
}

func examineOnce(ctx context.Context, file io.ReaderAt, dir string, subjects map[string]func(string) Subject, visit Visit) (e Examined, _ error) {
	w := &walk{ctx: ctx, file: file, seen: map[uint64]bool{}}
	w.each = func(key, data []byte) {
		e.Records++
		visit(string(key), data)
	}
	w.bad = func(key []byte, _ error) bool {
		e.found(Problem{subjectOf(subjects, string(key)), stateFile, "its record does not match its checksum"})
		return true
	}
	w.goOn = func(id uint64, buf, low, high []byte, why error) bool {
		if ctx.Err() != nil {
			return false
		}
		e.found(Problem{Subject{}, stateFile, fmt.Sprintf("page %d: %v; it is for what is from %s up to %s", id, plainPage(why), boundOf(subjects, low, "the first"), boundOf(subjects, high, "the last"))})
		leaf, count, err := pageOf(buf)
		for i := 0; err == nil && leaf && i < count; i++ {
			if el, err := elementOf(buf, true, count, i); err == nil {
				if data, _, ok := unseal(el.key, el.value); ok && string(el.key) != keySummary {
					w.each(el.key, data)
				} else if !ok {
					_ = w.bad(el.key, nil)
				}
			}
		}
		return true
	}
	m, err := w.state()
	switch {
	case ctx.Err() != nil:
		return e, context.Cause(ctx)
	case fault.Code(err) != "":
		return e, err // of a version that is not known
	case err != nil && len(e.Problems) == 0, err != nil && !errors.As(err, new(damage)):
		e.found(Problem{Subject{}, stateFile, err.Error()})
	}
	if m == nil || m.Log == 0 {
		return e, nil
	}
	found, err := journal.Read(dir, m.Log, m.Applied)
	if err != nil {
		return e, folderFault(filepath.Join(dir, "log-*"), err)
	}
	examineLog(&e, found, subjects, visit)
	return e, nil
}

// examineLog looks at what is not in the file yet.
func examineLog(e *Examined, found journal.Found, subjects map[string]func(string) Subject, visit Visit) {
	const name = "log-*"
	for _, p := range found.Problems {
		e.found(Problem{Subject{}, name, p})
	}
	left := map[uint64]remains{}
	for _, rest := range found.Rest {
		remainsIn(rest, found.ID, left)
	}
	hurt := func(key []byte) {
		if string(key) != keySummary {
			e.found(Problem{subjectOf(subjects, string(key)), name, "its latest record does not match its checksum"})
		}
	}
	for _, number := range found.Lost {
		for _, key := range left[number].hurt {
			hurt(key)
		}
	}
	for _, f := range found.Batches {
		b, err := decodeBatch(f.Data, found.ID, f.Number)
		if err != nil {
			e.found(Problem{Subject{}, name, fmt.Sprintf("batch %d: %v", f.Number, err)})
			continue
		}
		for _, c := range b.changes {
			data, _, ok := unseal(c.key, c.value)
			switch {
			case c.value != nil && !ok:
				hurt(c.key)
			case string(c.key) != keySummary:
				e.Records++
				visit(string(c.key), data)
			}
		}
	}
}

// plainPage takes away what an error says of the page itself.
func plainPage(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

func boundOf(subjects map[string]func(string) Subject, key []byte, none string) string {
	if len(key) == 0 {
		return none
	}
	return subjectOf(subjects, string(key)).String()
}

// String is such as `item 01j… of iris`.
func (s Subject) String() string {
	text := s.What
	if text == whatAPI {
		return text + " " + s.API
	}
	if s.Name != "" {
		text += " " + s.Name
	}
	if s.API != "" {
		text += " of " + s.API
	}
	return text
}

// inAPI reads what begins with a prefix, an API and a zero byte.
func inAPI(what, prefix string) func(string) Subject {
	return func(key string) Subject {
		api, name, _ := strings.Cut(key[len(prefix):], "\x00")
		return Subject{what, api, name}
	}
}

// only is a kind of record whose name says nothing to a user beyond its API.
func only(what, prefix string) func(string) Subject {
	return func(key string) Subject { return Subject{What: what, API: inAPI(what, prefix)(key).API} }
}

func named(what, prefix string) func(string) Subject {
	return func(key string) Subject { return Subject{What: what, Name: key[len(prefix):]} }
}

// timed is inAPI of a key that has a time first.
func timed(what, prefix string) func(string) Subject {
	return func(key string) Subject { return inAPI(what, "")(key[min(len(prefix)+8, len(key)):]) }
}

func always(what string) func(string) Subject {
	return func(string) Subject { return Subject{What: what} }
}

const whatAPI = "api"

var (
	stateSubjects = map[string]func(string) Subject{
		keyWorkload: func(key string) Subject { return Subject{What: whatAPI, API: key[len(keyWorkload):]} },
		keyHistory:  only("history", keyHistory),
		keyEvent:    only("event", keyEvent),
		keyClaim:    always("claim"),
		keyEnd:      always("claim"),
		keyValue:    named("value", keyValue),
		keySecret:   named("secret", keySecret),
		keyAccess:   inAPI("key", keyAccess),
		keySchedule: inAPI("schedule", keySchedule),
		keyCalls:    only("calls", keyCalls),
	}
	itemSubjects = map[string]func(string) Subject{
		keyItem:    inAPI("item", keyItem),
		keyOpen:    inAPI("item", keyOpen),
		keyPayload: inAPI("payload", keyPayload),
		keyResult:  inAPI("result", keyResult),
		keyForget:  timed("item", keyForget),
		keyOnce:    inAPI("idempotency key", keyOnce),
		keyOver:    timed("idempotency key", keyOver),
		keyGone:    inAPI("forgotten item", keyGone),
		keyGoneBy:  timed("forgotten item", keyGoneBy),
		keyHook:    inAPI("message", keyHook),
		keyPending: inAPI("message", keyPending),
		keyDrop:    timed("message", keyDrop),
	}
)

// subjectOf is what a record is about. Its key may be damaged, so that a name may be any
// bytes: what cannot be printed is left out.
func subjectOf(subjects map[string]func(string) Subject, key string) Subject {
	of := subjects[key[:min(2, len(key))]]
	if of == nil {
		return Subject{What: "record", Name: printable(key)}
	}
	s := of(key)
	s.API, s.Name = printable(s.API), printable(s.Name)
	return s
}

func printable(text string) string {
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return '?'
		}
		return r
	}, []byte(text[:min(len(text), 200)])))
}
