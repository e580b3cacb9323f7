package suggest

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	known := strings.Fields("pod port containers max_concurrency max_queue_length autoscaling name networking b delete get")
	for _, tt := range []struct{ word, want string }{
		{"prot", "port"}, {"Pod", "pod"}, {"pods", "pod"}, {"containres", "containers"}, {"container", "containers"},
		{"maxConcurrency", "max_concurrency"}, {"max-queue-length", "max_queue_length"}, {"MAX_QUEUE", ""},
		{"autoscalling", "autoscaling"}, {"x", ""}, {"", ""}, {"environment", ""}, {"nam", "name"}, {"porta", "port"}, {"porters", ""}, {"delte", "delete"},
		{"port" + strings.Repeat("_", maxLength-4), "port"}, {"port" + strings.Repeat("_", maxLength-3), ""},
	} {
		if got := Nearest(tt.word, known); got != tt.want {
			t.Errorf("Nearest(%q) = %q, want %q", tt.word, got, tt.want)
		}
	}
	if got := Hint("prot", known); got != `did you mean "port"?` {
		t.Errorf("Hint(prot) = %q", got)
	}
	if got := Hint("x", known); got != "" {
		t.Errorf("Hint(x) = %q, want nothing", got)
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "ABC", 0}, {"abc", "acb", 1}, {"abc", "abcd", 1}, {"abcd", "abc", 1},
		{"abc", "axc", 1}, {"kitten", "sitting", 3},
	} {
		if got := Distance(tt.a, tt.b); got != tt.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
