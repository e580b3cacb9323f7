package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 123456789, time.UTC)

// clock is a time that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const alice = "arn:aws:iam::123456789012:user/alice"

// sample is an entry in which every field that a decision has is set.
func sample(n int) auth.Entry {
	return auth.Entry{
		Time: noon.Add(time.Duration(n) * time.Millisecond), RequestID: fmt.Sprint(n), Principal: alice, Session: "s",
		Action: auth.ActionDeploy, Resource: "iris", Decision: auth.Allow, Policies: []string{"p0", "p1"}, Source: "192.0.2.1",
		Operation: "deploy", Outcome: auth.OutcomeDone, Version: "v12", Code: "c",
	}
}

// unproven is a refusal before proof.
func unproven(n int) auth.Entry {
	return auth.Entry{
		Time: noon, RequestID: fmt.Sprint(n), Action: auth.ActionAuthenticate, Resource: "environment e",
		Decision: auth.Deny, Reason: "nonce", Source: "192.0.2.1",
	}
}

func open(t *testing.T, cfg Config) *Log {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatalf("Open(%s) = %v", cfg.Path, err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return l
}

func entries(t *testing.T, l *Log, q auth.AuditQuery) []auth.Entry {
	t.Helper()
	var got []auth.Entry
	if err := l.Read(t.Context(), q, func(e auth.Entry) error { got = append(got, e); return nil }); err != nil {
		t.Fatalf("Read(%+v) = %v", q, err)
	}
	return got
}

// ids are the request ids of what is kept.
func ids(t *testing.T, l *Log) string {
	t.Helper()
	var all []string
	for _, e := range entries(t, l, auth.AuditQuery{}) {
		all = append(all, e.RequestID)
	}
	return strings.Join(all, " ")
}

// numbersTo is "first … last".
func numbersTo(first, last int) string {
	var all []string
	for n := first; n <= last; n++ {
		all = append(all, fmt.Sprint(n))
	}
	return strings.Join(all, " ")
}

func contents(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b", "audit.log")
	l := open(t, Config{Path: path})
	bare := auth.Entry{Time: noon.Add(time.Hour), Action: auth.ActionList, Decision: auth.Allow}
	want := []auth.Entry{sample(1), unproven(2), sample(3), bare}
	want[1].Time = noon.Add(2 * time.Millisecond)
	for _, e := range want {
		l.Write(e)
	}
	if diff := cmp.Diff(want, entries(t, l, auth.AuditQuery{})); diff != "" {
		t.Errorf("Read() differs from what was written (-want +got):\n%s", diff)
	}
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700 | os.ModeDir} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("Stat(%s) = %v, %v, want mode %v", name, info.Mode(), err, want)
		}
	}
	again := open(t, Config{Path: path})
	again.Write(sample(9))
	if got := entries(t, again, auth.AuditQuery{}); len(got) != 5 {
		t.Errorf("Read() after opening again = %d entries, want 5", len(got))
	}
}

// TestEntryHasNoPlaceForASecret fails when somebody adds a field: think about what
// it may hold before adding it here, and to appendEntry.
func TestEntryHasNoPlaceForASecret(t *testing.T) {
	t.Parallel()
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[auth.Entry]()) {
		names = append(names, f.Name)
	}
	want := []string{"Time", "RequestID", "Principal", "Session", "Action", "Resource", "Decision", "Policies", "Reason", "Source", "Operation", "Outcome", "Version", "Code", "Command", "Suppressed"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("the fields of auth.Entry differ (-want +got):\n%s", diff)
	}
}

func TestACutLastLineIsEnded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	whole := string(appendEntry(nil, ptr(sample(1))))
	if err := os.WriteFile(path, []byte(whole+whole[:30]), 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, Config{Path: path})
	l.Write(sample(2))
	l.Write(sample(3))
	if got, want := ids(t, l), "1 2 3"; got != want {
		t.Errorf("Read() = %s, want %s", got, want)
	}
	if lines := strings.Count(contents(t, path), "\n"); lines != 4 {
		t.Errorf("there are %d lines, want 4: the cut one among them", lines)
	}
	if got := l.Damaged(); got != 1 {
		t.Errorf("Damaged() = %d, want 1", got)
	}
}

