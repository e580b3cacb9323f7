package bolt

import (
	"maps"
	"testing"

	"cortex.dev/cortex/internal/fault"
)

// What is remembered of schedules is there after a death, until it is forgotten.
func TestScheduleStates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	set := func(api, schedule, data string) {
		t.Helper()
		var bytes []byte
		if data != "" {
			bytes = []byte(data)
		}
		if err := s.SetScheduleState(t.Context(), api, schedule, bytes); err != nil {
			t.Fatal(err)
		}
	}
	set("iris", "a", "1")
	set("iris", "b", "2")
	set("iris-2", "a", "3")
	set("iris", "a", "4")
	set("iris", "b", "")
	set("iris", "never", "")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Config{Dir: dir})
	got := map[string]string{}
	if err := s.ScheduleStates(t.Context(), func(api, schedule string, data []byte) { got[api+" "+schedule] = string(data) }); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"iris a": "4", "iris-2 a": "3"}; !maps.Equal(got, want) {
		t.Errorf("ScheduleStates() = %v, want %v", got, want)
	}
	for _, name := range []string{"", "a\x00b", "A"} {
		if err := s.SetScheduleState(t.Context(), "iris", name, []byte("1")); fault.Code(err) != "store.illegal_name" {
			t.Errorf("SetScheduleState(%q) = %v, want store.illegal_name", name, err)
		}
	}
	if err := s.SetScheduleState(t.Context(), "iris", "a", make([]byte, maxRecordBytes+1)); fault.Code(err) != "store.too_large" {
		t.Errorf("SetScheduleState() = %v, want store.too_large", err)
	}
}
