package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

const (
	// devLook is how often the file and the folders are looked at. What has changed is
	// taken when it was the same at two looks: whoever saves several files is not taken
	// half-way.
	devLook = 500 * time.Millisecond
	// The environment walks through the folder of an API for each look at it. What that takes
	// is one part in devShare of the time, while looks are not further apart than devMaxLook.
	devShare   = 20
	devMaxLook = 10 * time.Second
	// lastWork bounds what is done after Ctrl-C.
	lastWork = 30 * time.Second
	// A folder into which something is written all the time would replace the replicas all
	// the time: each change that follows at once waits longer.
	devPause    = time.Second
	devMaxPause = 30 * time.Second
	devRestless = 5 * time.Second // is said
)

func (a *app) devCommand() *cobra.Command {
	var env string
	var remove bool
	cmd := &cobra.Command{
		Use:   "dev [CONFIG_FILE]",
		Short: "deploy a file again whenever it or its code changes",
		Long: "Deploy the APIs of a file (default: cortex.yaml), show their logs, and deploy again whenever\n" +
			"the file changes, or, on this machine, the code in its folder. A file with mistakes is told\n" +
			"of, and changes nothing. It ends with Ctrl-C, and leaves the APIs as they are.",
		Example:           "  cortex dev\n  cortex dev iris/cortex.yaml --rm",
		Args:              between(0, "CONFIG_FILE"),
		ValidArgsFunction: completeFiles(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := "cortex.yaml"
			if len(args) > 0 {
				file = args[0]
			}
			if _, err := readDeployRequest(file, len(args) == 0, a.getenv("HOME")); err != nil {
				return err // there is nothing to look at
			}
			t, err := a.connect(cmd.Context(), env, pretty, start)
			if err != nil {
				return err
			}
			a.streams.Out = &lockedWriter{w: a.streams.Out}
			d := &devSession{app: a, t: t, file: file, began: time.Now(), apis: map[string]*watched{}}
			return d.run(cmd.Context(), remove)
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().BoolVar(&remove, "rm", false, "at the end delete the apis that it has created")
	return cmd
}

// devSession keeps what is deployed at what a file and its folder say.
type devSession struct {
	app   *app
	t     *target
	file  string
	began time.Time

	files       []string // the file, and the env files that it names
	seen, taken stamp    // of the files: at the last look, and when they were deployed
	apis        map[string]*watched
	due         time.Time // when the APIs are looked at next
	logs        sync.WaitGroup
}

// watched is one API of the file.
type watched struct {
	created bool
	changed bool   // its code had changed at the last look
	said    string // about it last
	warned  bool
	taken   time.Time     // when its code was taken last
	pause   time.Duration // until it is taken again
	mu      sync.Mutex
	follows bool // its logs are
}

// mayRefresh reports whether changed code is taken now, and notes it.
func (w *watched) mayRefresh(now time.Time) bool {
	since := now.Sub(w.taken)
	switch {
	case since < w.pause:
		return false
	case since < 3*w.pause:
		w.pause = min(2*w.pause, devMaxPause)
	default:
		w.pause = devPause
	}
	w.taken = now
	return true
}

// stamp tells one state of files from another.
type stamp string

func stampOf(files []string) stamp {
	var b strings.Builder
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", file, info.ModTime().UnixNano(), info.Size())
		}
	}
	return stamp(b.String())
}

