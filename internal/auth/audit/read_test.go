package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

func TestReadSelects(t *testing.T) {
	t.Parallel()
	l := open(t, Config{Path: filepath.Join(t.TempDir(), "audit.log"), Now: func() time.Time { return noon }})
	write := func(id, principal, decision string, age time.Duration) {
		l.Write(auth.Entry{Time: noon.Add(-age), RequestID: id, Principal: principal, Action: auth.ActionGet, Decision: decision})
	}
	write("old", alice, auth.Allow, 3*time.Hour)
	write("denied", alice, auth.Deny, 2*time.Hour)
	write("role", "arn:aws:iam::123456789012:role/alice", auth.Allow, 90*time.Minute)
	write("malice", "arn:aws:iam::123456789012:user/malice", auth.Allow, 80*time.Minute)
	write("unproven", "", auth.Deny, time.Hour)
	write("root", "arn:aws:iam::123456789012:root", auth.Allow, time.Minute)
	for _, tt := range []struct {
		name  string
		query auth.AuditQuery
		want  string
	}{
		{"everything", auth.AuditQuery{}, "old denied role malice unproven root"},
		{"young", auth.AuditQuery{Since: time.Hour}, "unproven root"},
		{"refusals", auth.AuditQuery{Denied: true}, "denied unproven"},
		{"an arn", auth.AuditQuery{Principal: alice}, "old denied"},
		{"an arn with a path", auth.AuditQuery{Principal: "arn:aws:iam::123456789012:user/team/a/alice"}, "old denied"},
		{"an assumed role", auth.AuditQuery{Principal: "arn:aws:sts::123456789012:assumed-role/alice/session"}, "role"},
		{"an arn of another account", auth.AuditQuery{Principal: "arn:aws:iam::210987654321:user/alice"}, ""},
		{"kind and name", auth.AuditQuery{Principal: "user/alice"}, "old denied"},
		{"a name", auth.AuditQuery{Principal: "alice"}, "old denied role"},
		{"a name after a slash", auth.AuditQuery{Principal: "/alice"}, "old denied role"},
		{"no border", auth.AuditQuery{Principal: "lice"}, ""},
		{"part of an account", auth.AuditQuery{Principal: "9012:user/alice"}, ""},
		{"root", auth.AuditQuery{Principal: "root"}, "root"},
		{"refusals of one", auth.AuditQuery{Principal: "alice", Denied: true}, "denied"},
		{"young ones of one", auth.AuditQuery{Principal: "alice", Since: 100 * time.Minute}, "role"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, e := range entries(t, l, tt.query) {
				got = append(got, e.RequestID)
			}
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("Read(%+v) = %q, want %q", tt.query, got, tt.want)
			}
		})
	}
}

// TestGapsAreToldWhateverIsAsked wants no question answered as if nothing were missing.
func TestGapsAreToldWhateverIsAsked(t *testing.T) {
	t.Parallel()
	l := open(t, Config{Path: filepath.Join(t.TempDir(), "audit.log"), Now: func() time.Time { return noon }})
	l.Write(auth.Entry{Time: noon.Add(-time.Hour), Action: ActionLost, Suppressed: 3})
	for _, tt := range []struct {
		query auth.AuditQuery
		want  int
	}{
		{auth.AuditQuery{}, 1},
		{auth.AuditQuery{Denied: true}, 1},
		{auth.AuditQuery{Principal: "alice"}, 1},
		{auth.AuditQuery{Since: time.Minute}, 0},
	} {
		if got := entries(t, l, tt.query); len(got) != tt.want {
			t.Errorf("Read(%+v) = %d entries, want %d", tt.query, len(got), tt.want)
		}
	}
}

func TestReadIsInOrderOfTime(t *testing.T) {
	t.Parallel()
	l := open(t, Config{Path: filepath.Join(t.TempDir(), "audit.log"), MaxBytes: tenLines})
	for n := 10; n < 90; n += 4 {
		for _, m := range []int{n + 2, n, n + 3, n + 1} {
			l.Write(sample(m))
		}
	}
	if got, want := ids(t, l), numbersTo(10, 89); got != want {
		t.Errorf("Read() = %s, want %s", got, want)
	}
}

