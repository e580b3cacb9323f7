package jobs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Queues sends to queues of users. Package deadletters has the contract.
type Queues interface {
	// Check says why nothing can be sent to a queue.
	Check(ctx context.Context, queue string) error
	// Send fails with fault.Invalid where this message cannot be sent to the queue, with
	// fault.NotFound where none can, and otherwise where that may come right.
	Send(ctx context.Context, queue, group, id, body string, attributes map[string]string) error
}

// letter is a batch that failed for good, as it is sent.
type letter struct {
	id, body   string // the same whenever it is sent; and the items of the batch, a JSON array
	attributes map[string]string
	refused    error // why it is not even tried
}

// Bounds of sending.
const (
	lettersAtOnce  = 8
	lettersInRow   = 64                     // that are sent before it is written down how far that is
	lettersBytes   = 4 << 20                // of those
	letterBytes    = 1 << 20                // of one: what SQS takes
	lettersEvery   = time.Second            // while the job runs
	lettersWithin  = time.Minute            // for which the end of a job waits for a queue that is away
	lettersAgain   = 500 * time.Millisecond // first pause, which doubles
	lettersRare    = 10 * time.Second
	lettersPatient = 5 * time.Second // for which one row waits while the job runs
	letterAnswered = 10 * time.Second
)

// post sends what a job has in its file of errors to the queue that it names, from where its
// record says: the file is the outbox. What is sent when this process ends is sent again by
// the next, at least once each.
type post struct {
	j    *job
	b    *batches // reads batches, and nothing else; nil: it was not needed yet
	lost error    // why nothing can be sent any more
}

func (p *post) close() {
	if p.b != nil {
		p.b.close()
	}
}

// posts sends what fails while the job runs, until done is closed.
func (p *post) posts(ctx context.Context, done <-chan struct{}) {
	t := time.NewTicker(lettersEvery)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-t.C:
			if p.drain(ctx, lettersPatient); fault.Is(p.lost, fault.Unavailable) {
				p.lost = nil // it is tried again
			}
		}
	}
}

// drain sends what is to be sent. It waits so long for a queue that is away since the last
// letter; then, and where nothing can be sent to the queue, the rest is left.
func (p *post) drain(ctx context.Context, patience time.Duration) {
	for ctx.Err() == nil && p.lost == nil {
		r := p.j.snapshot()
		if r.DeadLetter == nil || p.j.s.cfg.Queues == nil || r.LettersAt >= r.ErrorBytes {
			return
		}
		if err := p.row(ctx, r, patience); err != nil {
			p.lost = err
		}
	}
}

// row sends the next letters, and writes down that it has.
func (p *post) row(ctx context.Context, r record, patience time.Duration) error {
	if p.b == nil {
		b, err := openBatches(ctx, p.j.s, r)
		if err != nil {
			return err
		}
		p.b = b
	}
	from, err := p.j.s.cfg.Files.Read(ctx, r.key().file(fileErrors), r.LettersAt, r.ErrorBytes)
	if err != nil {
		return err
	}
	defer from.Close()
	lines, at := bufio.NewReader(from), r.LettersAt
	var letters []letter
	for size := 0; at < r.ErrorBytes && len(letters) < lettersInRow && size < lettersBytes; {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("reading which batches failed: %w", err)
		}
		var line workload.JobLine
		if err := json.Unmarshal(text, &line); err != nil {
			return fmt.Errorf("reading which batches failed: %w", err)
		}
		l, err := p.letter(ctx, r, line)
		if err != nil {
			return err
		}
		letters, at, size = append(letters, l), at+int64(len(text)), size+len(l.body)
	}
	refused, why, err := p.send(ctx, r, letters, patience)
	if err != nil {
		return err
	}
	return p.j.must(ctx, nil, func(r *record) {
		r.LettersAt = at
		r.LettersSent += len(letters) - refused
		if refused > 0 {
			r.LettersRefused += refused
			r.LetterError = why.Error()
		}
	})
}

