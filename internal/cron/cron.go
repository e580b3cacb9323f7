// Package cron says when something is due: at the times of a cron expression in a time
// zone, or at every multiple of a period.
//
// It promises that what Parse accepts is due again and again, that Next is a pure
// function of its arguments and of the time zone data (the machine's, or where it has
// none, that of the program), and that a change of the clock, as for summer, neither loses nor doubles a time that is
// fixed (see Times.Next). It must not wait for anything or read a clock.
package cron

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
)

// expression is a cron expression: which minutes, hours, days, months and days of the
// week are in it, as bits.
type expression struct {
	minute, hour, day, month, weekday uint64
	eitherDay                         bool // day or weekday is enough; else it takes both
	fixed                             bool // neither minute nor hour is written with *
}

// field is one of the five of an expression.
type field struct {
	name     string
	min, max int
	names    []string // of min, min+1, …
}

var fields = [...]field{
	{name: "minute", max: 59},
	{name: "hour", max: 23},
	{name: "day of the month", min: 1, max: 31},
	{name: "month", min: 1, max: 12, names: []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{name: "day of the week", max: 7, names: []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}}, // 7 is Sunday too
}

var shorthands = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// MaxLength bounds the text of an expression.
const MaxLength = 256

// parse reads an expression. Its errors are sentences without a subject.
func parse(text string) (e expression, _ error) {
	if len(text) > MaxLength {
		return e, fmt.Errorf("has %d characters, and may have %d", len(text), MaxLength)
	}
	if strings.HasPrefix(text, "@") {
		long, ok := shorthands[strings.ToLower(text)]
		if !ok {
			return e, fmt.Errorf("is none of @hourly, @daily, @weekly, @monthly and @yearly")
		}
		text = long
	}
	parts := strings.Fields(text)
	switch {
	case len(parts) > 0 && strings.Contains(parts[0], "TZ="):
		return e, fmt.Errorf("names a time zone, which belongs in timezone")
	case len(parts) != len(fields):
		return e, fmt.Errorf("has %d fields, and must have five: minute, hour, day of the month, month, day of the week", len(parts))
	}
	var set [len(fields)]uint64
	var star [len(fields)]bool
	for i, f := range fields {
		var err error
		if set[i], star[i], err = f.parse(strings.ToLower(parts[i])); err != nil {
			return e, fmt.Errorf("has the %s %q, which %w", f.name, parts[i], err)
		}
	}
	set[4] |= set[4] >> 7 // Sunday
	e = expression{
		minute: set[0], hour: set[1], day: set[2], month: set[3], weekday: set[4] & (1<<7 - 1),
		eitherDay: !star[2] && !star[4], fixed: !star[0] && !star[1],
	}
	if !e.comes() {
		return e, fmt.Errorf("is never due: none of its months has such a day")
	}
	return e, nil
}

// parse reads the text of a field: a list of numbers, names, ranges and steps.
func (f field) parse(text string) (set uint64, star bool, _ error) {
	for _, part := range strings.Split(text, ",") {
		from, to, step := f.min, f.max, 1
		if f.max == 7 {
			to = 6 // * is each day once
		}
		span, every, stepped := strings.Cut(part, "/")
		first, last, isRange := strings.Cut(span, "-")
		var err error
		switch {
		case span == "*":
			star = true
		case isRange:
			if from, err = f.number(first); err == nil {
				to, err = f.number(last)
			}
			if f.max == 7 && to == 0 && from > 0 {
				to = 7 // fri-sun
			}
			if err == nil && from > to {
				err = fmt.Errorf("is a range that ends before it begins")
			}
		default:
			if from, err = f.number(span); err == nil && stepped {
				err = fmt.Errorf("has a step and no range: write %s-%d/%s", span, f.max, every)
			}
			to = from
		}
		if err == nil && stepped {
			if step, err = strconv.Atoi(every); err != nil || step < 1 || step > f.max {
				err = fmt.Errorf("has a step that is none of 1 to %d", f.max)
			}
		}
		if err != nil {
			return 0, false, err
		}
		for n := from; n <= to; n += step {
			set |= 1 << n
		}
	}
	return set, star, nil
}

func (f field) number(text string) (int, error) {
	if i := slices.Index(f.names, text); i >= 0 {
		return f.min + i, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < f.min || n > f.max || len(text) > 2 || text[0] == '+' || text[0] == '-' {
		also := ""
		if f.names != nil {
			also = fmt.Sprintf(" or %s to %s", f.names[0], f.names[len(f.names)-1])
		}
		return 0, fmt.Errorf("is not made of *, numbers from %d to %d%s, ranges (1-5), lists (1,3) and steps (*/5)", f.min, f.max, also)
	}
	return n, nil
}

// comes reports whether there is such a day in any year.
func (e *expression) comes() bool {
	if e.eitherDay {
		return true
	}
	for m, days := range [...]int{1: 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31} {
		if e.month>>m&1 == 1 && e.day&(1<<(days+1)-1) != 0 {
			return true // on each day of the week within 40 years
		}
	}
	return false
}

func (e *expression) hasDay(t time.Time) bool {
	_, m, d := t.Date()
	day, weekday := e.day>>d&1 == 1, e.weekday>>t.Weekday()&1 == 1
	if e.month>>m&1 == 0 {
		return false
	}
	if e.eitherDay {
		return day || weekday
	}
	return day && weekday
}

// next returns the first minute of the expression that is not before from and before to.
// Times are what a clock on the wall shows, written as UTC.
func (e *expression) next(from, to time.Time) (time.Time, bool) {
	if r := from.Truncate(time.Minute); r.Before(from) {
		from = r.Add(time.Minute)
	}
	y, m, d := from.Date()
	day := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	hour, minute := from.Hour(), from.Minute()
	for ; day.Before(to); hour, minute = 0, 0 {
		if e.month>>day.Month()&1 == 0 {
			day = time.Date(day.Year(), day.Month()+1, 1, 0, 0, 0, 0, time.UTC)
			continue
		}
		if e.hasDay(day) {
			for h := hour; h < 24; h, minute = h+1, 0 {
				if e.hour>>h&1 == 0 {
					continue
				}
				if n := minute + bits.TrailingZeros64(e.minute>>minute); n < 60 {
					at := day.Add(time.Duration(h)*time.Hour + time.Duration(n)*time.Minute)
					return at, at.Before(to)
				}
			}
		}
		day = day.Add(24 * time.Hour)
	}
	return time.Time{}, false
}
