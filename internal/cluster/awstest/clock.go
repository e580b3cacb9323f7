package awstest

import (
	"container/heap"
	"time"
)

// clock is the time of an account, and what is due. Nothing runs by itself: whoever
// looks at the account has everything done first that has fallen due meanwhile, in its
// order and each at its own time.
type clock struct {
	began time.Time // of both times
	speed float64
	now   time.Time
	due   timetable
	count int
}

func newClock(speed float64) clock {
	if speed <= 0 {
		speed = 1
	}
	now := time.Now()
	return clock{began: now, speed: speed, now: now}
}

// after has do called when d has passed.
func (c *clock) after(d time.Duration, do func()) {
	c.count++
	heap.Push(&c.due, event{c.now.Add(d), c.count, do})
}

// maxDue bounds what is done at once: more means that something waits for itself.
const maxDue = 1 << 22

func (c *clock) catchUp() {
	present := c.began.Add(time.Duration(float64(time.Since(c.began)) * c.speed))
	for n := 0; len(c.due) > 0 && !c.due[0].at.After(present); n++ {
		if n > maxDue {
			panic("awstest: events that have no end")
		}
		e := heap.Pop(&c.due).(event)
		c.now = e.at
		e.do()
	}
	if present.After(c.now) {
		c.now = present
	}
}

// event is something that happens.
type event struct {
	at    time.Time
	count int // in which order they were asked for
	do    func()
}

// timetable is a heap of events.
type timetable []event

func (t timetable) Len() int      { return len(t) }
func (t timetable) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *timetable) Push(x any)   { *t = append(*t, x.(event)) }
func (t timetable) Less(i, j int) bool {
	if t[i].at.Equal(t[j].at) {
		return t[i].count < t[j].count
	}
	return t[i].at.Before(t[j].at)
}

func (t *timetable) Pop() any {
	last := len(*t) - 1
	e := (*t)[last]
	*t = (*t)[:last]
	return e
}

// until asks again and again, every so often, until done says that it is over; then it
// calls then. It gives up after limit.
func (c *clock) until(every, limit time.Duration, done func() (bool, error), then func(error)) {
	end := c.now.Add(limit)
	var look func()
	look = func() {
		over, err := done()
		switch {
		case err != nil || over:
			then(err)
		case c.now.After(end):
			then(refuse("NotStabilized", "Exceeded attempts to wait"))
		default:
			c.after(every, look)
		}
	}
	look()
}