func (p *post) letter(ctx context.Context, r record, line workload.JobLine) (letter, error) {
	p.b.mu.Lock()
	body, err := p.b.read(ctx, line.Index)
	p.b.mu.Unlock()
	if err != nil {
		return letter{}, err
	}
	l := letter{id: r.ID + "." + strconv.Itoa(line.Index), body: string(body), attributes: map[string]string{
		"api_name": r.API, "job_id": r.ID, "batch_index": strconv.Itoa(line.Index),
	}}
	if len(body) > letterBytes {
		l.refused = fault.New(fault.Invalid, codeLetterSize, "a batch of %d bytes is more than the %d that a message may have", len(body), letterBytes)
		l.body = ""
	}
	if line.Reason != nil {
		l.attributes["reason"] = line.Reason.Code
	}
	return l, nil
}

// send sends letters, each until it is sent or refused, and says how many were refused, and
// why. Its error is that the queue was away for too long, or that nothing can be sent there.
func (p *post) send(ctx context.Context, r record, letters []letter, patience time.Duration) (refused int, why, _ error) {
	until := time.Now().Add(patience)
	for pause := lettersAgain; ; pause = min(2*pause, lettersRare) {
		errs := make([]error, len(letters))
		turns := make(chan struct{}, lettersAtOnce)
		var all sync.WaitGroup
		for i, l := range letters {
			if errs[i] = l.refused; l.refused != nil {
				continue
			}
			turns <- struct{}{}
			all.Go(func() {
				defer func() { <-turns }()
				ctx, cancel := context.WithTimeout(ctx, letterAnswered)
				defer cancel()
				errs[i] = p.j.s.cfg.Queues.Send(ctx, r.DeadLetter.ARN, r.ID, l.id, l.body, l.attributes)
			})
		}
		all.Wait()
		var again []letter
		var away error
		for i, err := range errs {
			switch {
			case err == nil:
				until = time.Now().Add(patience)
			case ctx.Err() != nil:
				return 0, nil, context.Cause(ctx)
			case fault.Is(err, fault.NotFound):
				return 0, nil, err
			case fault.Is(err, fault.Invalid):
				refused, why = refused+1, err
			default:
				again, away = append(again, letters[i]), err
			}
		}
		if len(again) == 0 {
			return refused, why, nil
		}
		if time.Now().Add(pause).After(until) {
			return 0, nil, fault.New(fault.Unavailable, fault.Code(away), "%w", away)
		}
		letters = again
		wait(ctx, pause)
	}
}

// mail sends what is left at the end of a job. How the job is to end is written down before,
// so that a process after this one does nothing else again. It reports whether the job is to
// go on in another process.
func (j *job) mail(ctx context.Context, status workload.JobStatus, reason *workload.ItemReason) (left bool) {
	r := j.snapshot()
	if r.DeadLetter == nil || r.ErrorBytes == 0 || j.s.cfg.Queues == nil {
		return false
	}
	if r.LettersAt < r.ErrorBytes {
		if r.Ending == "" {
			if err := j.must(ctx, nil, func(r *record) { r.Ending, r.Reason = string(status), reason }); err != nil {
				return true
			}
		}
		patience := lettersWithin
		j.mu.Lock()
		if j.cancel == nil { // it never had its turn here, and somebody waits for its end
			patience = 0
		}
		j.mu.Unlock()
		p := &post{j: j}
		p.drain(ctx, patience)
		p.close()
		if errors.Is(context.Cause(ctx), errShutdown) {
			return true
		}
		r = j.snapshot()
		if p.lost != nil {
			r.LetterError = p.lost.Error()
		}
	}
	unsent := r.Failed - r.LettersSent
	if unsent <= 0 {
		return false
	}
	j.mu.Lock() // it is written with the end
	defer j.mu.Unlock()
	j.rec.Warning = fmt.Sprintf("%d of %d batches that failed were not sent to %s (%s): they stay with the job, where `cortex results --errors` shows them and `cortex retry --failed` tries them again",
		unsent, r.Failed, r.DeadLetter.ARN, r.LetterError)
	return false
}
