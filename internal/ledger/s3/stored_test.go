package s3

import (
	"bytes"
	"reflect"
	"testing"

	"cortex.dev/cortex/internal/ledger/ledgertest"
)

// What is written is read again; what was cut is damaged, and never half of it.
func TestStored(t *testing.T) {
	t.Parallel()
	item, payload := ledgertest.Sample("iris", 1)
	s := &stored{Item: item, payload: payload, result: []byte("a\nb\x00")}
	for range 2 * keptTokens {
		data, token, err := s.write()
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(data)
		if err != nil || !reflect.DeepEqual(got.Item, item) || !bytes.Equal(got.payload, payload) || string(got.result) != "a\nb\x00" || len(got.By) > keptTokens || !wrote(token)(data) {
			t.Fatalf("read() = %+v, %v", got, err)
		}
		for n := range data {
			if _, err := read(data[:n]); err == nil {
				t.Fatalf("%d bytes of %d are no item", n, len(data))
			}
		}
	}
}

func TestMarks(t *testing.T) {
	t.Parallel()
	item, _ := ledgertest.Sample("iris", 1)
	for _, generation := range []int{0, 1, 12} {
		m := mark{"iris", item.ID, generation}
		if got, ok := readMark(m.key()); !ok || got != m {
			t.Errorf("readMark(%s) = %+v, %v", m.key(), got, ok)
		}
	}
	for _, key := range []string{"", "open/", "open/iris/x", "open/iris/" + item.ID + ".0", "open/iris/" + item.ID + ".01", "open/iris/" + item.ID + ".", "iris/" + item.ID, "open/../" + item.ID} {
		if m, ok := readMark(key); ok {
			t.Errorf("readMark(%q) = %+v", key, m)
		}
	}
}

func FuzzRead(f *testing.F) {
	item, payload := ledgertest.Sample("iris", 1)
	data, _, _ := (&stored{Item: item, payload: payload}).write()
	f.Add(data)
	f.Add([]byte("{\"payload\": -1}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := read(data); err == nil && len(s.payload)+len(s.result) > len(data) {
			t.Errorf("%q has more in it than it is", data)
		}
		for _, n := range readLines(data) {
			if n.ID == "" {
				t.Error("a line of nothing")
			}
		}
		_, _ = readMark(string(data))
	})
}
