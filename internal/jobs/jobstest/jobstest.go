// Package jobstest holds every place where jobs are kept to the same behaviour.
package jobstest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/jobs"
)

// Files tests an implementation of jobs.Files that has nothing in it.
func Files(t *testing.T, f jobs.Files) {
	ctx := t.Context()
	read := func(r io.ReadCloser, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}

	// What is put is there, and what is put again is in its place.
	for _, text := range []string{"first", "", strings.Repeat("large ", 2<<20), "the second one"} {
		if n, err := f.Put(ctx, "iris/a1/result", strings.NewReader(text)); n != int64(len(text)) || err != nil {
			t.Fatalf("Put() of %d bytes = %d, %v", len(text), n, err)
		}
		if got := read(f.Open(ctx, "iris/a1/result")); got != text {
			t.Errorf("Open() has %d bytes, and not the %d that were put", len(got), len(text))
		}
	}
	if _, err := f.Put(ctx, "iris/a1/torn", io.MultiReader(strings.NewReader("some"), broken{})); err == nil {
		t.Error("Put() of what breaks off = nil")
	}
	for _, name := range []string{"iris/a1/torn", "iris/a1/never", "iris/a2/result"} {
		if r, err := f.Open(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open(%s) = %v, %v; want that it does not exist", name, r, err)
		}
	}

	// A file grows; what was added after the place at which it goes on is gone.
	var want []byte
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
	for i := range 60 {
		at := len(want)
		if i%7 == 6 {
			at = random.IntN(len(want) + 1)
		}
		added := make([]byte, random.IntN(40_000))
		if i == 30 {
			added = make([]byte, 700_000)
		}
		for n := range added {
			added[n] = byte(random.Uint32())
		}
		if err := f.Append(ctx, "iris/a1/output.jsonl", int64(at), added); err != nil {
			t.Fatalf("Append(%d, %d bytes) = %v", at, len(added), err)
		}
		want = append(want[:at], added...)
		from := random.IntN(len(want) + 1)
		to := from + random.IntN(len(want)-from+1)
		if got := read(f.Read(ctx, "iris/a1/output.jsonl", int64(from), int64(to))); got != string(want[from:to]) {
			t.Fatalf("Read(%d, %d) has %d bytes that are not those of %d", from, to, len(got), len(want))
		}
	}
	if got := read(f.Read(ctx, "iris/a1/output.jsonl", 0, int64(len(want)))); !bytes.Equal([]byte(got), want) {
		t.Errorf("Read() has %d bytes, not the %d that were added", len(got), len(want))
	}
	if err := f.Append(ctx, "iris/a1/output.jsonl", int64(len(want))+300_000, []byte("x")); err == nil {
		t.Error("Append() beyond the end = nil")
	}
	if r, err := f.Read(ctx, "iris/a1/output.jsonl", 0, int64(len(want))+1); err == nil {
		if data, err := io.ReadAll(r); err == nil {
			t.Errorf("Read() beyond the end has %d bytes, want an error", len(data))
		}
		_ = r.Close()
	}

	// Jobs are told apart, and what is dropped is gone.
	if _, err := f.Put(ctx, "iris/a11/result", strings.NewReader("another")); err != nil {
		t.Fatal(err)
	}
	all := func() (all []string) {
		t.Helper()
		if err := f.Jobs(ctx, func(api, id string) { all = append(all, api+"/"+id) }); err != nil {
			t.Fatal(err)
		}
		slices.Sort(all)
		return all
	}
	if got := all(); !slices.Equal(got, []string{"iris/a1", "iris/a11"}) {
		t.Errorf("Jobs() = %q", got)
	}
	for range 2 {
		if err := f.RemoveAll(ctx, "iris", "a1"); err != nil {
			t.Errorf("RemoveAll() = %v", err)
		}
	}
	if got := all(); !slices.Equal(got, []string{"iris/a11"}) {
		t.Errorf("Jobs() = %q after one was dropped", got)
	}
	if r, err := f.Open(ctx, "iris/a1/result"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open() of what was dropped = %v, %v", r, err)
	}
	if got := read(f.Open(ctx, "iris/a11/result")); got != "another" {
		t.Errorf("Open() of another job has %q", got)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("it breaks off") }

// Records tests an implementation of jobs.Records that has nothing in it.
func Records(t *testing.T, r jobs.Records) {
	ctx := t.Context()
	write := func(changes map[string][]byte) {
		t.Helper()
		if err := r.Write(ctx, "testing", changes); err != nil {
			t.Fatal(err)
		}
	}
	scan := func(prefix string) string {
		t.Helper()
		var all []string
		if err := r.Scan(ctx, prefix, func(key string, data []byte) error {
			all = append(all, strings.ReplaceAll(key, "\x00", "|")+"="+string(data))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return strings.Join(all, " ")
	}
	if got := scan("j/"); got != "" {
		t.Errorf("Scan() of nothing = %q", got)
	}
	write(map[string][]byte{"j/iris\x00b": []byte("2"), "j/iris\x00a": []byte("1"), "j/iris-b\x00a": []byte("3"), "c/iris\x00a\x00000001": []byte("5"), "c/iris\x00a\x00000000": []byte("4")})
	write(map[string][]byte{"j/iris\x00a": []byte("1'"), "c/iris\x00a\x00000002": []byte("6")})
	for prefix, want := range map[string]string{
		"j/":              "j/iris|a=1' j/iris|b=2 j/iris-b|a=3",
		"j/iris\x00":      "j/iris|a=1' j/iris|b=2",
		"c/iris\x00a\x00": "c/iris|a|000000=4 c/iris|a|000001=5 c/iris|a|000002=6",
		"c/iris\x00b\x00": "",
	} {
		if got := scan(prefix); got != want {
			t.Errorf("Scan(%q) = %q, want %q", prefix, got, want)
		}
	}
	for key, want := range map[string]string{"j/iris\x00a": "1'", "j/iris\x00c": ""} {
		if got, err := r.Get(ctx, key); string(got) != want || err != nil || want == "" && got != nil {
			t.Errorf("Get(%q) = %q, %v; want %q", key, got, err, want)
		}
	}
	write(map[string][]byte{"j/iris\x00a": nil, "c/iris\x00a\x00000001": nil, "j/iris\x00never": nil})
	if got := scan("j/") + " " + scan("c/iris\x00a\x00"); got != "j/iris|b=2 j/iris-b|a=3 c/iris|a|000000=4 c/iris|a|000002=6" {
		t.Errorf("after some were removed there are %q", got)
	}
	stop := errors.New("enough")
	n := 0
	if err := r.Scan(ctx, "j/", func(string, []byte) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
		t.Errorf("Scan() = %v after %d records, want the error of fn after one", err, n)
	}
}
