package relay

import "testing"

// What works for long is looked at now and then, and what follows it on the connection as
// often as anything else.
func TestLooksAtWhatWorksForLong(t *testing.T) {
	t.Parallel()
	s := NewServer(Config{})
	all := make([]*conn, 50)
	for i := range all {
		all[i] = &conn{srv: s, number: uint64(i)}
		all[i].mark.Store(mark(busy, 1000))
		s.conns[all[i]], s.lively[all[i]] = struct{}{}, struct{}{}
	}
	looked := func(from, ticks int64) (n int) {
		for i := range ticks {
			n += len(s.look(from+i*tick.Milliseconds(), nil))
		}
		return n
	}
	for _, tt := range []struct {
		what  string
		from  int64 // milliseconds
		ticks int64
		want  int // looks at each
	}{
		{"in the first second", 1100, 10, 10},
		{"in the first ten", 3000, 20, 5},
		{"after ten", 12_000, 20, 1}, // and the one by which it rests
		{"after ten, again", 13_000, 40, 2},
		{"after half a minute", 40_000, 120, 2},
	} {
		want := tt.want * len(all)
		if tt.what == "after ten" {
			want += len(all) - 3 // some are in the very next bucket already
		}
		if got := looked(tt.from, tt.ticks); got < want-3 || got > want+3 {
			t.Errorf("%s: %d looks within %d ticks, want about %d", tt.what, got, tt.ticks, want)
		}
	}
	if len(s.lively) != 0 {
		t.Errorf("%d do not rest", len(s.lively))
	}
	for _, c := range all {
		c.mark.Store(mark(busy, 50_000))
	}
	looked(50_000, restingLooks)
	if got, want := looked(50_500, 5), 5*len(all); len(s.lively) != len(all) || got != want {
		t.Errorf("%d are looked at again, %d times within 5 ticks, want %d", len(s.lively), got, want)
	}
	for _, c := range all {
		c.mark.Store(mark(busy, 1000))
	}
	looked(60_000, restingLooks)
	for _, c := range all {
		s.forget(c)
	}
	if looked(70_000, 60) != 0 || len(s.conns) != 0 {
		t.Errorf("connections that are gone are looked at")
	}
}