func ptr[T any](v T) *T { return &v }

func TestRefusalsBeforeProofAreLimited(t *testing.T) {
	t.Parallel()
	now := &clock{now: noon}
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, Config{Path: path, Now: now.Now})
	lines := func() int { return strings.Count(contents(t, path)+contents(t, deniedPath(path)), "\n") }
	for n := range 1000 {
		l.Write(unproven(n))
	}
	if got := lines(); got != refusalsBurst {
		t.Errorf("1000 refusals at once made %d lines, want %d", got, refusalsBurst)
	}
	for n := range 300 {
		l.Write(sample(n))
		proven := unproven(n)
		proven.Principal = alice
		l.Write(proven)
	}
	if got, want := lines()-refusalsBurst, 300+refusalsOfOneBurst; got != want {
		t.Errorf("300 grants and 300 refusals after proof made %d lines, want %d: all grants, and the refusals of one that fit", got, want)
	}
	now.add(time.Second)
	for n := range 60 {
		l.Write(unproven(n))
	}
	var counts []int
	for _, e := range entries(t, l, auth.AuditQuery{Denied: true}) {
		if e.Principal == "" && e.Suppressed > 0 {
			counts = append(counts, e.Suppressed)
		}
	}
	if !slices.Equal(counts, []int{900}) {
		t.Errorf("the lines say that %v were left out, want 900", counts)
	}
	if err := l.Close(); err != nil {
		t.Fatalf("Close() = %v", err)
	}
	total := 0
	if _, err := ReadFile(t.Context(), path, auth.AuditQuery{Denied: true}, func(e auth.Entry) error {
		if e.Principal == "" {
			total += 1 + e.Suppressed
		}
		return nil
	}); err != nil || total != 1060 {
		t.Errorf("the lines stand for %d refusals, %v, want 1060", total, err)
	}
}

// brittle is a writer that a test breaks.
type brittle struct {
	bytes.Buffer
	most int // bytes of one write; below 0: all
}

func (b *brittle) Write(p []byte) (int, error) {
	if b.most < 0 {
		return b.Buffer.Write(p)
	}
	n, _ := b.Buffer.Write(p[:min(b.most, len(p))]) // never fails
	return n, errors.New("no space left on device")
}

func TestAWriteThatFailsIsCountedAndSaidOnce(t *testing.T) {
	t.Parallel()
	for _, most := range []int{0, 1, 20} {
		now, said := &clock{now: noon}, &bytes.Buffer{}
		out := &brittle{most: -1}
		l := open(t, Config{Path: Stdout, Out: out, Now: now.Now, Log: slog.New(slog.NewTextHandler(said, nil))})
		l.Write(sample(1))
		out.most = most
		for n := range 50 {
			l.Write(sample(n))
		}
		if got := l.Dropped(); got != 50 {
			t.Errorf("Dropped() = %d, want 50", got)
		}
		if got := strings.Count(said.String(), "\n"); got != 1 {
			t.Errorf("50 failures within a minute were logged %d times, want once", got)
		}
		now.add(complainEvery)
		l.Write(sample(1))
		if got := strings.Count(said.String(), "\n"); got != 2 {
			t.Errorf("a failure a minute later was logged %d times, want twice", got)
		}
		out.most = -1
		l.Write(sample(2))
		l.Write(sample(3))
		var got []auth.Entry
		if _, err := readLines(t.Context(), &out.Buffer, func(e auth.Entry) error { got = append(got, e); return nil }); err != nil {
			t.Fatal(err)
		}
		lost := auth.Entry{Time: now.Now(), Action: ActionLost, Resource: "audit", Reason: ReasonWrite, Suppressed: 51}
		if diff := cmp.Diff([]auth.Entry{sample(1), lost, sample(2), sample(3)}, got); diff != "" {
			t.Errorf("writes cut at %d leave other entries (-want +got):\n%s", most, diff)
		}
	}
}

