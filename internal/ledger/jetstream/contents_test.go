package jetstream

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"

	"cortex.dev/cortex/internal/ledger/jetstream/jetstreamtest"
)

// What is larger than a chunk comes back as it was, from any position; what did not come
// whole is not there.
func TestContents(t *testing.T) {
	t.Parallel()
	l, _ := open(t, jetstreamtest.Start(t, 1), "items", 1)
	c := l.Contents()
	want := make([]byte, 300_000)
	_, _ = rand.Read(want)
	if err := c.Put("iris/a.payload", bytes.NewReader(want)); err != nil {
		t.Fatal(err)
	}
	f, err := c.Open("iris/a.payload")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, from := range []int64{0, 200_000, 17, int64(len(want)) - 1} {
		if at, err := f.Seek(from, io.SeekStart); at != from || err != nil {
			t.Fatalf("Seek(%d) = %d, %v", from, at, err)
		}
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want[from:]) {
			t.Errorf("from %d there are %d bytes, %v; want the %d that were put", from, len(got), err, len(want)-int(from))
		}
	}
	if size, err := f.Seek(0, io.SeekEnd); size != int64(len(want)) || err != nil {
		t.Errorf("the end is at %d, %v", size, err)
	}
	torn := io.MultiReader(bytes.NewReader(want), &failing{})
	if err := c.Put("iris/torn.payload", torn); err == nil {
		t.Error("Put() of what breaks off = nil")
	}
	if _, err := c.Open("iris/torn.payload"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open() of what broke off = %v, want fs.ErrNotExist", err)
	}
	var names []string
	if err := c.Each(func(name string) { names = append(names, name) }); err != nil || !slices.Equal(names, []string{"iris/a.payload"}) {
		t.Errorf("Each() has %q, %v", names, err)
	}
	for range 2 {
		if err := c.Remove("iris/a.payload"); err != nil {
			t.Errorf("Remove() = %v", err)
		}
	}
	if _, err := c.Open("iris/a.payload"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open() of what was removed = %v, want fs.ErrNotExist", err)
	}
	if err := c.Each(func(name string) { t.Errorf("%s is still there", name) }); err != nil {
		t.Error(err)
	}
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, errors.New("the caller left") }

// What is remembered of schedules is there for the next program, until it is forgotten.
func TestSchedules(t *testing.T) {
	t.Parallel()
	url := jetstreamtest.Start(t, 1)
	l, _ := open(t, url, "items", 1)
	s := l.Schedules()
	states := func(s *Schedules) (all string) {
		t.Helper()
		if err := s.ScheduleStates(t.Context(), func(api, schedule string, data []byte) { all += api + "/" + schedule + "=" + string(data) + " " }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if got := states(s); got != "" {
		t.Errorf("ScheduleStates() = %q before anything is kept", got)
	}
	for _, one := range [][3]string{{"a-b", "c", "1"}, {"a-b", "c", "2"}, {"a-b", "d", "3"}} {
		if err := s.SetScheduleState(t.Context(), one[0], one[1], []byte(one[2])); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // what is not there is forgotten already
		if err := s.SetScheduleState(t.Context(), "a-b", "d", nil); err != nil {
			t.Fatal(err)
		}
	}
	other, _ := open(t, url, "items", 1)
	if got := states(other.Schedules()); got != "a-b/c=2 " {
		t.Errorf("ScheduleStates() = %q, want what was written last", got)
	}
}
