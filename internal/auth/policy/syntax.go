package policy

import (
	"fmt"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

// The codes of what is wrong with a policy file.
const (
	codeUnreadable = "policy.unreadable"
	codeSyntax     = "policy.syntax"
	codeTooLarge   = "policy.too_large"
	codeEmpty      = "policy.empty"
	codeID         = "policy.id"
	codeAction     = "policy.unknown_action"
	codeEntity     = "policy.unknown_entity_type"
	codeAttribute  = "policy.unknown_attribute"
	codeContext    = "policy.no_context"
	codeType       = "policy.type"
	codeNeverMatch = "policy.never_matches"
)

func problemAt(t token, code, format string, args ...any) fault.Problem {
	return fault.Problem{Line: t.line, Column: t.column, Code: code, Message: fmt.Sprintf(format, args...)}
}

// cedarError is how Cedar's errors begin: with a place in a text without a name, and
// for those of the parser with the token there.
var cedarError = auth.Pattern(`(?s)^(parse error at )?<input>:(\d+):(\d+):? (?:"(?:[^"\\]|\\.)*": )?(.*)$`)

// syntaxProblem is an error of Cedar's scanner or parser in its own words. The parser
// has read the token that it does not take, and names the one after it.
func syntaxProblem(err error, all []statement) fault.Problem {
	text := strings.TrimPrefix(err.Error(), "parser error: ")
	at := token{line: 1, column: 1}
	if m := cedarError().FindStringSubmatch(text); m != nil {
		line, _ := strconv.Atoi(m[2])
		column, _ := strconv.Atoi(m[3])
		at = token{line: max(1, line), column: max(1, column)} // it has 0:0 for a bad first byte
		if text = m[4]; m[1] != "" {
			at = before(at, all)
		}
	}
	p := problemAt(at, codeSyntax, "Cedar cannot read it: %s", text)
	p.Hint = `a policy looks like permit (principal, action == Cortex::Action::"get", resource);`
	return p
}

// before returns the token before a place.
func before(at token, all []statement) token {
	last := at
	for _, s := range all {
		for _, t := range s {
			if t.line > at.line || t.line == at.line && t.column >= at.column {
				return last
			}
			last = t
		}
	}
	return last
}
