package manifest

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/suggest"
	"cortex.dev/cortex/internal/workload"
)

// decoder reads the APIs of one file and collects their problems.
type decoder struct {
	file      string
	problems  []fault.Problem
	warnings  []fault.Problem // what was read and means less than it says
	dropped   int             // problems beyond maxProblems
	budget    int             // values that may still be looked at
	exhausted bool
	sources   EnvFiles            // nil: there are none
	envFiles  map[string]*envFile // those that were read
	payloads  int                 // files of payloads
	// placeOf is the function of that name. It reads the tables whose setters lead
	// here, which Go allows through a variable only.
	placeOf func(key string, k workload.Kind) string
	// oldKey says what became of a key of an earlier release, and which keys it stands for.
	oldKey func(path string) (hint string, replaces []string)
}

// scope is the reading of one API.
type scope struct {
	d            *decoder
	root         *yaml.Node
	label        string
	target, init bool // whether the file gives target_in_flight and init_replicas
	spec         workload.Spec
	wrong        []string // key paths whose values could not be read
	index        pairIndex
	fromFiles    map[string]map[string]workload.Variable // variables of env files by the path of their container
}

// value is a value of the file with its place.
type value struct {
	path string
	key  *yaml.Node // nil for elements of lists
	node *yaml.Node // never an alias
}

// at is where to point for the value as a whole.
func (v value) at() *yaml.Node {
	if v.key != nil && (v.node.Kind != yaml.ScalarNode || isNull(v.node)) {
		return v.key
	}
	return v.node
}

// section describes one map of the file: the decoder and the schema both work
// from it, so that they cannot disagree about its keys.
type section[T any] struct {
	fields []field[T]
	oneOf  []string                                 // keys of which exactly one is given; nil: there is no such choice
	inList func(k workload.Kind, list, item object) // adds to the schema of a list of them; nil: nothing
}

type field[T any] struct {
	key      string
	doc      string
	on       func(workload.Kind) bool // the kinds that have it; nil means all
	required bool
	nullable bool
	old      bool // read, and suggested to nobody
	schema   func(workload.Kind) object
	set      func(s *scope, t *T, v value) // never called with null
	null     func(t *T)                    // what null does, where it is more than nothing
}

func (f *field[T]) has(k workload.Kind) bool { return f.on == nil || f.on(k) }

// full reports whether nothing more is told; from then on problems are counted,
// and no work goes into them.
func (d *decoder) full() bool { return len(d.problems) >= maxProblems }

// report records a problem of this API, up to a bound.
func (s *scope) report(p fault.Problem) {
	if s.d.full() {
		s.d.dropped++
		return
	}
	if p.File == "" { // else it is in an env file
		p.File = s.d.file
	}
	p.API, p.Path = s.label, shorten(p.Path, 200)
	s.d.problems = append(s.d.problems, p)
}

// wrongAt records a problem of a value, so that no rule judges what it stands for.
func (s *scope) wrongAt(v value, code, message, found, allowed, hint string) {
	s.cannotRead(v.path)
	at := v.at()
	s.report(fault.Problem{
		Line: at.Line, Column: at.Column, Path: v.path, Code: code,
		Message: message, Found: found, Allowed: allowed, Hint: hint,
	})
}

// cannotRead remembers that no rule can judge the value at path.
func (s *scope) cannotRead(path string) {
	if !s.d.full() {
		s.wrong = append(s.wrong, path)
	}
}

// violation records a broken rule, unless it follows from a value that could not
// be read: one mistake is told once.
func (s *scope) violation(v workload.Violation) {
	if s.d.full() {
		s.d.dropped++
		return
	}
	if s.isWrong(v.Path) {
		return
	}
	for _, r := range v.Related {
		if s.isWrong(r) {
			return
		}
	}
	s.report(s.placed(v))
}

