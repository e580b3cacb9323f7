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

// look counts a look at a value and reports whether the budget allows it. Long
// texts count more than once, because aliases may repeat them too.
func (d *decoder) look(n *yaml.Node) bool {
	const free = 32 // bytes
	if d.budget -= 1 + len(n.Value)/free; d.budget < 0 {
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
	seen := keySet{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), resolve(n.Content[i+1])
		if !s.d.look(key) || !s.d.look(value) {
			return nil
		}
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
	if from.Kind != yaml.MappingNode && from.Kind != yaml.SequenceNode {
		s.problem(from, path, codeInvalidYAML, "the merge key << needs a map", shown(from), "")
		return pairs
	}
	if from.Kind == yaml.SequenceNode {
		for _, m := range from.Content {
			if !s.d.look(m) {
				break
			}
			pairs = s.merge(path, pairs, seen, resolve(m), depth+1)
		}
		return pairs
	}
	for i := 0; i+1 < len(from.Content); i += 2 {
		key, value := resolve(from.Content[i]), resolve(from.Content[i+1])
		if !s.d.look(key) || !s.d.look(value) {
			break
		}
		if isMerge(key) {
			pairs = s.merge(path, pairs, seen, value, depth+1)
		} else if key.Kind == yaml.ScalarNode && seen.add(pairs, key) == nil {
			pairs = append(pairs, pair{key, value})
		}
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
	if depth > maxMergeDepth || !d.look(n) {
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

// pairIndex remembers the keys of maps that were looked through.
type pairIndex map[*yaml.Node]map[string]pair

func (x pairIndex) of(n *yaml.Node) map[string]pair {
	keys, ok := x[n]
	if !ok {
		s := &scope{d: &decoder{budget: maxVisits}, root: n}
		pairs := s.pairs("", n)
		keys = make(map[string]pair, len(pairs))
		for _, p := range pairs {
			keys[p.key.Value] = p
		}
		x[n] = keys
	}
	return keys
}

// locate returns the value at a key path, or the nearest one above it that the
// file has; whole reports which.
func (x pairIndex) locate(root *yaml.Node, path string) (v value, whole bool) {
	const longest = 4096 // beyond it a key is nothing that anyone looks for
	v = value{node: resolve(root)}
	if len(path) > longest {
		return v, false
	}
	for path != "" {
		key, node, rest := x.step(v.node, path)
		if node == nil {
			return v, false
		}
		v, path = value{key: key, node: node}, rest
	}
	return v, true
}

// step goes one key or index down and returns what is left of the path, or a nil
// value when there is no such thing. The longest key wins, as keys of env may
// contain dots.
func (x pairIndex) step(n *yaml.Node, path string) (key, value *yaml.Node, rest string) {
	if number, after, ok := strings.Cut(path, "]"); ok && strings.HasPrefix(number, "[") {
		i, err := strconv.Atoi(number[1:])
		if err != nil || n.Kind != yaml.SequenceNode || i < 0 || i >= len(n.Content) {
			return nil, nil, ""
		}
		return nil, resolve(n.Content[i]), strings.TrimPrefix(after, ".")
	}
	if n.Kind != yaml.MappingNode {
		return nil, nil, ""
	}
	for keys, end := x.of(n), len(path); end >= 0; end = strings.LastIndexAny(path[:end], ".[") {
		if p, ok := keys[path[:end]]; ok {
			return p.key, p.value, strings.TrimPrefix(path[end:], ".")
		}
	}
	return nil, nil, ""
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// quote shows a text from the file, shortened so that an error stays readable.
func quote(text string) string { return strconv.Quote(shorten(text, 60)) }

func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-3], "") + "…"
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

// asWritten is a scalar as it stands in the file.
func asWritten(n *yaml.Node) string {
	if n.Value == "" || len(n.Value) > 60 || strings.TrimSpace(n.Value) != n.Value || strings.ContainsAny(n.Value, "\n\x00") {
		return quote(n.Value)
	}
	return n.Value
}

// problem records what is wrong at a value.
func (s *scope) problem(at *yaml.Node, path, code, message, found, hint string) {
	s.report(fault.Problem{
		Line: at.Line, Column: at.Column, Path: path, Code: code,
		Message: message, Found: found, Hint: hint,
	})
}
