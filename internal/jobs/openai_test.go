package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// chat is a worker that answers as a server of models does: what it was asked, but to a broken
// model, and too much to a large one.
func chat(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Model    string
		Messages []struct{ Content string }
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || len(q.Messages) == 0 {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch q.Model {
	case "broken":
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error": {"message": "no such model"}}`)
	case "large":
		fmt.Fprintf(w, "%q", strings.Repeat("x", inlineAnswer))
	default:
		fmt.Fprintf(w, `{"object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": %q}}]}`, q.Messages[0].Content)
	}
}

// openAITold is what a client of the batch form of OpenAI saw.
type openAITold struct {
	File, Shown      fileObject
	Batch            batchObject
	Batches, Files   []string
	Uploaded, Output string
	Errors           string
	Deleted          struct{ Deleted bool }
}

// openAIRig is a service behind an address.
type openAIRig struct {
	*rig
	url string
}

func startOpenAI(t *testing.T) *openAIRig {
	t.Helper()
	r := start(t, t.TempDir())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.s.Serve("batch", "/batch", w, req) }))
	t.Cleanup(server.Close)
	return &openAIRig{r, server.URL}
}

// ask sends a request and decodes its answer.
func (o *openAIRig) ask(method, path, contentType, body string, into any) (int, string) {
	o.t.Helper()
	req, err := http.NewRequestWithContext(o.t.Context(), method, o.url+path, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	if into != nil && resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, into); err != nil {
			o.t.Fatalf("%s %s is answered with %s: %v", method, path, text, err)
		}
	}
	return resp.StatusCode, string(text)
}

func (o *openAIRig) upload(text string) (int, string, fileObject) {
	o.t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	err := w.WriteField("purpose", "batch")
	if err == nil {
		var part io.Writer
		if part, err = w.CreateFormFile("file", "input.jsonl"); err == nil {
			_, err = io.WriteString(part, text)
		}
	}
	if err != nil || w.Close() != nil {
		o.t.Fatal(err)
	}
	var f fileObject
	status, said := o.ask(http.MethodPost, "/v1/files", w.FormDataContentType(), form.String(), &f)
	return status, said, f
}

func (o *openAIRig) begin(file, more string) (int, string, batchObject) {
	o.t.Helper()
	var b batchObject
	status, said := o.ask(http.MethodPost, "/v1/batches", "application/json", fmt.Sprintf(`{"input_file_id": %q, "endpoint": "/v1/chat/completions"%s}`, file, more), &b)
	return status, said, b
}

// over waits until a batch has ended.
func (o *openAIRig) over(b batchObject) batchObject {
	o.t.Helper()
	o.await("batch", strings.TrimPrefix(b.ID, prefixBatch), never)
	o.ask(http.MethodGet, "/v1/batches/"+b.ID, "", "", &b)
	return b
}

func (o *openAIRig) byHand(input string) (said openAITold) {
	o.t.Helper()
	status, text, f := o.upload(input)
	said.File = f
	if status != http.StatusOK {
		o.t.Fatalf("the upload is answered with %d: %s", status, text)
	}
	status, text, b := o.begin(f.ID, `, "completion_window": "24h", "metadata": {"of": "test"}`)
	if status != http.StatusOK {
		o.t.Fatalf("the batch is answered with %d: %s", status, text)
	}
	said.Batch = o.over(b)
	content := func(id *string) string {
		if id == nil {
			return ""
		}
		_, text := o.ask(http.MethodGet, "/v1/files/"+*id+"/content", "", "", nil)
		return text
	}
	said.Uploaded, said.Output, said.Errors = content(&f.ID), content(said.Batch.OutputFileID), content(said.Batch.ErrorFileID)
	var list struct{ Data []struct{ ID string } }
	o.ask(http.MethodGet, "/v1/batches?limit=1", "", "", &list)
	for _, b := range list.Data {
		said.Batches = append(said.Batches, b.ID)
	}
	o.ask(http.MethodGet, "/v1/files", "", "", &list)
	for _, f := range list.Data {
		said.Files = append(said.Files, f.ID)
	}
	o.ask(http.MethodGet, "/v1/files/"+*said.Batch.OutputFileID, "", "", &said.Shown)
	o.ask(http.MethodDelete, "/v1/files/"+f.ID, "", "", &said.Deleted)
	return said
}

// byClient has OpenAI's client do the same, where it is installed.
func (o *openAIRig) byClient(input string) (said openAITold) {
	o.t.Helper()
	node, err := exec.LookPath("node")
	if err != nil || exec.Command(node, "-e", "require('openai')").Run() != nil {
		o.t.Skip("no client of OpenAI to hold this to: npm install openai, and NODE_PATH with where it is")
	}
	file := filepath.Join(o.dir, "input.jsonl")
	if err := os.WriteFile(file, []byte(input), 0o600); err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(o.t.Context(), 3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "testdata/openai.cjs", o.url+"/v1", file) //nolint:gosec // of this machine
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &said)
	}
	if err != nil {
		o.t.Fatalf("the client says %s %s, %v", out, &errs, err)
	}
	return said
}

