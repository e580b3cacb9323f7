package cli

import (
	"testing"
	"time"
)

func TestDayDuration(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, tt := range []struct {
		text string
		want time.Duration // negative: refused
	}{
		{"90d", 90 * day},
		{"1d12h", day + 12*time.Hour},
		{"0d", 0},
		{"24h", day},
		{"1h30m", 90 * time.Minute},
		{"0", 0},
		{"106751d", maxDays * day},
		{"106752d", -1},
		{"106751d24h", -1},
		{"18446744073709551616d", -1},
		{"", -1},
		{"d", -1},
		{"1.5d", -1},
		{"-1d", -1},
		{"-1h", -1},
		{"1d-1h", -1},
		{"+1h", -1},
		{"1d1d", -1},
		{"1d 1h", -1},
		{"90", -1},
		{"90 days", -1},
	} {
		var d dayDuration
		if err := d.Set(tt.text); (err != nil) != (tt.want < 0) || err == nil && time.Duration(d) != tt.want {
			t.Errorf("Set(%q) = %v, %v, want %v", tt.text, time.Duration(d), err, tt.want)
		}
	}
}

// What is read is never negative, and what time.ParseDuration reads is that.
func FuzzDayDuration(f *testing.F) {
	for _, text := range []string{"90d", "1d12h", "", "d", "106751d23h59m", "9223372036854775807ns", "1e3d", "1d1d"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var d dayDuration
		err := d.Set(text)
		if err == nil && d < 0 {
			t.Errorf("Set(%q) = %v", text, time.Duration(d))
		}
		if want, not := time.ParseDuration(text); not == nil && want > 0 && text[0] != '+' && (err != nil || time.Duration(d) != want) {
			t.Errorf("Set(%q) = %v, %v, want %v", text, time.Duration(d), err, want)
		}
	})
}
