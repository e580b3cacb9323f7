package migrate

import (
	"bytes"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

// api is one element of a file of APIs.
type api struct {
	node       *yaml.Node
	name, kind string
	last       int // line
}

// apis looks at a file of APIs and reports whether it is one: other programs have lists
// in YAML too.
func (r *Report) apis(in File, all []File) bool {
	list, isList := apisOf(in.Data)
	if !slices.ContainsFunc(list, isAPI) {
		return false
	}
	_, err := manifest.Parse(in.Path, in.Data)
	problems := fault.From(err) // nil: none
	var now []*yaml.Node
	changed := !isList
	for _, a := range list {
		wrong := a.problems(problems)
		switch {
		case isOld(a):
			if drafted := r.draft(in, a, all); drafted != nil {
				now = append(now, drafted)
			}
			changed = true
		case len(wrong) > 0:
			for _, p := range wrong {
				r.problem(in, p)
			}
			now = append(now, a.node)
		default:
			r.find(in, a.node.Line, Done, fmt.Sprintf("%s (%s) runs as it is", a.name, a.kind), "")
			now = append(now, a.node)
		}
	}
	if changed {
		r.list(in.Path, now)
	}
	return true
}

// apisOf returns the elements of a list, or the one map.
func apisOf(data []byte) (list []api, isList bool) {
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) != 1 {
		return nil, false
	}
	root := doc.Content[0]
	nodes := []*yaml.Node{root}
	if isList = root.Kind == yaml.SequenceNode; isList {
		nodes = root.Content
	}
	for i, n := range nodes {
		last := 1 << 30
		if i+1 < len(nodes) {
			last = nodes[i+1].Line - 1
		}
		a := api{node: n, last: last}
		if v := get(n, "name"); v != nil {
			a.name = v.Value
		}
		if v := get(n, "kind"); v != nil {
			a.kind = v.Value
		}
		list = append(list, a)
	}
	return list, isList
}

// get returns the value of a key of a map, or nil.
func get(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func isAPI(a api) bool {
	return a.name != "" && (isOld(a) || slices.Contains(workload.Kinds(), workload.Kind(a.kind)))
}

// isOld reports whether a is of a release before 0.36, which served classes and not
// containers.
func isOld(a api) bool {
	return slices.ContainsFunc([]string{"predictor", "handler", "definition"}, func(key string) bool { return get(a.node, key) != nil })
}

// problems returns those of a, by their lines.
func (a api) problems(of *fault.Fault) (own []fault.Problem) {
	if of == nil {
		return nil
	}
	for _, p := range of.Problems {
		if p.Line >= a.node.Line && p.Line <= a.last {
			own = append(own, p)
		}
	}
	return own
}

// list writes APIs as a list, unless there are none.
func (r *Report) list(name string, apis []*yaml.Node) {
	if len(apis) == 0 {
		return
	}
	var text bytes.Buffer
	enc := yaml.NewEncoder(&text)
	enc.SetIndent(2)
	if err := enc.Encode(&yaml.Node{Kind: yaml.SequenceNode, Content: apis}); err != nil {
		panic(err) // it was read from YAML
	}
	r.write(name, text.Bytes())
}
