package cron

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, expr, zone, after, want string }{
		{"the next minute", "* * * * *", "", "2026-01-02T03:04:05Z", "2026-01-02T03:05:00Z"},
		{"strictly after", "5 3 * * *", "", "2026-01-02T03:05:00Z", "2026-01-03T03:05:00Z"},
		{"names", "0 0 * jan-mar mon", "", "2026-03-31T00:00:00Z", "2027-01-04T00:00:00Z"},
		{"Sunday is 7", "0 0 * * 7", "", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"},
		{"a range to Sunday", "0 0 * * sat-sun", "", "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"},
		{"either day", "0 0 13 * fri", "", "2026-01-03T00:00:00Z", "2026-01-09T00:00:00Z"},
		{"both days where one is *", "0 0 */2 * fri", "", "2026-01-03T00:00:00Z", "2026-01-09T00:00:00Z"},
		{"29 February", "0 0 29 2 *", "", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"29 February over 2100", "0 0 29 2 */6", "", "2072-03-01T00:00:00Z", "2076-02-29T00:00:00Z"},
		{"shorthand", "@daily", "", "2026-01-02T03:04:05Z", "2026-01-03T00:00:00Z"},
		{"a zone", "0 8 * * *", "Asia/Tokyo", "2026-01-02T00:00:00Z", "2026-01-02T23:00:00Z"},
		{"left out: the first moment after", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
		{"the day after that", "30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
		{"twice: its first", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
		{"twice: not its second", "30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		{"* goes on through the hour that comes twice", "*/30 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z"},
		{"* goes on over the hour that is left out", "*/30 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"},
		{"a day that is left out", "0 12 * * *", "Pacific/Apia", "2011-12-29T23:00:00Z", "2011-12-30T10:00:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			times, err := Parse(tt.expr, tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			if got := times.Next(moment(t, tt.after)); !got.Equal(moment(t, tt.want)) {
				t.Errorf("Next(%s) = %s, want %s", tt.after, got.Format(time.RFC3339), tt.want)
			}
		})
	}
}

func moment(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestEvery(t *testing.T) {
	t.Parallel()
	every := Every(90 * time.Second)
	for after, want := range map[string]string{
		"1970-01-01T00:00:00Z": "1970-01-01T00:01:30Z", "1970-01-01T00:01:29Z": "1970-01-01T00:01:30Z",
		"1970-01-01T00:01:30Z": "1970-01-01T00:03:00Z", "1969-12-31T23:59:59Z": "1970-01-01T00:00:00Z",
	} {
		if got := every.Next(moment(t, after)); !got.Equal(moment(t, want)) {
			t.Errorf("Next(%s) = %s, want %s", after, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]string{
		"":                           "has 0 fields",
		"* * * *":                    "has 4 fields",
		"0 0 * * * *":                "has 6 fields",
		"CRON_TZ=UTC 0 0 * * *":      "belongs in timezone",
		"@reboot":                    "is none of @hourly",
		"60 * * * *":                 "numbers from 0 to 59",
		"* 24 * * *":                 "numbers from 0 to 23",
		"* * 0 * *":                  "numbers from 1 to 31",
		"* * * 13 *":                 "numbers from 1 to 12 or jan to dec",
		"* * * * 8":                  "numbers from 0 to 7 or sun to sat",
		"* * L * *":                  "which is not made of",
		"* * ? * *":                  "which is not made of",
		"+1 * * * *":                 "which is not made of",
		"5-1 * * * *":                "ends before it begins",
		"5/10 * * * *":               "write 5-59/10",
		"*/0 * * * *":                "none of 1 to 59",
		"*/99 * * * *":               "none of 1 to 59",
		"1,, * * * *":                "which is not made of",
		"0 0 30 2 *":                 "is never due",
		"0 0 31 4,6,9,11 *":          "is never due",
		"0 0 31 2 */2":               "is never due",
		strings.Repeat("1,", 200):    "has 400 characters",
		"1-2-3 * * * *":              "which is not made of",
		"0 0 1 1 mon,\x00":           "which is not made of",
		"0\u00a00 * * * * * * * * *": "has 11 fields",
	} {
		if _, err := Parse(expr, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %v, want %q", expr, err, want)
		}
	}
	for _, zone := range []string{"Mars/Base", "Local", "../etc/passwd", "/etc/localtime", "right/UTC", "posix/UTC", "Europe/Berlin\x00", strings.Repeat("a", 100), "zone.tab", "tzdata.zi"} {
		if _, err := Parse("@daily", zone); !IsZoneError(err) {
			t.Errorf("Parse(@daily, %q) = %v, want that there is no such zone", zone, err)
		}
	}
}

func TestHolds(t *testing.T) {
	t.Parallel()
	times, err := Parse("0 8 * * 1-5", "Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]bool{
		"2026-01-05T06:59:59Z": false, "2026-01-05T07:00:00Z": true, "2026-01-05T16:59:59Z": true, "2026-01-05T17:00:00Z": false,
		"2026-01-04T10:00:00Z": false,
	} {
		if got := times.Holds(moment(t, at), 10*time.Hour); got != want {
			t.Errorf("Holds(%s) = %t, want %t", at, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, e := range expressions {
		f.Add(e, "Europe/Berlin")
	}
	f.Add("@daily", "Local")
	f.Fuzz(func(t *testing.T, expr, zone string) {
		times, err := Parse(expr, zone)
		if err != nil {
			return
		}
		after := since
		for range 3 {
			next := times.Next(after)
			if !next.After(after) {
				t.Fatalf("%q in %q: Next(%s) = %s, want a later time", expr, zone, after, next)
			}
			after = next
		}
	})
}

// TestMain has all tests use the zones that are embedded, which have rules instead of every
// change: those of the machine may have all changes until 2037.
func TestMain(m *testing.M) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err == nil {
		err = os.Setenv("ZONEINFO", filepath.Join(strings.TrimSpace(string(root)), "lib/time/zoneinfo.zip"))
	}
	if err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// On the last day of a leap year ZoneBounds says that the year is over already.
func TestLastDayOfALeapYear(t *testing.T) {
	t.Parallel()
	for zone, want := range map[string]string{"Europe/Berlin": "2028-12-31T23:00:00Z", "America/New_York": "2029-01-01T05:00:00Z", "Australia/Sydney": "2028-12-31T13:00:00Z"} {
		times, err := Parse("@yearly", zone)
		if err != nil {
			t.Fatal(err)
		}
		found := make(chan time.Time, 1)
		go func() { found <- times.Next(time.Date(2028, 6, 1, 0, 0, 0, 0, time.UTC)) }()
		select {
		case got := <-found:
			if got.Format(time.RFC3339) != want {
				t.Errorf("Next() in %s = %s, want %s", zone, got.Format(time.RFC3339), want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("Next() in %s does not return", zone)
		}
	}
}
