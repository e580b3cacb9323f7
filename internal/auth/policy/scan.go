package policy

import (
	"bytes"
	"strconv"
	"text/scanner"

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
	maxProblems = 100   // that are reported
)

// token is one word or sign of a file. Columns count characters, from 1.
type token struct {
	text         string // with its quotes
	line, column int
}

// statement is the tokens of one policy, its semicolon included.
type statement []token

// find returns where a name stands, plain or in quotes; the beginning of the policy
// if it is written in another way, such as with escapes.
func (s statement) find(name string) token {
	for _, t := range s {
		if t.text == name || t.text == strconv.Quote(name) {
			return t
		}
	}
	return s[0]
}

// scan splits a file into its policies, and returns what is too much of it. Cedar's
// scanner is a copy of the one of the standard library, so that both agree on where
// texts and comments end; what neither can read Cedar refuses before it recurses.
func scan(data []byte) ([]statement, []fault.Problem) {
	var sc scanner.Scanner
	sc.Init(bytes.NewReader(data))
	sc.Mode = scanner.ScanIdents | scanner.ScanInts | scanner.ScanStrings | scanner.ScanComments | scanner.SkipComments
	sc.Error = func(*scanner.Scanner, string) {}
	var all []statement
	var problems []fault.Problem
	var s statement
	depth, deepest := 0, token{}
	end := func() {
		if len(s) > maxTokens {
			problems = append(problems, problemAt(s[0], codeTooLarge, "a policy has at most %d words and signs", maxTokens))
		}
		if deepest.line > 0 {
			problems = append(problems, problemAt(deepest, codeTooLarge, "brackets are nested at most %d deep", maxDepth))
		}
		all, s, depth, deepest = append(all, s), nil, 0, token{}
	}
	for r := sc.Scan(); r != scanner.EOF; r = sc.Scan() {
		t := token{sc.TokenText(), sc.Position.Line, sc.Position.Column}
		if len(all) == maxPolicies {
			return nil, []fault.Problem{problemAt(t, codeTooLarge, "a file has at most %d policies", maxPolicies)}
		}
		if r == ':' && sc.Peek() == ':' {
			continue // the two are one sign
		}
		s = append(s, t)
		switch r {
		case '(', '[', '{':
			if depth++; depth == maxDepth+1 && deepest.line == 0 {
				deepest = t
			}
		case ')', ']', '}':
			depth = max(0, depth-1)
		case ';': // nothing but the end of a policy has one
			end()
		}
	}
	if len(s) > 0 {
		end()
	}
	return all, problems
}
