package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/top"
	"cortex.dev/cortex/internal/workload"
)

const (
	// ratesPatience is how long a single table waits for what APIs do at the moment.
	ratesPatience = 3 * time.Second
	// watchAgain is after how long an environment that is away is asked again.
	watchAgain = time.Second
	// topTail is how many lines of logs there are to begin with.
	topTail = 200
	// topAtOnce is how much is taken over before the screen is drawn again.
	topAtOnce = 1000
)

func (a *app) topCommand() *cobra.Command {
	var env string
	var out output
	var once bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "watch all apis in the terminal, live",
		Long: "Show every API with its status, replicas, requests and latency, as they change. Keys move,\n" +
			"filter and sort, and open the explanation, the logs and the events of one; ? lists them.\n" +
			"While the environment is away, what was known last stays, and it is asked again.\n\n" +
			"-o json prints the stream itself: a line with everything, and one for each change.",
		Example: "  cortex top\n" +
			"  cortex top --once       # one table\n" +
			"  cortex top -o json      # for programs, until interrupted",
		Args: between(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			in, isIn := terminal(a.streams.In)
			_, isOut := terminal(a.streams.Out)
			live := out == pretty && !once
			if live && (!isIn || !isOut || a.getenv("TERM") == "dumb") {
				return fault.New(fault.Usage, "cli.no_terminal", "cortex top needs a terminal that it can draw on").
					WithHint("`cortex top --once` prints one table, `cortex top -o json` every change")
			}
			t, err := a.connect(ctx, env, out, refuse)
			switch {
			case err != nil:
				return err
			case once:
				return a.topOnce(ctx, t, out)
			case !live:
				err := t.Watch(ctx, workload.WatchQuery{}, func(w workload.Watched) error { return a.printLine(out, w) })
				if err == nil {
					err = ctx.Err()
				}
				return err
			}
			return a.topLive(ctx, t, in)
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().BoolVar(&once, "once", false, "print one table and end")
	addOutputFlag(cmd, &out)
	return cmd
}

// errEnough ends a stream of which enough was read.
var errEnough = errors.New("enough")

// topOnce prints what there is now. What APIs do at the moment is known after a second.
func (a *app) topOnce(ctx context.Context, t *target, out output) error {
	limited, cancel := context.WithTimeout(ctx, ratesPatience)
	defer cancel()
	var m top.Model
	id, heard := "", false
	err := t.Watch(limited, workload.WatchQuery{}, func(w workload.Watched) error {
		m.Line(w)
		id, heard = w.ID, true
		if slices.ContainsFunc(m.Shown(), func(a workload.WatchedAPI) bool { return a.Status != nil && a.Status.Traffic != nil && a.Rates == nil }) {
			return nil
		}
		return errEnough
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && !errors.Is(err, errEnough):
		return err
	case !heard:
		return fault.New(fault.Unavailable, "cli.operator_timeout", "the %s environment has not said for %s what there is", t.Name, ratesPatience).
			WithHint("try again")
	}
	apis := m.Shown()
	if out != pretty {
		return a.printLine(out, workload.Watched{ID: id, Snapshot: true, APIs: append([]workload.WatchedAPI{}, apis...)})
	}
	if len(apis) == 0 {
		a.say("%s", a.paint.bold("no apis are deployed"))
		return nil
	}
	width := 0
	if _, ok := terminal(a.streams.Out); ok {
		width, _ = screen(a.streams.Out)
	}
	for _, line := range top.Table(apis, time.Now(), width, a.topPaint()) {
		a.say("%s", strings.TrimRight(line, " "))
	}
	return nil
}

var styleChosen = lipgloss.NewStyle().Reverse(true)

func (a *app) topPaint() top.Paint {
	return top.Paint{
		Bold: a.paint.bold, Dim: a.paint.dim, Red: a.paint.red, Green: a.paint.green, Yellow: a.paint.yellow,
		Chosen: func(text string) string { return a.paint.with(styleChosen, text) },
	}
}

// live is a screen that is drawn while things happen. Only its own goroutine has the model;
// others hand it what is to be done to it.
type live struct {
	a       *app
	t       *target
	model   top.Model
	changes chan func()
	end     context.CancelCauseFunc
	workers sync.WaitGroup

	width, height int
	drawn         []string

	closePage context.CancelFunc // nil: no page is being written
	page      sync.WaitGroup     // its writer
}

// topLive shows what happens until somebody quits or ctx ends, and leaves the terminal as it
// was, whatever ends it.
func (a *app) topLive(ctx context.Context, t *target, in int) error {
	l := &live{a: a, t: t, changes: make(chan func())}
	l.model.Env = t.Name
	var done context.Context
	done, l.end = context.WithCancelCause(ctx)
	defer l.workers.Wait()
	defer l.end(nil)
	l.work(func() error { return l.watch(done) })
	select { // what is wrong from the start is said as ever
	case change := <-l.changes:
		change()
	case <-done.Done():
		return context.Cause(done)
	}

	restore, err := takeOver(in)
	if err != nil {
		return fmt.Errorf("taking over the terminal: %w", err)
	}
	typing := make(chan struct{})
	// A read that begins once the terminal is as it was ends with a line of the user's only.
	defer func() {
		l.end(nil)
		<-typing
		restore()
	}()
	fmt.Fprint(a.streams.Out, "\x1b[?1049h\x1b[?25l") // another screen, without a cursor
	defer fmt.Fprint(a.streams.Out, "\x1b[?25h\x1b[?1049l")
	l.work(func() error {
		defer close(typing)
		return l.keys(done)
	})

	tick := time.NewTicker(lookAtSize) // also for what is said of time
	defer tick.Stop()
	for {
		l.draw()
		select {
		case <-done.Done():
			if err := context.Cause(done); !errors.Is(err, errEnough) {
				return err
			}
			return nil
		case <-tick.C:
		case change := <-l.changes:
			change()
			l.moreChanges()
		}
	}
}

// moreChanges takes over what has come meanwhile, up to a bound.
func (l *live) moreChanges() {
	for range topAtOnce {
		select {
		case change := <-l.changes:
			change()
		default:
			return
		}
	}
}

// takeOver has every key told at once and as it is, and a read end after a tenth of a second
// without one.
func takeOver(in int) (restore func(), _ error) {
	before, err := term.MakeRaw(in)
	if err != nil {
		return nil, err
	}
	restore = func() { _ = term.Restore(in, before) }
	mode, err := unix.IoctlGetTermios(in, getTermios)
	if err == nil {
		mode.Cc[unix.VMIN], mode.Cc[unix.VTIME] = 0, 1
		err = unix.IoctlSetTermios(in, setTermios, mode)
	}
	if err != nil {
		restore()
		return nil, err
	}
	return restore, nil
}

// work runs fn beside the screen. Its error ends the screen; so does a panic, which would
// leave the terminal as it is.
func (l *live) work(fn func() error) {
	l.workers.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				l.end(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
		if err := fn(); err != nil {
			l.end(err)
		}
	})
}

// tell has the screen's goroutine make a change.
func (l *live) tell(ctx context.Context, change func()) error {
	select {
	case l.changes <- change:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watch follows the environment, through its absences. Where it was never heard of, that is
// the end.
func (l *live) watch(ctx context.Context) error {
	heard := ""
	for {
		err := l.t.Watch(ctx, workload.WatchQuery{After: heard}, func(w workload.Watched) error {
			heard = w.ID
			return l.tell(ctx, func() { l.model.Line(w) })
		})
		if ctx.Err() != nil {
			return nil
		}
		if err = cmp.Or(err, errors.New("the stream of changes has ended")); heard == "" {
			return err
		}
		at := time.Now()
		if l.tell(ctx, func() { l.model.Away(err, at) }) != nil {
			return nil //nolint:nilerr // the screen is gone
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchAgain):
		}
	}
}

// keys reads what is typed.
func (l *live) keys(ctx context.Context) error {
	var rest []byte
	buf := make([]byte, 256)
	for ctx.Err() == nil {
		n, err := l.a.streams.In.Read(buf)
		if n == 0 && err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the terminal: %w", err)
		}
		var keys []string
		keys, rest = top.Keys(append(rest, buf[:n]...), n == 0)
		for _, key := range keys {
			if l.tell(ctx, func() { l.do(ctx, l.model.Key(key)) }) != nil {
				return nil //nolint:nilerr // the screen is gone
			}
		}
		if n == 0 { // a terminal that is gone has nothing to read, at once
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

// do does what a key asked for.
func (l *live) do(ctx context.Context, w top.Wish) {
	switch w.What {
	case top.Quit:
		l.end(errEnough)
	case top.Close:
		l.close()
	case top.Explain:
		l.open(ctx, "why "+w.Name+" is as it is", false, func(ctx context.Context, text func(string) error) error {
			e, err := l.t.Explain(ctx, w.Name)
			if err != nil {
				return err
			}
			var b bytes.Buffer
			writeExplanation(&b, painter{}, e)
			return text(b.String())
		})
	case top.Logs:
		l.open(ctx, "logs of "+w.Name, true, func(ctx context.Context, text func(string) error) error {
			return l.t.Logs(ctx, workload.LogQuery{Name: w.Name, Follow: true, Tail: topTail}, func(line workload.LogLine) error {
				return text(line.Replica + " | " + line.Text)
			})
		})
	case top.Events:
		l.open(ctx, "events of "+w.Name, true, func(ctx context.Context, text func(string) error) error {
			return l.t.Events(ctx, workload.EventQuery{Name: w.Name, Follow: true}, func(e workload.Event) error {
				return text(fmt.Sprintf("%s  %s  %s", e.Time.Local().Format(time.DateTime), pad(e.Reason, 16), e.Message))
			})
		})
	case top.Nothing:
	}
}

// open shows a page while write writes it.
func (l *live) open(ctx context.Context, title string, follow bool, write func(context.Context, func(string) error) error) {
	l.close()
	l.model.Open(title, follow)
	ctx, l.closePage = context.WithCancel(ctx)
	l.page.Add(1)
	l.work(func() error {
		defer l.page.Done()
		err := write(ctx, func(text string) error { return l.tell(ctx, func() { l.model.Text(text) }) })
		if err == nil || ctx.Err() != nil {
			return nil
		}
		f := visibleIn(fault.From(err))
		_ = l.tell(ctx, func() { l.model.Text("error: "+f.Message, f.Hint) }) // fails when the page is closed
		return nil
	})
}

// close ends whoever writes the page.
func (l *live) close() {
	if l.closePage != nil {
		l.closePage()
		l.page.Wait()
		l.closePage = nil
	}
}

// draw writes the lines that have changed.
func (l *live) draw() {
	width, height := screen(l.a.streams.Out)
	var s strings.Builder
	if width != l.width || height != l.height {
		l.width, l.height, l.drawn = width, height, nil
		s.WriteString("\x1b[2J")
	}
	lines := l.model.Render(width, height, time.Now(), l.a.topPaint())
	for i, line := range lines {
		if l.drawn == nil || l.drawn[i] != line {
			fmt.Fprintf(&s, "\x1b[%d;1H%s\x1b[K", i+1, line)
		}
	}
	l.drawn = lines
	if s.Len() > 0 {
		fmt.Fprint(l.a.streams.Out, s.String())
	}
}