// openAIRequest is a line of a file.
func openAIRequest(id, model string) string {
	return fmt.Sprintf(`{"custom_id": %q, "method": "POST", "url": "/v1/chat/completions", "body": {"model": %q, "messages": [{"role": "user", "content": "hello %s"}]}}`+"\n", id, model, id)
}

// Files of requests become batches, whose results are files, as the clients of OpenAI have it.
func TestOpenAI(t *testing.T) {
	t.Parallel()
	input := openAIRequest("a", "tiny") + "\n" + openAIRequest("b", "broken") + openAIRequest("c", "tiny") + openAIRequest("d", "large")
	for name, run := range map[string]func(*openAIRig, string) openAITold{"by hand": (*openAIRig).byHand, "by its client": (*openAIRig).byClient} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said := run(startOpenAI(t), input)
			b := said.Batch
			if b.Status != "completed" || b.RequestCounts != (requestCounts{4, 2, 2}) || b.InputFileID != said.File.ID || b.Metadata["of"] != "test" || b.CompletedAt == nil || b.ExpiresAt == nil || b.Endpoint != "/v1/chat/completions" {
				t.Errorf("the batch is %+v", b)
			}
			if said.File.Bytes != int64(len(input)) || said.File.Filename != "input.jsonl" || said.Uploaded != input || !said.Deleted.Deleted {
				t.Errorf("the file is %+v, deleted: %v, with %s", said.File, said.Deleted, said.Uploaded)
			}
			if !slices.Equal(said.Batches, []string{b.ID}) || !slices.Equal(said.Files, []string{said.File.ID}) || said.Shown.Purpose != "batch_output" {
				t.Errorf("there are %v and %v; the output is %+v", said.Batches, said.Files, said.Shown)
			}
			got := map[string]outcomeLine{}
			for line := range strings.Lines(said.Output + said.Errors) {
				var l outcomeLine
				if err := json.Unmarshal([]byte(line), &l); err != nil {
					t.Fatalf("the line %s: %v", line, err)
				}
				got[l.CustomID] = l
			}
			for id, want := range map[string]string{"a": "hello a", "c": "hello c", "b": "no such model"} {
				if r := got[id].Response; r == nil || !strings.Contains(string(r.Body), want) || (r.StatusCode == 200) != (id != "b") || r.RequestID == "" {
					t.Errorf("the result of %s is %+v, want %s", id, got[id], want)
				}
			}
			if l := got["d"]; len(got) != 4 || l.Error == nil || l.Error.Code != "result_too_large" || strings.Count(said.Output, "\n") != 2 {
				t.Errorf("there are %d results; that of d is %+v", len(got), l)
			}
		})
	}
}

