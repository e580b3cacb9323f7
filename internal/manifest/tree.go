package manifest

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// maxVisits bounds how many values aliases may expand to. Every look at a value
// counts, so the bound holds for whatever the aliases are nested in.
const maxVisits = 2_000_000

// maxMergeDepth bounds merge keys within merged maps, which may name themselves.
const maxMergeDepth = 16

// pair is one key of a map with its value, aliases resolved.
type pair struct {
	key, value *yaml.Node
}

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func isMerge(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "<<" && n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) == 0
}

// visit counts a look at a value and reports whether the budget allows it.
func (d *decoder) visit(n int) bool {
	if d.budget -= n; d.budget < 0 {
		d.exhausted = true
	}
	return !d.exhausted
}

// pairs returns the keys of a map, those of merged maps (<<) after its own.
// Problems with keys are told here: duplicates, keys that are no strings, and
// merges of something that is no map.
func (s *scope) pairs(path string, n *yaml.Node) []pair {
	pairs := make([]pair, 0, len(n.Content)/2)
	var merges []*yaml.Node
	if !s.d.visit(len(n.Content)) {
		return nil
	}
	seen := keySet{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), resolve(n.Content[i+1])
		switch {
		case isMerge(key):
			merges = append(merges, value)
		case key.Kind != yaml.ScalarNode:
			s.problem(n.Content[i], path, "configreader.non_string_key_found", "a key must be a string", "", "")
		default:
			if first := seen.add(pairs, key); first != nil {
				s.problem(key, join(path, key.Value), workload.CodeDuplicatedValue,
					fmt.Sprintf("the key %s is given twice", quote(key.Value)), "",
					fmt.Sprintf("the first is on line %d", first.Line))
				continue
			}
			pairs = append(pairs, pair{key, value})
		}
	}
	for _, m := range merges {
		pairs = s.merge(path, pairs, &seen, m, 0)
	}
	return pairs
}

// merge appends the keys of a merged map, or list of maps, that are not there yet.
func (s *scope) merge(path string, pairs []pair, seen *keySet, from *yaml.Node, depth int) []pair {
	if depth > maxMergeDepth {
		s.problem(from, path, codeInvalidYAML, "the merge key << merges a map into itself, or too deeply", "", "")
		return pairs
	}
	if !s.d.visit(1 + len(from.Content)) {
		return pairs
	}
	switch from.Kind {
	case yaml.SequenceNode:
		for _, m := range from.Content {
			if pairs = s.merge(path, pairs, seen, resolve(m), depth+1); s.d.exhausted {
				break
			}
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(from.Content); i += 2 {
			key, value := resolve(from.Content[i]), resolve(from.Content[i+1])
			if isMerge(key) {
				pairs = s.merge(path, pairs, seen, value, depth+1)
			} else if key.Kind == yaml.ScalarNode && seen.add(pairs, key) == nil {
				pairs = append(pairs, pair{key, value})
			}
		}
	default:
		s.problem(from, path, codeInvalidYAML, "the merge key << needs a map", shown(from), "")
	}
	return pairs
}

// keySet finds keys that are given twice. Small maps are searched, large ones
// indexed: most have fewer than ten keys.
type keySet struct{ index map[string]*yaml.Node }

// add returns the earlier key of the same name, or nil when it is new.
func (k *keySet) add(pairs []pair, key *yaml.Node) *yaml.Node {
	const small = 16
	if k.index == nil && len(pairs) < small {
		for _, p := range pairs {
			if p.key.Value == key.Value {
				return p.key
			}
		}
		return nil
	}
	if k.index == nil {
		k.index = make(map[string]*yaml.Node, 4*small)
		for _, p := range pairs {
			k.index[p.key.Value] = p.key
		}
	}
	if first, ok := k.index[key.Value]; ok {
		return first
	}
	k.index[key.Value] = key
	return nil
}

// plain turns a value into plain maps, lists and scalars, as JSON can write them.
func (d *decoder) plain(n *yaml.Node, depth int) any {
	n = resolve(n)
	if depth > maxMergeDepth || !d.visit(1) {
		d.exhausted = true
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		s := &scope{d: d, root: n}
		m := make(map[string]any, len(n.Content)/2)
		for _, p := range s.pairs("", n) {
			m[p.key.Value] = d.plain(p.value, depth+1)
		}
		return m
	case yaml.SequenceNode:
		l := make([]any, len(n.Content))
		for i, e := range n.Content {
			l[i] = d.plain(e, depth+1)
		}
		return l
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int":
		if v, err := strconv.ParseInt(n.Value, 0, 64); err == nil {
			return v
		}
	case "!!float":
		if v, err := strconv.ParseFloat(n.Value, 64); err == nil && v-v == 0 {
			return v
		}
	}
	return n.Value
}

type position struct{ line, column int }

// locate returns the position of the value at a key path, or of the nearest key
// above it that the file has.
func locate(root *yaml.Node, path string) position {
	if root == nil {
		return position{}
	}
	at := position{root.Line, root.Column}
	n := resolve(root)
	for path != "" {
		var key *yaml.Node
		key, n, path = step(n, path)
		if n == nil {
			return at
		}
		at = position{n.Line, n.Column}
		if key != nil && (n.Kind != yaml.ScalarNode || isNull(n)) {
			at = position{key.Line, key.Column}
		}
	}
	return at
}

// step goes one key or index down and returns what is left of the path, or a nil
// value when there is no such thing. The longest key wins, as keys of env may
// contain dots.
func step(n *yaml.Node, path string) (key, value *yaml.Node, rest string) {
	if strings.HasPrefix(path, "[") {
		end := strings.IndexByte(path, ']')
		i, err := strconv.Atoi(path[1:max(1, end)])
		if err != nil || n.Kind != yaml.SequenceNode || i >= len(n.Content) {
			return nil, nil, ""
		}
		return nil, resolve(n.Content[i]), strings.TrimPrefix(path[end+1:], ".")
	}
	s := &scope{d: &decoder{budget: maxVisits}, root: n}
	if n.Kind != yaml.MappingNode {
		return nil, nil, ""
	}
	for _, p := range s.pairs("", n) {
		k := p.key.Value
		if !strings.HasPrefix(path, k) || key != nil && len(k) <= len(key.Value) {
			continue
		}
		if after := path[len(k):]; after == "" || after[0] == '.' || after[0] == '[' {
			key, value, rest = p.key, p.value, strings.TrimPrefix(after, ".")
		}
	}
	return key, value, rest
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// quote shows a text from the file, shortened so that an error stays readable.
func quote(text string) string {
	const limit = 60
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit-3], "") + "…"
	}
	return strconv.Quote(text)
}

// shown is a value as an error shows it: with its type, in the file's own words.
func shown(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!null":
		return "null"
	case "!!bool":
		return n.Value + " (a boolean)"
	case "!!int", "!!float":
		if len(n.Value) <= 40 {
			return n.Value + " (a number)"
		}
		return "a number"
	case "!!str", "!!timestamp", "!!merge":
		return quote(n.Value)
	}
	return quote(n.Value) + " with the tag " + n.Tag
}

// problem records what is wrong at a value.
func (s *scope) problem(at *yaml.Node, path, code, message, found, hint string) {
	s.report(fault.Problem{
		Line: at.Line, Column: at.Column, Path: path, Code: code,
		Message: message, Found: found, Hint: hint,
	})
}
