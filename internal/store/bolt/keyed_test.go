package bolt

import (
	"slices"
	"testing"

	"cortex.dev/cortex/internal/fault"
)

// Records are written several at once or not at all, read by key and in order, and there
// after the file was opened again.
func TestKeyed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() *Keyed {
		k, err := OpenKeyed(t.Context(), Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := open()
	if err := k.Write(t.Context(), "testing", map[string][]byte{"a\x002": []byte("two"), "a\x001": []byte("one"), "b": []byte("other")}); err != nil {
		t.Fatal(err)
	}
	if err := k.Write(t.Context(), "testing", map[string][]byte{"c": []byte("three"), "d": make([]byte, maxRecordBytes+1)}); fault.Code(err) != "store.too_large" {
		t.Errorf("Write() of too much = %v, want it refused", err)
	}
	if err := k.Write(t.Context(), "testing", map[string][]byte{"b": nil, "nothing": nil}); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	k = open()
	t.Cleanup(func() { _ = k.Close() }) // it was only read
	for key, want := range map[string]string{"a\x001": "one", "a\x002": "two", "b": "", "c": ""} {
		if data, err := k.Get(t.Context(), key); err != nil || string(data) != want || (want == "") != (data == nil) {
			t.Errorf("Get(%q) = %q, %v, want %q", key, data, err, want)
		}
	}
	var seen []string
	if err := k.Scan(t.Context(), "a\x00", func(key string, data []byte) error {
		seen = append(seen, key+"="+string(data))
		return nil
	}); err != nil || !slices.Equal(seen, []string{"a\x001=one", "a\x002=two"}) {
		t.Errorf("Scan() = %q, %v, want both in order", seen, err)
	}
}
