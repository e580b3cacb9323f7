package jobs

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// chunk is the record of up to chunkSize batches: where they are, and what became of them.
// A million items are a thousand records, each of which is a few hundred bytes.
type chunk struct {
	Offset    int64         `json:"offset"` // of its first batch in the file of batches
	Count     int           `json:"count"`
	Succeeded []byte        `json:"succeeded,omitempty"` // a bit for each batch
	Failed    []int         `json:"failed,omitempty"`    // within the chunk
	Tries     map[int]tries `json:"tries,omitempty"`     // of those that are open and were tried
}

// tries are how often a batch was worked on in vain.
type tries struct {
	Errors int `json:"errors,omitempty"` // the worker said so
	Losses int `json:"losses,omitempty"` // the worker was lost
}

// outcome is what became of a batch.
type outcome byte

const (
	open outcome = iota
	running
	succeeded
	failed
)

// Bounds of how much may be lost with this process, and is worked on again: what ended
// since the last commit.
const (
	commitEvery = 200 * time.Millisecond
	commitBytes = 8 << 20 // of lines that wait: workers wait at this many
	rateWindow  = 60      // seconds
)

// batches are those of one job, and where they stand. All methods may be called at once.
type batches struct {
	s   *Service
	rec record // as it was when they were opened

	committing sync.Mutex // held while something is put on the disk

	mu      sync.Mutex
	outcome []outcome
	tries   map[int]tries
	offsets []int64 // of chunks
	left    int     // that have no outcome
	atWork  int
	ok, bad int
	worked  time.Duration
	next    int           // before it none is open that is not in again
	again   []int         // that are to be worked on again
	changed chan struct{} // closed and replaced when one may be taken, or none is left

	lines, errs bytes.Buffer // not in the files yet
	touched     map[int]bool // chunks
	said        []answer     // of which nothing is in the files yet
	committed   chan struct{}
	full        bool
	broken      error // of the files: nothing goes on

	at     reading
	recent [rateWindow]int // batches that ended, by seconds
	second int64           // of the latest
	since  time.Time
}

// reading is where the file of batches is read: they are mostly taken in their order.
type reading struct {
	from io.ReadCloser // nil: nothing is read
	buf  *bufio.Reader
	next int // batch that is read next
}

// openBatches reads where the batches of a job stand.
func openBatches(ctx context.Context, s *Service, r record) (*batches, error) {
	b := &batches{
		s: s, rec: r, outcome: make([]outcome, r.Batches), tries: map[int]tries{}, left: r.Batches, touched: map[int]bool{},
		changed: make(chan struct{}), committed: make(chan struct{}), worked: r.Worked, since: time.Now(),
	}
	err := s.cfg.Records.Scan(ctx, r.key().chunks(), func(_ string, data []byte) error {
		var c chunk
		if err := json.Unmarshal(data, &c); err != nil {
			return err
		}
		return b.adopt(len(b.offsets)*chunkSize, c)
	})
	if err == nil && len(b.offsets) != (r.Batches+chunkSize-1)/chunkSize {
		err = fmt.Errorf("of %d batches there are %d records", r.Batches, len(b.offsets))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the batches of %s: %w", r.ID, err)
	}
	return b, nil
}

// adopt takes over the record of one chunk, whose first batch is at a place.
func (b *batches) adopt(first int, c chunk) error {
	if first+c.Count > len(b.outcome) || c.Count < 1 || len(c.Succeeded)*8 > chunkSize+7 {
		return errors.New("a record is of batches that there are not")
	}
	b.offsets = append(b.offsets, c.Offset)
	for i := range c.Count {
		if i/8 < len(c.Succeeded) && c.Succeeded[i/8]&(1<<(i%8)) != 0 {
			b.outcome[first+i] = succeeded
			b.ok++
			b.left--
		}
	}
	for _, i := range c.Failed {
		if i < 0 || i >= c.Count || b.outcome[first+i] != open {
			return errors.New("a record contradicts itself")
		}
		b.outcome[first+i] = failed
		b.bad++
		b.left--
	}
	for i, t := range c.Tries {
		b.tries[first+i] = t
	}
	return nil
}

func (b *batches) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at.close()
}

func (r *reading) close() {
	if r.from != nil {
		_ = r.from.Close() // it was only read
	}
	r.from, r.buf = nil, nil
}

