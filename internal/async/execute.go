package async

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/workload"
)

// What a container gets with each execution, and may answer with.
const (
	fieldID      = "X-Cortex-Request-ID"
	fieldAttempt = "X-Cortex-Attempt"
	fieldRetry   = "X-Cortex-Retry"
	fieldReport  = workload.ProgressURLHeader
)

// Bounds of an execution.
const (
	maxSaid       = 2 << 10          // bytes of an answer that is no success, which are kept
	quick         = time.Second      // an answer that came sooner is of a container that is busy, not of one that failed
	lastWrite     = 15 * time.Second // that the end of an execution has to be written when this process ends
	maxUnreached  = 25               // replicas in a row that take no connection
	unreachedWait = 200 * time.Millisecond
	noRoomWait    = 30 * time.Second // until an item is tried again whose result had no room
	noPayloadWait = 5 * time.Second  // and one whose payload could not be read
)

// execute has a replica work on the item of e, and writes down what became of it. It
// gives place back.
func (l *line) execute(own context.Context, place Place, e *entry) {
	ctx, cancel := context.WithCancelCause(own)
	defer cancel(nil)
	lasting, release := lasting(own)
	defer release()

	l.mu.Lock()
	e.executed().cancel, e.executed().keeps = cancel, place.Keeps()
	l.mu.Unlock()
	replica, revision := place.Replica()
	item, err := l.apply(lasting, e.id, ledger.Event{Type: ledger.Begin, At: time.Now(), Owner: l.s.owner, Replica: replica, Revision: revision}, nil)
	if err != nil {
		place.Done()
		l.leaveOff(e)
		l.resync(lasting, e)
		e.tick(lasting, time.Now()) // it may be too late for it
		return
	}
	defer l.leaveOff(e)
	began := time.Now()
	l.s.counts.waited(item, began)
	report := l.reporting(e, l.rules().reached)
	l.carry(ctx, lasting, item, began, func(ctx context.Context) (*content, ledger.Ending, Place) {
		return l.perform(ctx, place, item, report)
	})
}

// carry has an execution worked on, and writes down what became of it.
func (l *line) carry(ctx, lasting context.Context, item ledger.Item, began time.Time, work func(context.Context) (*content, ledger.Ending, Place)) {
	timeout := item.Timeout
	if timeout <= 0 {
		timeout = l.rules().timeout
	}
	limited, stop := context.WithDeadlineCause(ctx, began.Add(timeout), errTimeout)
	defer stop()
	answer, end, place := work(limited)
	cause := context.Cause(limited)
	keeps := place != nil && place.Keeps()
	if keeps && (errors.Is(cause, errLetGo) || errors.Is(cause, errOvertaken)) {
		return // another program waits for its end, or will
	}
	took := time.Since(began)
	l.mu.Lock()
	if e := l.entries[item.ID]; e != nil {
		e.executed().cancel = nil
	}
	if end.Outcome == ledger.OK {
		l.service.Observe(took)
	}
	l.mu.Unlock()
	l.s.counts.ran(l.name, took)
	if keeps && cause != nil {
		l.forget(lasting, place, item) // it is to end now
	}
	l.conclude(lasting, item, answer, end, timeout)
	if keeps && cause == nil {
		l.forget(lasting, place, item)
	}
}

// forgetWithin is how long a replica has to forget an execution; else it does so by itself
// some time later.
const forgetWithin = 2 * time.Second

func (l *line) forget(ctx context.Context, place Place, item ledger.Item) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetWithin)
	defer cancel()
	_ = place.Forget(ctx, executionOf(item)) // see forgetWithin
}

// executionOf names the latest execution of an item.
func executionOf(i ledger.Item) string { return i.ID + "." + strconv.Itoa(i.Attempt) }

var errTimeout = errors.New("it took too long")

// lasting is a context that ends a while after ctx does.
func lasting(ctx context.Context) (context.Context, func()) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		late := time.NewTimer(lastWrite)
		defer late.Stop()
		select {
		case <-late.C:
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() { stop(); cancel() }
}

