package jobs

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// The batch form of OpenAI, below the endpoint of a BatchAPI: a file of requests is uploaded,
// a batch of it is a job, and what the requests were answered with are files. A worker gets
// each request as it is in the file, at its url.

// Bounds of it, which are OpenAI's but for the number of files.
const (
	maxUpload     = 200 << 20 // bytes of a file
	maxUploads    = 100       // files of one API
	maxRequests   = 50_000    // in a file
	maxRequest    = 4 << 20   // bytes of one
	maxWindow     = 7 * 24 * time.Hour
	defaultWindow = 24 * time.Hour
	maxMetadata   = 16
	listedBatches = 100
)

const (
	pathFiles   = "v1/files"
	pathBatches = "v1/batches"

	fileUpload   = "upload"
	prefixUpload = "file-"
	suffixOutput = "-output"
	suffixErrors = "-errors"
	prefixBatch  = "batch_"

	codeNoFile   = "jobs.file_not_found"
	codeBadBatch = "jobs.bad_batch"
	codeBadFile  = "jobs.bad_file"
)

// upload is the record of a file that was uploaded.
type upload struct {
	API     string    `json:"api"`
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Purpose string    `json:"purpose"`
	Bytes   int64     `json:"bytes"`
	Created time.Time `json:"created"`
}

func (k key) upload() string { return "f/" + k.api + "\x00" + k.id }

// openAIJob is what the record of a job has that was submitted in this form.
type openAIJob struct {
	Input    string            `json:"input"` // id of the file
	Endpoint string            `json:"endpoint"`
	Window   string            `json:"window"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// fileObject is a file as OpenAI shows it.
type fileObject struct {
	ID        string `json:"id"`
	Object    string `json:"object"`
	Bytes     int64  `json:"bytes"`
	CreatedAt int64  `json:"created_at"`
	Filename  string `json:"filename"`
	Purpose   string `json:"purpose"`
	Status    string `json:"status"`
}

func (u upload) object() fileObject {
	return fileObject{ID: u.ID, Object: "file", Bytes: u.Bytes, CreatedAt: u.Created.Unix(), Filename: u.Name, Purpose: u.Purpose, Status: "processed"}
}

// batchObject is a batch as OpenAI shows it.
type batchObject struct {
	ID               string            `json:"id"`
	Object           string            `json:"object"`
	Endpoint         string            `json:"endpoint"`
	Errors           *batchErrors      `json:"errors"`
	InputFileID      string            `json:"input_file_id"`
	CompletionWindow string            `json:"completion_window"`
	Status           string            `json:"status"`
	OutputFileID     *string           `json:"output_file_id"`
	ErrorFileID      *string           `json:"error_file_id"`
	CreatedAt        int64             `json:"created_at"`
	InProgressAt     *int64            `json:"in_progress_at"`
	ExpiresAt        *int64            `json:"expires_at"`
	CompletedAt      *int64            `json:"completed_at"`
	FailedAt         *int64            `json:"failed_at"`
	ExpiredAt        *int64            `json:"expired_at"`
	CancelledAt      *int64            `json:"cancelled_at"`
	RequestCounts    requestCounts     `json:"request_counts"`
	Metadata         map[string]string `json:"metadata"`
}

type requestCounts struct {
	Total     int `json:"total"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
}

type batchErrors struct {
	Object string       `json:"object"`
	Data   []batchError `json:"data"`
}

type batchError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type listObject struct {
	Object  string `json:"object"`
	Data    any    `json:"data"`
	FirstID string `json:"first_id,omitempty"`
	LastID  string `json:"last_id,omitempty"`
	HasMore bool   `json:"has_more"`
}

// outcomeLine is a line of the files of a batch.
type outcomeLine struct {
	ID       string        `json:"id"`
	CustomID string        `json:"custom_id"`
	Response *responseLine `json:"response"`
	Error    *batchError   `json:"error"`
}

type responseLine struct {
	StatusCode int             `json:"status_code"`
	RequestID  string          `json:"request_id"`
	Body       json.RawMessage `json:"body"`
}

// isOpenAI reports whether a path below an endpoint is of this form.
func isOpenAI(at string) bool {
	at = strings.Trim(at, "/")
	return at == pathFiles || at == pathBatches || strings.HasPrefix(at, pathFiles+"/") || strings.HasPrefix(at, pathBatches+"/")
}

