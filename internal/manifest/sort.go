package manifest

import (
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Sort is what a text is, as far as its keys tell.
type Sort int

// The sorts of texts that users give to commands which want files of APIs.
const (
	Unknown      Sort = iota
	APIs              // a list, as a cortex.yaml is
	OneAPI            // the map of one API, as cortex cluster export of 0.42 wrote it
	Cluster           // a cluster file
	Job               // a submission of a job
	Object            // one or more objects of Kubernetes
	Environments      // a cli.yaml
)

type sortOfMap struct {
	sort Sort
	fits func(keys []string) bool
	what string // it is, for those who wanted APIs
	hint string // what to do about it
}

// sorts are those of maps, the first that fits.
var sorts = []sortOfMap{
	{
		Object, func(keys []string) bool { return slices.Contains(keys, "apiVersion") },
		"an object of Kubernetes", "`kubectl apply -f` takes it; `cortex deploy` takes a list of APIs, each with a name and a kind",
	},
	{OneAPI, func(keys []string) bool { return slices.Contains(keys, "name") && slices.Contains(keys, "kind") }, "an API", ""},
	{
		Job, isJob,
		"a job", "a job is not deployed but submitted to its BatchAPI or TaskAPI, which is deployed first",
	},
	{
		Environments, func(keys []string) bool { return slices.Contains(keys, "environments") },
		"a file of environments", "it belongs in the configuration folder as cli.yaml; `cortex env list` shows what is in it",
	},
	{
		Cluster, func(keys []string) bool {
			return !slices.Contains(keys, "name") && !slices.Contains(keys, "kind") && slices.ContainsFunc(keys, isClusterKey)
		},
		"a cluster file", "`cortex validate` checks it, and `cortex cluster plan` says what the cluster would be made of",
	},
}

func isClusterKey(key string) bool { return fieldOf(clusterSection.fields, key) >= 0 }

// isJob knows a job of a BatchAPI by where its items are, and one of a TaskAPI by its
// having nothing but what such a job has.
func isJob(keys []string) bool {
	isSource := func(key string) bool { return slices.Contains(workload.JobSources(), key) }
	ofTask := []string{"api_name", "workers", "config", "timeout"}
	return slices.ContainsFunc(keys, isSource) ||
		len(keys) > 0 && !slices.ContainsFunc(keys, func(key string) bool { return !slices.Contains(ofTask, key) })
}

// keyOfSort finds the sort of a text that is not valid, or is several documents, by a
// key that only texts of that sort have.
var keyOfSort = map[Sort]*regexp.Regexp{
	Cluster: regexp.MustCompile(`(?m)^(cluster_name|region|node_groups)[ \t]*:`),
	Object:  regexp.MustCompile(`(?m)^apiVersion[ \t]*:`),
}

// SortOf returns what a text is. It judges by the keys, and checks nothing.
func SortOf(data []byte) Sort {
	root, err := parseYAML("", data, cortexYAML)
	if err == nil {
		return sortOf(root)
	}
	for _, s := range sorts {
		if by := keyOfSort[s.sort]; by != nil && by.Match(data) {
			return s.sort
		}
	}
	return Unknown
}

func sortOf(root *yaml.Node) Sort {
	if root = resolveRoot(root); root == nil {
		return Unknown
	}
	switch root.Kind {
	case yaml.SequenceNode:
		return APIs
	case yaml.MappingNode:
		if i := indexOfSort(root); i >= 0 {
			return sorts[i].sort
		}
	}
	return Unknown
}

// ofOtherSort turns the error of a text that is not one YAML document into what to do
// when it is of another sort, such as several objects of Kubernetes.
func ofOtherSort(err error, data []byte) error {
	i := slices.IndexFunc(sorts, func(s sortOfMap) bool { return keyOfSort[s.sort] != nil && keyOfSort[s.sort].Match(data) })
	f := fault.From(err)
	if i < 0 || len(f.Problems) != 1 || f.Code != workload.CodeMalformed {
		return err
	}
	p := f.Problems[0]
	p.Found = sorts[i].what
	return malformed(p, sorts[i].hint)
}

// indexOfSort returns where in sorts that of a map is, or -1.
func indexOfSort(root *yaml.Node) int {
	var keys []string
	for i := 0; i+1 < len(root.Content); i += 2 {
		keys = append(keys, root.Content[i].Value)
	}
	for i, s := range sorts {
		if s.fits(keys) {
			return i
		}
	}
	return -1
}

// listOf returns the APIs of a document. The map of one API is taken for a list of it.
func listOf(file string, root *yaml.Node) ([]*yaml.Node, error) {
	if root != nil {
		root = resolve(root)
	}
	if root == nil || isNull(root) || root.Kind == yaml.SequenceNode && len(root.Content) == 0 {
		return nil, malformed(problemAt(file, 0, 0, workload.CodeNoAPIs, "at least one API must be defined"),
			"a cortex.yaml is a list of APIs, each with a name and a kind")
	}
	if root.Kind == yaml.SequenceNode {
		return root.Content, nil
	}
	if sortOf(root) == OneAPI {
		return []*yaml.Node{root}, nil
	}
	p := problemAt(file, root.Line, root.Column, workload.CodeMalformed, "the file must be a list of APIs")
	p.Found = shown(root)
	hint := "begin every API with a dash, as in \"- name: iris\""
	if root.Kind == yaml.ScalarNode {
		hint = "is this a cortex.yaml?"
	} else if i := indexOfSort(root); i >= 0 {
		p.Found, hint = sorts[i].what, sorts[i].hint
	}
	return nil, malformed(p, hint)
}
