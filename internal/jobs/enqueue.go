package jobs

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// cursor is how far the items of a job are enqueued: an item that was taken is before it,
// and in a batch that is on the disk.
type cursor struct {
	Done   bool   `json:"done,omitempty"`   // there are no more
	Index  int    `json:"index,omitempty"`  // of the next item of a list, or batch of a parent
	File   string `json:"file,omitempty"`   // that is read
	Offset int64  `json:"offset,omitempty"` // in it
}

const (
	chunkSize     = 1000     // batches of one record
	maxBatchBytes = 32 << 20 // the JSON of one batch
	readAhead     = 64 << 10
	appendBytes   = 4 << 20 // of batches that wait to be put on the disk
)

// enqueuer puts batches on the disk, a chunk at a time: when one is written down, its
// batches and the cursor after it are on the disk as one.
type enqueuer struct {
	j     *job
	ctx   context.Context
	size  int          // items in a batch
	out   bytes.Buffer // batches that are not on the disk yet
	bytes int64        // with those
	count int          // batches that are written

	batch bytes.Buffer
	items int
	begin int64 // of the chunk in the file
	first int   // batch of the chunk
}

// enqueue makes the batches of a job, from where it was left.
func (j *job) enqueue(ctx context.Context) error {
	r := j.snapshot()
	e := &enqueuer{j: j, ctx: ctx, bytes: r.ItemBytes, count: r.Batches, begin: r.ItemBytes, first: r.Batches}
	var err error
	switch {
	case r.Parent != "":
		err = e.fromParent(r)
	case r.OpenAI != nil:
		err = e.fromUpload(r)
	default:
		err = e.fromSubmission(r)
	}
	if err != nil {
		return err
	}
	if err := e.endBatch(cursor{}); err != nil {
		return err
	}
	return e.checkpoint(cursor{Done: true})
}

func (e *enqueuer) fromSubmission(r record) error {
	var text []byte
	if err := e.j.patiently(e.ctx, func() (err error) {
		text, err = e.j.s.readFile(e.ctx, r.key(), fileSubmission)
		return err
	}); err != nil {
		return err
	}
	submission, err := parse(r.Kind, r.API, text)
	if err != nil {
		return err
	}
	b, ok := submission.(*workload.BatchSubmission)
	if !ok {
		return errors.New("the submission is of no job of batches")
	}
	switch {
	case b.ItemList != nil:
		e.size = int(b.ItemList.BatchSize)
		for i := r.Enqueued.Index; i < len(b.ItemList.Items); i++ {
			if err := e.item(b.ItemList.Items[i], cursor{Index: i + 1}); err != nil {
				return err
			}
		}
		return nil
	case b.FilePathLister != nil:
		e.size = int(b.FilePathLister.BatchSize)
		return e.paths(r, b.FilePathLister)
	default:
		e.size = int(b.DelimitedFiles.BatchSize)
		return e.values(r, (*workload.FilePathLister)(b.DelimitedFiles))
	}
}

// files lists what the items are in.
func (e *enqueuer) files(l *workload.FilePathLister) (files []string, err error) {
	err = e.j.patiently(e.ctx, func() error {
		files, err = e.j.s.files(e.ctx, e.j.rev, l, maxFiles+1)
		return err
	})
	return files, err
}

// paths makes an item of each path.
func (e *enqueuer) paths(r record, l *workload.FilePathLister) error {
	files, err := e.files(l)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f <= r.Enqueued.File {
			continue
		}
		item, err := json.Marshal(f)
		if err != nil {
			return err
		}
		if err := e.item(item, cursor{File: f}); err != nil {
			return err
		}
	}
	return nil
}

// values makes an item of each JSON value in the files.
func (e *enqueuer) values(r record, l *workload.FilePathLister) error {
	files, err := e.files(l)
	if err != nil {
		return err
	}
	for _, path := range files {
		if path < r.Enqueued.File {
			continue
		}
		from := int64(0)
		if path == r.Enqueued.File {
			from = r.Enqueued.Offset
		}
		// A file that breaks off is read on from after the last item.
		next := from
		if err := e.j.patiently(e.ctx, func() error { return e.valuesOf(path, &next) }); err != nil {
			return err
		}
	}
	return nil
}

// valuesOf makes an item of each JSON value in a file from a byte on, and says after which
// byte it has all of them.
func (e *enqueuer) valuesOf(path string, next *int64) error {
	from := *next
	f, err := e.j.s.source(e.ctx, path, from)
	if fault.Code(err) != "" {
		return err
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	defer f.Close()
	in := &bounded{from: f}
	d := json.NewDecoder(in)
	for {
		in.left = workload.MaxItemBytes + readAhead // of this value, and what is read ahead
		var value json.RawMessage
		switch err := d.Decode(&value); {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errTooLong) || err == nil && len(value) > workload.MaxItemBytes:
			return fault.New(fault.Invalid, workload.CodeJobItemTooLarge, "%s has an item at byte %d that is larger than the %d bytes that one may have", path, from+d.InputOffset(), workload.MaxItemBytes)
		case in.broken != nil && strings.HasPrefix(path, schemeS3):
			return fault.New(fault.Unavailable, "objects.unavailable", "%s broke off: %w", path, in.broken)
		case err != nil:
			return fault.New(fault.Invalid, "jobs.items_malformed", "%s has no JSON value at byte %d: %s", path, from+d.InputOffset(), strings.TrimPrefix(err.Error(), "json: "))
		}
		if err := e.item(value, cursor{File: path, Offset: from + d.InputOffset()}); err != nil {
			return err
		}
		*next = from + d.InputOffset()
	}
}