func TestDamagedLinesAreLeftOutAndCounted(t *testing.T) {
	t.Parallel()
	good := string(appendEntry(nil, ptr(sample(1))))
	padded := func(n int) string { // a good line of n bytes
		return strings.TrimSuffix(good, "}\n") + strings.Repeat(" ", n-len(good)) + "}\n"
	}
	for name, tt := range map[string]struct {
		text          string
		read, damaged int
	}{
		"nothing":                {"", 0, 0},
		"empty lines":            {"\n\n" + good + "\n", 1, 0},
		"a cut line in between":  {good + good[:40] + "\n" + good, 2, 1},
		"a cut line at the end":  {good + good[:40], 1, 0},
		"the last without end":   {good + strings.TrimSuffix(good, "\n"), 2, 0},
		"two in one line":        {strings.TrimSuffix(good, "\n") + good, 0, 1},
		"other JSON":             {"{}\n[]\nnull\n1\n" + good, 1, 4},
		"zeros":                  {string(make([]byte, 5000)) + "\n" + good, 1, 1},
		"as long as may be":      {padded(maxLine) + good, 2, 0},
		"one byte longer":        {padded(maxLine+1) + good, 1, 1},
		"very long, at the end":  {good + strings.Repeat("x", 10*maxLine), 1, 1},
		"ends like a good one":   {strings.Repeat("x", maxLine) + padded(maxLine) + good, 1, 1},
		"very long, then others": {strings.Repeat("x", 3*maxLine) + "\n" + good, 1, 1},
	} {
		read := 0
		damaged, err := readLines(t.Context(), strings.NewReader(tt.text), func(auth.Entry) error { read++; return nil })
		if err != nil || read != tt.read || damaged != tt.damaged {
			t.Errorf("%s: readLines() = %d entries, %d damaged, %v, want %d and %d", name, read, damaged, err, tt.read, tt.damaged)
		}
	}
}

func TestReadFileOfNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	_, err := ReadFile(t.Context(), path, auth.AuditQuery{}, func(auth.Entry) error { return nil })
	if !fault.Is(err, fault.NotFound) || fault.From(err).Hint == "" {
		t.Errorf("ReadFile() = %v, want not found with a hint", err)
	}
}

// plain is what encoding/json makes of an entry.
func plain(t *testing.T, e auth.Entry) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestLinesAreThoseOfEncodingJSON(t *testing.T) {
	t.Parallel()
	all := sample(1)
	all.Reason, all.Suppressed = "replay", 12
	odd := sample(2)
	odd.RequestID = "\"\\/\b\f\n\r\t\x00\x1f<>& äß漢字\U0001f600\u2028\u2029\xff\xc3"
	odd.Policies = []string{"", odd.RequestID}
	for _, e := range []auth.Entry{{}, all, odd, unproven(1), {Time: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}} {
		if diff := cmp.Diff(plain(t, e), string(appendEntry(nil, &e))); diff != "" {
			t.Errorf("appendEntry() differs from encoding/json (-want +got):\n%s", diff)
		}
	}
}

func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"letters": strings.Repeat("x", 1<<20), "controls": strings.Repeat("\x00", 1<<20),
		"quotes": strings.Repeat(`"`, 1<<20), "wide": strings.Repeat("漢", 1<<20), "broken": strings.Repeat("\xff", 1<<20),
	} {
		e := auth.Entry{
			Time: noon, RequestID: text, Principal: text, Session: text, Action: auth.Action(text), Resource: text,
			Decision: text, Policies: []string{text, text, text, text, text, text}, Reason: text, Source: text, Suppressed: 1,
		}
		line := appendEntry(nil, &e)
		if len(line) > maxLine/2 {
			t.Errorf("%s: the line has %d bytes, want at most %d", name, len(line), maxLine/2)
		}
		got, ok := decode(bytes.TrimSuffix(line, []byte("\n")))
		if !ok || !strings.HasSuffix(got.RequestID, cut) || len(got.Policies) < 3 || got.Policies[len(got.Policies)-1] != cut {
			t.Errorf("%s: the line reads as %d policies and a request id that ends with %q, want marks of the cut",
				name, len(got.Policies), got.RequestID[max(0, len(got.RequestID)-9):])
		}
		e.Principal, e.Decision, e.Policies = "", auth.Deny, nil
		if line := appendEntry(nil, &e); len(line) > 8*maxUnprovenText {
			t.Errorf("%s: the line of a refusal before proof has %d bytes, want at most %d", name, len(line), 8*maxUnprovenText)
		}
	}
	many := sample(1)
	many.Policies = make([]string, 100_000)
	if line := appendEntry(nil, &many); len(line) > maxLine/2 {
		t.Errorf("the line with many policies has %d bytes, want at most %d", len(line), maxLine/2)
	}
	fits := strings.Repeat("x", maxText)
	if got, want := string(appendText(nil, fits, maxText)), `"`+fits+`"`; got != want {
		t.Errorf("appendText() cuts a text that fits")
	}
}

