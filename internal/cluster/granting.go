package cluster

import (
	_ "embed" // of the published policy
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// published is the minimum policy that the documentation of cortex 0.42 has, with variables
// for the cluster, its account and its region.
//
//go:embed minimum-policy.json
var published string

// MinimumPolicy is the published minimum policy of this cluster, as JSON.
func (n Names) MinimumPolicy() string {
	return strings.NewReplacer("$CORTEX_ACCOUNT_ID", n.account, "$CORTEX_REGION", n.region, "$CORTEX_CLUSTER_NAME", n.cluster).Replace(published)
}

// words are one word, or a list of them, as policies have both.
type words []string

func (w *words) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*w = words{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(w))
}

// granter is what of a statement says whether it allows something.
type granter struct {
	Action, Resource words
}

var variables = regexp.MustCompile(`\$CORTEX_[A-Z_]+`)

// publishedStatements are those of the published policy, for any cluster.
func publishedStatements() []granter {
	var p struct{ Statement []granter }
	if err := json.Unmarshal([]byte(variables.ReplaceAllString(published, "*")), &p); err != nil {
		panic(err) // it is part of this program
	}
	return p.Statement
}

// allows reports whether a statement allows an action; resource is what it is done to, or
// empty where that is not known.
func (g granter) allows(action, resource string) bool {
	fits := func(text string) func(string) bool {
		return func(pattern string) bool { return matches(pattern, text) }
	}
	return slices.ContainsFunc(g.Action, fits(action)) && (resource == "" || resource == "*" || slices.ContainsFunc(g.Resource, fits(resource)))
}

// matches reports whether a text fits a pattern of IAM, in which * is any text.
func matches(pattern, text string) bool {
	parts := strings.Split(strings.ToLower(pattern), "*")
	text = strings.ToLower(text)
	rest, begins := strings.CutPrefix(text, parts[0])
	if len(parts) == 1 || !begins {
		return begins && rest == ""
	}
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

// Granting names the statements that allow an action, such as iam:CreateRole, to whoever
// lacks it: by their numbers in the published minimum policy, by their names in ours.
// resource is the ARN that it is done to, or empty.
func Granting(action, resource string) string {
	var numbers, names []string
	for i, s := range publishedStatements() {
		if s.allows(action, resource) {
			numbers = append(numbers, strconv.Itoa(i+1))
		}
	}
	// Resources of ours are those of one cluster.
	for _, s := range NamesOf("x", "x", "x").CallerPolicy().Statement {
		if (granter{Action: s.Action}).allows(action, "") {
			names = append(names, s.Sid)
		}
	}
	if len(numbers) == 0 && len(names) == 0 {
		return ""
	}
	var says []string
	if len(numbers) > 0 {
		says = append(says, fmt.Sprintf("%s %s of the published minimum policy", plural(len(numbers), "statement"), either(numbers)))
	}
	if len(names) > 0 {
		says = append(says, fmt.Sprintf("%s %s of the one that `cortex cluster policy` prints", plural(len(names), "statement"), either(names)))
	}
	return strings.Join(says, ", or ")
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

func either(list []string) string { return strings.Join(list, " and ") }