// conclude writes down what an execution came to.
func (l *line) conclude(ctx context.Context, item ledger.Item, answer *content, end ledger.Ending, timeout time.Duration) {
	now := time.Now()
	if end.Outcome == ledger.TimedOut {
		end.Reason = &ledger.Reason{Code: "item_timeout", Message: fmt.Sprintf("it was not finished after %s", timeout)}
	}
	var err error
	if end.Outcome == ledger.OK {
		rules := l.rules()
		event := ledger.Event{
			Type: ledger.Succeed, At: now, Attempt: item.Attempt, Outcome: ledger.OK, Status: end.Status, Keep: rules.Keep, Payloads: rules.Payloads,
			Result: &answer.Content,
		}
		if next, failed := l.apply(ctx, item.ID, event, answer.inline); failed == nil {
			if next.Payload == nil {
				l.s.dropBlob(item.Payload)
			}
		} else {
			err = failed
			l.s.dropBlob(&answer.Content)
		}
	} else {
		_, err = l.apply(ctx, item.ID, ledger.Judge(item, end, l.rules().Rules, now, share()), nil)
	}
	if err != nil && isOver(err) {
		l.resyncID(ctx, item.ID)
	}
}

// perform sends the item to a replica, and to another one as long as none takes a
// connection. It gives place back.
func (l *line) perform(ctx context.Context, place Place, item ledger.Item, report string) (*content, ledger.Ending, Place) {
	for again := 0; ; again++ {
		payload, err := l.s.openPayload(ctx, item)
		if err != nil {
			end := withoutPayload(err)
			if ctx.Err() != nil {
				end = broken(ctx, place, err)
			}
			place.Done()
			return nil, end, place
		}
		began := time.Now()
		req := request(l.listening(ctx, item.ID), item, payload)
		if report != "" {
			req.Header.Set(fieldReport, report)
		}
		resp, err := place.Execute(req, executionOf(item))
		if err != nil && place.Keeps() && ctx.Err() == nil && !unreached(err) && !place.Cut() && !errors.Is(err, errDamaged) {
			resp, err = place.Attach(l.listening(ctx, item.ID), executionOf(item)) // only the way to it may have broken
		}
		if err != nil {
			payload.Close()
			if unreached(err) && ctx.Err() == nil && again < maxUnreached {
				place.Unreached(err)
				if place, err = l.another(ctx); err == nil {
					continue
				}
				return nil, broken(ctx, nil, err), nil
			}
			end := broken(ctx, place, err)
			if errors.Is(err, errDamaged) {
				end = payloadLost(errDamaged)
			}
			place.Done()
			return nil, end, place
		}
		answer, end := l.receive(ctx, place, item, resp, began)
		resp.Body.Close()
		payload.Close()
		place.Done()
		return answer, end, place
	}
}

// withoutPayload is how an execution ends whose payload cannot be had: for good, or now.
func withoutPayload(err error) ledger.Ending {
	if errors.Is(err, errNotKept) || errors.Is(err, fs.ErrNotExist) || isOver(err) {
		return payloadLost(err)
	}
	return ledger.Ending{Outcome: ledger.Interrupted, RetryAfter: noPayloadWait, Reason: &ledger.Reason{Code: "payload_not_read", Message: "its payload could not be read: " + err.Error()}}
}

// payloadLost is how an execution ends without a payload.
func payloadLost(err error) ledger.Ending {
	return ledger.Ending{Outcome: ledger.Error, Never: true, Reason: &ledger.Reason{Code: "payload_lost", Message: "its payload cannot be read any more: " + err.Error()}}
}

