package workload

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The catalogue of jobs is judged here by the rules, and in crd/schema by the
// definitions of the custom resources and by an API server.
func TestCatalogueOfJobs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/jobs.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Name     string
		Kind     JobKind
		Spec     json.RawMessage
		Problems []string
	}
	if err := json.Unmarshal(text, &all); err != nil || len(all) == 0 {
		t.Fatalf("reading the catalogue = %v", err)
	}
	for _, job := range all {
		_, violations := ParseSubmission(job.Kind, job.Spec)
		var got []string
		for _, v := range violations {
			got = append(got, v.Path+": "+v.Code)
			if v.Message == "" {
				t.Errorf("%s: %+v says nothing", job.Name, v)
			}
		}
		if diff := cmp.Diff(job.Problems, got); diff != "" {
			t.Errorf("%s: ParseSubmission(%s) (-want +got):\n%s", job.Name, job.Spec, diff)
		}
	}
}

func TestParseSubmissionReadsWhatWasSaid(t *testing.T) {
	t.Parallel()
	got, violations := ParseSubmission(BatchJob, []byte(` {"api_name": "resize", "workers": 2,
		"item_list": {"items": ["\ud83d\ude00", 12345678901234567890 , {"b": 1, "a": 1.0}], "batch_size": 2},
		"config": {"a": 1}, "timeout": 5, "sqs_dead_letter_queue": {"arn": "q", "max_receive_count": 3}} `))
	want := &BatchSubmission{
		APIName: "resize", Workers: 2, Config: map[string]any{"a": 1.0}, Timeout: new(int32(5)),
		ItemList:           &ItemList{Items: []json.RawMessage{[]byte(`"\ud83d\ude00"`), []byte(`12345678901234567890`), []byte(`{"b": 1, "a": 1.0}`)}, BatchSize: 2},
		SQSDeadLetterQueue: &SQSDeadLetterQueue{ARN: "q", MaxReceiveCount: 3},
	}
	if diff := cmp.Diff(Submission(want), got); diff != "" || len(violations) > 0 {
		t.Errorf("ParseSubmission() = %v (-want +got):\n%s", violations, diff)
	}
	files := `{"s3_paths":["s3://bucket/a"],"includes":["**"],"batch_size":1}`
	got, violations = ParseSubmission(BatchJob, []byte(`{"api_name":"resize","workers":1,"delimited_files":`+files+`}`))
	if b := got.(*BatchSubmission); b.DelimitedFiles == nil || b.DelimitedFiles.S3Paths[0] != "s3://bucket/a" || b.DelimitedFiles.Includes[0] != "**" || len(violations) > 0 {
		t.Errorf("ParseSubmission() = %+v, %v, want the files", got, violations)
	}
	got, violations = ParseSubmission(TaskJob, []byte(`{"api_name": "train"}`))
	if diff := cmp.Diff(Submission(&TaskSubmission{APIName: "train", Workers: 1}), got); diff != "" || len(violations) > 0 {
		t.Errorf("ParseSubmission() = %v (-want +got):\n%s", violations, diff)
	}
}

func TestItemsHaveABound(t *testing.T) {
	t.Parallel()
	job := func(bytes int) []byte {
		return []byte(`{"api_name": "resize", "workers": 1, "item_list": {"items": [1, "` + strings.Repeat("a", bytes-2) + `"], "batch_size": 1}}`)
	}
	if _, v := ParseSubmission(BatchJob, job(MaxItemBytes)); len(v) > 0 {
		t.Errorf("an item of %d bytes: %+v, want nothing", MaxItemBytes, v)
	}
	_, v := ParseSubmission(BatchJob, job(MaxItemBytes+1))
	if len(v) != 1 || v[0].Path != "item_list.items[1]" || v[0].Code != "batchapi.item_size_exceeds_limit" || v[0].Found != "256001 bytes" {
		t.Errorf("an item of %d bytes: %+v, want it refused", MaxItemBytes+1, v)
	}
}

func TestParseSubmissionOfWhatIsNoJSON(t *testing.T) {
	t.Parallel()
	for _, text := range []string{``, `{`, `{"api_name": "a"} {}`, `api_name: train`, "\xff", `{"api_name": "train",}`} {
		if _, v := ParseSubmission(TaskJob, []byte(text)); len(v) != 1 || v[0].Code != CodeMalformed {
			t.Errorf("ParseSubmission(%q) = %+v, want one word of its form", text, v)
		}
	}
}

// Whatever the text, nothing panics, and what has no violation is written as what has none.
func FuzzParseSubmission(f *testing.F) {
	text, err := os.ReadFile("testdata/jobs.json")
	if err != nil {
		f.Fatal(err)
	}
	var all []struct {
		Kind string
		Spec json.RawMessage
	}
	if err := json.Unmarshal(text, &all); err != nil {
		f.Fatal(err)
	}
	for _, job := range all {
		f.Add(job.Kind, []byte(job.Spec))
	}
	f.Fuzz(func(t *testing.T, kind string, text []byte) {
		s, violations := ParseSubmission(JobKind(kind), text)
		if len(violations) > 0 {
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, v := ParseSubmission(JobKind(kind), again); len(v) > 0 {
			t.Errorf("%s is written as %s, which is %v", text, again, v)
		}
	})
}
