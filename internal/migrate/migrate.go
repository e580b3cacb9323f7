// Package migrate says what becomes of the files of an earlier release: files in, a
// report and new files out.
//
// It promises that every finding has a file, a line and what to do, that what it calls
// done needs no change, and that no file it writes takes the place of one it was given.
// It must not read or write anything itself, and must not know a rule of its own about a
// file: package manifest has those.
package migrate

import (
	"bytes"
	"cmp"
	"path"
	"slices"
	"strings"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
)

// Folder is where everything goes that is written.
const Folder = "migrated"

// File is a file by its path, with slashes, below the folder that is migrated.
type File struct {
	Path string
	Data []byte
}

// State is how far something is, in one word.
type State string

// The states of a finding.
const (
	Done       State = "done"           // it works as it is, or as it was written
	ToDo       State = "to do"          // somebody has to change or decide something
	Impossible State = "impossible yet" // this release does not have it
)

// job looks at a file of a job of a BatchAPI.
func (r *Report) job(in File) {
	if bytes.Contains(in.Data, []byte("s3://")) && bytes.Contains(in.Data, []byte("s3_paths")) {
		r.find(in, 1, ToDo, "a job of a BatchAPI whose items are in S3", "elsewhere than on your own machine, name the bucket: --s3-paths of cortex server, operator.s3Paths of the chart")
		return
	}
	r.find(in, 1, Done, "a job of a BatchAPI runs as it is", "`cortex submit API "+below(in.Path)+"`")
}

// Finding is one thing that was found, where, and what to do about it.
type Finding struct {
	Path  string `json:"file"`
	Line  int    `json:"line"`
	State State  `json:"state"`
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"`
}

// Report is what becomes of files.
type Report struct {
	Findings []Finding `json:"findings"` // by file and line
	Out      []File    `json:"-"`        // below Folder
}

func (r *Report) find(in File, line int, state State, text, do string) {
	r.Findings = append(r.Findings, Finding{in.Path, max(line, 1), state, text, do})
}

// write adds a file below Folder.
func (r *Report) write(name string, data []byte) {
	r.Out = append(r.Out, File{below(name), data})
}

// below is where a file goes, also one that was named by a path that leads elsewhere.
func below(name string) string { return path.Join(Folder, path.Join("/", name)) }

// problems reports what is wrong with a file, as manifest says it.
func (r *Report) problems(in File, err error) {
	for _, p := range fault.From(err).Problems {
		r.problem(in, p)
	}
}

func (r *Report) problem(in File, p fault.Problem) {
	hint := p.Hint
	if hint == "" && p.Allowed != "" {
		hint = "allowed: " + p.Allowed
	}
	line := p.Line
	p.File, p.Line, p.Column, p.Hint, p.Allowed = "", 0, 0, "", ""
	r.find(in, line, ToDo, strings.TrimPrefix(p.String(), ": "), hint)
}

// Plan looks at files and says what becomes of them.
func Plan(files []File) *Report {
	r := &Report{Findings: []Finding{}}
	for _, in := range files {
		switch sort := manifest.SortOf(in.Data); {
		case !isData(in.Path):
			r.script(in)
		case sort == manifest.Cluster:
			r.cluster(in)
		case sort == manifest.Environments:
			r.environments(in)
		case sort == manifest.Job && strings.Contains(string(in.Data), "batch_size"):
			r.job(in)
		case sort == manifest.OneAPI || sort == manifest.APIs:
			if !r.apis(in, files) {
				r.script(in)
			}
		default:
			r.script(in) // such as the configuration of a CI
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line)) })
	return r
}

// isData reports whether a file is YAML or JSON.
func isData(name string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name))
}
