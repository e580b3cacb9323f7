package cron

import (
	"archive/zip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The oracle is a second implementation, which knows no transitions: it goes through the
// days of a calendar, and looks for the moments at which a clock on the wall shows a time
// by trying every offset that the zone ever has.

type oracle struct {
	zone    *time.Location
	offsets []time.Duration
}

func newOracle(zone *time.Location, from, to time.Time) oracle {
	o := oracle{zone: zone}
	for t := from.Add(-72 * time.Hour); t.Before(to.Add(72 * time.Hour)); t = t.Add(time.Hour) {
		if off := o.offset(t); !slices.Contains(o.offsets, off) {
			o.offsets = append(o.offsets, off)
		}
	}
	return o
}

func (o oracle) offset(t time.Time) time.Duration {
	_, s := t.In(o.zone).Zone()
	return time.Duration(s) * time.Second
}

func (o oracle) wall(t time.Time) time.Time { return t.Add(o.offset(t)) }

// due lists the times of an expression from one moment to before another.
func (o oracle) due(expr string, from, to time.Time) (list []time.Time) {
	parts := strings.Fields(expr)
	minutes, hours := spelled(parts[0], 0, 59), spelled(parts[1], 0, 23)
	days, months, weekdays := spelled(parts[2], 1, 31), spelled(parts[3], 1, 12), spelled(parts[4], 0, 7)
	fixed := parts[0][0] != '*' && parts[1][0] != '*'
	both := parts[2][0] == '*' || parts[4][0] == '*'
	first := from.Add(-48 * time.Hour).Truncate(24 * time.Hour)
	for day := first; day.Before(to.Add(48 * time.Hour)); day = day.Add(24 * time.Hour) {
		inDays := slices.Contains(days, day.Day())
		inWeek := slices.Contains(weekdays, int(day.Weekday())) || day.Weekday() == time.Sunday && slices.Contains(weekdays, 7)
		if !slices.Contains(months, int(day.Month())) || both && !(inDays && inWeek) || !inDays && !inWeek {
			continue
		}
		for _, h := range hours {
			for _, m := range minutes {
				moments := o.moments(day.Add(time.Duration(h)*time.Hour + time.Duration(m)*time.Minute))
				switch {
				case !fixed:
					list = append(list, moments...)
				case len(moments) > 0:
					list = append(list, moments[0])
				default:
					list = append(list, o.firstAfter(day.Add(time.Duration(h)*time.Hour+time.Duration(m)*time.Minute)))
				}
			}
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	list = slices.CompactFunc(list, time.Time.Equal)
	return slices.DeleteFunc(list, func(t time.Time) bool { return t.Before(from) || !t.Before(to) })
}

// moments returns when the clock shows a time, in order.
func (o oracle) moments(wall time.Time) (list []time.Time) {
	for _, off := range o.offsets {
		if t := wall.Add(-off); o.offset(t) == off {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	return list
}

// firstAfter returns the first minute at which the clock shows more than a time that it
// never shows.
func (o oracle) firstAfter(wall time.Time) time.Time {
	t := wall.Add(-slices.Max(o.offsets) - 26*time.Hour)
	for !o.wall(t).After(wall) {
		t = t.Add(time.Minute)
	}
	return t
}

// spelled returns the numbers that are meant by a field without names.
func spelled(text string, from, to int) (list []int) {
	for n := from; n <= to; n++ {
		for _, part := range strings.Split(text, ",") {
			span, by, stepped := strings.Cut(part, "/")
			a, b, step := from, to, 1
			if span != "*" {
				one, other, isRange := strings.Cut(span, "-")
				a, _ = strconv.Atoi(one)
				if b = a; isRange {
					b, _ = strconv.Atoi(other)
				}
			}
			if stepped {
				step, _ = strconv.Atoi(by)
			}
			if n >= a && n <= b && (n-a)%step == 0 {
				list = append(list, n)
				break
			}
		}
	}
	return list
}

var expressions = []string{
	"* * * * *", "*/5 * * * *", "*/15 * * * *", "0 * * * *", "30 * * * *", "0 */2 * * *", "15 */6 * * *", "*/10 2 * * *", "*/20 0-3 * * 0", "7 * 1 * *",
	"0 0 * * *", "0 1 * * *", "30 1 * * *", "0 2 * * *", "30 2 * * *", "59 2 * * *", "0 3 * * *", "30 0 * * *", "59 23 * * *", "0 12 * * *",
	"0,30 1-3 * * *", "15,45 0,1,2,3 * * *", "1-59/29 2 * * *", "0-59 2 * * 0", "0 2 * 3,10 0", "30 2 * 3-4 6,0", "45 1 25-31 3,10 *", "0 0 1 * *", "0 0 31 * *", "0 0 29 2 *",
	"0 8 * * 1-5", "0 18 * * 5,6", "0 4 13 * 5", "0 4 */2 * 1", "0 4 1-7 * *", "30 2 1-7 11 0", "30 2 8-14 3 0", "0 0 1 1 *", "5 0 * 8 *", "0 22 * * 7",
}

// embedded has the zones that are part of the program.
func embedded(t *testing.T) map[string]*time.Location {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	archive, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib/time/zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	all := map[string]*time.Location{}
	for _, f := range archive.File {
		if strings.HasSuffix(f.Name, "/") || f.Name == "Factory" {
			continue
		}
		if all[f.Name], err = location(f.Name); err != nil {
			t.Errorf("location(%s) = %v", f.Name, err)
		}
	}
	return all
}

var since, until = time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)

// rules are the changes of a zone's clock, by which some zones are the same.
func changes(zone *time.Location) (list []time.Time, rules string) {
	_, offset := since.In(zone).Zone()
	rules = fmt.Sprint(offset)
	for at := since.In(zone); ; {
		_, end := bounds(at)
		if end.IsZero() || !end.Before(until) {
			return list, rules
		}
		if _, then := end.Zone(); then != offset { // a year that ends is no change
			offset = then
			list, rules = append(list, end), fmt.Sprint(rules, " ", end.Unix(), " ", offset)
		}
		at = end
	}
}

func compare(t *testing.T, name string, o oracle, expr string, from, to time.Time) {
	t.Helper()
	times, err := Parse(expr, name)
	if err != nil {
		t.Error(err)
		return
	}
	want := o.due(expr, from, to)
	at := from.Add(-1)
	for i := 0; ; i++ {
		at = times.Next(at)
		switch {
		case i == len(want) && (at.IsZero() || !at.Before(to)):
			return
		case i == len(want) || !at.Equal(want[i]):
			t.Errorf("%s in %s: time %d from %s is %s, want %s", expr, name, i, from.Format(time.RFC3339), at.In(o.zone), append(want, time.Time{})[i].In(o.zone))
			return
		}
	}
}

// Around each change of the clock of zones of each sort.
func TestChangesOfTheClock(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"Europe/Berlin", "Europe/London", "America/New_York", "America/St_Johns", "America/Havana", "America/Sao_Paulo", "Australia/Lord_Howe",
		"Africa/Casablanca", "Antarctica/Troll", "Asia/Tehran", "Asia/Gaza", "Asia/Kathmandu", "Pacific/Apia", "Asia/Pyongyang", "America/Metlakatla", "Africa/Juba", "America/Caracas", "UTC",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone, err := location(name)
			if err != nil {
				t.Fatal(err)
			}
			o := newOracle(zone, since, until)
			list, _ := changes(zone)
			for _, at := range append(list[:min(len(list), 8)], since) {
				for _, expr := range expressions {
					compare(t, name, o, expr, at.UTC().Add(-30*time.Hour), at.UTC().Add(30*time.Hour))
				}
			}
		})
	}
}

// Every zone, every minute of twenty-one years. It takes a quarter of an hour.
func TestMatrix(t *testing.T) {
	if os.Getenv("CORTEX_TEST_EXHAUSTIVE") == "" {
		t.Skip("set CORTEX_TEST_EXHAUSTIVE=1, as make cron-matrix does")
	}
	type sort struct{ zones []string }
	byRules := map[string]*sort{}
	for name, zone := range embedded(t) {
		_, rules := changes(zone)
		if byRules[rules] == nil {
			byRules[rules] = &sort{}
		}
		byRules[rules].zones = append(byRules[rules].zones, name)
	}
	work := make(chan *sort)
	var all sync.WaitGroup
	var mu sync.Mutex
	done, zones := 0, 0
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for s := range work {
				slices.Sort(s.zones)
				zone, _ := location(s.zones[0])
				o := newOracle(zone, since, until)
				for _, expr := range expressions {
					compare(t, s.zones[0], o, expr, since, until)
				}
				mu.Lock()
				done, zones = done+1, zones+len(s.zones)
				fmt.Printf("%d of %d sorts of zones: %s\n", done, len(byRules), strings.Join(s.zones, " "))
				mu.Unlock()
			}
		})
	}
	for _, s := range byRules {
		work <- s
	}
	close(work)
	all.Wait()
	t.Logf("%d zones of %d sorts, %d expressions, %d to %d", zones, len(byRules), len(expressions), since.Year(), until.Year()-1)
}

func TestEveryEmbeddedZone(t *testing.T) {
	t.Parallel()
	if n := len(embedded(t)); n < 500 {
		t.Errorf("there are %d zones, want those of the IANA database", n)
	}
}
