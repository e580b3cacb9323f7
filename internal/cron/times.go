package cron

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // a zone that was accepted is there wherever it is used
)

// Times are the times at which something is due.
type Times struct {
	cron  *expression // nil: every
	zone  *time.Location
	every time.Duration
}

// Parse reads a cron expression of five fields, or a shorthand such as @daily, whose
// times are those of a zone of the IANA database; an empty one is UTC. An expression that
// is never due is refused. Errors are sentences without a subject; those of the zone are
// a *ZoneError.
func Parse(text, zone string) (Times, error) {
	where, err := location(zone)
	if err != nil {
		return Times{}, err
	}
	e, err := parse(text)
	if err != nil {
		return Times{}, err
	}
	return Times{cron: &e, zone: where}, nil
}

// Every returns the multiples of a period since the beginning of 1970 in UTC.
func Every(period time.Duration) Times { return Times{every: period} }

// ZoneError is a name that no time zone has.
type ZoneError struct{ Name string }

// Error implements error.
func (e *ZoneError) Error() string { return fmt.Sprintf("no time zone is called %q", e.Name) }

// MaxZoneLength bounds the name of a zone.
const MaxZoneLength = 64

// zones are those that were asked for: there are some hundreds of names.
var zones sync.Map

func location(name string) (*time.Location, error) {
	if name == "" || name == "UTC" {
		return time.UTC, nil
	}
	if z, ok := zones.Load(name); ok {
		return z.(*time.Location), nil
	}
	// Other files that a machine may have beside its zones are none.
	for _, not := range []string{"Local", "localtime", "Factory", "posix/", "posixrules", "right/", "/"} {
		if strings.HasPrefix(name, not) {
			return nil, &ZoneError{name}
		}
	}
	if len(name) > MaxZoneLength || strings.ContainsAny(name, `\.`) {
		return nil, &ZoneError{name}
	}
	z, err := time.LoadLocation(name)
	if err != nil {
		return nil, &ZoneError{name}
	}
	zones.Store(name, z)
	return z, nil
}

// horizon is longer than any expression waits: a 29 February on one day of the week
// comes back after 40 years where a year is left out, as 2100 is.
const horizon = 41 * 366 * 24 * time.Hour

// Next returns the first time that is after a time; zero where there is none within 40
// years, as when that time is beyond the years that can be written.
//
// Where the clock is put forward, a time that is left out is the first moment after;
// where it is put back, a time that comes twice is its first. This is so where minute
// and hour are fixed. Where one of them is written with *, what is due goes by the clock
// alone: nothing takes the place of what is left out, and what comes twice is due twice,
// so that */15 stays a quarter of an hour.
func (t Times) Next(after time.Time) time.Time {
	if t.every > 0 {
		return after.Add(t.every - sinceEpoch(after, t.every)).UTC()
	}
	if t.cron == nil {
		return time.Time{}
	}
	at := after.In(t.zone)
	for at.Sub(after) < horizon {
		start, end := bounds(at)
		if found, ok := t.within(start, end, at, after); ok {
			return found.UTC()
		}
		if end.IsZero() {
			break
		}
		at = end
	}
	return time.Time{}
}

// bounds are ZoneBounds whose end is after at, and whose start is the latest change. Where the
// data of a zone have a rule instead of every change, the last day of a leap year is not before
// the end that ZoneBounds says (time.tzset counts 365 days for each year); and the start is at
// most that of the year, although the rule may be in force only since a later change.
func bounds(at time.Time) (start, end time.Time) {
	start, end = at.ZoneBounds()
	if !start.IsZero() {
		if _, since := start.Add(-1).ZoneBounds(); since.After(start) && !since.After(at) {
			start = since
		}
	}
	if !end.IsZero() && !end.After(at) {
		end = time.Date(at.UTC().Year()+1, time.January, 1, 0, 0, 0, 0, time.UTC).In(at.Location())
	}
	return start, end
}

// sinceEpoch is how long ago the latest multiple of a period was.
func sinceEpoch(at time.Time, period time.Duration) time.Duration {
	rest := time.Duration(at.UnixNano() % int64(period))
	if rest < 0 {
		rest += period
	}
	return rest
}

// within returns the first time after a time while the clock is not changed, which is
// from start to end; each is zero where there is no such change. At is a moment between.
func (t Times) within(start, end, at, after time.Time) (time.Time, bool) {
	_, offset := at.Zone()
	wall := func(at time.Time, offset int) time.Time {
		return at.UTC().Add(time.Duration(offset) * time.Second)
	}
	from := wall(after, offset).Add(1)
	if !start.IsZero() {
		_, before := start.Add(-1).Zone()
		then, now := wall(start, before), wall(start, offset) // what the clock showed, and shows from now on
		if _, left := t.cron.next(then, now); left && t.cron.fixed && start.After(after) {
			return start, true // then is before now: the clock was put forward
		}
		if t.cron.fixed && then.After(now) {
			now = then // the clock was put back, and shows again what it has shown
		}
		if from.Before(now) {
			from = now
		}
	}
	to := wall(after.Add(horizon), offset)
	if !end.IsZero() {
		to = wall(end, offset)
	}
	due, ok := t.cron.next(from, to)
	return due.Add(-time.Duration(offset) * time.Second), ok
}

// In is a moment as its clock on the wall shows it.
func (t Times) In(at time.Time) time.Time {
	if t.zone == nil {
		return at.UTC()
	}
	return at.In(t.zone)
}

// Coming returns the next n times after a time.
func (t Times) Coming(after time.Time, n int) (list []time.Time) {
	for len(list) < n {
		after = t.Next(after)
		if after.IsZero() {
			break
		}
		list = append(list, after)
	}
	return list
}

// Holds reports whether at is less than a while after one of the times.
func (t Times) Holds(at time.Time, while time.Duration) bool {
	began := t.Next(at.Add(-while))
	return !began.IsZero() && !began.After(at)
}

// IsZoneError reports whether err is about the time zone.
func IsZoneError(err error) bool {
	var z *ZoneError
	return errors.As(err, &z)
}
