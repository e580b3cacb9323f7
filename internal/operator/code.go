package operator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// Code keeps copies of the folders that processes run in; codesnapshot has the contract.
type Code interface {
	Take(folder string) (workload.Code, error)
	Has(digest string) bool
	Changed(folder, digest string) bool
	Collect(needed map[string]bool, grace time.Duration, now time.Time)
}

const (
	// codePerAPI bounds the bytes of the copies that are kept for rolling an API back.
	codePerAPI = 1 << 30
	// codeGrace is how long a copy stays that nobody needs any more: longer than any
	// replica that may be ending in it takes for that.
	codeGrace = 5 * time.Minute
	// collectPause is the least time between two looks at every history for that.
	collectPause = time.Minute
)

// takeOnce returns what takes the copy for the APIs of a file, of which all have one folder:
// at most once, and not before it is asked for.
func (o *Operator) takeOnce(folder string) func() (workload.Code, error) {
	return sync.OnceValues(func() (workload.Code, error) { return o.code.Take(folder) })
}

// codeOf returns the copy in which the processes of a pod run. Nil where none is made.
func (o *Operator) codeOf(pod *workload.Pod, folder string, take func() (workload.Code, error)) (*workload.Code, error) {
	if o.code == nil || folder == "" || !pod.RunsProcesses() {
		return nil, nil
	}
	if word := leadsOut(pod); word != "" {
		return &workload.Code{InPlace: fmt.Sprintf("%q leads out of the folder", word)}, nil
	}
	c, err := take()
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// leadsOut returns a word or variable of the processes of a pod that names something
// beside their folder, which a copy that is elsewhere does not have beside it.
func leadsOut(pod *workload.Pod) string {
	for _, c := range pod.Containers {
		if c.Image != "" {
			continue
		}
		for _, word := range slices.Concat(c.Command, c.Args, values(c.Env)) {
			if word == ".." || strings.Contains(word, "../") {
				return word
			}
		}
	}
	return ""
}

// values are those that variables have of themselves, in the order of their names.
func values(env map[string]workload.Variable) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		all = append(all, env[name].Value)
	}
	return all
}

// takenWith notes the version with which a copy was taken, if it is a new one.
func takenWith(next *workload.Revision) {
	if next.CodeDigest() != "" && next.Code.Version == 0 {
		c := *next.Code
		c.Version = next.Number
		next.Code = &c
	}
}

// codeChanged reports whether the folder of r holds other code than r runs.
func (o *Operator) codeChanged(r *workload.Revision) bool {
	digest := r.CodeDigest()
	return o.code != nil && digest != "" && o.code.Changed(r.Directory, digest)
}

// codeKept refuses to go back to a version whose copy is not kept any more.
func (o *Operator) codeKept(r *workload.Revision) error {
	if digest := r.CodeDigest(); o.code == nil || digest == "" || o.code.Has(digest) {
		return nil
	}
	return fault.New(fault.Conflict, "resources.code_not_kept", "the code of %s of %s is not kept any more", version(r), r.Name).
		WithHint("put that code into %s and deploy it, or go back to a newer version", r.Directory)
}

// changedSince is what users are told of code that has changed.
func changedSince(r *workload.Revision) string {
	return fmt.Sprintf("code changed since v%d was deployed; `cortex refresh %s` takes it", r.Code.Version, r.Name)
}

// collectLater collects after a change that may have taken a copy, unless that was done a
// moment ago. The caller holds o.changes.
func (o *Operator) collectLater(ctx context.Context) {
	if now := o.now(); o.code != nil && now.Sub(o.collected) >= collectPause {
		o.collected = now
		o.collectCode(ctx, codeGrace)
	}
}

// collectCode removes the copies that no version needs. The caller holds o.changes.
func (o *Operator) collectCode(ctx context.Context, grace time.Duration) {
	if o.code == nil {
		return
	}
	records, err := o.store.List(ctx)
	needed := map[string]bool{}
	for i := 0; i < len(records) && err == nil; i++ {
		var past []store.Past
		past, err = o.store.History(ctx, records[i].Name())
		neededCode(needed, records[i], past)
	}
	if o.runJobs != nil {
		for _, digest := range o.runJobs.Code() {
			needed[digest] = true
		}
	}
	if err != nil {
		o.log.Warn("copies of code that may not be needed stay", "error", err)
		return
	}
	o.code.Collect(needed, grace, o.now())
}

// neededCode adds the copies that an API needs: what is wanted, what serves, and of its
// history, newest first, as much as codePerAPI allows.
func neededCode(needed map[string]bool, w store.Workload, past []store.Past) {
	total := int64(0)
	own := map[string]bool{}
	add := func(r *workload.Revision, always bool) {
		if r == nil || r.CodeDigest() == "" || own[r.CodeDigest()] {
			return
		}
		if total += r.Code.Bytes; always || total <= codePerAPI {
			own[r.CodeDigest()], needed[r.CodeDigest()] = true, true
		}
	}
	add(w.Revision, true)
	add(w.Serving, true)
	for _, p := range past {
		add(p.Revision, false)
	}
}
