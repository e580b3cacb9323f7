package h2

import "time"

// Some frames cost work and bring nobody on: resets, pings, settings, windows,
// priorities, and empty pieces of a body. A healthy peer sends them along with what it
// transfers, so they have a budget that time, transferred bytes and answered requests
// renew: it bounds a rate, and a long connection does not use it up.
const (
	floodBurst   = 5_000
	floodRefill  = 1_000 // each second
	floodBytes   = 1 << 10
	floodAnswer  = 4  // for a stream that ended well
	costOfReset  = 10 // a stream was begun for it, and maybe a request
	costOfOthers = 1
)

// budget is that of one connection. It is its reader's.
type budget struct {
	left float64
	at   time.Time
}

// renew is for n bytes that came.
func (b *budget) renew(n int) {
	if b.left >= floodBurst { // the clock is not looked at
		return
	}
	now := time.Now()
	b.left = min(b.left+now.Sub(b.at).Seconds()*floodRefill+float64(n)/floodBytes, floodBurst)
	b.at = now
}

// pay is for one frame; false: there were too many.
func (b *budget) pay(f frame) bool {
	cost := float64(costOfOthers)
	switch f.kind {
	case frameData:
		if f.length > 0 || f.flags&flagEndStream != 0 {
			return true
		}
	case frameHeaders:
		return true
	case frameReset:
		cost = costOfReset
	}
	return b.take(cost)
}

func (b *budget) take(cost float64) bool {
	if b.left >= floodBurst {
		b.at = time.Now()
	}
	b.left = min(b.left-cost, floodBurst)
	return b.left >= 0
}

var errFlood = wrong(EnhanceYourCalm, "a flood of frames that do nothing")