// unreached reports whether err says that no connection could be opened, so that nothing
// was sent.
func unreached(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// another waits for another place of an item that is executed already.
func (l *line) another(ctx context.Context) (Place, error) {
	t := time.NewTimer(unreachedWait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-t.C:
	}
	return l.s.cfg.Acquire(ctx, l.name, true)
}

// request is what a container gets: the payload, the fields that came with it, and which
// execution this is.
func request(ctx context.Context, item ledger.Item, payload io.ReadCloser) *http.Request {
	// The host is the place's; nothing of this can fail.
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://replica/", payload) //nolint:errcheck // see above
	for _, f := range item.Request.Fields {
		req.Header.Add(f[0], f[1])
	}
	req.Host = item.Request.Host
	if item.Payload != nil {
		req.ContentLength = item.Payload.Size
		if item.Payload.Size == 0 {
			req.Body = http.NoBody
		}
		if item.Payload.Type != "" {
			req.Header.Set("Content-Type", item.Payload.Type)
		}
	}
	req.Header.Set("X-Request-ID", item.ID)
	req.Header.Set(fieldID, item.ID)
	req.Header.Set(fieldAttempt, strconv.Itoa(item.Attempt))
	return req
}

// broken says what an execution came to that got no answer, or not all of it.
func broken(ctx context.Context, place Place, err error) ledger.Ending {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTimeout):
		return ledger.Ending{Outcome: ledger.TimedOut}
	case errors.Is(cause, errStopping):
		return ledger.Ending{Outcome: ledger.Interrupted, Reason: &ledger.Reason{Code: "daemon_stopped", Message: "this environment was stopped before it was finished"}}
	case errors.Is(cause, errOvertaken): // which its ledger will say
		return ledger.Ending{Outcome: ledger.Interrupted, Reason: &ledger.Reason{Code: "gateway_lost", Message: cause.Error()}}
	case errors.Is(cause, errCancelled):
		return ledger.Ending{Outcome: ledger.Interrupted, Reason: &ledger.Reason{Code: "item_cancelled", Message: "it was cancelled"}}
	case place == nil:
		return ledger.Ending{Outcome: ledger.Interrupted, Reason: &ledger.Reason{Code: "no_place", Message: "no replica took it: " + err.Error()}}
	case place.Cut():
		return ledger.Ending{Outcome: ledger.Interrupted, Reason: &ledger.Reason{Code: "replica_stopped", Message: "its replica had to stop before it was finished; termination_grace_period says how long it may go on"}}
	}
	return ledger.Ending{Outcome: ledger.Lost, Reason: &ledger.Reason{Code: "replica_lost", Message: "its replica closed the connection before it had answered"}}
}

// receive reads an answer, and keeps that of a success.
func (l *line) receive(ctx context.Context, place Place, item ledger.Item, resp *http.Response, began time.Time) (*content, ledger.Ending) {
	end := ledger.Ending{Outcome: ledger.OK, Status: resp.StatusCode}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		answer, err := l.s.keep(ctx, resp.Body, resultName(item), maxResult)
		var large *tooLargeError
		switch {
		case err == nil:
			answer.Type, answer.Encoding = resp.Header.Get("Content-Type"), resp.Header.Get("Content-Encoding")
			return answer, end
		case errors.As(err, &large):
			return nil, ledger.Ending{Outcome: ledger.Error, Status: resp.StatusCode, Never: true, Reason: &ledger.Reason{Code: "result_too_large", Message: fmt.Sprintf("the result has more than %d bytes", large.most)}}
		case isKeeping(err):
			return nil, ledger.Ending{Outcome: ledger.Interrupted, Status: resp.StatusCode, RetryAfter: noRoomWait, Reason: &ledger.Reason{Code: "result_not_kept", Message: "the result could not be kept: " + err.Error()}}
		}
		end := broken(ctx, place, err)
		end.Status = resp.StatusCode
		return nil, end
	}
	said, _ := io.ReadAll(io.LimitReader(resp.Body, maxSaid)) // what there is of it
	end.Outcome = ledger.Error
	end.Reason = &ledger.Reason{Code: fmt.Sprintf("upstream_%d", resp.StatusCode), Message: saying(resp.StatusCode, said)}
	end.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	switch way := resp.Header.Get(fieldRetry); {
	case strings.EqualFold(way, "never"):
		end.Never = true
	case strings.HasPrefix(way, "after="):
		if d, err := time.ParseDuration(way[len("after="):]); err == nil && d > 0 {
			end.RetryAfter = d
		}
	case end.RetryAfter > 0 && (resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable):
		if time.Since(began) < quick {
			end.Outcome = ledger.Busy
		}
	default:
		end.RetryAfter = 0 // of other answers it means something else
	}
	return nil, end
}

// saying is what a container said that did not succeed, for people.
func saying(status int, said []byte) string {
	text := strings.ToValidUTF8(string(bytes.TrimSpace(said)), "\ufffd")
	if text == "" {
		return fmt.Sprintf("the container answered %d", status)
	}
	return fmt.Sprintf("the container answered %d: %s", status, text)
}

// retryAfter reads what Retry-After says; 0: nothing that can be read.
func retryAfter(text string, now time.Time) time.Duration {
	if text == "" {
		return 0
	}
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return max(time.Duration(n)*time.Second, time.Millisecond)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), time.Millisecond)
	}
	return 0
}