// read returns the body of a batch. The caller holds b.mu, or is alone.
func (b *batches) read(ctx context.Context, i int) ([]byte, error) {
	if b.at.from == nil || i < b.at.next || i/chunkSize > b.at.next/chunkSize {
		b.at.close()
		// What is read belongs to all of the job's workers, and not to the one that asks.
		from, err := b.s.cfg.Files.Read(context.WithoutCancel(ctx), b.rec.key().file(fileItems), b.offsets[i/chunkSize], b.rec.ItemBytes)
		if err != nil {
			return nil, fmt.Errorf("reading batch %d: %w", i, err)
		}
		b.at = reading{from: from, buf: bufio.NewReaderSize(from, 256<<10), next: i / chunkSize * chunkSize}
	}
	for ; ; b.at.next++ {
		line, err := b.at.buf.ReadBytes('\n')
		if err != nil {
			b.at.close()
			return nil, fmt.Errorf("reading batch %d: %w", i, err)
		}
		if b.at.next == i {
			b.at.next++
			return bytes.TrimSuffix(line, []byte("\n")), nil
		}
	}
}

// item is a batch that a worker has.
type item struct {
	index int
	body  []byte
	tries tries
	began time.Time
}

// id is that of the request by which a worker gets the batch.
func (it item) id() string {
	return strconv.Itoa(it.index) + "." + strconv.Itoa(it.tries.Errors+it.tries.Losses+1)
}

// answer is one that a worker keeps until it is settled.
type answer struct {
	run engine.Running
	id  string
}

// claim takes the batch that a request of an earlier process was of; not ok: that is over.
func (b *batches) claim(ctx context.Context, id string) (item, bool) {
	text, _, _ := strings.Cut(id, ".")
	i, err := strconv.Atoi(text)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil || i < 0 || i >= len(b.outcome) || b.outcome[i] != open {
		return item{}, false
	}
	it := item{index: i, tries: b.tries[i], began: time.Now()}
	if it.id() != id {
		return item{}, false
	}
	if it.body, err = b.read(ctx, i); err != nil { // it is read again, and fails, when it is taken
		return item{}, false
	}
	b.outcome[i] = running
	b.atWork++
	return it, true
}

// take waits for a batch; none: all have an outcome, or ctx has ended.
func (b *batches) take(ctx context.Context) (item, bool) {
	for {
		b.mu.Lock()
		stirred, i := b.changed, -1
		switch {
		case b.left == 0 || b.broken != nil || ctx.Err() != nil:
			b.mu.Unlock()
			return item{}, false
		case b.full:
			stirred = b.committed
		default:
			i = b.nextOpen()
		}
		if i >= 0 {
			body, err := b.read(ctx, i)
			if err != nil {
				away := fault.Is(err, fault.Unavailable)
				if !away {
					b.fail(err)
				}
				b.mu.Unlock()
				if away {
					wait(ctx, writeAgain)
					continue
				}
				return item{}, false
			}
			b.outcome[i] = running
			b.atWork++
			t := b.tries[i]
			b.mu.Unlock()
			return item{index: i, body: body, tries: t, began: time.Now()}, true
		}
		b.mu.Unlock()
		select {
		case <-stirred:
		case <-ctx.Done():
		}
	}
}

// nextOpen returns a batch that nobody has; -1: there is none now. The caller holds b.mu.
func (b *batches) nextOpen() int {
	for ; b.next < len(b.outcome); b.next++ {
		if b.outcome[b.next] == open {
			return b.next
		}
	}
	for len(b.again) > 0 {
		i := b.again[0]
		b.again = b.again[1:]
		if b.outcome[i] == open {
			return i
		}
	}
	return -1
}

// fail has everything end. The caller holds b.mu.
func (b *batches) fail(err error) {
	if b.broken == nil {
		b.broken = err
		b.stir()
	}
}

// stir wakes those who wait for a batch. The caller holds b.mu.
func (b *batches) stir() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// giveBack returns a batch that has no outcome yet, with the answer, if there was one.
func (b *batches) giveBack(it item, t tries, said *answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if said != nil {
		b.said = append(b.said, *said)
	}
	b.outcome[it.index] = open
	b.atWork--
	if t != it.tries {
		b.tries[it.index] = t
		b.touched[it.index/chunkSize] = true
	}
	b.again = append(b.again, it.index)
	b.stir()
}

