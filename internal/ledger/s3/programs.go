package s3

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"time"

	"cortex.dev/cortex/internal/awsrest"
)

// programsKey is where it is kept who uses the ledger, and who leads. It is one object, so
// that who leads is there by the same write.
const programsKey = "programs.json"

// roll is what is kept of programs.
type roll struct {
	By       string             `json:"by"`
	Lead     string             `json:"lead,omitempty"` // an owner
	Programs map[string]program `json:"programs"`       // by name
}

// program is one of them.
type program struct {
	Owner string `json:"owner,omitempty"` // of executions; empty: it only looks
	Queue string `json:"queue,omitempty"` // where hints for it go; empty: it hears of nothing
	Beat  uint64 `json:"beat"`            // it grows while the program is there
}

func (r roll) owner(owner string) (name string, p program, there bool) {
	for name, p := range r.Programs {
		if p.Owner == owner && owner != "" {
			return name, p, true
		}
	}
	return "", program{}, false
}

// programs are what is known of them here.
type programs struct {
	mu      sync.Mutex
	roll    roll
	etag    string
	read    time.Time            // when that was what is kept
	beats   map[string]beat      // by name
	news    chan struct{}        // closed when something was read
	look    chan struct{}        // holds a token when it is to be read at once
	self    program              // what is to be said of this one
	present bool                 // it is to be said at all
	retired map[string]time.Time // programs that are gone, and when they are to be forgotten
}

// beat is a beat, and since when it was seen, but for times in which nothing was.
type beat struct {
	number uint64
	since  time.Time
}

func (p *programs) init() {
	p.beats, p.retired = map[string]beat{}, map[string]time.Time{}
	p.news, p.look = make(chan struct{}), make(chan struct{}, 1)
}

// retireAfter is for how many lives one that is gone is kept in mind.
const retireAfter = 20

