package journal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

func create(t *testing.T, size int64) (*Writer, string) {
	t.Helper()
	dir := t.TempDir()
	w, err := Create(dir, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() }) // some tests have closed it
	return w, dir
}

func batchOf(n uint64) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("batch %d;", n)), int(n%9)*20+1)
}

// fill appends batches until one does not fit.
func (w *Writer) fillWith(t *testing.T, most int) {
	t.Helper()
	for range most {
		b := batchOf(w.Next())
		if now, fresh := w.Fits(len(b)); !now || !fresh {
			return
		}
		if err := w.Append(b); err != nil {
			t.Fatal(err)
		}
	}
}

// want holds what was found to the batches from one number to another.
func want(t *testing.T, what string, f Found, from, to uint64) {
	t.Helper()
	if len(f.Batches) != int(to-from+1) {
		t.Fatalf("%s: %d batches were found, want %d to %d; %q", what, len(f.Batches), from, to, f.Problems)
	}
	for i, b := range f.Batches {
		if n := from + uint64(i); b.Number != n || !bytes.Equal(b.Data, batchOf(n)) {
			t.Fatalf("%s: batch %d is %d with %q", what, n, b.Number, b.Data)
		}
	}
}

// What was appended is found, in both halves, and without what is in its place.
func TestReadFindsWhatWasAppended(t *testing.T) {
	t.Parallel()
	w, dir := create(t, MinSize)
	applied, from := uint64(0), uint64(1)
	for turn := range 7 {
		w.fillWith(t, 100)
		f, err := Read(dir, w.ID(), applied)
		if err != nil || len(f.Problems) > 0 || len(f.Lost) > 0 {
			t.Fatalf("Read() in turn %d = %q, %v", turn, f.Problems, err)
		}
		want(t, fmt.Sprint("turn ", turn), f, from, w.last)
		half := from + uint64(len(f.Batches))/2
		if f, err = Read(dir, w.ID(), half); err != nil || len(f.Problems) > 0 {
			t.Fatalf("Read() after %d = %q, %v", half, f.Problems, err)
		}
		want(t, fmt.Sprint("half of turn ", turn), f, half+1, w.last)
		applied, from = w.last, w.last+1 // before the other half is written over
		w.Turn()
	}
	if w.last < 40 {
		t.Errorf("%d batches were appended; the test proves nothing", w.last)
	}
}

// filled are the files of a journal, both halves of which have batches, with the numbers of
// the first and the last.
func filled(t *testing.T) (files [2][]byte, id, last uint64) {
	t.Helper()
	w, dir := create(t, MinSize)
	w.fillWith(t, 100)
	w.Turn()
	w.fillWith(t, 4)
	for i, name := range names(dir) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[i] = data
	}
	return files, w.ID(), w.last
}

// Whatever bit is flipped: every batch is found as it was, or it is said that it cannot be.
func TestFlips(t *testing.T) {
	t.Parallel()
	good, id, last := filled(t)
	told, harmless := 0, 0
	for half := range good {
		for at := range good[half] {
			bad := good
			bad[half] = bytes.Clone(good[half])
			bad[half][at] ^= 1 << (at % 8)
			f := read(bad, id, 0)
			if len(f.Problems) == 0 {
				want(t, fmt.Sprintf("byte %d of log-%d", at, half), f, 1, last)
				harmless++
				continue
			}
			told++
			for _, b := range f.Batches {
				if !bytes.Equal(b.Data, batchOf(b.Number)) {
					t.Fatalf("byte %d of log-%d: batch %d is %q", at, half, b.Number, b.Data)
				}
			}
			if len(f.Batches)+len(f.Lost) != int(last) {
				t.Fatalf("byte %d of log-%d: %d batches and %v lost, want %d", at, half, len(f.Batches), f.Lost, last)
			}
		}
	}
	t.Logf("%d flips were told of, %d did no harm", told, harmless)
	if told < 1000 {
		t.Errorf("%d flips were told of; the test proves nothing", told)
	}
}

