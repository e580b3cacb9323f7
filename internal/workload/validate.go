package workload

import (
	"fmt"
	"slices"
	"strings"
)

// Validate returns every rule that a defaulted spec breaks (REFERENCE section 1): those
// of single values, then those across fields. Rules that compare specs are those of ValidateSet;
// rules that need to know what is deployed are the operator's.
func (s *Spec) Validate() []Violation {
	vs := &violations{}
	if !vs.kind(s.Kind) {
		vs.name(s.Name)
		return vs.list
	}
	vs.name(s.Name)
	vs.sections(s)
	vs.numbers(s)
	if s.Pod != nil {
		vs.pod(s.Kind, s.Pod)
	}
	vs.nodeGroups(s.NodeGroups)
	if s.Kind == Splitter {
		vs.targets(s.APIs)
	}
	vs.networking(s.Name, s.Networking)
	if s.UpdateStrategy != nil && s.Kind.Scales() {
		vs.share(maxSurge, s.UpdateStrategy.MaxSurge)
		vs.share(maxUnavailable, s.UpdateStrategy.MaxUnavailable)
	}
	vs.across(s)
	return vs.list
}

func (vs *violations) kind(k Kind) bool {
	kinds := Kinds()
	if slices.Contains(kinds, k) {
		return true
	}
	if k == "" {
		vs.missing("kind", "kind", kindWords())
		return false
	}
	v := Violation{Path: "kind", Code: CodeInvalidString, Message: "is not a kind", Found: abbreviate(string(k)), Allowed: kindWords()}
	for _, known := range kinds {
		if strings.EqualFold(string(known), string(k)) {
			v.Hint = fmt.Sprintf("did you mean %q?", known)
		}
	}
	vs.add(v)
	return false
}

func kindWords() string {
	var words []string
	for _, k := range Kinds() {
		words = append(words, string(k))
	}
	return orList(words)
}

func (vs *violations) missing(path, field, allowed string) {
	vs.add(Violation{Path: path, Code: CodeMustBeDefined, Message: fmt.Sprintf("%q must be defined", field), Allowed: allowed})
}

func (vs *violations) name(name string) {
	if vs.label("name", name, MaxNameLength) && strings.HasPrefix(name, "b-") {
		vs.add(Violation{
			Path: "name", Code: CodeCannotHavePrefix, Message: `must not begin with "b-"`, Found: name,
			Hint: "names of job queues begin with it",
		})
	}
}

// label checks a DNS-1035 label and reports whether it is one.
func (vs *violations) label(path, text string, limit int) bool {
	switch {
	case text == "":
		vs.missing(path, "name", WordsOf(NamePattern))
	case len(text) > limit:
		vs.add(Violation{
			Path: path, Code: CodeTooLong, Found: abbreviate(text),
			Message: fmt.Sprintf("must be no longer than %d characters, and has %d", limit, len(text)),
		})
	case !nameShape.MatchString(text):
		v := Violation{Path: path, Code: CodeDNS1035, Message: "is not a name", Found: text, Allowed: WordsOf(NamePattern)}
		if better := asLabel(text); nameShape.MatchString(better) {
			v.Hint = fmt.Sprintf("did you mean %q?", better)
		}
		vs.add(v)
	default:
		return true
	}
	return false
}

// asLabel turns a near miss, such as My_API, into the label it stands for.
func asLabel(text string) string {
	return strings.Trim(strings.NewReplacer("_", "-", ".", "-", " ", "-").Replace(strings.ToLower(text)), "-")
}

// sections refuses the lack of sections that the kind must have.
func (vs *violations) sections(s *Spec) {
	if s.Pod == nil && Has(s.Kind, "pod") {
		vs.missing("pod", "pod", "a pod with at least one container")
	}
	if s.APIs == nil && Has(s.Kind, "apis") {
		vs.missing("apis", "apis", "a list of RealtimeAPIs with their weights")
	}
}

func (vs *violations) notForKind(path string, k Kind) {
	field := path[strings.LastIndexByte(path, '.')+1:]
	vs.add(Violation{
		Path: path, Code: CodeFieldNotForKind,
		Message: fmt.Sprintf("%q is not supported for %s", field, k),
		Hint:    "remove it",
	})
}

func (vs *violations) nodeGroups(groups []string) {
	if groups != nil && len(groups) == 0 {
		vs.empty("node_groups", "remove it to allow every node group")
	}
	for i, g := range groups {
		path := fmt.Sprintf("node_groups[%d]", i)
		if !nodeGroupShape.MatchString(g) {
			vs.add(Violation{
				Path: path, Code: CodeNodeGroupCharacters, Message: "is not the name of a node group", Found: abbreviate(g),
				Allowed: WordsOf(NodeGroupPattern),
			})
		}
	}
}

func (vs *violations) empty(path, hint string) {
	vs.add(Violation{Path: path, Code: CodeCannotBeEmpty, Message: "must not be empty", Hint: hint})
}

func (vs *violations) networking(name string, n *Networking) {
	const path = "networking.endpoint"
	if n != nil && n.Host != "" && (len(n.Host) > MaxHostLength || !hostShape.MatchString(n.Host)) {
		vs.add(Violation{Path: "networking.host", Code: CodeHost, Message: "is not a host name", Found: abbreviate(n.Host), Allowed: WordsOf(HostPattern)})
	}
	if n == nil || vs.has("name") && n.Endpoint == "/"+name {
		return // it follows from the name, which is what is wrong
	}
	switch e := n.Endpoint; {
	case e == "" || e == "/":
		vs.add(Violation{Path: path, Code: CodeEndpointEmpty, Message: "must name a path below /", Found: e, Hint: "such as /iris"})
	case len(e) > MaxEndpointLength:
		vs.add(Violation{
			Path: path, Code: CodeTooLong, Found: abbreviate(e),
			Message: fmt.Sprintf("must be no longer than %d characters, and has %d", MaxEndpointLength, len(e)),
		})
	case !endpointShape.MatchString(e):
		vs.add(Violation{Path: path, Code: CodeEndpoint, Message: "is not an endpoint", Found: abbreviate(e), Allowed: WordsOf(EndpointPattern)})
	case strings.Contains(e, "//"):
		vs.add(Violation{Path: path, Code: CodeEndpointSlashes, Message: "must not contain two slashes in a row", Found: e})
	case dotSegment.MatchString(e): // gateways refuse such a path, so nobody would reach it
		vs.add(Violation{Path: path, Code: CodeEndpoint, Message: "must not have a segment . or ..", Found: abbreviate(e)})
	}
}

const maxSurge, maxUnavailable = "update_strategy.max_surge", "update_strategy.max_unavailable"

func (vs *violations) share(path, text string) {
	if _, _, ok := parseShare(text); !ok {
		vs.add(Violation{
			Path: path, Code: CodeInvalidShare, Message: "is neither a percentage nor a number of replicas", Found: abbreviate(text),
			Allowed: WordsOf(SharePattern),
		})
	}
}

// abbreviate keeps what is shown of a value readable.
func abbreviate(text string) string {
	if len(text) <= 60 {
		return text
	}
	return strings.ToValidUTF8(text[:57], "") + "…"
}