// keep looks who is there, and says that this program is, until ctx ends.
func (l *Ledger) keep(ctx context.Context) {
	p := &l.programs
	tick := time.NewTicker(l.cfg.Times.Look)
	defer tick.Stop()
	beaten := time.Time{}
	for ctx.Err() == nil {
		p.mu.Lock()
		present := p.present
		p.mu.Unlock()
		var err error
		if present && time.Since(beaten) >= l.cfg.Times.Beat {
			if err = l.enlist(ctx); err == nil {
				beaten = time.Now()
			}
		} else {
			_, _, err = l.refresh(ctx)
		}
		if err != nil && ctx.Err() == nil {
			l.cfg.Log.Warn("the bucket of items does not say who uses it", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-p.look:
		}
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	l.leave(within)
}

// enlist says that this program is there, and forgets those that have long been gone.
func (l *Ledger) enlist(ctx context.Context) error {
	var gone []program
	err := l.changeRoll(ctx, func(r *roll) bool {
		gone = nil
		l.programs.mu.Lock()
		defer l.programs.mu.Unlock()
		me := l.programs.self
		me.Beat = r.Programs[l.name].Beat + 1
		r.Programs[l.name] = me
		for name, b := range l.programs.beats {
			if p, there := r.Programs[name]; there && name != l.name && p.Beat == b.number && time.Since(b.since) > retireAfter*l.cfg.Times.Life {
				gone = append(gone, p)
				delete(r.Programs, name)
			}
		}
		return true
	})
	for _, p := range gone {
		if err == nil && p.Queue != "" {
			_ = l.cfg.Client.DeleteQueue(ctx, p.Queue) // what stays is empty before long
		}
	}
	return err
}

// leave says that this program is not there any more.
func (l *Ledger) leave(ctx context.Context) {
	l.programs.mu.Lock()
	self, present := l.programs.self, l.programs.present
	l.programs.present = false
	l.programs.mu.Unlock()
	if !present {
		return
	}
	if err := l.changeRoll(ctx, func(r *roll) bool {
		if r.Lead != "" && r.Lead == self.Owner {
			r.Lead = ""
		}
		delete(r.Programs, l.name)
		return true
	}); err != nil {
		l.cfg.Log.Warn("the bucket of items does not hear that this program ends: others wait for it", "error", err)
	}
	if self.Queue != "" {
		_ = l.cfg.Client.DeleteQueue(ctx, self.Queue) // who leads does, later
	}
}

// say changes what is said of this program, at once.
func (l *Ledger) say(ctx context.Context, change func(*program)) error {
	l.programs.mu.Lock()
	change(&l.programs.self)
	l.programs.present = true
	l.programs.mu.Unlock()
	return l.enlist(ctx)
}

// refresh reads who is there.
func (l *Ledger) refresh(ctx context.Context) (roll, string, error) {
	p := &l.programs
	p.mu.Lock()
	was, tag := p.roll, p.etag
	p.mu.Unlock()
	began := time.Now()
	o, err := l.bucket.Get(ctx, programsKey, tag)
	switch {
	case errors.Is(err, awsrest.ErrSame):
		l.learn(was, tag, began)
		return was, tag, nil
	case missing(err):
		l.learn(roll{}, "", began)
		return roll{}, "", nil
	case err != nil:
		return roll{}, "", unavailable("reading who uses the ledger", err)
	}
	var r roll
	if err := json.Unmarshal(o.Data, &r); err != nil {
		return r, "", unavailable("reading who uses the ledger", err)
	}
	l.learn(r, o.ETag, began)
	return r, o.ETag, nil
}

// learn takes note of what was read, by a request that began then.
func (l *Ledger) learn(r roll, etag string, began time.Time) {
	p := &l.programs
	p.mu.Lock()
	defer p.mu.Unlock()
	if began.Before(p.read) {
		return
	}
	// While nothing was read nobody was heard of: that is nobody's silence.
	blind := time.Duration(0)
	if !p.read.IsZero() {
		blind = max(0, began.Sub(p.read)-3*l.cfg.Times.Look)
	}
	for name, one := range r.Programs {
		b, known := p.beats[name]
		if !known || b.number != one.Beat {
			p.beats[name] = beat{one.Beat, began}
		} else if blind > 0 {
			p.beats[name] = beat{b.number, b.since.Add(blind)}
		}
	}
	maps.DeleteFunc(p.beats, func(name string, _ beat) bool { _, there := r.Programs[name]; return !there })
	p.roll, p.etag, p.read = r, etag, began
	close(p.news)
	p.news = make(chan struct{})
}

// changeRoll changes who is there on top of what is kept; fn says whether to write.
func (l *Ledger) changeRoll(ctx context.Context, fn func(*roll) bool) error {
	for {
		r, etag, err := l.refresh(ctx)
		if err != nil {
			return err
		}
		next := roll{By: token(), Lead: r.Lead, Programs: maps.Clone(r.Programs)}
		if next.Programs == nil {
			next.Programs = map[string]program{}
		}
		if !fn(&next) {
			return errOvertaken
		}
		data, err := json.Marshal(next)
		if err != nil {
			return err
		}
		err = l.swap(ctx, programsKey, data, awsrest.If{Absent: etag == "", ETag: etag}, func(now []byte) bool {
			var is roll
			return json.Unmarshal(now, &is) == nil && is.By == next.By
		})
		if err == nil {
			_, _, _ = l.refresh(ctx) // what follows reads it again
			return nil
		}
		if !errors.Is(err, errOvertaken) {
			return unavailable("saying who uses the ledger", err)
		}
		if err := breather(ctx); err != nil {
			return err
		}
	}
}

// known is what was read last, when, and what is closed when it is read again.
func (p *programs) known() (roll, time.Time, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.roll, p.read, p.news
}

// silent reports whether an owner is gone, by what was read last.
func (l *Ledger) silent(r roll, owner string) bool {
	name, _, there := r.owner(owner)
	if !there {
		return true
	}
	l.programs.mu.Lock()
	defer l.programs.mu.Unlock()
	b, known := l.programs.beats[name]
	return known && l.programs.read.Sub(b.since) >= l.cfg.Times.Life
}

// at once has it read who is there.
func (p *programs) atOnce() {
	select {
	case p.look <- struct{}{}:
	default:
	}
}