// serveOpenAI answers a request in this form.
func (s *Service) serveOpenAI(api string, w http.ResponseWriter, r *http.Request) {
	err := s.openAI(api, w, r)
	if err == nil {
		return
	}
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody hears the answer, and the connection is of no more use
	}
	f := fault.From(err)
	status, kind := fault.HTTPStatus(err), "invalid_request_error"
	if status == http.StatusUnprocessableEntity {
		status = http.StatusBadRequest // as its clients know it
	}
	if status >= http.StatusInternalServerError {
		kind = "server_error"
	}
	message := f.Message
	if f.Hint != "" {
		message += " (" + f.Hint + ")"
	}
	w.Header().Set("X-Cortex-Reason", f.Code)
	reply(w, status, map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": f.Code}})
}

func (s *Service) openAI(api string, w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Closed {
		return closed(api)
	}
	deployed, err := s.cfg.Deployed.Get(r.Context(), api)
	if err != nil {
		return err
	}
	if deployed.Revision.Kind != workload.Batch {
		return fault.New(fault.NotFound, "endpoint_not_found", "files and batches are of BatchAPIs, and %s is a %s", api, deployed.Revision.Kind)
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")[1:]
	for len(parts) < 3 {
		parts = append(parts, "")
	}
	o := openAICall{s: s, api: api, id: parts[1], w: w, r: r}
	calls := map[string]func() (any, error){
		"POST files//": o.putFile, "GET files//": o.files, "GET files/id/": o.file, "GET files/id/content": o.content, "DELETE files/id/": o.dropFile,
		"POST batches//": o.begin, "GET batches//": o.batches, "GET batches/id/": o.batch, "POST batches/id/cancel": o.cancel,
	}
	which := parts[0] + "/"
	if o.id != "" {
		which += "id"
	}
	call := calls[r.Method+" "+which+"/"+strings.Join(parts[2:], "/")]
	if call == nil {
		return fault.New(fault.NotFound, "endpoint_not_found", "there is nothing at %s %s", r.Method, r.URL.Path).
			WithHint("files and batches are as in the batch API of OpenAI")
	}
	answer, err := call()
	if err == nil && answer != nil {
		reply(w, http.StatusOK, answer)
	}
	return err
}

// openAICall is one request.
type openAICall struct {
	s       *Service
	api, id string
	w       http.ResponseWriter
	r       *http.Request
}

// putFile keeps a file.
func (o *openAICall) putFile() (any, error) {
	ctx := o.r.Context()
	kind, params, err := mime.ParseMediaType(o.r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return nil, fault.New(fault.Malformed, codeBadFile, "a file is uploaded as multipart/form-data, with the parts purpose and file")
	}
	u := upload{API: o.api, ID: prefixUpload + newID(time.Now()), Purpose: "batch", Created: time.Now().UTC()}
	k, kept := key{o.api, u.ID}, false
	defer func() {
		if !kept {
			_ = o.s.cfg.Files.RemoveAll(context.WithoutCancel(ctx), o.api, u.ID) // or with the next start
		}
	}()
	found := false
	form := multipart.NewReader(http.MaxBytesReader(o.w, o.r.Body, maxUpload+1<<20), params["boundary"])
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fault.New(fault.Malformed, codeBadFile, "the form cannot be read: %w", err)
		}
		switch part.FormName() {
		case "purpose":
			text, err := io.ReadAll(io.LimitReader(part, 64))
			if err != nil || string(text) != "batch" {
				return nil, fault.New(fault.Malformed, codeBadFile, "the purpose of a file is batch, and not %.64q", text)
			}
		case "file":
			if err := o.s.roomForFile(ctx, o.api); err != nil {
				return nil, err
			}
			u.Name, found = path.Base(cmp.Or(part.FileName(), "file.jsonl")), true
			from := &answering{Reader: io.LimitReader(part, maxUpload+1)}
			u.Bytes, err = o.s.cfg.Files.Put(ctx, k.file(fileUpload), from)
			if from.err != nil {
				return nil, fault.New(fault.Malformed, codeBadFile, "the form cannot be read: %w", from.err)
			}
			if err != nil {
				if fault.Code(err) != "" {
					return nil, err
				}
				return nil, fault.New(fault.Unavailable, "store.unavailable", "the file cannot be kept: %w", err)
			}
			if u.Bytes > maxUpload {
				return nil, fault.New(fault.Malformed, codeBadFile, "the file has more than the %d bytes that it may have", maxUpload)
			}
		}
	}
	if !found {
		return nil, fault.New(fault.Malformed, codeBadFile, "the form has no part named file")
	}
	data, err := json.Marshal(u)
	if err == nil {
		err = o.s.cfg.Records.Write(context.WithoutCancel(ctx), "keeping a file of "+o.api, map[string][]byte{k.upload(): data})
	}
	if kept = err == nil; !kept {
		return nil, err
	}
	return u.object(), nil
}