// done writes down the outcome of a batch.
func (b *batches) done(it item, ok bool, line workload.JobLine, said *answer) {
	line.Index = it.index
	data, err := json.Marshal(line)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said = append(b.said, *said)
	if err != nil {
		b.fail(err)
		return
	}
	into := &b.errs
	b.outcome[it.index] = failed
	if ok {
		into = &b.lines
		b.outcome[it.index] = succeeded
		b.ok++
	} else {
		b.bad++
	}
	if !ok || line.Body != nil || line.BodyFile != "" { // what succeeded without a word has no line
		into.Write(data)
		into.WriteByte('\n')
	}
	delete(b.tries, it.index)
	b.touched[it.index/chunkSize] = true
	b.atWork--
	b.left--
	b.worked += time.Since(it.began)
	b.count(time.Now())
	b.full = b.lines.Len()+b.errs.Len() >= commitBytes
	if b.left == 0 || b.again != nil {
		b.stir()
	}
}

// count notes that a batch ended. The caller holds b.mu.
func (b *batches) count(now time.Time) {
	b.pass(now)
	b.recent[b.second%rateWindow]++
}

// pass forgets what is longer ago than the window. The caller holds b.mu.
func (b *batches) pass(now time.Time) {
	s := now.Unix()
	for i := max(b.second+1, s-rateWindow+1); i <= s; i++ {
		b.recent[i%rateWindow] = 0
	}
	b.second = max(b.second, s)
}

func (b *batches) progress(p *workload.JobProgress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.pass(now)
	p.Total, p.Succeeded, p.Failed, p.Running = len(b.outcome), b.ok, b.bad, b.atWork
	ended := 0
	for _, n := range b.recent {
		ended += n
	}
	window := min(now.Sub(b.since), rateWindow*time.Second).Seconds()
	if ended == 0 || window <= 0 {
		return
	}
	rate := float64(ended) / window
	p.PerMinute = float64(int(rate*600)) / 10
	p.Estimate = time.Duration(float64(b.left) / rate * float64(time.Second)).Round(time.Second).String()
}

// counted says how many batches have succeeded and failed.
func (b *batches) counted() (ok, bad, total int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ok, b.bad, len(b.outcome)
}

// commit puts on the disk what has ended: first the lines, then, as one, that there are
// these and what they are of.
func (b *batches) commit(ctx context.Context, j *job) error {
	b.committing.Lock()
	defer b.committing.Unlock()
	b.mu.Lock()
	if len(b.touched) == 0 || b.broken != nil {
		err := b.broken
		b.mu.Unlock()
		return err
	}
	lines, errs, touched, said := bytes.Clone(b.lines.Bytes()), bytes.Clone(b.errs.Bytes()), b.touched, b.said
	b.said = nil
	b.lines.Reset()
	b.errs.Reset()
	b.touched, b.full = map[int]bool{}, false
	close(b.committed)
	b.committed = make(chan struct{})
	more, err := map[string][]byte{}, error(nil)
	for n := range touched {
		if more[b.rec.key().chunk(n)], err = json.Marshal(b.chunkOf(n)); err != nil {
			break
		}
	}
	ok, bad, worked := b.ok, b.bad, b.worked
	b.mu.Unlock()
	lasting, cancel := outlasting(ctx) // what ends now is to be written
	defer cancel()
	kept := j.snapshot()
	for _, f := range []struct {
		name string
		size int64
		data []byte
	}{{fileOutput, kept.OutputBytes, lines}, {fileErrors, kept.ErrorBytes, errs}} {
		if len(f.data) == 0 || err != nil {
			continue
		}
		err = j.patiently(lasting, func() error {
			return b.s.cfg.Files.Append(lasting, b.rec.key().file(f.name), f.size, f.data)
		})
	}
	if err == nil {
		err = j.must(ctx, more, func(r *record) {
			r.OutputBytes += int64(len(lines))
			r.ErrorBytes += int64(len(errs))
			r.Succeeded, r.Failed, r.Worked = ok, bad, worked
		})
	}
	if err != nil {
		b.mu.Lock()
		b.fail(err)
		b.mu.Unlock()
		return err
	}
	settle(context.WithoutCancel(ctx), said)
	return nil
}

// settleWithin is how long workers have to forget answers. What they keep they forget by
// themselves later.
const settleWithin = 5 * time.Second