// placed is a broken rule with its place in the file.
func (s *scope) placed(v workload.Violation) fault.Problem {
	if s.index == nil {
		s.index = pairIndex{}
	}
	found, whole := s.index.locate(s.root, v.Path)
	at := found.at()
	if v.OfKey && whole && found.key != nil {
		at = found.key
	} else if v.Found != "" && whole && found.node.Kind == yaml.ScalarNode && !isNull(found.node) {
		v.Found = asWritten(found.node)
	}
	return fault.Problem{
		Line: at.Line, Column: at.Column, Path: v.Path, Code: v.Code,
		Message: v.Message, Found: v.Found, Allowed: v.Allowed, Hint: v.Hint,
	}
}

// isWrong reports whether the value at path, one that holds it or one directly in
// it could not be read.
func (s *scope) isWrong(path string) bool {
	for _, w := range s.wrong {
		if within(path, w) || within(w, path) && !strings.ContainsAny(strings.TrimLeft(w[len(path):], ".["), ".[") {
			return true
		}
	}
	return false
}

// within reports whether path is at or below above.
func within(path, above string) bool {
	rest, ok := strings.CutPrefix(path, above)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[' || above == "")
}

// entry reads one API: name and kind first, so that every problem can say whose it
// is, then everything the kind has.
func (d *decoder) entry(i int, item *yaml.Node) *scope {
	s := &scope{d: d, root: resolve(item), label: label("", "", i)}
	d.look(item)
	if s.root.Kind != yaml.MappingNode {
		s.problem(item, "", workload.CodeMalformed, "every element of the list must be a map", shown(s.root), "")
		return s
	}
	s.label = labelOf(i, s.root)
	pairs := s.pairs("", s.root)
	s.identify(i, pairs)
	if !known(s.spec.Kind) {
		return s
	}
	decodeFields(s, specSection.fields, value{node: s.root}, pairs, &s.spec)
	s.fillGaps()
	for _, v := range s.spec.Validate() {
		s.violation(v)
	}
	s.spec.Default()
	return s
}

// labelOf names an API by what its map says directly, for problems with its keys.
func labelOf(i int, root *yaml.Node) string {
	var name, kind string
	for j := 0; j+1 < len(root.Content); j += 2 {
		switch v := (value{node: resolve(root.Content[j+1])}); root.Content[j].Value {
		case "name":
			name = plainText(v)
		case "kind":
			kind = plainText(v)
		}
	}
	if !known(workload.Kind(kind)) {
		kind = ""
	}
	return label(kind, name, i)
}

func known(k workload.Kind) bool {
	for _, each := range workload.Kinds() {
		if k == each {
			return true
		}
	}
	return false
}

// identify reads the name and the kind as far as that is possible. Where the kind
// is none of ours it tells what is wrong with both: nothing else can be judged.
func (s *scope) identify(i int, pairs []pair) {
	given := map[string]value{}
	for _, p := range pairs {
		if k := p.key.Value; k == "name" || k == "kind" {
			given[k] = value{k, p.key, p.value}
		}
	}
	s.spec.Name = plainText(given["name"])
	s.spec.Kind = workload.Kind(plainText(given["kind"]))
	if known(s.spec.Kind) {
		s.label = label(string(s.spec.Kind), s.spec.Name, i)
		return
	}
	for _, key := range []string{"name", "kind"} {
		if v, ok := given[key]; ok && isNull(v.node) {
			s.notNull(v, true, workload.CodeCannotBeNull)
		} else if ok {
			s.text(v)
		}
	}
	for _, v := range s.spec.Validate() {
		if v.Path == "kind" && v.Hint == "" {
			v.Hint = kindHint(v.Found)
		}
		s.violation(v)
	}
}

// plainText returns the text of a string, or "".
func plainText(v value) string {
	if v.node == nil || v.node.Kind != yaml.ScalarNode || v.node.Tag != "!!str" {
		return ""
	}
	return v.node.Value
}

// decodeFields reads the keys of one map into t.
func decodeFields[T any](s *scope, fields []field[T], at value, pairs []pair, t *T) {
	var given uint64
	for _, p := range pairs {
		v := value{join(at.path, p.key.Value), p.key, p.value}
		i := fieldOf(fields, p.key.Value)
		if i < 0 {
			for _, hinted := range s.unknown(at, v, names(fields, s.spec.Kind)) {
				if j := fieldOf(fields, hinted); j >= 0 {
					given |= 1 << j
				}
			}
			continue
		}
		f := &fields[i]
		if !f.has(s.spec.Kind) {
			s.misplaced(v, f.on)
			continue
		}
		given |= 1 << i
		switch {
		case !isNull(v.node):
			f.set(s, t, v)
		case !f.nullable:
			s.notNull(v, f.required, nullCode(f.schema, s.spec.Kind))
		case f.null != nil:
			f.null(t)
		}
	}
	for i := range fields {
		if f := &fields[i]; f.required && f.has(s.spec.Kind) && given&(1<<i) == 0 {
			s.absent(at, f.key, f.doc)
		}
	}
}

func fieldOf[T any](fields []field[T], key string) int {
	for i := range fields {
		if fields[i].key == key {
			return i
		}
	}
	return -1
}

func names[T any](fields []field[T], k workload.Kind) []string {
	var keys []string
	for i := range fields {
		if fields[i].has(k) && !fields[i].old {
			keys = append(keys, fields[i].key)
		}
	}
	return keys
}

// nullCode is what earlier releases called null where a value of that schema belongs:
// what has keys of its own was empty too, and a list of such had too few.
func nullCode(schema func(workload.Kind) object, k workload.Kind) string {
	if schema == nil {
		return workload.CodeCannotBeNull // of cluster files
	}
	o := schema(k)
	items, _ := o["items"].(object)
	switch {
	case o["properties"] != nil:
		return workload.CodeCannotBeNullOrEmpty
	case items["properties"] != nil:
		return workload.CodeTooFewElements
	}
	return workload.CodeCannotBeNull
}

func (s *scope) notNull(v value, required bool, code string) {
	hint := fmt.Sprintf("remove the key %q to use its default", v.key.Value)
	if required {
		hint = "give it a value"
	}
	s.wrongAt(v, code, "must not be null", "", "", hint)
}

func (s *scope) absent(at value, key, doc string) {
	path := join(at.path, key)
	s.cannotRead(path)
	node := at.at()
	s.report(fault.Problem{
		Line: node.Line, Column: node.Column, Path: path, Code: workload.CodeMustBeDefined,
		Message: fmt.Sprintf("%q must be defined", key), Hint: doc,
	})
}

// misplaced reports a key that other kinds have.
func (s *scope) misplaced(v value, has func(workload.Kind) bool) {
	s.cannotRead(v.path)
	var kinds []string
	for _, k := range workload.Kinds() {
		if has(k) {
			kinds = append(kinds, string(k))
		}
	}
	list := kinds[len(kinds)-1]
	if others := kinds[:len(kinds)-1]; len(others) > 0 {
		list = strings.Join(others, ", ") + " and " + list
	}
	s.report(fault.Problem{
		Line: v.key.Line, Column: v.key.Column, Path: v.path, Code: workload.CodeFieldNotForKind,
		Message: fmt.Sprintf("%q is not supported for %s", v.key.Value, s.spec.Kind),
		Hint:    "remove it; it is for " + list,
	})
}

// unknown reports a key that the section does not have, and returns the keys that
// the user may have meant by it.
func (s *scope) unknown(at, v value, keys []string) []string {
	if s.d.full() {
		s.d.dropped++
		return nil
	}
	key := v.key.Value
	s.cannotRead(v.path)
	p := fault.Problem{
		Line: v.key.Line, Column: v.key.Column, Path: v.path, Code: workload.CodeUnsupportedKey,
		Message: fmt.Sprintf("the key %s is not supported", quote(key)),
	}
	var meant []string
	if old, replaced := s.d.oldKey(v.path); old != "" {
		p.Hint, meant = old, replaced
	} else if close := suggest.Nearest(key, keys); close != "" {
		p.Hint, meant = fmt.Sprintf("did you mean %q?", close), []string{close}
	} else if place := s.d.placeOf(key, s.spec.Kind); place != "" {
		p.Hint = fmt.Sprintf("it belongs in %s", place)
	} else {
		p.Allowed = strings.Join(keys, ", ")
	}
	for _, m := range meant {
		s.cannotRead(join(at.path, m))
	}
	s.report(p)
	return meant
}
