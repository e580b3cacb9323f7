package jetstream

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"cortex.dev/cortex/internal/ledger/jetstream/jetstreamtest"
)

// However many members die, what is remembered of them is bounded; one that is remembered is
// not waited for again.
func TestManyDeadMembers(t *testing.T) {
	t.Parallel()
	l, _ := open(t, jetstreamtest.Start(t, 1), "items", 1)
	m := l.Members(slog.New(slog.DiscardHandler))
	long := time.Now().Add(-2 * memberLife)
	for i := range 3 * deadKept {
		if !m.look(t.Context(), fmt.Sprint("gateway", i), &pulse{since: long}) {
			t.Fatalf("a member that was never heard of for %s is there", 2*memberLife)
		}
	}
	if n := m.dead.Len(); n > deadKept {
		t.Errorf("%d dead members are remembered, want at most %d", n, deadKept)
	}
	if !m.look(t.Context(), fmt.Sprint("gateway", 3*deadKept-1), &pulse{}) {
		t.Error("a member that is known to be gone is waited for again")
	}
	if m.look(t.Context(), "gateway0", &pulse{}) {
		t.Error("a member that was forgotten is gone at once, want it waited for")
	}
}
