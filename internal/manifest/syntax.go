package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

const (
	codeInvalidYAML = "configreader.invalid_yaml"
	codeTooMany     = "configreader.too_many_apis"
	// maxMarks bounds the characters that can begin a value, and with them the
	// values the YAML library allocates: each takes about 200 bytes, in a text
	// that may need only two. A file of a thousand APIs has about 70,000.
	maxMarks = 500_000
)

// marksOfYAML are the characters that can begin a value.
var marksOfYAML = [256]int{'\n': 1, ',': 1, ':': 1, '-': 1, '?': 1, '[': 1, '{': 1}

// layout is what a file of one sort looks like, for hints.
type layout struct {
	name    string // what such a file is usually called
	depth   string // how deep it nests
	oneOnly string // what to do about a second document
}

var cortexYAML = layout{"cortex.yaml", "six levels", "put all APIs into one list, without a line of three dashes between them"}

// parseYAML returns the one document of data, or nil when it is empty.
func parseYAML(file string, data []byte, like layout) (*yaml.Node, error) {
	data, err := checkText(file, data, like)
	if err != nil {
		return nil, err
	}
	if doc := parseJSON(data); doc != nil {
		return doc, nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	doc, err := nextDocument(dec)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, syntaxFault(file, data, err, like)
	}
	second, err := nextDocument(dec)
	switch {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, syntaxFault(file, data, err, like)
	default:
		return nil, malformed(problemAt(file, second.Line, second.Column, workload.CodeMalformed,
			"the file holds more than one YAML document"), like.oneOnly)
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		return doc.Content[0], nil
	}
	return doc, nil
}

// nextDocument decodes one document. A panic of the library becomes an error: the
// text is not ours, and one file must not end the process that serves all others.
func nextDocument(dec *yaml.Decoder) (doc *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: the text cannot be read: %v", r)
		}
	}()
	doc = new(yaml.Node)
	return doc, dec.Decode(doc)
}

// checkText refuses what is not worth parsing, in the order of cost, and returns
// the text without its byte order mark.
func checkText(file string, data []byte, like layout) ([]byte, error) {
	if len(data) > workload.MaxConfigBytes {
		return nil, tooLarge(file, int64(len(data)))
	}
	for _, mark := range []string{"\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(data, []byte(mark)) {
			return nil, malformed(problemAt(file, 1, 1, codeInvalidYAML, "the file is not UTF-8 but UTF-16"), "save it as UTF-8")
		}
	}
	data = knownVersion(bytes.TrimPrefix(data, []byte("\ufeff")))
	marks := 0
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch {
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRune(data[i:])
			if r == utf8.RuneError && size == 1 {
				return nil, badCharacter(file, data, i, like, "the file is not UTF-8: it holds the byte 0x%02x", c)
			}
			i += size - 1
		case c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f:
			return nil, badCharacter(file, data, i, like, "the file holds the control character 0x%02x", c)
		default:
			marks += marksOfYAML[c]
		}
	}
	if marks > maxMarks {
		return nil, malformed(problemAt(file, 0, 0, codeInvalidYAML, "the file holds more than %d values", maxMarks), "split it")
	}
	return data, nil
}

// version finds the directive with which a text says that it is YAML 1.2.
var version = regexp.MustCompile(`\A(?:[ \t]*(?:#[^\n]*)?\r?\n)*%YAML[ \t]+1\.2`)

// knownVersion lets a text pass that says so: the library reads the parts of it that we
// have, and knows the directive of 1.1 only. Lines and columns stay as they are.
func knownVersion(data []byte) []byte {
	at := version.FindIndex(data)
	if at == nil {
		return data
	}
	data = bytes.Clone(data)
	data[at[1]-1] = '1'
	return data
}

func badCharacter(file string, data []byte, at int, like layout, format string, args ...any) error {
	line := 1 + bytes.Count(data[:at], []byte("\n"))
	column := 1 + utf8.RuneCount(data[bytes.LastIndexByte(data[:at], '\n')+1:at])
	return malformed(problemAt(file, line, column, codeInvalidYAML, format, args...), "is this a "+like.name+"?")
}

func tooLarge(file string, size int64) error {
	p := problemAt(file, 0, 0, codeInvalidYAML, "the file is too large")
	p.Found, p.Allowed = fmt.Sprintf("%d bytes", size), fmt.Sprintf("at most %d bytes", workload.MaxConfigBytes)
	return malformed(p, "")
}

func problemAt(file string, line, column int, code, format string, args ...any) fault.Problem {
	return fault.Problem{File: file, Line: line, Column: column, Code: code, Message: fmt.Sprintf(format, args...)}
}