// TestARefusalThatIsLostSaysWhatWasLeftOutNextTime has a refusal, which says how many
// were left out, fail itself.
func TestARefusalThatIsLostSaysWhatWasLeftOutNextTime(t *testing.T) {
	t.Parallel()
	now, out := &clock{now: noon}, &brittle{most: -1}
	l := open(t, Config{Path: Stdout, Out: out, Now: now.Now})
	for n := range refusalsBurst + 7 {
		l.Write(unproven(n))
	}
	now.add(time.Second)
	out.most = 0
	l.Write(unproven(0))
	out.most = -1
	l.Write(unproven(1))
	if text := out.String(); !strings.Contains(text, `"suppressed":7`) || !strings.Contains(text, `"reason":"write_failed","source":"","suppressed":1`) {
		t.Errorf("the end is %s, want a line that stands for 7 more and one for 1 that was lost", text[len(text)-400:])
	}
}

func TestManyWritersAtOnce(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 500
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, Config{Path: path, MaxBytes: 20_000, Keep: 100})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				l.Write(sample(w*each + n))
			}
		})
	}
	wg.Wait()
	seen := map[string]int{}
	for _, e := range entries(t, l, auth.AuditQuery{}) {
		seen[e.RequestID]++
	}
	if len(seen) != writers*each || l.Damaged() != 0 || l.Dropped() != 0 {
		t.Errorf("%d of %d entries are there, %d damaged, %d dropped", len(seen), writers*each, l.Damaged(), l.Dropped())
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("entry %s is there %d times", id, n)
		}
	}
}

func TestPathsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, code := range map[string]string{
		"": "audit.not_a_file", dir: "audit.not_a_file", os.DevNull: "audit.not_a_file", filepath.Join(file, "below"): "audit.not_writable",
	} {
		_, err := Open(Config{Path: path})
		if fault.Code(err) != code || fault.From(err).Hint == "" {
			t.Errorf("Open(%q) = %v (code %q), want %s and a hint", path, err, fault.Code(err), code)
		}
	}
}

func TestStandardOutput(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := open(t, Config{Path: Stdout, Out: &out})
	l.Write(sample(1))
	var e auth.Entry
	if err := json.Unmarshal(out.Bytes(), &e); err != nil || !reflect.DeepEqual(e, sample(1)) {
		t.Errorf("Write() wrote %s, %v, want the entry as JSON", out.Bytes(), err)
	}
	err := l.Read(t.Context(), auth.AuditQuery{}, func(auth.Entry) error { return nil })
	if !fault.Is(err, fault.Unsupported) || fault.From(err).Hint == "" {
		t.Errorf("Read() = %v, want unsupported with a hint", err)
	}
	if err := l.Reopen(); err != nil {
		t.Errorf("Reopen() = %v, want nothing to do", err)
	}
}

func TestAfterCloseEntriesAreCountedAsLost(t *testing.T) {
	t.Parallel()
	l := open(t, Config{Path: filepath.Join(t.TempDir(), "audit.log")})
	if err := l.Close(); err != nil {
		t.Fatalf("Close() = %v", err)
	}
	l.Write(sample(1))
	if got := l.Dropped(); got != 1 {
		t.Errorf("Dropped() = %d, want 1", got)
	}
	if err := l.Reopen(); fault.Code(err) != "audit.closed" {
		t.Errorf("Reopen() = %v, want audit.closed", err)
	}
}