func FuzzEncode(f *testing.F) {
	f.Add("id", alice, "deploy", "iris", "p0", 0)
	f.Add("\n{\"time\":", "\x00\x7f\u0085\u009b", "\u2028", "\xff\xfe", strings.Repeat("ä", 3000), 5)
	f.Add(strings.Repeat("\\", 2047)+"x", "", strings.Repeat("a", 254)+"ä", "", "", -1)
	f.Fuzz(func(t *testing.T, id, principal, action, resource, policy string, suppressed int) {
		e := auth.Entry{
			Time: noon, RequestID: id, Principal: principal, Action: auth.Action(action), Resource: resource,
			Decision: auth.Deny, Policies: []string{policy, id}, Source: id, Suppressed: suppressed,
		}
		line := appendEntry(nil, &e)
		if bytes.IndexByte(line, '\n') != len(line)-1 || !utf8.Valid(line) || len(line) > maxLine/2 {
			t.Fatalf("appendEntry() = %q, want one bounded line of UTF-8", line)
		}
		for _, r := range string(line[:len(line)-1]) {
			if r < ' ' || r >= 0x7f && r < 0xa0 {
				t.Fatalf("appendEntry() = %q, want no control characters", line)
			}
		}
		var got, want auth.Entry
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("appendEntry() = %q: %v", line, err)
		}
		if err := json.Unmarshal([]byte(plain(t, e)), &want); err != nil {
			t.Fatal(err)
		}
		longest := max(len(id), len(principal), len(action), len(resource), len(policy))
		if 6*longest <= maxUnprovenText {
			if !reflect.DeepEqual(got, want) {
				t.Errorf("appendEntry() reads as %+v, want %+v", got, want)
			}
			return
		}
		for _, pair := range [][2]string{{got.RequestID, want.RequestID}, {got.Principal, want.Principal}, {got.Resource, want.Resource}} {
			if kept, isCut := strings.CutSuffix(pair[0], cut); pair[0] != pair[1] && (!isCut || !strings.HasPrefix(pair[1], kept)) {
				t.Errorf("appendEntry() made %q of %q", pair[0], pair[1])
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	good := string(appendEntry(nil, ptr(sample(1))))
	for _, text := range []string{"", "\n", good, good[:50], good + good[:50] + "\n" + good, "{}\n", strings.Repeat("x", maxLine+5) + "\n" + good} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		read := 0
		damaged, err := readLines(t.Context(), bytes.NewReader(data), func(e auth.Entry) error {
			read++
			if e.Time.IsZero() || e.Action == "" {
				t.Errorf("readLines() read %+v, which is no entry", e)
			}
			return nil
		})
		if lines := bytes.Count(data, []byte("\n")) + 1; err != nil || read+damaged > lines {
			t.Errorf("readLines() of %d lines = %d entries, %d damaged, %v", lines, read, damaged, err)
		}
		// What follows an end of line is read, whatever came before.
		after := 0
		if _, err := readLines(t.Context(), bytes.NewReader(fmt.Appendf(data, "\n%s", good)), func(auth.Entry) error { after++; return nil }); err != nil || after < 1 {
			t.Errorf("readLines() with a good line added = %d entries, %v, want at least 1", after, err)
		}
	})
}