// malformed is the fault of a file that cannot be read as what it should be.
func malformed(p fault.Problem, hint string) error {
	p.Hint = hint
	return &fault.Fault{Kind: fault.Malformed, Code: p.Code, Message: p.String(), Problems: []fault.Problem{p}}
}

// syntaxFault turns an error of the library into a problem with a position.
func syntaxFault(file string, data []byte, err error, like layout) error {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line, message := cutLine(message)
	column := 0
	if inQuotes(message) {
		line, column = openQuote(data, line, message)
	} else {
		line = syntaxLine(data, line, message)
	}
	text := lineOf(data, line)
	if column == 0 {
		column = 1 + len(text) - len(strings.TrimLeft(text, " "))
	}
	p := problemAt(file, line, column, codeInvalidYAML, "the file is not valid YAML: %s", message)
	if trimmed := strings.TrimSpace(text); trimmed != "" {
		p.Found = quote(trimmed)
	}
	return malformed(p, syntaxHint(message, text, like))
}

var yamlLine = regexp.MustCompile(`^line ([0-9]+): `)

// cutLine splits "line 3: …".
func cutLine(message string) (line int, rest string) {
	m := yamlLine.FindStringSubmatch(message)
	if m == nil {
		return 1, message
	}
	line, _ = strconv.Atoi(m[1])
	return line, message[len(m[0]):]
}

// syntaxLine returns the line that an error of the library is about. The library
// tells where the construct began that it was reading, and for some errors one
// line less.
func syntaxLine(data []byte, told int, message string) int {
	if anchor, ok := strings.CutPrefix(message, "unknown anchor '"); ok {
		anchor, _, _ = strings.Cut(anchor, "'")
		line := 0
		for text := range bytes.Lines(data) {
			line++
			if bytes.Contains(text, []byte("*"+anchor)) && !bytes.HasPrefix(bytes.TrimSpace(text), []byte("#")) {
				return line
			}
		}
		return told
	}
	if strings.Contains(message, "expected ',' or") {
		return told + 1 // where the bracket opens
	}
	if first := firstBadLine(data, message); first > 0 {
		return first
	}
	return told
}

// firstBadLine returns the line without which the text before it is valid, or 0
// where that cannot be told: within brackets and quotes the text before is not
// valid either, and a long text costs too much.
func firstBadLine(data []byte, message string) int {
	const limit = 512 << 10
	if len(data) > limit {
		return 0
	}
	ends := []int{0}
	for i, c := range data {
		if c == '\n' {
			ends = append(ends, i+1)
		}
	}
	ends = append(ends, len(data))
	failure := func(lines int) string {
		if _, err := nextDocument(yaml.NewDecoder(bytes.NewReader(data[:ends[lines]]))); err != nil && !errors.Is(err, io.EOF) {
			_, text := cutLine(strings.TrimPrefix(err.Error(), "yaml: "))
			return text
		}
		return ""
	}
	good, bad := 0, len(ends)-1
	for good+1 < bad {
		if middle := (good + bad) / 2; failure(middle) == "" {
			good = middle
		} else {
			bad = middle
		}
	}
	if failure(good) == "" && failure(bad) == message {
		return bad
	}
	return 0
}

// lineOf returns one line of a text, counted from 1, or "".
func lineOf(data []byte, line int) string {
	for ; line > 1; line-- {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return ""
		}
		data = data[i+1:]
	}
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		data = data[:i]
	}
	return strings.TrimRight(string(data[:min(len(data), 4096)]), "\r")
}

func syntaxHint(message, line string, like layout) string {
	trimmed := strings.TrimLeft(line, " ")
	switch {
	case strings.Contains(message, "incompatible YAML document"):
		return "remove the line that begins with %YAML"
	case strings.Contains(message, "max depth"):
		return "a " + like.name + " nests " + like.depth + " deep"
	case strings.HasPrefix(trimmed, "\t") || strings.Contains(message, "tab"):
		return "indent with spaces, not with tabs"
	case strings.Contains(message, "cannot start any token"):
		return "put the value in quotes"
	case strings.Contains(message, "mapping values are not allowed"):
		return "put a value that contains a colon in quotes, and check the indentation"
	case strings.Contains(message, "did not find expected key"), strings.Contains(message, "did not find expected '-' indicator"):
		return "check the indentation of this line and the one before it"
	case strings.Contains(message, "expected ',' or"):
		return "a bracket that opens here is not closed, or a comma is missing"
	case strings.Contains(message, "escape") || strings.Contains(message, "hexdecimal"):
		return "write a backslash twice, or put the text in single quotes"
	case strings.Contains(message, "end of stream"), strings.Contains(message, "document indicator"):
		return "is a quote not closed?"
	case strings.Contains(message, "unknown anchor"):
		return "an alias (*name) needs an anchor (&name) before it"
	}
	return ""
}