// bounded fails instead of reading more than what is left.
type bounded struct {
	from   io.Reader
	left   int
	broken error // nil: nothing but the end was read
}

var errTooLong = errors.New("it is too long")

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.from.Read(p[:min(len(p), readAhead)])
	b.left -= n
	if err != nil && !errors.Is(err, io.EOF) {
		b.broken = err
	}
	return n, err
}

// fromParent takes the batches over that another job did not do.
func (e *enqueuer) fromParent(r record) error {
	parent, err := e.j.s.read(e.ctx, key{r.API, r.Parent})
	if err != nil {
		return fmt.Errorf("reading the job whose batches are tried again: %w", err)
	}
	b, err := openBatches(e.ctx, e.j.s, parent)
	if err != nil {
		return err
	}
	defer b.close()
	for i := r.Enqueued.Index; i < parent.Batches; i++ {
		if was := b.outcome[i]; was == succeeded || was == open && r.OnlyFailed {
			continue
		}
		body, err := b.read(e.ctx, i)
		if err != nil {
			return err
		}
		if err := e.write(body, cursor{Index: i + 1}); err != nil {
			return err
		}
	}
	return nil
}

// item adds an item to the batch that gathers.
func (e *enqueuer) item(item json.RawMessage, after cursor) error {
	if e.items == 0 {
		e.batch.WriteByte('[')
	} else {
		e.batch.WriteByte(',')
	}
	if err := json.Compact(&e.batch, item); err != nil { // one line is one batch
		return err
	}
	if e.batch.Len() > maxBatchBytes {
		return fault.New(fault.Invalid, "jobs.batch_too_large", "a batch of %d items has more than %d bytes", e.items+1, maxBatchBytes).WithHint("make batch_size smaller")
	}
	if e.items++; e.items < e.size {
		return nil
	}
	return e.endBatch(after)
}

func (e *enqueuer) endBatch(after cursor) error {
	if e.items == 0 {
		return nil
	}
	e.batch.WriteByte(']')
	e.items = 0
	err := e.write(e.batch.Bytes(), after)
	e.batch.Reset()
	return err
}

// write puts a batch at the end of the file.
func (e *enqueuer) write(body []byte, after cursor) error {
	e.out.Write(body)
	e.out.WriteByte('\n')
	e.bytes += int64(len(body)) + 1
	e.count++
	if e.count%chunkSize == 0 {
		return e.checkpoint(after)
	}
	if e.out.Len() >= appendBytes {
		return e.flush()
	}
	return nil
}

// flush puts on the disk what waits: what was there beyond it was not written down.
func (e *enqueuer) flush() error {
	if e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	err := e.j.patiently(e.ctx, func() error {
		return e.j.s.cfg.Files.Append(e.ctx, e.j.rec.key().file(fileItems), e.bytes-int64(e.out.Len()), e.out.Bytes())
	})
	e.out.Reset()
	return err
}

// checkpoint writes down what is enqueued, and where to go on.
func (e *enqueuer) checkpoint(next cursor) error {
	if err := e.flush(); err != nil {
		return err
	}
	more := map[string][]byte{}
	if n := e.count - e.first; n > 0 {
		data, err := json.Marshal(chunk{Offset: e.begin, Count: n})
		if err != nil {
			return err
		}
		more[e.j.rec.key().chunk(e.first/chunkSize)] = data
	}
	e.begin, e.first = e.bytes, e.count
	return e.j.must(e.ctx, more, func(r *record) {
		r.Enqueued, r.Batches, r.ItemBytes = next, e.count, e.bytes
	})
}

// enqueueAll enqueues what is missing, and says how that failed.
func (j *job) enqueueAll(ctx context.Context) (workload.JobStatus, *workload.ItemReason) {
	if j.snapshot().Enqueued.Done {
		return "", nil
	}
	if err := j.must(ctx, nil, func(r *record) { r.Status = workload.JobEnqueuing }); err != nil {
		return "", nil
	}
	began := time.Now()
	if err := j.enqueue(ctx); err != nil {
		if ctx.Err() != nil {
			return "", nil
		}
		return workload.JobEnqueueFailed, &workload.ItemReason{Code: cmp.Or(fault.Code(err), "enqueue_failed"), Message: err.Error()}
	}
	j.s.log.Debug("enqueued", "job", j.rec.ID, "batches", j.snapshot().Batches, "took", time.Since(began))
	return "", nil
}
