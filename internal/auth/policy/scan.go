package policy

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"cortex.dev/cortex/internal/fault"
)

// MaxBytes is the size that a policy file may have.
const MaxBytes = 1 << 20

// More bounds of a policy file. The parser and the validator of Cedar recurse: what
// is nested deeper or longer than any person would write is refused before they see
// it. (With each bracket the errors that the validator collects can double.)
const (
	maxPolicies = 10_000
	maxTokens   = 8_192 // of one policy: some 1300 principals in a list
	maxDepth    = 12    // of brackets
	maxProblems = 100   // that are told
)

const (
	byteOrderMark  = "\ufeff"
	endOfStatement = ";"
)

// token is one word of a file. Columns count characters, from 1.
type token struct {
	kind                 tokenKind
	text                 string
	offset, line, column int
}

type tokenKind byte

const (
	word     tokenKind = 'w'
	number   tokenKind = 'n'
	quoted   tokenKind = 'q' // text has its quotes
	operator tokenKind = 'o'
	unknown  tokenKind = '?'
)

func (t token) is(text string) bool { return t.text == text && t.kind != quoted }

// value is what stands between the quotes. Escapes stay as they are: it is used to
// find a name again, never to decide.
func (t token) value() string { return strings.Trim(t.text, `"`) }

// cursor walks over a file.
type cursor struct {
	data                 []byte
	offset, line, column int
}

func (c *cursor) rest() []byte { return c.data[c.offset:] }

// skip goes n bytes further.
func (c *cursor) skip(n int) {
	for end := min(c.offset+n, len(c.data)); c.offset < end; {
		if c.data[c.offset] == '\n' {
			c.line, c.column, c.offset = c.line+1, 1, c.offset+1
			continue
		}
		_, size := utf8.DecodeRune(c.rest())
		c.column, c.offset = c.column+1, c.offset+size
	}
}

// scan splits a file into tokens as Cedar does, so that problems have a position
// and bounds can be checked. It stops at what cannot be read at all.
func scan(data []byte) ([]token, *fault.Problem) {
	c := &cursor{data: data, line: 1, column: 1}
	var all []token
	for {
		if p := c.space(); p != nil {
			return all, p
		}
		if c.offset >= len(data) {
			return all, nil
		}
		t := token{offset: c.offset, line: c.line, column: c.column}
		n, p := c.measure(&t)
		if p != nil {
			return all, p
		}
		t.text = string(c.rest()[:n])
		c.skip(n)
		all = append(all, t)
	}
}

// space skips blanks and comments.
func (c *cursor) space() *fault.Problem {
	for c.offset < len(c.data) {
		rest := c.rest()
		switch {
		case strings.IndexByte(" \t\r\n", rest[0]) >= 0:
			c.skip(1)
		case bytes.HasPrefix(rest, []byte("//")):
			n := bytes.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			c.skip(n)
		case bytes.HasPrefix(rest, []byte("/*")):
			n := bytes.Index(rest[2:], []byte("*/"))
			if n < 0 {
				return c.problem("the comment does not end")
			}
			c.skip(n + 4)
		default:
			return nil
		}
	}
	return nil
}

func (c *cursor) problem(message string) *fault.Problem {
	return &fault.Problem{Line: c.line, Column: c.column, Code: codeSyntax, Message: message}
}

// measure says of what kind the next token is, and how long.
func (c *cursor) measure(t *token) (int, *fault.Problem) {
	rest := c.rest()
	switch b := rest[0]; {
	case isLetter(b):
		t.kind = word
		return span(rest, func(b byte) bool { return isLetter(b) || isDigit(b) }), nil
	case isDigit(b):
		t.kind = number
		return span(rest, isDigit), nil
	case b == '"':
		t.kind = quoted
		for i := 1; i < len(rest) && rest[i] != '\n'; i++ {
			switch rest[i] {
			case '\\':
				i++
			case '"':
				return i + 1, nil
			}
		}
		return 0, c.problem("the text in quotes does not end on its line")
	}
	for _, op := range []string{"::", "==", "!=", "<=", ">=", "&&", "||"} {
		if bytes.HasPrefix(rest, []byte(op)) {
			t.kind = operator
			return 2, nil
		}
	}
	t.kind = unknown
	if strings.IndexByte("@.,;(){}[]+-*:!<>", rest[0]) >= 0 {
		t.kind = operator
	}
	r, size := utf8.DecodeRune(rest)
	if r == utf8.RuneError && size == 1 {
		return 0, c.problem("the file is not text in UTF-8")
	}
	return size, nil
}

func isLetter(b byte) bool { return b == '_' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' }
func isDigit(b byte) bool  { return '0' <= b && b <= '9' }

func span(s []byte, ok func(byte) bool) int {
	n := 0
	for n < len(s) && ok(s[n]) {
		n++
	}
	return n
}

// statement is the tokens of one policy, its semicolon included.
type statement []token

// statements splits tokens at semicolons: nothing but the end of a policy has one.
func statements(tokens []token) []statement {
	var all []statement
	from := 0
	for i, t := range tokens {
		if t.is(endOfStatement) {
			all = append(all, tokens[from:i+1])
			from = i + 1
		}
	}
	if from < len(tokens) {
		all = append(all, tokens[from:])
	}
	return all
}

// bounds returns what is too much of a file.
func bounds(all []statement) []fault.Problem {
	tooLarge := func(t token, format string, args ...any) fault.Problem {
		return problemAt(t, codeTooLarge, format, args...)
	}
	if len(all) > maxPolicies {
		return []fault.Problem{tooLarge(all[maxPolicies][0], "a file has at most %d policies", maxPolicies)}
	}
	var found []fault.Problem
	for _, s := range all {
		if len(s) > maxTokens {
			found = append(found, tooLarge(s[0], "a policy has at most %d words and signs", maxTokens))
		}
		depth := 0
		for _, t := range s {
			switch {
			case t.is("("), t.is("["), t.is("{"):
				depth++
			case t.is(")"), t.is("]"), t.is("}"):
				depth = max(0, depth-1)
			}
			if depth > maxDepth {
				found = append(found, tooLarge(t, "brackets are nested at most %d deep", maxDepth))
				break
			}
		}
	}
	return found
}
