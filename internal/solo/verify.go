package solo

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"cortex.dev/cortex/internal/async"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/jobs"
	"cortex.dev/cortex/internal/store/bolt"
)

// Verify compares everything in a state folder with its checksums, whether or not a daemon
// uses it, and changes nothing. What is found damaged is looked at a second time, together
// with everything else: a daemon may have dropped a file whose record was just read.
func Verify(ctx context.Context, dir string) (hostconfig.Verified, error) {
	if info, err := os.Stat(filepath.Join(dir, "store")); err != nil || !info.IsDir() {
		return hostconfig.Verified{}, fault.New(fault.NotFound, "local.no_state", "%s is not a state folder: it has no folder store", dir).
			WithHint("`cortex local status` says where that of the local environment is; --state-dir takes that of a server")
	}
	v, err := verifyOnce(ctx, dir)
	if err != nil || len(v.Damaged) == 0 {
		return v, err
	}
	first := v.Damaged
	if v, err = verifyOnce(ctx, dir); err != nil {
		return v, err
	}
	v.Damaged = slices.DeleteFunc(v.Damaged, func(d hostconfig.Damaged) bool {
		// Of a folder with so much damage not everything is listed, and not the same twice.
		return v.More == 0 && !slices.Contains(first, d)
	})
	return v, nil
}

func verifyOnce(ctx context.Context, dir string) (hostconfig.Verified, error) {
	v := hostconfig.Verified{StateDir: dir, Damaged: []hostconfig.Damaged{}}
	found := func(d hostconfig.Damaged) {
		if len(v.Damaged) < bolt.MaxProblems {
			v.Damaged = append(v.Damaged, d)
		} else {
			v.More++
		}
	}
	add := func(folder string, e bolt.Examined) {
		v.Records, v.More = v.Records+e.Records, v.More+e.More
		for _, p := range e.Problems {
			found(hostconfig.Damaged{What: p.What, API: p.API, Name: p.Name, File: filepath.Join(folder, p.File), Problem: p.Text})
		}
	}
	e, err := bolt.ExamineState(ctx, filepath.Join(dir, "store"))
	if err != nil {
		return v, err
	}
	add("store", e)

	e, contents, err := bolt.ExamineItems(ctx, filepath.Join(dir, "items"))
	if err != nil {
		return v, err
	}
	add("items", e)
	blobs := async.NewFolder(filepath.Join(dir, "items", "contents"))
	for _, c := range contents {
		if ctx.Err() != nil {
			return v, context.Cause(ctx)
		}
		if text := blobs.Compare(&c.Content); text != "" {
			found(hostconfig.Damaged{What: c.What, API: c.API, Name: c.Item, File: filepath.Join("items", "contents", filepath.FromSlash(c.Content.Blob)), Problem: text})
		}
	}
	v.Contents = len(contents)

	var kept *jobs.Examination
	e, err = bolt.ExamineKeyed(ctx, filepath.Join(dir, "jobs", "records"), func(key string) bolt.Subject {
		what, api, job := jobs.SubjectOf(key)
		return bolt.Subject{What: what, API: api, Name: job}
	}, func() bolt.Visit {
		kept = jobs.NewExamination()
		return kept.Visit
	})
	if err != nil {
		return v, err
	}
	add(filepath.Join("jobs", "records"), e)
	if kept != nil {
		v.Jobs = kept.Jobs()
		kept.Files(jobs.Folder(filepath.Join(dir, "jobs", "files")), func(api, job, file, text string) {
			found(hostconfig.Damaged{What: "job", API: api, Name: job, File: filepath.Join("jobs", "files", api, job, file), Problem: text})
		})
	}
	return v, context.Cause(ctx)
}
