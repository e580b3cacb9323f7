package cluster

import (
	"maps"
	"strings"
)

// Filled are the values of the chart with those that only stacks know, which value tells.
func (c *Chart) Filled(value func(Source) (string, error)) (map[string]any, error) {
	values := maps.Clone(c.Values)
	for path, from := range c.From {
		text, err := value(from)
		if err != nil {
			return nil, err
		}
		if list, is := strings.CutSuffix(path, "[]"); is {
			set(values, strings.Split(list, "."), []any{text})
			continue
		}
		set(values, strings.Split(path, "."), text)
	}
	return values, nil
}

// set puts a value where a path leads, and changes no map that others have.
func set(values map[string]any, path []string, value any) {
	if len(path) == 1 {
		values[path[0]] = value
		return
	}
	inner, _ := values[path[0]].(map[string]any)
	copied := maps.Clone(inner)
	if copied == nil {
		copied = map[string]any{}
	}
	values[path[0]] = copied
	set(copied, path[1:], value)
}
