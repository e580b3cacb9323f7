package policy

import (
	"bytes"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cedar-policy/cedar-go"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

// entry is one policy of a file, and where it stands.
type entry struct {
	id           cedar.PolicyID
	policy       *cedar.Policy
	line, column int // 0 for the default policy
}

// snapshot is one file, read. It is not changed, except for what it remembers.
type snapshot struct {
	file     string // as it was named
	policies []entry
	cache    cache
	told     sync.Map // ids of policies whose errors are in the log
}

// All implements cedar.PolicyIterator.
func (s *snapshot) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, e := range s.policies {
			if !yield(e.id, e.policy) {
				return
			}
		}
	}
}

// evaluate asks every policy. One that cannot be evaluated does not apply.
func (s *snapshot) evaluate(q auth.Query, log *slog.Logger) auth.Decision {
	w := newQuestion(q)
	decision, diagnostic := cedar.Authorize(s, w, w.request())
	d := auth.Decision{Allowed: decision == cedar.Allow, Policies: make([]string, 0, len(diagnostic.Reasons))}
	for _, r := range diagnostic.Reasons {
		d.Policies = append(d.Policies, string(r.PolicyID))
	}
	slices.Sort(d.Policies)
	for _, e := range diagnostic.Errors {
		if _, told := s.told.LoadOrStore(e.PolicyID, true); !told {
			log.Warn("a policy does not apply where it cannot be evaluated", "policy", string(e.PolicyID), "error", e.Message)
		}
	}
	return d
}

// load reads a file whole: every problem of it, or what it says. The file without
// a name is the default policy.
func load(file string, data []byte) (*snapshot, error) {
	entries, problems := parse(file, data)
	if len(problems) == 0 {
		return &snapshot{file: file, policies: entries, cache: newCache()}, nil
	}
	for i := range problems {
		problems[i].File = file
	}
	slices.SortStableFunc(problems, func(a, b fault.Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	problems = slices.Compact(problems)
	if len(problems) > maxProblems {
		problems = problems[:maxProblems]
	}
	return nil, fault.OfProblems(problems)
}

func parse(file string, data []byte) ([]entry, []fault.Problem) {
	if len(data) > MaxBytes {
		return nil, []fault.Problem{{Code: codeTooLarge, Message: "a policy file has at most " + strconv.Itoa(MaxBytes) + " bytes"}}
	}
	if bytes.HasPrefix(data, []byte("\ufeff")) {
		return nil, []fault.Problem{{
			Line: 1, Column: 1, Code: codeSyntax, Message: "the file begins with a byte order mark", Hint: "save it as plain UTF-8",
		}}
	}
	all, problems := scan(data)
	if len(problems) > 0 {
		return nil, problems
	}
	policies, err := cedar.NewPolicyListFromBytes("", data)
	switch {
	case err != nil:
		return nil, []fault.Problem{syntaxProblem(err, all)}
	case len(policies) == 0:
		return nil, []fault.Problem{{
			Code: codeEmpty, Message: "there is no policy: nobody could do anything",
			Hint: "permit (principal, action, resource); permits everything to everybody of the account",
		}}
	case len(policies) != len(all): // a new Cedar splits files in another way
		return nil, []fault.Problem{{Line: 1, Column: 1, Code: codeSyntax, Message: "the file cannot be split into its policies"}}
	}
	var entries []entry
	named := ids{file: filepath.Base(file), ours: file == "", lines: map[cedar.PolicyID]int{}}
	for i, p := range policies {
		if len(problems) >= maxProblems {
			break
		}
		problems = append(problems, check(p, all[i])...)
		e := entry{policy: p, line: all[i][0].line, column: all[i][0].column}
		var taken *fault.Problem
		if e.id, taken = named.of(p, all[i]); taken != nil {
			problems = append(problems, *taken)
		}
		if file == "" {
			e.line, e.column = 0, 0
		}
		entries = append(entries, e)
	}
	return entries, problems
}

// idShape is what an id may be: it stands in the audit and in answers.
var idShape = auth.Pattern(`^[!-~](?:[ -~]*[!-~])?$`)

const maxID = 128

// ids gives policies their names.
type ids struct {
	file  string
	ours  bool // the default policy may have our id
	lines map[cedar.PolicyID]int
}

// of returns the id of a policy: of its annotation, or the file and the line.
func (n *ids) of(p *cedar.Policy, s statement) (cedar.PolicyID, *fault.Problem) {
	given, named := p.Annotations()["id"]
	id, at := cedar.PolicyID(given), s[0]
	if named {
		at = s.find(string(given))
	} else {
		id = cedar.PolicyID(n.file + ":" + strconv.Itoa(at.line))
	}
	line, taken := n.lines[id]
	n.lines[id] = at.line
	var problem fault.Problem
	switch {
	case named && (len(id) > maxID || !idShape().MatchString(string(id))):
		problem = problemAt(at, codeID, "the id %q is not 1 to 128 printable characters", string(given))
	case !n.ours && slices.Contains(ourIDs, string(id)):
		problem = problemAt(at, codeID, "the id %q is taken by Cortex itself", string(given))
		problem.Hint = "take another name; not " + strings.Join(ourIDs, ", ")
	case taken && line != at.line:
		problem = problemAt(at, codeID, "the id %q is that of the policy in line %d too", string(id), line)
	case taken && named:
		problem = problemAt(at, codeID, "the id %q is used twice in this line", string(id))
	case taken:
		problem = problemAt(at, codeID, "two policies begin in this line")
		problem.Hint = `begin each in a line of its own, or give it an @id("…")`
	default:
		return id, nil
	}
	return id, &problem
}
