package manifest

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// ClusterFile is a cluster file that was read without a problem.
type ClusterFile struct {
	Config   *cluster.Config // valid, with all defaults
	Warnings []fault.Problem // what was read and means less, or something else, than it says

	scope *scope
	flat  bool // in the form of releases 0.20 to 0.30
}

var clusterYAML = layout{"cluster.yaml", "four levels", "remove the line of three dashes, and what belongs to another cluster"}

func resolveRoot(root *yaml.Node) *yaml.Node {
	if root == nil {
		return nil
	}
	return resolve(root)
}

// ParseCluster reads a cluster file. Its errors are those of Parse.
func ParseCluster(file string, data []byte) (*ClusterFile, error) {
	root, err := parseYAML(file, data, clusterYAML)
	if err != nil {
		return nil, err
	}
	if root = resolveRoot(root); root == nil || isNull(root) {
		return nil, malformed(problemAt(file, 0, 0, workload.CodeMustBeDefined, "the file is empty"), "a cluster file names a region at least")
	}
	if root.Kind != yaml.MappingNode {
		p := problemAt(file, root.Line, root.Column, workload.CodeMalformed, "a cluster file must be a map")
		p.Found = shown(root)
		return nil, malformed(p, "is this a cluster.yaml? A file of APIs is a list")
	}
	d := &decoder{file: file, budget: maxVisits, placeOf: placeInCluster, oldKey: oldClusterKey}
	s := &scope{d: d, root: root}
	d.look(root)
	t := clusterDraft{Config: cluster.NewConfig(), flatGroup: cluster.NewNodeGroup()}
	decodeFields(s, clusterSection.fields, value{node: root}, s.pairs("", root), &t)
	f := &ClusterFile{Config: t.Config, scope: s, flat: len(t.flatKeys) > 0}
	t.finish(s)
	t.Default()
	for _, v := range t.Validate() {
		f.violation(v)
	}
	if err := d.fault(); err != nil {
		return nil, err
	}
	for _, v := range slices.Concat(t.Config.Warnings(), t.Creation()) {
		f.Warnings = append(f.Warnings, f.placed(v))
	}
	f.Warnings = append(f.Warnings, d.warnings...)
	inOrder(f.Warnings)
	return f, nil
}

// Fault returns rules that the file breaks as one fault, each with its place, or nil.
func (f *ClusterFile) Fault(broken []workload.Violation) error {
	var problems []fault.Problem
	for _, v := range broken {
		problems = append(problems, f.placed(v))
	}
	inOrder(problems)
	return fault.OfProblems(problems)
}

func (f *ClusterFile) placed(v workload.Violation) fault.Problem {
	v.Path, _ = f.pathInFile(v.Path)
	p := f.scope.placed(v)
	p.File = f.scope.d.file
	return p
}

// violation records a broken rule.
func (f *ClusterFile) violation(v workload.Violation) {
	var ok bool
	if v.Path, ok = f.pathInFile(v.Path); !ok {
		return
	}
	for i, r := range v.Related {
		v.Related[i], _ = f.pathInFile(r)
	}
	f.scope.violation(v)
}

// pathInFile is where a value stands in a file of the old form, and whether it does: the
// second group of such a file follows from the first.
func (f *ClusterFile) pathInFile(path string) (string, bool) {
	if !f.flat {
		return path, true
	}
	if rest, ok := strings.CutPrefix(path, "node_groups[0]"); ok {
		return strings.TrimPrefix(rest, "."), true
	}
	return path, !strings.HasPrefix(path, "node_groups[1]")
}

// clusterDraft is a cluster file while it is read.
type clusterDraft struct {
	*cluster.Config
	flatGroup cluster.NodeGroup // of a file of releases 0.20 to 0.30
	flatKeys  []value           // that make it up
	backup    *bool             // whether its on-demand nodes stand in for spot nodes
	oldKeys   int               // other keys that only those releases had
	bucket    *value
}

// Names of the groups that a file of the old form comes to.
const flatName, flatBackupName = "ng", "ng-on-demand"

// finish settles what depends on several keys.
func (t *clusterDraft) finish(s *scope) {
	if v := t.bucket; v != nil && len(t.flatKeys)+t.oldKeys > 0 {
		s.warn(*v, cluster.CodeNoEffect, "has no effect: the name of the bucket is made of those of the cluster, the account and the region", "remove it")
	} else if v != nil {
		disallowed("it is made of those of the cluster, the account and the region")(s, t, *v)
	}
	if len(t.flatKeys) == 0 {
		return
	}
	if t.NodeGroups != nil {
		for _, v := range t.flatKeys {
			s.wrongAt(v, cluster.CodeMixedForms, "is a key of releases 0.20 to 0.30 and must not stand beside node_groups", "", "", "move it into a group")
		}
		return
	}
	t.convert(s)
}

// convert turns the keys of the old form into node groups.
func (t *clusterDraft) convert(s *scope) {
	if !slices.ContainsFunc(t.flatKeys, func(v value) bool { return v.path == "instance_type" }) {
		s.absent(value{node: s.root}, "instance_type", "the type of the nodes, such as m5.large")
	}
	for _, v := range t.flatKeys {
		s.warn(v, cluster.CodeOldKey, "is a key of releases 0.20 to 0.30",
			fmt.Sprintf("it was read as %s of a node group called %s: write node_groups: [{name: %s, %s: …}]", v.key.Value, flatName, flatName, v.key.Value))
	}
	g := t.flatGroup
	g.Name = flatName
	t.NodeGroups = []cluster.NodeGroup{g}
	if !g.Spot || t.backup != nil && !*t.backup {
		return
	}
	// Where no spot instance was to be had, an on-demand one was taken: now a second
	// group, which is empty as long as the first can grow.
	t.NodeGroups[0].Priority = 2
	other := g
	other.Name, other.Spot, other.SpotConfig, other.MinInstances = flatBackupName, false, nil, 0
	t.NodeGroups = append(t.NodeGroups, other)
	spot := t.flatKeys[slices.IndexFunc(t.flatKeys, func(v value) bool { return v.path == "spot" })]
	s.warn(spot, cluster.CodeOldKey, "had on-demand instances stand in for spot instances, which is a second group now, called "+flatBackupName,
		"write on_demand_backup: false under spot_config to have none")
}

// warn notes what is read and means less than it says.
func (s *scope) warn(v value, code, message, hint string) {
	if s.d.full() || len(s.d.warnings) >= maxProblems {
		return
	}
	at := v.node
	if v.key != nil {
		at = v.key
	}
	s.d.warnings = append(s.d.warnings, fault.Problem{
		File: s.d.file, Line: at.Line, Column: at.Column, Path: shorten(v.path, 200), Code: code, Message: message, Hint: hint,
	})
}

// ClusterKey is a key of a cluster file, for the page that lists them.
type ClusterKey struct {
	Path     string
	Required bool
	Doc      string
	NoEffect bool // read for the sake of files that have it
}

// ClusterKeys returns every key in the order of the page.
func ClusterKeys() []ClusterKey {
	keys := keysIn("", clusterSection.fields)
	keys = append(keys, keysIn("subnets[].", subnetSection.fields)...)
	keys = append(keys, keysIn("node_groups[].", groupSection.fields)...)
	return append(keys, keysIn("node_groups[].spot_config.", spotSection.fields)...)
}

func keysIn[T any](prefix string, fields []field[T]) (keys []ClusterKey) {
	for i := range fields {
		f := &fields[i]
		keys = append(keys, ClusterKey{prefix + f.key, f.required, f.doc, f.old})
	}
	return keys
}
