package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/workload"
)

func TestOrdinal(t *testing.T) {
	t.Parallel()
	var got []string
	for _, n := range []int{1, 2, 3, 4, 11, 12, 13, 21, 112} {
		got = append(got, ordinal(n))
	}
	if want := strings.Fields("1st 2nd 3rd 4th 11th 12th 13th 21st 112th"); !slices.Equal(got, want) {
		t.Errorf("ordinals are %v, want %v", got, want)
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	read := func(fn func(workload.LogLine) error) error {
		for i := range 5 {
			if err := fn(workload.LogLine{Text: fmt.Sprint(i)}); err != nil {
				return err
			}
		}
		return nil
	}
	for n, want := range map[int]string{0: "01234", -1: "01234", 1: "4", 3: "234", 5: "01234", 9: "01234"} {
		got := ""
		if err := Tail(n, read, func(l workload.LogLine) error { got += l.Text; return nil }); err != nil || got != want {
			t.Errorf("Tail(%d) = %q, %v, want %q", n, got, err, want)
		}
	}
}