// A batch that was not finished is none, and not damage; one that was acknowledged is.
func TestTornEnd(t *testing.T) {
	t.Parallel()
	w, dir := create(t, MinSize)
	w.fillWith(t, 3)
	before, err := os.ReadFile(names(dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	at := w.at
	w.fillWith(t, 1)
	after, err := os.ReadFile(names(dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(names(dir)[1])
	if err != nil {
		t.Fatal(err)
	}
	end := w.at
	for cut := at; cut < end; cut += 7 {
		torn := bytes.Clone(before)
		copy(torn[at:], after[at:cut])
		f := read([2][]byte{torn, other}, w.ID(), 0)
		if len(f.Problems) > 0 {
			t.Fatalf("%d bytes of a batch were written: %q", cut-at, f.Problems)
		}
		if len(f.Batches) == 4 { // all but what is beyond its end
			want(t, "the whole batch", f, 1, 4)
			continue
		}
		want(t, fmt.Sprint("torn after ", cut-at), f, 1, 3)
		copy(torn[end:], after[end:]) // its mark
		if f := read([2][]byte{torn, other}, w.ID(), 0); !slices.Equal(f.Lost, []uint64{4}) {
			t.Fatalf("torn after %d, with its mark: %v are lost, want 4; %q", cut-at, f.Lost, f.Problems)
		}
	}
}

func TestOtherFiles(t *testing.T) {
	t.Parallel()
	good, id, last := filled(t)
	strange, _, _ := filled(t)
	for name, files := range map[string][2][]byte{
		"both are gone":      {},
		"one is gone":        {good[0], nil},
		"one is of another":  {good[0], strange[1]},
		"one was cut":        {good[0], good[1][:headSize+100]},
		"one has no head":    {good[0], append(make([]byte, headSize), good[1][headSize:]...)},
		"the halves changed": {good[1], good[0]},
	} {
		f := read(files, id, 0)
		if fine := name == "the halves changed"; (len(f.Problems) == 0) != fine {
			t.Errorf("%s: %q", name, f.Problems)
		}
		for _, b := range f.Batches {
			if b.Number > last || !bytes.Equal(b.Data, batchOf(b.Number)) {
				t.Errorf("%s: batch %d is %q", name, b.Number, b.Data)
			}
		}
	}
}

// A journal whose files are not where they were takes nothing more.
func TestDeletedFilesAreNoticed(t *testing.T) {
	t.Parallel()
	w, dir := create(t, MinSize)
	if err := w.Append([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := Aside(dir, dir+"/kept"); err != nil {
		t.Fatal(err)
	}
	if err := w.Append([]byte("x")); err == nil || !strings.Contains(err.Error(), "log-0") {
		t.Errorf("Append() = %v", err)
	}
	if f, err := Read(dir, w.ID(), 0); err != nil || len(f.Problems) == 0 {
		t.Errorf("Read() = %v, %v", f.Problems, err)
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	w, dir := create(t, MinSize)
	most := MinSize - headSize - sector - recordHead
	if now, fresh := w.Fits(most + 1); now || fresh {
		t.Errorf("Fits(%d) = %v, %v", most+1, now, fresh)
	}
	large := bytes.Repeat([]byte{7}, most)
	if now, fresh := w.Fits(most); !now || !fresh {
		t.Errorf("Fits(%d) = %v, %v", most, now, fresh)
	}
	if err := w.Append(large); err != nil {
		t.Fatal(err)
	}
	if now, fresh := w.Fits(0); now || !fresh {
		t.Errorf("Fits(0) of a full file = %v, %v", now, fresh)
	}
	if f, err := Read(dir, 0, 0); err != nil || len(f.Batches) != 1 || !bytes.Equal(f.Batches[0].Data, large) || f.ID != w.ID() {
		t.Errorf("Read() = %d batches, %v", len(f.Batches), err)
	}
}

// FuzzRead reads files that are anything.
func FuzzRead(f *testing.F) {
	id := uint64(5)
	head := append([]byte(magic), 5, 0, 0, 0, 0, 0, 0, 0)
	f.Add(append(head, make([]byte, 2*headSize)...), []byte{}, id, uint64(0))
	f.Add(append(make([]byte, headSize), record(nil, id, kindBatch, 1, []byte("hello"))...), record(make([]byte, headSize), id, kindMark, 1<<60, nil), id, uint64(0))
	f.Fuzz(func(t *testing.T, a, b []byte, id, after uint64) {
		found := read([2][]byte{a, b}, id, after)
		if len(found.Lost) > maxLost {
			t.Errorf("%d are lost", len(found.Lost))
		}
		for i, one := range found.Batches {
			if one.Number <= after || i > 0 && found.Batches[i-1].Number > one.Number {
				t.Errorf("batch %d is %d", i, one.Number)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1500, 100_000} {
		b.Run(fmt.Sprint(size, " bytes"), func(b *testing.B) {
			w, err := Create(b.TempDir(), 4<<20)
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(rand.IntN(256))
			}
			for b.Loop() {
				if now, _ := w.Fits(size); !now {
					w.Turn()
				}
				if err := w.Append(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
