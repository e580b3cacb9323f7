package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

// shaky is an S3 whose answers break off, and that is away every other time.
type shaky struct {
	objects map[string]string // by bucket/key
	breaks  int               // bytes after which an answer breaks off; 0: none does

	mu    sync.Mutex
	asked int
}

func (s *shaky) away() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked++; s.breaks > 0 && s.asked%2 == 0 {
		return fault.New(fault.Unavailable, "objects.unavailable", "not now")
	}
	return nil
}

func (s *shaky) List(_ context.Context, bucket, prefix string, fn func(string) bool) error {
	if err := s.away(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(s.objects)) {
		if key, ok := strings.CutPrefix(name, bucket+"/"); ok && strings.HasPrefix(key, prefix) && !fn(key) {
			return nil
		}
	}
	return nil
}

func (s *shaky) Open(_ context.Context, bucket, key string, from int64) (io.ReadCloser, error) {
	if err := s.away(); err != nil {
		return nil, err
	}
	text := s.objects[bucket+"/"+key][from:]
	if s.breaks > 0 && len(text) > s.breaks {
		return io.NopCloser(io.MultiReader(strings.NewReader(text[:s.breaks]), brokenOff{})), nil
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

type brokenOff struct{}

func (brokenOff) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// withS3 is a service whose workers echo, and that reads some of a bucket.
func withS3(t *testing.T, s3 Objects, paths ...string) (*Service, *cluster) {
	t.Helper()
	dir := t.TempDir()
	records, err := bolt.OpenKeyed(t.Context(), bolt.Config{Dir: filepath.Join(dir, "records")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = records.Close() }) // what was written is on the disk
	c := &cluster{runs: map[engine.RunName]*worker0{}, worked: map[string]int{}, begun: map[string]int{}}
	s, err := Open(t.Context(), Config{Records: records, Files: Folder(filepath.Join(dir, "jobs")), Runner: c, Deployed: apis{dir}, Elsewhere: true, Objects: s3, S3Paths: paths})
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

// Each value of each object is an item once, however often S3 breaks off or is away.
func TestItemsInS3(t *testing.T) {
	t.Parallel()
	objects := map[string]string{"other/in/x.json": "1 2 3", "items/out/x.json": "1 2 3", "items/in/skipped.txt": "1 2 3"}
	want := 0
	for i := range 3 {
		var text strings.Builder
		for n := range 50 * (i + 1) {
			fmt.Fprintf(&text, `{"file": %d, "n": %d, "text": %q}%s`, i, n, strings.Repeat("x", n), []string{"\n", " ", ""}[n%3])
			want++
		}
		objects[fmt.Sprintf("items/in/%d.json", i)] = text.String()
	}
	s, c := withS3(t, &shaky{objects: objects, breaks: 3000}, "s3://items/in/")
	run, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(run) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	id, _, err := s.Submit(t.Context(), "batch", []byte(`{"workers": 2, "delimited_files": {"s3_paths": ["s3://items/in/"], "includes": ["**.json"], "batch_size": 1}}`), "")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, s: s}
	job := r.await("batch", id, func(workload.Job) bool { return false })
	if job.Status != workload.JobSucceeded || job.Progress.Total != want {
		t.Fatalf("the job is %s with %d batches, want %d: %+v", job.Status, job.Progress.Total, want, job.Reason)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.worked) != want+1 { // and the end of the job
		t.Errorf("%d requests were made for %d items", len(c.worked), want)
	}
}

// What is not named by whoever runs the jobs is not read, nor listed.
func TestS3PathsAreThoseThatAreNamed(t *testing.T) {
	t.Parallel()
	s3 := &shaky{objects: map[string]string{"items/in/a": "1", "items/inner/a": "1", "items-b/a": "1", "others/a": "1"}}
	for _, tt := range []struct {
		allowed, asked, code string
	}{
		{"s3://items", "s3://items", ""},
		{"s3://items", "s3://items/in/", ""},
		{"s3://items", "s3://items-b/", codeFolder},
		{"s3://items/in/", "s3://items/in/a", ""},
		{"s3://items/in/", "s3://items/inner/", codeFolder},
		{"s3://items/in/", "s3://items/", codeFolder},
		{"s3://items/in", "s3://items/inner/", ""},
		{"s3://*", "s3://others/", ""},
		{"", "s3://others/", codeFolder},
		{"s3://*", "file:///etc", codeFolder},
	} {
		var paths []string
		if tt.allowed != "" {
			paths = []string{tt.allowed}
		}
		s, _ := withS3(t, s3, paths...)
		files, err := s.DryRun(t.Context(), "batch", []byte(`{"workers": 1, "file_path_lister": {"s3_paths": ["`+tt.asked+`"], "batch_size": 1}}`))
		if fault.Code(err) != tt.code || err == nil && (len(files) == 0 || !strings.HasPrefix(files[0], tt.asked)) {
			t.Errorf("with %q, a job of %s has %q, %v; want %q", tt.allowed, tt.asked, files, err, tt.code)
		}
	}
	s, _ := withS3(t, nil)
	if _, err := s.DryRun(t.Context(), "batch", []byte(`{"workers": 1, "file_path_lister": {"s3_paths": ["s3://items"], "batch_size": 1}}`)); fault.Code(err) != codeS3 {
		t.Errorf("without an S3 DryRun() = %v", err)
	}
}

// Where nobody has proven an identity, the endpoint of a job says where one is submitted.
func TestClosed(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"": "jobs.authentication_needed", "/": "jobs.authentication_needed", "/more": "endpoint_not_found"} {
		w := httptest.NewRecorder()
		Closed{}.Serve("train", "/train", w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://x"+path, strings.NewReader("{}")))
		if got := w.Header().Get("X-Cortex-Reason"); got != want || w.Code < 400 {
			t.Errorf("POST of %q is answered with %d %s, want %s", path, w.Code, got, want)
		}
	}
}
