package cli

import (
	"bytes"
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// toYAML writes v as people write YAML: blocks, indented by two.
func toYAML(v any) ([]byte, error) {
	var text bytes.Buffer
	enc := yaml.NewEncoder(&text)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return text.Bytes(), enc.Close()
}

var laterControls = regexp.MustCompile("[\x7f-\u009f]")

// jsonToYAML writes a JSON document as YAML with its keys in their order.
func jsonToYAML(data []byte) ([]byte, error) {
	// JSON may hold controls beyond ASCII's first as they are, YAML may not.
	data = laterControls.ReplaceAllFunc(data, func(c []byte) []byte { return fmt.Appendf(nil, `\u%04x`, bytes.Runes(c)[0]) })
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil { // JSON is YAML
		return nil, err
	}
	plain(&doc)
	return toYAML(&doc)
}

// plain drops the flow style and the quotes of JSON; the encoder quotes what needs it.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		plain(child)
	}
}

// inOrder is a map with the given keys first, in their order.
func inOrder(values map[string]any, keys []string) (*yaml.Node, error) {
	node := &yaml.Node{Kind: yaml.MappingNode}
	for _, key := range keys {
		value, ok := values[key]
		if !ok {
			continue
		}
		var v yaml.Node
		if err := v.Encode(value); err != nil {
			return nil, err
		}
		node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, &v)
	}
	return node, nil
}

// readYAML reads what was written by this program; keys that it does not know are others'.
func readYAML(data []byte, v any) error { return yaml.Unmarshal(data, v) }