func (d *devSession) run(ctx context.Context, remove bool) error {
	tick := time.NewTicker(devLook)
	defer tick.Stop()
	d.files = []string{d.file}
	d.seen = stampOf(d.files)
	d.deploy(ctx)
	for ctx.Err() == nil {
		d.look(ctx)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	d.logs.Wait()
	return d.leave(context.WithoutCancel(ctx), remove)
}

// look takes what has changed, and says how the APIs are doing.
func (d *devSession) look(ctx context.Context) {
	before := d.seen
	if d.seen = stampOf(d.files); d.seen == before && d.seen != d.taken {
		d.deploy(ctx)
	}
	if time.Now().Before(d.due) {
		return
	}
	var took time.Duration
	for _, name := range d.names() {
		began := time.Now()
		api, err := d.t.Get(ctx, name)
		if ctx.Err() != nil {
			return
		}
		took += time.Since(began)
		w := d.apis[name]
		if err != nil {
			d.say(w, "error: "+err.Error())
			continue
		}
		d.follow(ctx, name, w)
		d.tell(ctx, name, w, api)
		if before := w.changed; before && api.CodeChanged && w.mayRefresh(time.Now()) {
			d.refresh(ctx, name)
			if w.pause > devRestless && !w.warned {
				w.warned = true
				d.app.note("the code of %s changes all the time: if something is written into its folder, name it in .cortexignore", name)
			}
		}
		w.changed = api.CodeChanged
	}
	d.due = time.Now().Add(restAfter(took))
}

// restAfter is how long APIs are not looked at after a look at them that took so long.
func restAfter(took time.Duration) time.Duration { return min((devShare-1)*took, devMaxLook) }

func (d *devSession) names() []string {
	var list []string
	for name := range d.apis {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// deploy deploys the file as it is now, and tells what is wrong with it.
func (d *devSession) deploy(ctx context.Context) {
	d.taken = d.seen
	results, err := d.tryDeploy(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		d.app.printError(err)
		d.app.note("%s is looked at on; nothing was deployed", d.file)
		return
	}
	_ = d.app.tellRefused(results) // it is told
	d.app.sayPrograms(results)
	d.app.sayInPlace(results)
	for _, r := range results {
		if r.Error != "" {
			continue
		}
		w := d.apis[r.Name]
		if w == nil {
			w = &watched{}
			d.apis[r.Name] = w
		}
		w.created = w.created || r.Action == workload.ActionCreate
		w.said = ""
		d.app.say("%s", r.Message)
	}
}

func (d *devSession) tryDeploy(ctx context.Context) ([]workload.DeployResult, error) {
	a := d.app
	req, err := readDeployRequest(d.file, false, a.getenv("HOME"))
	if err != nil {
		return nil, err
	}
	req.Force = true // what is under way is out of date
	parsed, named, err := parseToSend(&req)
	d.lookAt(req.Directory, named)
	if err != nil {
		return nil, err
	}
	a.warn(parsed.Warnings)
	if d.t.IsLocal() {
		req.Path = callersPath(a.getenv("PATH"))
	}
	results, err := d.t.Deploy(ctx, req)
	if moved := movedFolder(results); moved != "" {
		a.note("%s", moved)
	}
	return results, err
}

// lookAt takes the env files that the file names now among what is looked at.
func (d *devSession) lookAt(directory string, named []string) {
	files := []string{d.file}
	for _, path := range named {
		files = append(files, filepath.Join(directory, path))
	}
	if !slices.Equal(files, d.files) {
		d.files = files
		d.seen = stampOf(files)
		d.taken = d.seen
	}
}

func (d *devSession) refresh(ctx context.Context, name string) {
	m, err := d.t.Refresh(ctx, name, true)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		d.app.printError(err)
	default:
		d.app.say("%s", m.Message)
	}
}

// tell says how an API is doing when that is another than before, and once why it fails.
func (d *devSession) tell(ctx context.Context, name string, w *watched, api workload.APIResponse) {
	s := api.Status
	if s == nil {
		return
	}
	if !d.say(w, fmt.Sprintf("%s: %s", name, summary(s))) {
		return
	}
	switch s.Phase {
	case workload.PhaseLive, workload.PhaseIdle:
		if api.Endpoint != "" {
			d.app.say("%s   %s", d.app.paint.bold(name), api.Endpoint)
		}
	case workload.PhaseFailed, workload.PhaseDegraded:
		if e, err := d.t.Explain(ctx, name); err == nil && e.Cause != nil {
			writeCause(d.app.streams.Out, d.app.paint, e.Cause)
		}
	}
}

// say says something about an API, unless it was said last; it reports whether it did.
func (d *devSession) say(w *watched, line string) bool {
	if w.said == line {
		return false
	}
	w.said = line
	d.app.say("%s", line)
	return true
}

// follow shows the logs of an API from when this command began.
func (d *devSession) follow(ctx context.Context, name string, w *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.follows {
		return
	}
	w.follows = true
	several := len(d.apis) > 1
	d.logs.Go(func() {
		q := workload.LogQuery{Name: name, Follow: true, Since: time.Since(d.began) + time.Second}
		err := d.t.Logs(ctx, q, func(l workload.LogLine) error {
			if several {
				l.Replica = name + "/" + l.Replica
			}
			return d.app.writeLog(logOptions{out: pretty}, l)
		})
		if err != nil && ctx.Err() == nil && !fault.Is(err, fault.NotFound) {
			d.app.note("the logs of %s ended: %v", name, err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.follows = false
	})
}

// leave says what goes on without this command, or deletes it.
func (d *devSession) leave(ctx context.Context, remove bool) error {
	ctx, cancel := context.WithTimeout(ctx, lastWork)
	defer cancel()
	var errs []error
	for _, name := range d.names() {
		if !remove || !d.apis[name].created {
			d.app.note("%s goes on without this command; `cortex delete %s` deletes it", name, name)
			continue
		}
		m, err := d.t.Delete(ctx, name, workload.DeleteOptions{})
		if errs = append(errs, err); err == nil {
			d.app.say("%s", m.Message)
		}
	}
	return errors.Join(errs...)
}

// lockedWriter writes each piece whole, whoever else writes.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