// roomForFile refuses a file that is one too many.
func (s *Service) roomForFile(ctx context.Context, api string) error {
	list, err := s.uploads(ctx, api)
	if err == nil && len(list) >= maxUploads {
		err = fault.New(fault.Unavailable, codeTooMany, "%s has %d files, and takes no more", api, len(list)).
			WithHint("delete some: DELETE /%s/ID; they go by themselves after %d days", pathFiles, keptFor/(24*time.Hour))
	}
	return err
}

// uploads lists the files of an API, or of all, the newest first.
func (s *Service) uploads(ctx context.Context, api string) (list []upload, _ error) {
	prefix := "f/"
	if api != "" {
		prefix += api + "\x00"
	}
	err := s.cfg.Records.Scan(ctx, prefix, func(key string, data []byte) error {
		var u upload
		if err := json.Unmarshal(data, &u); err != nil {
			return fmt.Errorf("the record of the file %s cannot be read: %w", strings.ReplaceAll(key[2:], "\x00", "/"), err)
		}
		list = append(list, u)
		return nil
	})
	slices.SortFunc(list, func(a, b upload) int { return cmp.Or(b.Created.Compare(a.Created), strings.Compare(b.ID, a.ID)) })
	return list, err
}

// forgetUploads drops files that were kept for as long as a job is.
func (s *Service) forgetUploads(ctx context.Context, now time.Time) error {
	list, err := s.uploads(ctx, "")
	for _, u := range list {
		if now.Sub(u.Created) >= keptFor {
			err = errors.Join(err, s.dropUpload(ctx, u))
		}
	}
	return err
}

func (s *Service) dropUpload(ctx context.Context, u upload) error {
	k := key{u.API, u.ID}
	if err := s.cfg.Records.Write(ctx, "forgetting a file of "+u.API, map[string][]byte{k.upload(): nil}); err != nil {
		return err
	}
	return s.cfg.Files.RemoveAll(ctx, u.API, u.ID)
}

// upload returns one.
func (s *Service) upload(ctx context.Context, api, id string) (u upload, _ error) {
	data, err := s.cfg.Records.Get(ctx, key{api, id}.upload())
	if err != nil {
		return u, err
	}
	if data == nil {
		return u, fault.New(fault.NotFound, codeNoFile, "%s has no file %.100q", api, id)
	}
	return u, json.Unmarshal(data, &u)
}

// results returns the job of which a file is the results, or the errors.
func (o *openAICall) results() (r record, errs, is bool, _ error) {
	id, isOutput := strings.CutSuffix(strings.TrimPrefix(o.id, prefixUpload), suffixOutput)
	if !isOutput {
		if id, errs = strings.CutSuffix(id, suffixErrors); !errs {
			return r, false, false, nil
		}
	}
	r, _, err := o.s.latest(o.r.Context(), o.api, id)
	if err == nil && (r.OpenAI == nil || r.Status.InProgress()) {
		err = fault.New(fault.NotFound, codeNoFile, "%s has no file %.100q", o.api, o.id)
	}
	return r, errs, true, err
}

func (o *openAICall) files() (any, error) {
	list, err := o.s.uploads(o.r.Context(), o.api)
	shown := []fileObject{}
	for _, u := range list {
		shown = append(shown, u.object())
	}
	return listObject{Object: "list", Data: shown}, err
}

func (o *openAICall) file() (any, error) {
	r, errs, is, err := o.results()
	switch {
	case err != nil:
		return nil, err
	case is:
		f := fileObject{ID: o.id, Object: "file", Bytes: r.OutputBytes, CreatedAt: r.Ended.Unix(), Filename: r.ID + suffixOutput + ".jsonl", Purpose: "batch_output", Status: "processed"}
		if errs {
			f.Bytes, f.Filename = r.ErrorBytes, r.ID+suffixErrors+".jsonl"
		}
		return f, nil
	}
	u, err := o.s.upload(o.r.Context(), o.api, o.id)
	return u.object(), err
}

