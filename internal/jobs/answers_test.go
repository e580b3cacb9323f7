package jobs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

// filesAway are files that are away for a while: what is put into them is read, and lost.
type filesAway struct {
	Files
	left atomic.Int32
}

func (f *filesAway) Put(ctx context.Context, name string, r io.Reader) (int64, error) {
	if strings.Contains(name, "/"+dirBodies+"/") && f.left.Add(-1) >= 0 {
		if _, err := io.Copy(io.Discard, r); err != nil {
			return 0, err
		}
		return 0, fault.New(fault.Unavailable, "away", "there is no place for it now")
	}
	return f.Files.Put(ctx, name, r)
}

// What is too large for a line is kept in a file of its own, up to a bound. While there is no
// place for it, it waits, and nothing is worked on again.
func TestLargeAnswers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	records, err := bolt.OpenKeyed(t.Context(), bolt.Config{Dir: filepath.Join(dir, "records")})
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	said := map[string]string{"0": `"short"`, "1": strings.Repeat("long", inlineAnswer/2), "2": strings.Repeat("x", 3*inlineAnswer+1)}
	c := &cluster{runs: map[engine.RunName]*worker0{}, worked: map[string]int{}, begun: map[string]int{}, answer: func(index string) string { return said[index] }}
	files := &filesAway{Files: Folder(filepath.Join(dir, "jobs"))}
	files.left.Store(2)
	s, err := Open(t.Context(), Config{Records: records, Files: files, Runner: c, Deployed: apis{dir}, MaxAnswer: 3 * inlineAnswer, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	r := &rig{t: t, dir: dir, s: s}
	id := r.submit("batch", `{"workers": 1, "item_list": {"items": [1, 2, 3], "batch_size": 1}}`)
	if job := r.await("batch", id, never); job.Status != workload.JobWithFailures || job.Progress.Succeeded != 2 {
		t.Errorf("it is %s (%v) with %+v, want two batches to succeed", job.Status, job.Reason, job.Progress)
	}
	if got := r.lines("batch", id, true); len(got) != 1 || got[0].Index != 2 || got[0].Reason.Code != "result_too_large" {
		t.Errorf("errors are %+v, want that the last answer was too large", got)
	}
	lines := map[int]workload.JobLine{}
	for _, l := range r.lines("batch", id, false) {
		lines[l.Index] = l
	}
	if string(lines[0].Body) != said["0"] || lines[1].BodyFile == "" || lines[1].Body != nil {
		t.Errorf("results are %+v, want the second in a file", lines)
	}
	var got bytes.Buffer
	read := func(batch int) error {
		return s.Answer(t.Context(), workload.JobAnswerQuery{API: "batch", Job: id, Batch: batch}, func(p workload.JobPart) error {
			_, err := got.Write(p.Data)
			return err
		})
	}
	if err := read(1); err != nil || got.String() != said["1"] {
		t.Errorf("Answer(1) has %d bytes, %v; want those %d that were answered", got.Len(), err, len(said["1"]))
	}
	if err := read(0); fault.Code(err) != codeNoBodyFile {
		t.Errorf("Answer(0) = %v, want %s", err, codeNoBodyFile)
	}
	enough := errors.New("that is enough")
	if err := s.Answer(t.Context(), workload.JobAnswerQuery{API: "batch", Job: id, Batch: 1}, func(workload.JobPart) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("Answer() = %v, want what its reader said", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for request, n := range c.worked {
		if n != 1 {
			t.Errorf("%s was worked on %d times, want once", request, n)
		}
	}
	if files.left.Load() >= 0 {
		t.Error("files were never away")
	}
}
