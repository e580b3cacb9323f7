// Package manifest reads the files that users write, strictly: a cortex.yaml with Parse,
// a cluster file with ParseCluster.
//
// It promises that Parse either returns specs that keep every rule a file can
// keep on its own, with all defaults filled in, or one fault that carries every
// problem of the file at once, each with file, line, column, key path, what was
// found, what is allowed and what to do. Whatever the bytes are, it neither
// panics nor uses more memory than a fixed multiple of workload.MaxConfigBytes.
// ParseCluster promises the same of a cluster file.
//
// It must not know what is deployed or where: those rules are the operator's,
// which gets their positions from Entry.Problem. Rules about values live in
// packages workload and cluster; here are only the keys, the types and the positions.
package manifest

import (
	"cmp"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// File is a cortex.yaml that was read without a problem.
type File struct {
	Entries  []Entry         // in the order of the file
	Warnings []fault.Problem // what was read and should be written otherwise, or means something else than it seems to
}

// Entry is one API of a file.
type Entry struct {
	Spec      workload.Spec // valid, with all defaults
	Index     int           // position in the file's list
	Submitted any           // the user's YAML as plain maps, lists and scalars; aliases resolved

	file string
	root *yaml.Node
}

// maxProblems bounds what one fault tells; nobody reads more.
const maxProblems = 500

// Parse reads a cortex.yaml. JSON is read too, all of it, by a reader of its own. The name of
// the file is used in problems only. Every error is a *fault.Fault: Malformed
// with one problem when the text cannot be read as a list, otherwise Invalid with
// all of them, in the order of the file.
//
// There are no env files: a container that names one is refused. ParseWith has them.
func Parse(file string, data []byte) (*File, error) { return ParseWith(file, data, nil) }

// ParseWith is Parse for a file with env files beside it.
func ParseWith(file string, data []byte, files EnvFiles) (*File, error) {
	root, err := parseYAML(file, data, cortexYAML)
	if err != nil {
		return nil, ofOtherSort(err, data)
	}
	items, err := listOf(file, root)
	if err != nil {
		return nil, err
	}
	if len(items) > workload.MaxAPIs {
		p := problemAt(file, 0, 0, codeTooMany, "the file has too many APIs")
		p.Found, p.Allowed = fmt.Sprint(len(items)), fmt.Sprintf("at most %d", workload.MaxAPIs)
		return nil, malformed(p, "split it into several files")
	}
	d := &decoder{file: file, budget: maxVisits, placeOf: placeOf, oldKey: oldKey, sources: files}
	entries := make([]Entry, len(items))
	specs := make([]workload.Spec, len(items))
	scopes := make([]*scope, len(items))
	for i, item := range items {
		scopes[i] = d.entry(i, item)
		specs[i] = scopes[i].spec
		entries[i] = Entry{Index: i, file: file, root: scopes[i].root}
	}
	for _, v := range workload.ValidateSet(specs) {
		scopes[v.Index].violation(v)
	}
	if !d.exhausted && len(d.problems) == 0 {
		for i := range entries {
			entries[i].Spec = specs[i]
			entries[i].Submitted = d.plain(scopes[i].root, 0)
		}
	}
	if err := d.fault(); err != nil {
		return nil, err
	}
	read := &File{Entries: entries, Warnings: oneAPI(file, root)}
	for _, e := range entries {
		if len(read.Warnings) < maxProblems {
			read.Warnings = append(read.Warnings, e.warnings()...)
		}
	}
	return read, nil
}

// oneAPI is what to know of a file that is no list.
func oneAPI(file string, root *yaml.Node) []fault.Problem {
	if root = resolve(root); root.Kind == yaml.SequenceNode {
		return nil
	}
	p := problemAt(file, root.Line, root.Column, workload.CodeMalformed, "the file is one API and was read as a list of it")
	p.Hint = "begin it with a dash, as in \"- name: iris\", and indent the rest"
	return []fault.Problem{p}
}

// Problem returns a problem of e, positioned at the value with the given key path
// or, where the file does not have it, at the nearest key above it.
func (e Entry) Problem(path, code, format string, args ...any) fault.Problem {
	p := fault.Problem{
		File: e.file, API: label(string(e.Spec.Kind), e.Spec.Name, e.Index), Path: path, Code: code,
		Message: fmt.Sprintf(format, args...),
	}
	if e.root != nil {
		v, _ := pairIndex{}.locate(e.root, path)
		p.Line, p.Column = v.at().Line, v.at().Column
	}
	return p
}

// label names an API in an error.
func label(kind, name string, index int) string {
	if name == "" || kind == "" {
		return fmt.Sprintf("resource at index %d", index)
	}
	return fmt.Sprintf("%s (%s)", shorten(name, 60), kind)
}

// fault returns all problems in the order of the file, or nil where there are none.
func (d *decoder) fault() error {
	if d.exhausted {
		return malformed(problemAt(d.file, 0, 0, codeInvalidYAML,
			"the file's aliases expand to more than %d values", maxVisits), "write the repeated parts out, or split the file")
	}
	inOrder(d.problems)
	if d.dropped > 0 {
		d.problems = append(d.problems, problemAt(d.file, 0, 0, d.problems[0].Code, "and %d more problems", d.dropped))
	}
	return fault.OfProblems(d.problems)
}

// inOrder sorts problems by where they are in the file.
func inOrder(problems []fault.Problem) {
	slices.SortStableFunc(problems, func(a, b fault.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