func (o *openAICall) dropFile() (any, error) {
	u, err := o.s.upload(o.r.Context(), o.api, o.id)
	if err != nil {
		return nil, err
	}
	o.s.mu.Lock()
	all := slices.Collect(maps.Values(o.s.open))
	o.s.mu.Unlock()
	for _, j := range all {
		if r := j.snapshot(); r.API == o.api && r.OpenAI != nil && r.OpenAI.Input == o.id && r.Ended.IsZero() {
			return nil, fault.New(fault.Conflict, codeBadFile, "the batch %s has not ended, and is of this file", prefixBatch+r.ID)
		}
	}
	return map[string]any{"id": o.id, "object": "file", "deleted": true}, o.s.dropUpload(o.r.Context(), u)
}

// content is what was uploaded, or the results of a batch as lines.
func (o *openAICall) content() (any, error) {
	ctx := o.r.Context()
	r, errs, is, err := o.results()
	if err != nil {
		return nil, err
	}
	o.w.Header().Set("Content-Type", "application/octet-stream")
	if !is {
		u, err := o.s.upload(ctx, o.api, o.id)
		if err != nil {
			return nil, err
		}
		f, err := o.s.cfg.Files.Open(ctx, key{o.api, u.ID}.file(fileUpload))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", u.ID, err)
		}
		defer f.Close()
		return nil, o.rest(io.Copy(o.w, f))
	}
	out := bufio.NewWriterSize(o.w, 64<<10)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	err = o.s.Lines(ctx, workload.JobLinesQuery{API: o.api, Job: r.ID, Errors: errs}, func(l workload.JobLine) error {
		return lines.Encode(asOutcome(r.ID, l))
	})
	return nil, o.rest(0, errors.Join(err, out.Flush()))
}

// rest breaks an answer off that has begun and cannot come to its end.
func (o *openAICall) rest(_ int64, err error) error {
	if err != nil {
		panic(http.ErrAbortHandler) // half of a file must not look like all of it
	}
	return nil
}

// asOutcome is a line of results as OpenAI has it.
func asOutcome(job string, l workload.JobLine) outcomeLine {
	out := outcomeLine{ID: fmt.Sprintf("batch_req_%s_%d", job, l.Index), CustomID: l.CustomID}
	if status := cmp.Or(l.Status, l.HTTPStatus); status != 0 {
		out.Response = &responseLine{StatusCode: status, RequestID: job + "/" + strconv.Itoa(l.Index), Body: l.Body}
	}
	if l.Reason != nil && (out.Response == nil || l.Body == nil) {
		out.Error = &batchError{l.Reason.Code, l.Reason.Message}
	}
	return out
}

// beginBatch is the body of a request for a batch.
type beginBatch struct {
	InputFileID      string            `json:"input_file_id"`
	Endpoint         string            `json:"endpoint"`
	CompletionWindow string            `json:"completion_window"`
	Metadata         map[string]string `json:"metadata"`
	Workers          int32             `json:"workers"` // not OpenAI's: extra_body of its client
}

// begin submits a batch.
func (o *openAICall) begin() (any, error) {
	ctx := o.r.Context()
	var b beginBatch
	if err := json.NewDecoder(http.MaxBytesReader(o.w, o.r.Body, 1<<20)).Decode(&b); err != nil {
		return nil, fault.New(fault.Malformed, codeBadBatch, "the batch is not valid JSON: %w", err)
	}
	window := defaultWindow
	if b.CompletionWindow != "" {
		var err error
		if window, err = time.ParseDuration(b.CompletionWindow); err != nil || window < time.Minute || window > maxWindow {
			return nil, fault.New(fault.Malformed, codeBadBatch, "completion_window is %.40q, and has to be from 1m to %s, such as 24h", b.CompletionWindow, maxWindow)
		}
	}
	switch {
	case !strings.HasPrefix(b.Endpoint, "/") || len(b.Endpoint) > 200 || path.Clean(b.Endpoint) != b.Endpoint || strings.ContainsAny(b.Endpoint, "?#% "):
		return nil, fault.New(fault.Malformed, codeBadBatch, "endpoint is %.100q, and has to be the path at which workers answer, such as /v1/chat/completions", b.Endpoint)
	case len(b.Metadata) > maxMetadata:
		return nil, fault.New(fault.Malformed, codeBadBatch, "metadata has %d entries, and may have %d", len(b.Metadata), maxMetadata)
	case b.Workers < 0 || b.Workers > MaxWorkers:
		return nil, fault.New(fault.Malformed, codeWorkers, "%d workers are asked for, and a job has 1 to %d", b.Workers, MaxWorkers)
	}
	if _, err := o.s.upload(ctx, o.api, b.InputFileID); err != nil {
		return nil, err
	}
	deployed, err := o.s.cfg.Deployed.Get(ctx, o.api)
	if err != nil {
		return nil, err
	}
	timeout := int32(window / time.Second) // a week at most
	id, _, err := o.s.accept(ctx, record{
		API: o.api, Kind: workload.BatchJob, Workers: max(b.Workers, 1), Timeout: &timeout,
		OpenAI: &openAIJob{Input: b.InputFileID, Endpoint: b.Endpoint, Window: cmp.Or(b.CompletionWindow, "24h"), Metadata: b.Metadata},
	}, deployed.Revision, []byte("{}"))
	if err != nil {
		return nil, err
	}
	r, j, err := o.s.latest(ctx, o.api, id)
	return o.s.asBatch(r, j), err
}