// settle has workers forget answers.
func settle(ctx context.Context, said []answer) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	byRun := map[engine.Running][]string{}
	for _, a := range said {
		byRun[a.run] = append(byRun[a.run], a.id)
	}
	var all sync.WaitGroup
	for run, ids := range byRun {
		all.Go(func() { run.Settle(ctx, ids) })
	}
	all.Wait()
}

// chunkOf is the record of a chunk as it is now. The caller holds b.mu.
func (b *batches) chunkOf(n int) chunk {
	first := n * chunkSize
	c := chunk{Offset: b.offsets[n], Count: min(chunkSize, len(b.outcome)-first)}
	c.Succeeded = make([]byte, (c.Count+7)/8)
	for i := range c.Count {
		switch b.outcome[first+i] {
		case succeeded:
			c.Succeeded[i/8] |= 1 << (i % 8)
		case failed:
			c.Failed = append(c.Failed, i)
		case open, running:
			if t, ok := b.tries[first+i]; ok {
				if c.Tries == nil {
					c.Tries = map[int]tries{}
				}
				c.Tries[i] = t
			}
		}
	}
	return c
}

// manifest says what the results of a job are.
type manifest struct {
	JobID     string             `json:"job_id"`
	Status    workload.JobStatus `json:"status"`
	Total     int                `json:"total"`
	Succeeded int                `json:"succeeded"`
	Failed    int                `json:"failed"`
	Files     []manifestFile     `json:"files"`
}

type manifestFile struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// writeManifest writes what the files of results are, when they do not change any more.
func (s *Service) writeManifest(ctx context.Context, r record) error {
	m := manifest{JobID: r.ID, Status: r.Status, Total: r.Batches, Succeeded: r.Succeeded, Failed: r.Failed, Files: []manifestFile{}}
	for _, file := range []struct {
		name string
		size int64
	}{{fileOutput, r.OutputBytes}, {fileErrors, r.ErrorBytes}} {
		sum := sha256.New()
		if file.size > 0 {
			f, err := s.cfg.Files.Read(ctx, r.key().file(file.name), 0, file.size)
			if err != nil {
				return err
			}
			_, err = io.Copy(sum, f)
			_ = f.Close() // it was only read
			if err != nil {
				return err
			}
		}
		m.Files = append(m.Files, manifestFile{file.name, file.size, hex.EncodeToString(sum.Sum(nil))})
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	_, err = s.cfg.Files.Put(ctx, r.key().file(fileManifest), bytes.NewReader(append(data, '\n')))
	return err
}

// answerPart is how much of an answer is one part.
const answerPart = 256 << 10

// Answer calls fn with the parts of what one batch was answered with, where that is in a file
// of its own.
func (s *Service) Answer(ctx context.Context, q workload.JobAnswerQuery, fn func(workload.JobPart) error) error {
	r, _, err := s.latest(ctx, q.API, q.Job)
	if err != nil {
		return err
	}
	f, err := s.cfg.Files.Open(ctx, r.key().file(bodyFile(q.Batch)))
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.NotFound, codeNoBodyFile, "batch %d of the job %s has no answer in a file of its own", q.Batch, q.Job).
			WithHint("cortex results %s %s has all others, and names those in files: body_file", q.API, q.Job)
	}
	if err != nil {
		return fmt.Errorf("reading an answer of %s: %w", q.Job, err)
	}
	defer f.Close()
	part := make([]byte, answerPart)
	for ctx.Err() == nil {
		n, err := io.ReadFull(f, part)
		if n > 0 {
			if err := fn(workload.JobPart{Data: part[:n]}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading an answer of %s: %w", q.Job, err)
		}
	}
	return context.Cause(ctx)
}

// Lines calls fn with each line of the results of a job, or of its errors, as far as they
// are written down.
func (s *Service) Lines(ctx context.Context, q workload.JobLinesQuery, fn func(workload.JobLine) error) error {
	r, _, err := s.latest(ctx, q.API, q.Job)
	if err != nil {
		return err
	}
	name, size := fileOutput, r.OutputBytes
	if q.Errors {
		name, size = fileErrors, r.ErrorBytes
	}
	if size == 0 {
		return nil
	}
	f, err := s.cfg.Files.Read(ctx, r.key().file(name), 0, size)
	if err != nil {
		return fmt.Errorf("reading the results of %s: %w", q.Job, err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	for ctx.Err() == nil {
		var line workload.JobLine
		if err := d.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading the results of %s: %w", q.Job, err)
		}
		if err := fn(line); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}
