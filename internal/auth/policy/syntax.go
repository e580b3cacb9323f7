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
	codeUnreadable  = "policy.unreadable"
	codeSyntax      = "policy.syntax"
	codeTooLarge    = "policy.too_large"
	codeEmpty       = "policy.empty"
	codeID          = "policy.id"
	codeAction      = "policy.unknown_action"
	codeEntity      = "policy.unknown_entity_type"
	codeAttribute   = "policy.unknown_attribute"
	codeMissing     = "policy.attribute_may_be_missing"
	codeContext     = "policy.no_context"
	codeType        = "policy.type"
	codeNeverMatch  = "policy.never_matches"
	endOfTheFile    = "the end of the file"
	exampleEntity   = `Cortex::Action::"get"`
	policyBeginning = "permit (principal, action, resource)"
)

func problemAt(t token, code, format string, args ...any) fault.Problem {
	return fault.Problem{Line: t.line, Column: t.column, Code: code, Message: fmt.Sprintf(format, args...)}
}

// What Cedar says of text that is no policy: the token at which its parser stands,
// which for most of its words is the one behind the mistake.
var (
	parseError = auth.Pattern(`(?s)^parse error at <input>:(\d+):(\d+) "(?:[^"\\]|\\.)*": (.*)$`)
	scanError  = auth.Pattern(`(?s)^<input>:(\d+):(\d+): (.*)$`)
	outOfRange = auth.Pattern(`^strconv\.ParseInt: parsing "(-?\d+)": value out of range$`)
	wantToken  = auth.Pattern(`(?s)^exact got (.*) want (\S+)$`)
)

// syntax tells an error of the parser of Cedar about one statement.
func syntax(err error, s statement) fault.Problem {
	text := strings.TrimPrefix(err.Error(), "parser error: ")
	if m := scanError().FindStringSubmatch(text); m != nil {
		return problemAt(s.at(m[1], m[2]), codeSyntax, "%s", m[3])
	}
	if m := outOfRange().FindStringSubmatch(text); m != nil {
		return problemAt(s.find(number, strings.TrimPrefix(m[1], "-")), codeSyntax, "%s is more than Cedar counts to", m[1])
	}
	m := parseError().FindStringSubmatch(text)
	if m == nil {
		return problemAt(s[0], codeSyntax, "%s", text)
	}
	i, what := s.index(m[1], m[2]), m[3]
	if want := wantToken().FindStringSubmatch(what); want != nil {
		if want[1] != "" || i < len(s) {
			i--
		}
		if hint := hintFor(s, i, want[2]); want[2] == "::" && hint != "" {
			p := problemAt(s.token(i-1), codeSyntax, "%s is no name of Cedar", s.token(i-1).text)
			p.Hint = hint
			return p
		}
		return s.expected(i, strconv.Quote(want[2]), hintFor(s, i, want[2]))
	}
	switch {
	case strings.HasPrefix(what, "unexpected effect"):
		p := s.expected(i-1, "permit or forbid", "")
		if i > 0 && i <= len(s) {
			p.Hint = didYouMean(s[i-1].text, "permit", "forbid")
			if s[i-1].is(byteOrderMark) {
				p.Hint = "the file begins with a byte order mark; save it as plain UTF-8"
			}
		}
		return p
	case strings.HasPrefix(what, "got ") && strings.HasSuffix(what, " want ,"):
		return s.expected(i, `","`, "")
	case what == "expected ident":
		return s.expected(i-1, "a name such as "+exampleEntity, hintFor(s, i-1, "ident"))
	case what == "invalid primary":
		return s.expected(i-1, "a value, a name such as "+exampleEntity+", principal, action or resource", "")
	case strings.HasPrefix(what, "expected "):
		return s.expected(i-1, "a "+strings.ReplaceAll(strings.TrimPrefix(what, "expected "), "ident", "name"), "")
	case what == "unexpected token":
		return s.expected(i-1, "a name or a text in quotes", "")
	}
	return problemAt(s.token(i-1), codeSyntax, "%s", strings.ReplaceAll(what, "`", `"`))
}

