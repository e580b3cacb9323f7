package async

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/workload"
)

// maxWait is how long a caller may wait for the end of an item in one request.
const maxWait = 5 * time.Minute

// Serve answers a request to an API. The path of r begins below its endpoint, which is
// what base is.
func (s *Service) Serve(api, base string, w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	id, rest, deeper := strings.Cut(path, "/")
	op := operation{s: s, api: api, base: base, id: id, w: w, r: r}
	var methods map[string]func() error
	switch {
	case path == "":
		methods = map[string]func() error{http.MethodPost: op.submit}
	case !deeper:
		methods = map[string]func() error{http.MethodGet: op.show, http.MethodHead: op.show, http.MethodDelete: op.cancel}
	case rest == "result":
		methods = map[string]func() error{http.MethodGet: op.result, http.MethodHead: op.result}
	case rest == "retry":
		methods = map[string]func() error{http.MethodPost: op.again}
	case strings.HasPrefix(rest, "progress/"):
		methods = map[string]func() error{http.MethodPost: func() error { return op.report(strings.TrimPrefix(rest, "progress/")) }}
	default:
		op.fail(fault.New(fault.NotFound, codeNotDeployed, "there is nothing at %s", r.URL.Path).
			WithHint("POST a request to %s; GET %s/ID says what became of it", cmp.Or(base, "/"), base))
		return
	}
	run := methods[r.Method]
	if run == nil {
		allowed := make([]string, 0, len(methods))
		for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete} {
			if methods[m] != nil {
				allowed = append(allowed, m)
			}
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		op.answerError(http.StatusMethodNotAllowed, "method_not_allowed", fmt.Sprintf("%s is not answered here; %s is", r.Method, strings.Join(allowed, ", ")), 0)
		return
	}
	if err := run(); err != nil {
		op.fail(err)
	}
}

// operation is one request.
type operation struct {
	s    *Service
	api  string
	base string
	id   string
	w    http.ResponseWriter
	r    *http.Request
}

func (o *operation) submit() error {
	wait, respondAsync, err := preferences(o.r.Header)
	if err != nil {
		return err
	}
	item, replayed, err := o.s.accept(o.r, o.api)
	if err != nil {
		return err
	}
	o.w.Header().Set("Location", o.base+"/"+item.ID)
	if replayed {
		o.w.Header().Set("Idempotent-Replayed", "true")
	}
	if wait > 0 {
		if item, err = o.s.await(o.r.Context(), item, wait); err == nil && item.State.Ended() {
			return o.write(http.StatusOK, item)
		}
		return o.json(http.StatusAccepted, map[string]string{"id": item.ID}) // it is accepted, whatever else is
	}
	status := http.StatusOK
	if respondAsync {
		status = http.StatusAccepted
	}
	return o.json(status, map[string]string{"id": item.ID})
}

// preferences reads Prefer (RFC 7240): wait and respond-async. Others are left alone.
func preferences(h http.Header) (wait time.Duration, respondAsync bool, _ error) {
	for _, line := range h.Values("Prefer") {
		for _, p := range strings.Split(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async":
				respondAsync = true
			case "wait":
				n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 16)
				if err != nil || time.Duration(n)*time.Second > maxWait {
					return 0, false, fault.New(fault.Malformed, codeBadOption, "Prefer: wait is %q, and may be seconds up to %d", value, maxWait/time.Second)
				}
				wait = time.Duration(n) * time.Second
			}
		}
	}
	return wait, respondAsync, nil
}

func (o *operation) show() error {
	if wantsEvents(o.r.Header) && o.r.Method == http.MethodGet {
		return o.events()
	}
	item, err := o.s.cfg.Ledger.Get(o.r.Context(), o.api, o.id)
	if err != nil {
		return err
	}
	if text := o.r.URL.Query().Get("wait"); text != "" {
		wait, err := time.ParseDuration(text)
		if err != nil || wait < 0 || wait > maxWait {
			return fault.New(fault.Malformed, codeBadOption, "wait is %q, and may be a duration up to 300s, such as 60s", text)
		}
		if item, err = o.s.await(o.r.Context(), item, wait); err != nil {
			return err
		}
	}
	return o.write(http.StatusOK, item)
}

// await returns the item when it has ended, or as it is after a while.
func (s *Service) await(ctx context.Context, item ledger.Item, wait time.Duration) (ledger.Item, error) {
	late := time.NewTimer(wait)
	defer late.Stop()
	ended, done := s.ends.await(item.ID)
	defer done()
	now, err := s.cfg.Ledger.Get(ctx, item.API, item.ID) // after await: an end in between is seen in one of the two
	if err != nil || now.State.Ended() {
		return now, err
	}
	select {
	case <-ended:
	case <-late.C:
	case <-s.over.Done():
	case <-ctx.Done():
		return now, context.Cause(ctx)
	}
	return s.cfg.Ledger.Get(ctx, item.API, item.ID)
}