func TestOpenAIRefusals(t *testing.T) {
	t.Parallel()
	o := startOpenAI(t)
	for _, tt := range []struct{ name, input, want string }{
		{"no JSON", openAIRequest("a", "x") + "what\n", "line 2 "},
		{"no id", `{"method": "POST", "url": "/v1/chat/completions", "body": {}}`, "needs a custom_id"},
		{"twice", openAIRequest("a", "x") + openAIRequest("a", "x"), `has the custom_id "a" again`},
		{"elsewhere", strings.ReplaceAll(openAIRequest("a", "x"), "chat/", ""), "not POST /v1/chat/completions"},
		{"no body", `{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}`, "has no body"},
		{"nothing", "\n\n", "has no requests"},
		{"a long line", strings.Repeat("x", maxRequest+1), "more than the"},
	} {
		_, _, f := o.upload(tt.input)
		_, _, b := o.begin(f.ID, "")
		if b = o.over(b); b.Status != "failed" || b.Errors == nil || !strings.Contains(b.Errors.Data[0].Message, tt.want) || b.FailedAt == nil {
			t.Errorf("%s: the batch is %+v %+v, want %q", tt.name, b, b.Errors, tt.want)
		}
	}
	_, _, f := o.upload(openAIRequest("a", "tiny"))
	for _, tt := range []struct {
		method, path, contentType, body string
		status                          int
		want                            string
	}{
		{"POST", "/v1/files", "application/json", "{}", 400, "multipart/form-data"},
		{"POST", "/v1/files", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nassistants\r\n--x--\r\n", 400, "purpose"},
		{"POST", "/v1/files", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x--\r\n", 400, "no part named file"},
		{"POST", "/v1/files", "multipart/form-data; boundary=x", "nothing", 400, "no part named file"},
		{"POST", "/v1/files", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nbroken off", 400, "cannot be read"},
		{"GET", "/v1/files/file-none", "", "", 404, codeNoFile},
		{"GET", "/v1/files/file-none/content", "", "", 404, codeNoFile},
		{"GET", "/v1/files/file-none-output/content", "", "", 404, CodeUnknown},
		{"GET", "/v1/batches/batch_none", "", "", 404, CodeUnknown},
		{"GET", "/v1/batches?after=batch_none", "", "", 404, CodeUnknown},
		{"GET", "/v1/batches?limit=0", "", "", 400, "limit"},
		{"PUT", "/v1/batches", "", "", 404, "endpoint_not_found"},
		{"GET", "/v1/files/a/b/c", "", "", 404, "endpoint_not_found"},
		{"POST", "/v1/batches", "application/json", "{", 400, "not valid JSON"},
		{"POST", "/v1/batches", "application/json", `{"input_file_id": "file-none", "endpoint": "/v1/x"}`, 404, codeNoFile},
		{"POST", "/v1/batches", "application/json", `{"input_file_id": "` + f.ID + `", "endpoint": "/v1/../x"}`, 400, "endpoint is"},
		{"POST", "/v1/batches", "application/json", `{"input_file_id": "` + f.ID + `", "endpoint": "/v1/x", "completion_window": "1y"}`, 400, "completion_window"},
		{"POST", "/v1/batches", "application/json", `{"input_file_id": "` + f.ID + `", "endpoint": "/v1/x", "workers": 1000}`, 400, codeWorkers},
	} {
		status, text := o.ask(tt.method, tt.path, tt.contentType, tt.body, nil)
		var said struct {
			Error struct{ Type, Message, Code string }
		}
		if err := json.Unmarshal([]byte(text), &said); err != nil || status != tt.status || said.Error.Type != "invalid_request_error" || !strings.Contains(text, tt.want) {
			t.Errorf("%s %s %s = %d, %s, want %d and %q", tt.method, tt.path, tt.body, status, text, tt.status, tt.want)
		}
	}

	_, _, b := o.begin(f.ID, "")
	o.over(b)
	if status, text := o.ask("POST", "/v1/batches/"+b.ID+"/cancel", "", "", nil); status != http.StatusConflict {
		t.Errorf("cancelling what has ended = %d, %s", status, text)
	}
	if err := o.s.forgetUploads(t.Context(), time.Now().Add(keptFor+time.Minute)); err != nil {
		t.Error(err)
	}
	if list, err := o.s.uploads(t.Context(), ""); err != nil || len(list) > 0 {
		t.Errorf("files are kept for too long: %v, %v", list, err)
	}
}

// What was uploaded, and what has begun, is there after a restart.
func TestOpenAIGoesOn(t *testing.T) {
	t.Parallel()
	o := startOpenAI(t)
	var input strings.Builder
	const requests = 3000
	for i := range requests {
		input.WriteString(openAIRequest(fmt.Sprint("r", i), "tiny"))
	}
	_, _, f := o.upload(input.String())
	_, _, b := o.begin(f.ID, `, "workers": 2`)
	id := strings.TrimPrefix(b.ID, prefixBatch)
	if status, text := o.ask("DELETE", "/v1/files/"+f.ID, "", "", nil); status != http.StatusConflict {
		t.Errorf("deleting the file of a batch that goes on = %d, %s", status, text)
	}
	_, _, other := o.begin(f.ID, "")
	if status, text := o.ask("POST", "/v1/batches/"+other.ID+"/cancel", "", "", nil); status != http.StatusOK {
		t.Errorf("cancelling a batch = %d, %s", status, text)
	}
	if other = o.over(other); other.Status != "cancelled" || other.CancelledAt == nil {
		t.Errorf("one that was cancelled is %+v", other)
	}
	o.await("batch", id, func(j workload.Job) bool { return j.Progress.Succeeded > 50 })
	o.stop()
	again := start(t, o.dir)
	if job := again.await("batch", id, never); job.Status != workload.JobSucceeded || job.Progress.Succeeded != requests {
		t.Errorf("it is %s (%v) with %+v, want that all succeeded", job.Status, job.Reason, job.Progress)
	}
	seen := map[string]bool{}
	for _, l := range again.lines("batch", id, false) {
		if seen[l.CustomID] = true; l.CustomID != fmt.Sprint("r", l.Index) {
			t.Fatalf("batch %d is of %s", l.Index, l.CustomID)
		}
	}
	if len(seen) != requests {
		t.Errorf("there are %d results", len(seen))
	}
	if u, err := again.s.upload(t.Context(), "batch", f.ID); err != nil || u.Bytes != int64(input.Len()) {
		t.Errorf("the file is %+v, %v", u, err)
	}
}