func (o *openAICall) find() (record, *job, error) {
	r, j, err := o.s.latest(o.r.Context(), o.api, strings.TrimPrefix(o.id, prefixBatch))
	if err == nil && r.OpenAI == nil {
		err = unknown(o.api, o.id)
	}
	return r, j, err
}

func (o *openAICall) batch() (any, error) {
	r, j, err := o.find()
	if err != nil {
		return nil, err
	}
	return o.s.asBatch(r, j), nil
}

func (o *openAICall) cancel() (any, error) {
	r, _, err := o.find()
	if err == nil {
		err = o.s.Stop(o.r.Context(), o.api, r.ID)
	}
	if err != nil {
		return nil, err
	}
	return o.batch()
}

func (o *openAICall) batches() (any, error) {
	q := o.r.URL.Query()
	limit := 20
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > listedBatches {
			return nil, fault.New(fault.Malformed, codeBadBatch, "limit is %.20q, and has to be from 1 to %d", text, listedBatches)
		}
		limit = n
	}
	var list []record
	if err := o.s.each(o.r.Context(), o.api, func(r record) {
		if r.OpenAI != nil {
			list = append(list, r)
		}
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(list, newest)
	if after := strings.TrimPrefix(q.Get("after"), prefixBatch); after != "" {
		i := slices.IndexFunc(list, func(r record) bool { return r.ID == after })
		if i < 0 {
			return nil, unknown(o.api, q.Get("after"))
		}
		list = list[i+1:]
	}
	out := listObject{Object: "list", HasMore: len(list) > limit}
	shown := []batchObject{}
	for _, r := range list[:min(len(list), limit)] {
		j := o.s.existing(r.API, r.ID)
		if j != nil {
			r = j.snapshot()
		}
		shown = append(shown, o.s.asBatch(r, j))
	}
	if len(shown) > 0 {
		out.FirstID, out.LastID = shown[0].ID, shown[len(shown)-1].ID
	}
	out.Data = shown
	return out, nil
}

// batchStatuses are the statuses of jobs in OpenAI's words.
var batchStatuses = map[workload.JobStatus]string{
	workload.JobPending: "validating", workload.JobEnqueuing: "validating", workload.JobRunning: "in_progress",
	workload.JobSucceeded: "completed", workload.JobWithFailures: "completed", workload.JobStopped: "cancelled", workload.JobTimedOut: "expired",
}

// asBatch is a job as OpenAI shows a batch.
func (s *Service) asBatch(r record, j *job) batchObject {
	b := batchObject{
		ID: prefixBatch + r.ID, Object: "batch", Endpoint: r.OpenAI.Endpoint, InputFileID: r.OpenAI.Input, CompletionWindow: r.OpenAI.Window,
		Status: cmp.Or(batchStatuses[r.Status], "failed"), CreatedAt: r.Submitted.Unix(), Metadata: r.OpenAI.Metadata,
		RequestCounts: requestCounts{r.Batches, r.Succeeded, r.Failed},
	}
	at := func(t time.Time) *int64 {
		if t.IsZero() {
			return nil
		}
		seconds := t.Unix()
		return &seconds
	}
	b.InProgressAt = at(r.Started)
	if !r.Started.IsZero() && r.Timeout != nil {
		b.ExpiresAt = at(r.Started.Add(time.Duration(*r.Timeout) * time.Second))
	}
	if j != nil {
		p := workload.JobProgress{Total: r.Batches, Succeeded: r.Succeeded, Failed: r.Failed}
		j.progress(&p)
		b.RequestCounts = requestCounts{p.Total, p.Succeeded, p.Failed}
	}
	if r.Status.InProgress() {
		if r.Ending == string(workload.JobStopped) {
			b.Status = "cancelling"
		}
		return b
	}
	switch b.Status {
	case "completed":
		b.CompletedAt = at(r.Ended)
	case "cancelled":
		b.CancelledAt = at(r.Ended)
	case "expired":
		b.ExpiredAt = at(r.Ended)
	default:
		b.FailedAt = at(r.Ended)
		if r.Reason != nil {
			b.Errors = &batchErrors{"list", []batchError{{r.Reason.Code, r.Reason.Message}}}
		}
	}
	for _, f := range []struct {
		size int64
		to   **string
		end  string
	}{{r.OutputBytes, &b.OutputFileID, suffixOutput}, {r.ErrorBytes, &b.ErrorFileID, suffixErrors}} {
		if f.size > 0 {
			id := prefixUpload + r.ID + f.end
			*f.to = &id
		}
	}
	return b
}

// request is a line of a file: what a worker is asked.
type request struct {
	CustomID string          `json:"custom_id"`
	Method   string          `json:"method"`
	URL      string          `json:"url"`
	Body     json.RawMessage `json:"body"`
}

// asked is what a worker gets of a batch, and where; customID is "" but for a request in
// OpenAI's form.
func (r *record) asked(it item) (at, customID string, body []byte) {
	var q request
	if r.OpenAI == nil || json.Unmarshal(it.body, &q) != nil { // it was written by us
		return "/", "", it.body
	}
	return q.URL, q.CustomID, q.Body
}

// fromUpload makes a batch of each request in a file. What was enqueued before is read again:
// no two requests may have one custom_id.
func (e *enqueuer) fromUpload(r record) error {
	next := r.Enqueued.Index
	return e.j.patiently(e.ctx, func() error { return e.requestsOf(r, &next) })
}

// requestsOf makes a batch of each request from one on, and says how many it has made.
func (e *enqueuer) requestsOf(r record, next *int) error {
	f, err := e.j.s.cfg.Files.Open(e.ctx, key{r.API, r.OpenAI.Input}.file(fileUpload))
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Invalid, codeNoFile, "the file %s was deleted", r.OpenAI.Input)
	}
	if err != nil {
		return fault.New(fault.Unavailable, "store.unavailable", "reading %s: %w", r.OpenAI.Input, err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 64<<10), maxRequest)
	seen, count, n := map[string]bool{}, 0, 0
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, codeBadBatch, "line %d of %s %s", n, r.OpenAI.Input, fmt.Sprintf(format, args...))
	}
	for n = 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var q request
		err := json.Unmarshal(lines.Bytes(), &q)
		switch {
		case err != nil:
			return bad("is not valid JSON: %v", err)
		case q.CustomID == "" || len(q.CustomID) > 512:
			return bad("needs a custom_id, of at most 512 bytes")
		case seen[q.CustomID]:
			return bad("has the custom_id %q again", q.CustomID)
		case q.Method != http.MethodPost || q.URL != r.OpenAI.Endpoint:
			return bad("is %s %s, and not POST %s, which is the endpoint of the batch", q.Method, q.URL, r.OpenAI.Endpoint)
		case len(q.Body) == 0:
			return bad("has no body")
		}
		if seen[q.CustomID] = true; count >= maxRequests {
			return bad("is one more than the %d requests that a batch may have", maxRequests)
		}
		if count++; count <= *next {
			continue
		}
		line, err := json.Marshal(q) // compact, and with nothing else
		if err != nil {
			return err
		}
		if err := e.write(line, cursor{Index: count}); err != nil {
			return err
		}
		*next = count
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return bad("has more than the %d bytes that a request may have", maxRequest)
	case err != nil:
		return fault.New(fault.Unavailable, "store.unavailable", "%s broke off: %w", r.OpenAI.Input, err)
	case count == 0:
		return fault.New(fault.Invalid, codeBadBatch, "the file %s has no requests", r.OpenAI.Input)
	}
	return nil
}