func (o *operation) cancel() error {
	item, err := o.s.Cancel(o.r.Context(), o.api, o.id)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if !item.State.Ended() {
		status = http.StatusAccepted
	}
	return o.write(status, item)
}

func (o *operation) again() error {
	item, err := o.s.Again(o.r.Context(), o.api, o.id)
	if err != nil {
		return err
	}
	return o.write(http.StatusOK, item)
}

func (o *operation) result() error {
	item, err := o.s.cfg.Ledger.Get(o.r.Context(), o.api, o.id)
	if err != nil {
		return err
	}
	if item.State != ledger.Succeeded {
		if item.State.Ended() {
			return fault.New(fault.Conflict, codeNoResult, "%s is %s, and has no result", o.id, item.State)
		}
		return fault.New(fault.Conflict, codeNotFinished, "%s is %s, and has no result yet", o.id, item.State)
	}
	body, err := o.s.openResult(o.r.Context(), item)
	if err != nil {
		if isOver(err) || errors.Is(err, fs.ErrNotExist) {
			return fault.New(fault.NotFound, codeResultLost, "the result of %s is not there any more: what kept it was damaged", o.id)
		}
		return fault.New(fault.Unavailable, "store.unavailable", "the result of %s cannot be read: %w", o.id, err)
	}
	defer body.Close()
	h := o.w.Header()
	h["Content-Type"] = nil // what the container did not say is not guessed
	if item.Result.Type != "" {
		h.Set("Content-Type", item.Result.Type)
	}
	if item.Result.Encoding != "" {
		h.Set("Content-Encoding", item.Result.Encoding)
	}
	h.Set("ETag", `"`+item.Result.Digest+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(o.w, o.r, "", item.Ended, body)
	return nil
}

// write answers with an item.
func (o *operation) write(status int, item ledger.Item) error { return o.json(status, o.whole(item)) }

func (o *operation) whole(item ledger.Item) workload.Item {
	return o.s.whole(o.r.Context(), o.base, item)
}

// whole is an item with its result, if that is small.
func (s *Service) whole(ctx context.Context, base string, item ledger.Item) workload.Item {
	shown := s.shown(item)
	if item.State == ledger.Succeeded {
		shown.ResultURL = base + "/" + item.ID + "/result"
		shown.Result = s.inlineResult(ctx, item)
	}
	return shown
}

// Look returns what Serve answers to a GET of an item, where that is known at once and small;
// nil: ask Serve, which also says what is wrong.
func (s *Service) Look(ctx context.Context, api, base, id string) []byte {
	item, err := s.cfg.Ledger.Get(ctx, api, id)
	if err != nil || item.Result != nil && item.Result.Blob != "" {
		return nil
	}
	text, err := json.Marshal(s.whole(ctx, base, item))
	if err != nil {
		return nil
	}
	return append(text, '\n')
}

// inlineResult is the result as part of JSON; nil: it is none, or too large.
func (s *Service) inlineResult(ctx context.Context, item ledger.Item) json.RawMessage {
	kind, _, _ := mime.ParseMediaType(item.Result.Type) // what cannot be read is no JSON
	if item.Result.Size > workload.MaxInlineResult || item.Result.Encoding != "" || kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return nil
	}
	body, err := s.openResult(ctx, item)
	if err != nil {
		return nil
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil || !json.Valid(data) {
		return nil
	}
	return data
}

func (o *operation) json(status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("answering: %w", err)
	}
	o.w.Header().Set("Content-Type", "application/json")
	o.w.Header().Set("Content-Length", strconv.Itoa(len(data)+1))
	o.w.WriteHeader(status)
	_, _ = o.w.Write(append(data, '\n')) // the caller may be gone
	return nil
}

// statuses are those of errors that have another status here than in the management API.
var statuses = map[string]int{
	codeResultLost: http.StatusGone,
	codeTooLarge:   http.StatusRequestEntityTooLarge, ledger.CodeGone: http.StatusGone, "fields_too_large": http.StatusRequestHeaderFieldsTooLarge,
}

func (o *operation) fail(err error) {
	if o.r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody hears the answer, and the connection is of no more use
	}
	f := fault.From(err)
	status, ok := statuses[f.Code]
	if !ok {
		status = fault.HTTPStatus(err)
	}
	message := f.Message
	if f.Hint != "" {
		message += " (" + f.Hint + ")"
	}
	var after time.Duration
	var full *fullError
	switch {
	case errors.As(err, &full):
		after = full.after
	case status == http.StatusServiceUnavailable:
		after = 5 * time.Second
	}
	o.answerError(status, f.Code, message, after)
}

// answerError answers as the gateway does.
func (o *operation) answerError(status int, code, message string, after time.Duration) {
	if after > 0 {
		o.w.Header().Set("Retry-After", strconv.Itoa(int((after+time.Second-1)/time.Second)))
	}
	o.w.Header().Set("X-Cortex-Reason", code)
	_ = o.json(status, struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{code, message}) // two strings always marshal
}
