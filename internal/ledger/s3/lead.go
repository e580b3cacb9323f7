package s3

import (
	"context"
	"time"
)

// Attend says until ctx ends that owner is there, and then that it is not any more. Run keeps
// saying it.
func (l *Ledger) Attend(ctx context.Context, owner string) {
	for ctx.Err() == nil {
		if err := l.say(ctx, func(p *program) { p.Owner = owner }); err == nil {
			break
		} else if ctx.Err() == nil {
			l.cfg.Log.Warn("the bucket of items does not hear that this program is there", "error", err)
		}
		wait(ctx, l.cfg.Times.Look)
	}
	<-ctx.Done()
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	if err := l.changeSelf(within, owner); err != nil {
		l.cfg.Log.Warn("the bucket of items does not hear that this program executes nothing more: others wait for it", "error", err)
	}
	l.tellLook()
}

// changeSelf says that this program executes nothing any more, and does not lead.
func (l *Ledger) changeSelf(ctx context.Context, owner string) error {
	l.programs.mu.Lock()
	l.programs.self.Owner = ""
	l.programs.mu.Unlock()
	return l.changeRoll(ctx, func(r *roll) bool {
		if r.Lead == owner {
			r.Lead = ""
		}
		me := r.Programs[l.name]
		me.Owner = ""
		r.Programs[l.name] = me
		return true
	})
}

// wait pauses, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Gone waits until owner is not there any more. It fails with ctx only.
func (l *Ledger) Gone(ctx context.Context, owner string) error {
	asked := time.Now() // an owner is there before anybody hears of it, and so is in what is read from now on
	l.programs.atOnce()
	for {
		r, read, news := l.programs.known()
		if read.After(asked) && l.silent(r, owner) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-news:
		}
	}
}

// Lead calls work each time that owner becomes the one that leads, with a context that ends
// when it no longer is; until ctx ends, or work fails. The next one leads when work has
// returned, or when owner is gone. owner has to attend.
func (l *Ledger) Lead(ctx context.Context, owner string, work func(context.Context) error) error {
	for ctx.Err() == nil {
		if !l.take(ctx, owner) {
			return nil
		}
		l.cfg.Log.Info("this program hands items out", "program", owner)
		leading, stop := context.WithCancel(ctx)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			defer stop()
			l.hold(leading, owner)
		}()
		err := work(leading)
		stop()
		<-watched
		l.release(ctx, owner)
		if err != nil {
			return err
		}
	}
	return nil
}

// vacant reports whether owner may lead.
func (l *Ledger) vacant(r roll, owner string) bool {
	return r.Lead == "" || r.Lead == owner || l.silent(r, r.Lead)
}

// take waits until owner leads; false: ctx has ended.
func (l *Ledger) take(ctx context.Context, owner string) bool {
	l.programs.atOnce()
	for {
		r, read, news := l.programs.known()
		_, _, there := r.owner(owner)
		if !read.IsZero() && there && l.vacant(r, owner) {
			lead := r.Lead
			if err := l.changeRoll(ctx, func(r *roll) bool {
				if _, _, there := r.owner(owner); !there || r.Lead != lead && r.Lead != "" {
					return false
				}
				r.Lead = owner
				return true
			}); err == nil {
				return true
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-news:
		case <-time.After(l.cfg.Times.Look): // what was refused is tried again
		}
	}
}

// hold returns when owner does not lead any more, or cannot know, or when ctx ends: well
// before anybody may think that owner is gone.
func (l *Ledger) hold(ctx context.Context, owner string) {
	within := l.cfg.Times.Life * 2 / 3
	for {
		r, read, news := l.programs.known()
		if r.Lead != owner {
			l.cfg.Log.Warn("another program hands items out now", "program", r.Lead)
			return
		}
		left := within - time.Since(read)
		if left <= 0 {
			l.cfg.Log.Warn("the bucket of items does not answer: another program may hand them out")
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		case <-time.After(left):
		}
	}
}

// release has the next one lead at once.
func (l *Ledger) release(ctx context.Context, owner string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	err := l.changeRoll(ctx, func(r *roll) bool {
		if r.Lead != owner {
			return false
		}
		r.Lead = ""
		return true
	})
	if err != nil && err != errOvertaken { //nolint:errorlint // as changeRoll returns it
		l.cfg.Log.Warn("the next program hands items out when this one is seen to be gone", "error", err)
	}
	l.tellLook()
}
