package cli

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// dayDuration is the value of a flag: a duration that may be in days, such as 90d or 1d12h.
// A day has 24 hours.
type dayDuration time.Duration

// maxDays is how many days a time.Duration has room for.
const maxDays = 106_751

var errDuration = errors.New("use a duration such as 90d, 12h or 1d12h")

func (d *dayDuration) Set(text string) error {
	var whole time.Duration
	rest := text
	if days, after, has := strings.Cut(text, "d"); has {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || n > maxDays {
			return errDuration
		}
		whole, rest = time.Duration(n)*24*time.Hour, after
	}
	var part time.Duration
	if rest != "" || whole == 0 && rest == text {
		var err error
		if part, err = time.ParseDuration(rest); err != nil || part < 0 || strings.HasPrefix(rest, "+") {
			return errDuration
		}
	}
	if whole+part < whole {
		return errDuration
	}
	*d = dayDuration(whole + part)
	return nil
}

func (d *dayDuration) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

func (*dayDuration) Type() string { return "duration" }
