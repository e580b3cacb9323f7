package async

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/workload"
)

// Bounds of the streams of events.
const (
	maxStreams  = 1000
	heartbeat   = 15 * time.Second
	eventWithin = 30 * time.Second // that a caller has to read one
)

// wantsEvents reports whether a caller asks for a stream of events.
func wantsEvents(h http.Header) bool {
	for _, line := range h.Values("Accept") {
		for _, one := range strings.Split(line, ",") {
			if kind, _, err := mime.ParseMediaType(one); err == nil && kind == "text/event-stream" {
				return true
			}
		}
	}
	return false
}

// mark is what a caller has seen of an item: the change, and the report of the execution
// that it began. It is the id of an event, with which a caller goes on.
type mark struct {
	version uint64
	report  int
}

func (m mark) String() string { return fmt.Sprintf("%d.%d", m.version, m.report) }

// markOf reads Last-Event-ID; what is none has seen nothing.
func markOf(text string) (m mark) {
	version, report, _ := strings.Cut(text, ".")
	v, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return m
	}
	n, err := strconv.ParseUint(report, 10, 31)
	if err != nil {
		return m
	}
	return mark{v, int(n)}
}

// events answers with what becomes of an item, as it does, until its end: events called
// state and progress, and end with the whole item as the last one. What happened while
// nobody listened is not told one by one: the first event says how it is now.
func (o *operation) events() error {
	if o.s.streams.Add(1) > maxStreams {
		o.s.streams.Add(-1)
		return fault.New(fault.Unavailable, "too_many_streams", "%d streams of events are open, as many as may", maxStreams).
			WithHint("GET with ?wait=60s waits for the end, too")
	}
	defer o.s.streams.Add(-1)
	seen := markOf(o.r.Header.Get("Last-Event-ID"))
	stream := &eventStream{o: o, control: http.NewResponseController(o.w)}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		changed, done := o.s.changes.await(o.id)
		more, err := o.news(stream, &seen)
		if err != nil && stream.began {
			done()
			panic(http.ErrAbortHandler) // the caller is gone, or does not read
		}
		if err != nil || !more {
			done()
			return err
		}
		select {
		case <-changed:
		case <-beat.C:
			err = stream.write(": \n\n")
		case <-o.s.over.Done():
			done()
			return nil // the caller comes back, to the next process
		case <-o.r.Context().Done():
			done()
			panic(http.ErrAbortHandler)
		}
		done()
		if err != nil {
			panic(http.ErrAbortHandler) // the caller is gone, or does not read
		}
	}
}

// news sends what has become of the item since a mark; more: it has not ended.
func (o *operation) news(stream *eventStream, seen *mark) (more bool, _ error) {
	item, err := o.s.cfg.Ledger.Get(o.r.Context(), o.api, o.id)
	switch {
	case err != nil && stream.began:
		return false, nil // it was forgotten meanwhile
	case err != nil:
		return false, err
	case item.State.Ended() && seen.version == item.Version && !stream.began:
		o.w.WriteHeader(http.StatusNoContent) // by which clients know that there is no more
		return false, nil
	}
	shown, report := o.s.reported(item)
	if seen.version != item.Version {
		*seen = mark{version: item.Version}
		if item.State.Ended() {
			return false, stream.event("end", *seen, o.whole(item))
		}
		if err := stream.event("state", *seen, shown); err != nil {
			return false, err
		}
	}
	if shown.Progress != nil && report != seen.report {
		seen.report = report
		if err := stream.event("progress", *seen, shown.Progress); err != nil {
			return false, err
		}
	}
	return true, stream.begin()
}

// reported is shown, with the number of the latest report of the container.
func (s *Service) reported(i ledger.Item) (workload.Item, int) {
	number := 0
	if l := s.existing(i.API); l != nil {
		l.mu.Lock()
		if e := l.entries[i.ID]; e != nil {
			number = e.done().progress.number
		}
		l.mu.Unlock()
	}
	return s.shown(i), number
}

// eventStream is an answer that goes on.
type eventStream struct {
	o       *operation
	control *http.ResponseController
	began   bool
}

func (s *eventStream) begin() error {
	if s.began {
		return nil
	}
	s.began = true
	h := s.o.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would keep events until it has many
	s.o.w.WriteHeader(http.StatusOK)
	return s.control.Flush()
}

func (s *eventStream) event(name string, id mark, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("answering: %w", err)
	}
	if err := s.begin(); err != nil {
		return err
	}
	return s.write(fmt.Sprintf("event: %s\nid: %s\ndata: %s\n\n", name, id, data))
}

func (s *eventStream) write(text string) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(eventWithin)) // what cannot has its own bounds
	if _, err := s.o.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}
