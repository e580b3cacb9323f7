package manifest

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// parseJSON returns the values of a text that is JSON, as the YAML library has those of a
// YAML text, or nil where it is none. YAML contains JSON by its own words, but the library
// reads another language at the edges: pairs of surrogates, lines that are indented with
// tabs, keys of more than a thousand characters, the line breaks of Unicode in quotes.
func parseJSON(data []byte) *yaml.Node {
	text := bytes.TrimLeft(data, " \t\r\n")
	if len(text) == 0 || text[0] != '[' && text[0] != '{' || !json.Valid(data) {
		return nil
	}
	r := jsonReader{data: data, line: 1, dec: json.NewDecoder(bytes.NewReader(data))}
	r.dec.UseNumber()
	return r.value(0)
}

// maxJSONDepth is far beyond any file of ours; a deeper one is left to the YAML library,
// which says so.
const maxJSONDepth = 1000

// jsonReader walks through a text that is valid.
type jsonReader struct {
	data []byte
	dec  *json.Decoder
	// Where the token before began: its line, where that begins, and itself.
	line, start, at int
}

// value reads the next one; nil where it is nested too deeply, or cannot be read.
func (r *jsonReader) value(depth int) *yaml.Node {
	token, n := r.next()
	if n == nil {
		return nil
	}
	switch v := token.(type) {
	case json.Delim:
		n.Kind, n.Tag, n.Style = yaml.SequenceNode, "!!seq", yaml.FlowStyle
		if v == '{' {
			n.Kind, n.Tag = yaml.MappingNode, "!!map"
		}
		if depth == maxJSONDepth {
			return nil
		}
		for r.dec.More() {
			inner := r.value(depth + 1) // of a map the keys and the values, in turn
			if inner == nil {
				return nil
			}
			n.Content = append(n.Content, inner)
		}
		if _, end := r.next(); end == nil {
			return nil
		}
	case string:
		n.Tag, n.Value, n.Style = "!!str", v, yaml.DoubleQuotedStyle
	case json.Number:
		n.Tag, n.Value = "!!int", v.String()
		if _, err := strconv.ParseInt(n.Value, 10, 64); err != nil {
			n.Tag = "!!float"
		}
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	default:
		n.Tag, n.Value = "!!null", "null"
	}
	return n
}

// next returns the next token, and a node where it begins; nil where there is none, which a
// text that is valid does not have.
func (r *jsonReader) next() (json.Token, *yaml.Node) {
	begin := int(r.dec.InputOffset())
	token, err := r.dec.Token()
	if err != nil {
		return nil, nil
	}
	for begin < len(r.data) && bytes.IndexByte([]byte(" \t\r\n,:"), r.data[begin]) >= 0 {
		begin++
	}
	passed := r.data[r.at:begin]
	if i := bytes.LastIndexByte(passed, '\n'); i >= 0 {
		r.line += bytes.Count(passed, []byte("\n"))
		r.start = r.at + i + 1
	}
	r.at = begin
	return token, &yaml.Node{Kind: yaml.ScalarNode, Line: r.line, Column: 1 + utf8.RuneCount(r.data[r.start:begin])}
}
