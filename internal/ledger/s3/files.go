package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"cortex.dev/cortex/internal/awsrest"
	"cortex.dev/cortex/internal/ledger/segments"
)

// Files keeps the files of jobs (jobs/API/JOB/…), for one program that writes them at a time.
// It is a jobs.Files. A file that was put is an object; one that was appended to is an object
// for each segment.
type Files struct {
	segments.Files
	l *Ledger
}

// Files are those of jobs.
func (l *Ledger) Files() *Files {
	f := &Files{l: l}
	f.Files = segments.Files{Put: f.Put, Open: func(ctx context.Context, name string) (io.ReadCloser, error) {
		r, err := f.Open(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return r, err
	}, Failed: unavailable}
	return f
}

const jobsOf = "jobs/"

// Put keeps what r has under a name, and returns its size.
func (f *Files) Put(ctx context.Context, name string, r io.Reader) (int64, error) {
	n, err := f.l.bucket.PutAll(ctx, jobsOf+name, r)
	if err != nil {
		return n, unavailable("keeping "+name, err)
	}
	return n, nil
}

// Open returns what was put, or fs.ErrNotExist.
func (f *Files) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	o, err := f.l.bucket.Open(ctx, jobsOf+name, 0)
	if missing(err) {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, unavailable("reading "+name, err)
	}
	return o, nil
}

// List returns the names in a folder.
func (f *Files) List(ctx context.Context, folder string) (names []string, _ error) {
	return names, f.each(ctx, folder+"/", func(name string) { names = append(names, name) })
}

func (f *Files) each(ctx context.Context, prefix string, fn func(name string)) error {
	if _, err := f.l.bucket.List(ctx, jobsOf+prefix, "", func(o awsrest.Listed) bool {
		fn(strings.TrimPrefix(o.Key, jobsOf))
		return true
	}); err != nil {
		return unavailable("listing the files of jobs", err)
	}
	return nil
}

// Remove drops what was put. Nothing is no error.
func (f *Files) Remove(ctx context.Context, name string) error {
	if err := f.l.bucket.Delete(ctx, jobsOf+name, ""); err != nil {
		return unavailable("dropping "+name, err)
	}
	return nil
}

// RemoveAll drops the files of a job.
func (f *Files) RemoveAll(ctx context.Context, api, id string) error {
	names, err := f.List(ctx, api+"/"+id)
	if err != nil {
		return err
	}
	return parallel(len(names), func(n int) error { return f.Remove(ctx, names[n]) })
}

// Jobs calls fn with every job that has files.
func (f *Files) Jobs(ctx context.Context, fn func(api, id string)) error {
	last := ""
	return f.each(ctx, "", func(name string) {
		if parts := strings.SplitN(name, "/", 3); len(parts) == 3 && parts[0]+"/"+parts[1] != last {
			last = parts[0] + "/" + parts[1]
			fn(parts[0], parts[1])
		}
	})
}

// Schedules keeps what is remembered of schedules beside the items that they begin. It is a
// store.Schedules.
type Schedules struct{ l *Ledger }

// Schedules are those whose items are in the ledger.
func (l *Ledger) Schedules() *Schedules { return &Schedules{l} }

const schedulesOf = "schedules/"

// ScheduleStates calls fn with everything that is kept.
func (s *Schedules) ScheduleStates(ctx context.Context, fn func(api, schedule string, data []byte)) error {
	var keys []string
	if _, err := s.l.bucket.List(ctx, schedulesOf, "", func(o awsrest.Listed) bool {
		keys = append(keys, o.Key)
		return true
	}); err != nil {
		return unavailable("reading what is remembered of schedules", err)
	}
	return inOrder(keys, func(key string) ([]byte, error) {
		o, err := s.l.bucket.Get(ctx, key, "")
		if missing(err) { // forgotten meanwhile
			return nil, nil
		}
		if err != nil {
			return nil, unavailable("reading what is remembered of schedules", err)
		}
		return bytes.Clone(o.Data), nil
	}, func(key string, data []byte) (bool, error) {
		if api, schedule, ok := strings.Cut(strings.TrimPrefix(key, schedulesOf), "/"); ok && data != nil {
			fn(api, schedule, data)
		}
		return true, nil
	})
}

// SetScheduleState keeps data of a schedule; nil forgets. Neither name has a slash.
func (s *Schedules) SetScheduleState(ctx context.Context, api, schedule string, data []byte) (err error) {
	key := schedulesOf + api + "/" + schedule
	if data == nil {
		err = s.l.bucket.Delete(ctx, key, "")
	} else {
		_, err = s.l.bucket.Put(ctx, key, data, awsrest.If{})
	}
	if err != nil {
		return unavailable("remembering "+schedule+" of "+api, err)
	}
	return nil
}