// expected says what should stand at token i.
func (s statement) expected(i int, what, hint string) fault.Problem {
	found := endOfTheFile
	if i < len(s) {
		found = s.token(i).text
		if s.token(i).kind != quoted {
			found = strconv.Quote(found)
		}
	}
	p := problemAt(s.token(i), codeSyntax, "expected %s, found %s", what, found)
	p.Hint = hint
	return p
}

// hintFor knows the mistakes that everybody makes once.
func hintFor(s statement, i int, want string) string {
	before := s.token(i - 1)
	switch {
	case want == "::" && before.kind == word:
		return fmt.Sprintf(`names are written as Cortex::Action::"%s"`, before.text)
	case want == "ident" && i < len(s) && s[i].kind == quoted:
		return fmt.Sprintf(`names are written as Cortex::Action::"%s"`, s[i].value())
	case want == "ident" && i < len(s) && s[i].is("["):
		return "only actions are listed here; compare with several in a condition: when { principal in […] }"
	case want == ";":
		return `a policy ends with ";"`
	case want == "(" || want == "principal" || want == "action" || want == "resource":
		return "a policy begins with " + policyBeginning
	}
	return ""
}

// token returns token i; behind the end, where the next would be.
func (s statement) token(i int) token {
	if i < len(s) {
		return s[max(0, i)]
	}
	last := s[len(s)-1]
	last.column += len([]rune(last.text))
	last.text, last.kind = "", unknown
	return last
}

// index finds the token at a position within the text of the statement.
func (s statement) index(line, column string) int {
	l, _ := strconv.Atoi(line)
	c, _ := strconv.Atoi(column)
	if l == 1 {
		c += s[0].column - 1
	}
	l += s[0].line - 1
	for i, t := range s {
		if t.line == l && t.column >= c || t.line > l {
			return i
		}
	}
	return len(s)
}

func (s statement) at(line, column string) token { return s.token(s.index(line, column)) }

// annotation returns where the value of an annotation stands.
func (s statement) annotation(name string) token {
	for i := 1; i+2 < len(s); i++ {
		if s[i-1].is("@") && s[i].is(name) {
			if s[i+1].is("(") {
				return s[i+2]
			}
			return s[i]
		}
	}
	return s[0]
}

// entity returns where an entity, or with an empty id a type, is named.
func (s statement) entity(typ, id string) token {
	for i := range s {
		if path, end := s.path(i); path == typ {
			if id == "" || end+1 < len(s) && s[end].is("::") && s[end+1].kind == quoted && s[end+1].value() == id {
				return s[i]
			}
		}
	}
	return s[0]
}

// path returns the type that is written from token i on, and the token behind it.
func (s statement) path(i int) (string, int) {
	if s[i].kind != word || i > 0 && s[i-1].is("::") {
		return "", i
	}
	text := s[i].text
	i++
	for i+1 < len(s) && s[i].is("::") && s[i+1].kind == word {
		text += "::" + s[i+1].text
		i += 2
	}
	return text, i
}

// attribute returns where an attribute is asked for: .name, ["name"] or has name.
func (s statement) attribute(name string) (token, bool) {
	for i := 1; i < len(s); i++ {
		before := s[i-1]
		plain := s[i].kind == word && s[i].text == name && (before.is(".") || before.is("has"))
		text := s[i].kind == quoted && s[i].value() == name && (before.is("[") || before.is("has"))
		if plain || text {
			return s[i], true
		}
	}
	return token{}, false
}

// literal returns where a text in quotes stands.
func (s statement) literal(value string) token { return s.find(quoted, value) }

func (s statement) find(kind tokenKind, value string) token {
	for _, t := range s {
		if t.kind == kind && t.value() == value {
			return t
		}
	}
	return s[0]
}

// conditions returns the part of each when and unless; the first part is the rest.
func (s statement) conditions() []statement {
	var parts []statement
	from, depth := 0, 0
	for i, t := range s {
		switch {
		case t.is("("), t.is("["), t.is("{"):
			depth++
		case t.is(")"), t.is("]"), t.is("}"):
			depth--
		case depth == 0 && (t.is("when") || t.is("unless")):
			parts = append(parts, s[from:i])
			from = i
		}
	}
	return append(parts, s[from:])
}