func BenchmarkWrite(b *testing.B) {
	for name, cfg := range map[string]Config{
		"file":   {Path: filepath.Join(b.TempDir(), "audit.log")},
		"memory": {Path: Stdout, Out: io.Discard},
	} {
		b.Run(name, func(b *testing.B) {
			l, err := Open(cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			e := sample(1)
			b.ReportAllocs()
			for b.Loop() {
				l.Write(e)
			}
		})
	}
}

// denial is a refusal of somebody who has proven who they are.
func denial(who string, n int) auth.Entry {
	e := sample(n)
	e.Principal, e.Decision = who, auth.Deny
	return e
}

// Whoever is refused without end neither fills the record nor pushes out what others
// have done.
func TestRefusalsOfOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	c := &clock{now: noon}
	l, err := Open(Config{Path: path, MaxBytes: 4 << 10, Keep: 1, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	const mallory, bob = "arn:aws:iam::123456789012:user/mallory", "arn:aws:iam::123456789012:user/bob"
	l.Write(sample(0))
	for n := range 10_000 {
		l.Write(denial(mallory, n))
		c.add(time.Millisecond)
	}
	l.Write(denial(bob, 10_001))
	c.add(time.Minute)
	l.Write(denial(mallory, 10_002))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var told, left int
	var allowed, bobs int
	if _, err := ReadFile(t.Context(), path, auth.AuditQuery{}, func(e auth.Entry) error {
		switch {
		case e.Decision == auth.Allow:
			allowed++
		case e.Principal == bob:
			bobs++
		default:
			told++
			left += e.Suppressed
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if allowed != 1 || bobs != 1 {
		t.Errorf("after 10,001 refusals of mallory there are %d allowed entries and %d of bob, want one each", allowed, bobs)
	}
	if told > 40 || left < 4_000 {
		t.Errorf("mallory has %d lines that stand for %d more, want few that count many", told, left)
	}
}

// Reading puts what was allowed and what was refused in one order again.
func TestReadMerges(t *testing.T) {
	t.Parallel()
	l, err := Open(Config{Path: filepath.Join(t.TempDir(), "audit.log")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for n := range 20 {
		if n%3 == 0 {
			l.Write(denial(alice, n))
		} else {
			l.Write(sample(n))
		}
	}
	var got []string
	enough := errors.New("enough")
	if err := l.Read(t.Context(), auth.AuditQuery{Since: 100 * 365 * 24 * time.Hour}, func(e auth.Entry) error {
		got = append(got, e.RequestID)
		if len(got) == 15 {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) {
		t.Errorf("Read() = %v, want the error of its function", err)
	}
	for n, id := range got {
		if id != fmt.Sprint(n) {
			t.Fatalf("Read() = %q, want them in order of time", got)
		}
	}
}

// The counts of refusals are bounded too, and none of them is lost.
func TestRefusalsOfVeryMany(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	c := &clock{now: noon}
	l, err := Open(Config{Path: path, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	const each = refusalsOfOneBurst + 2
	for who := range maxRefused + 100 {
		for n := range each {
			l.Write(denial(fmt.Sprintf("arn:aws:iam::123456789012:user/u%d", who), n))
		}
	}
	if n := len(l.refusals); n > maxRefused {
		t.Errorf("%d principals are counted, want at most %d", n, maxRefused)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	count := 0
	if _, err := ReadFile(t.Context(), path, auth.AuditQuery{}, func(e auth.Entry) error {
		count += 1 + e.Suppressed
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := (maxRefused + 100) * each; count != want {
		t.Errorf("the record stands for %d refusals, want %d", count, want)
	}
}

func TestACopyOfEveryLine(t *testing.T) {
	t.Parallel()
	var copied bytes.Buffer
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(Config{Path: path, Copy: &copied})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		l.Write(sample(n))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(kept, []byte("\n")) != 3 || !bytes.Equal(kept, copied.Bytes()) {
		t.Errorf("the file has\n%sand the copy\n%swant the same three lines", kept, copied.Bytes())
	}
}
