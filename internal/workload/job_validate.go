package workload

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Validate implements Submission.
func (b *BatchSubmission) Validate() []Violation {
	vs := &violations{}
	vs.apiName(b.APIName)
	vs.sources(b)
	if l := b.ItemList; l != nil {
		vs.items(l)
	}
	if l := b.FilePathLister; l != nil {
		vs.files("file_path_lister", l)
	}
	if l := b.DelimitedFiles; l != nil {
		vs.files("delimited_files", (*FilePathLister)(l))
	}
	if q := b.SQSDeadLetterQueue; q != nil {
		if q.ARN == "" {
			vs.empty("sqs_dead_letter_queue.arn", "name the queue, such as arn:aws:sqs:us-west-2:123456789012:failed")
		}
	}
	if b.MaxFailures != "" && !maxFailuresShape().MatchString(b.MaxFailures) {
		vs.add(Violation{
			Path: "max_failures", Code: CodeInvalidString, Message: "is neither a number of batches nor a share of them",
			Found: strconv.Quote(abbreviate(b.MaxFailures)), Allowed: `such as "10" or "5%"`,
		})
	}
	vs.jobNumbers(b)
	inOrder(vs.list)
	return vs.list
}

// Validate implements Submission.
func (t *TaskSubmission) Validate() []Violation {
	vs := &violations{}
	vs.apiName(t.APIName)
	if t.Workers != TaskWorkers {
		vs.add(Violation{
			Path: "workers", Code: CodeDisallowedValue, Message: fmt.Sprintf("must be %d: a task has one worker", TaskWorkers),
			Found: strconv.Itoa(int(t.Workers)), Allowed: strconv.Itoa(TaskWorkers), Hint: "submit a job for each",
		})
	}
	vs.exitCodes(t.Retry)
	vs.jobNumbers(t, "workers")
	return vs.list
}

var maxFailuresShape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(MaxFailuresPattern) })

// exitCodes checks the codes of ends that are no success.
func (vs *violations) exitCodes(r *JobRetry) {
	if r == nil {
		return
	}
	for _, codes := range []struct {
		key  string
		list []int32
	}{{"on_exit", r.OnExit}, {"never_on_exit", r.NeverOnExit}} {
		for i, code := range codes.list {
			if code < 1 || code > 255 {
				vs.add(Violation{
					Path: fmt.Sprintf("retry.%s[%d]", codes.key, i), Code: CodeDisallowedValue, Message: "is no exit code of an end that is no success",
					Found: strconv.Itoa(int(code)), Allowed: "1 to 255",
				})
			}
		}
	}
}

func (vs *violations) apiName(name string) {
	if name == "" {
		vs.missing("api_name", "api_name", "the name of the API whose job this is")
		return
	}
	vs.label("api_name", name, MaxNameLength)
}

// inOrder sorts by the keys of a BatchSubmission. That it has no items belongs where
// they would be.
func inOrder(list []Violation) {
	_, keys := jobFields(reflect.TypeFor[BatchSubmission]())
	place := func(v Violation) int {
		if v.Path == "" {
			return slices.Index(keys, JobSources()[0])
		}
		return slices.Index(keys, v.Path[:strings.IndexAny(v.Path+".", ".[")])
	}
	slices.SortStableFunc(list, func(a, b Violation) int { return place(a) - place(b) })
}

// jobNumbers holds every number of a submission to JobBounds, but for those at the
// paths that have a rule of their own.
func (vs *violations) jobNumbers(submission any, but ...string) {
	w := walker{
		vs: vs, has: func(string) bool { return true },
		bounds: func(path string) *Bounds {
			if slices.Contains(but, path) {
				return nil
			}
			b := JobBounds()
			return &b
		},
	}
	w.object("", "", reflect.ValueOf(submission).Elem())
}

// sources checks that the items are in one place.
func (vs *violations) sources(b *BatchSubmission) {
	all := JobSources()
	var given []string
	for i, present := range []bool{b.ItemList != nil, b.FilePathLister != nil, b.DelimitedFiles != nil} {
		if present {
			given = append(given, all[i])
		}
	}
	const rule = "exactly one of %s must be specified"
	switch {
	case len(given) == 0:
		vs.add(Violation{Code: CodeJobExactlyOne, Message: fmt.Sprintf(rule, orList(all)), Hint: "say where the items are", Related: all})
	case len(given) > 1:
		vs.add(Violation{Code: CodeJobConflict, Message: fmt.Sprintf(rule, orList(all)), Found: strings.Join(given, ", "), Hint: "submit a job for each"})
	}
}

func (vs *violations) items(l *ItemList) {
	if len(l.Items) == 0 {
		vs.empty("item_list.items", "list at least one item")
	}
	for i, item := range l.Items {
		if n := len(item); n > MaxItemBytes {
			vs.add(Violation{
				Path: fmt.Sprintf("item_list.items[%d]", i), Code: CodeJobItemTooLarge, Message: "is larger than an item may be",
				Found: fmt.Sprintf("%d bytes", n), Allowed: fmt.Sprintf("at most %d bytes (%d KiB)", MaxItemBytes, MaxItemBytes>>10),
				Hint: "put it into a file, and its path into the list",
			})
		}
	}
}

var s3PathShape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(S3PathPattern) })

func (vs *violations) files(at string, l *FilePathLister) {
	if len(l.S3Paths) == 0 {
		vs.empty(at+".s3_paths", "name at least one path, such as s3://bucket/folder")
	}
	for i, path := range l.S3Paths {
		if !s3PathShape().MatchString(path) {
			vs.add(Violation{
				Path: fmt.Sprintf("%s.s3_paths[%d]", at, i), Code: CodeInvalidString, Message: "is neither a path in S3 nor, on one machine, one of a folder",
				Found: strconv.Quote(abbreviate(path)), Allowed: "s3://bucket, s3://bucket/folder, or file:///folder",
			})
		}
	}
	for _, globs := range []struct {
		key  string
		list []string
	}{{"includes", l.Includes}, {"excludes", l.Excludes}} {
		for i, glob := range globs.list {
			if glob == "" {
				vs.empty(fmt.Sprintf("%s.%s[%d]", at, globs.key, i), "remove it: it matches nothing")
			}
		}
	}
}
