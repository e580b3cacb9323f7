package manifest

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// errorsInQuotes are what the library says of a text in quotes. It tells the line in which
// that begins, unless it is the first one: then that in which it noticed.
var errorsInQuotes = []string{
	"found unexpected end of stream", "found unexpected document indicator", "found unknown escape character",
	"did not find expected hexdecimal number", "found invalid Unicode character escape code",
}

func inQuotes(message string) bool { return slices.Contains(errorsInQuotes, message) }

// openQuote returns where the quote opens that an error is about; the column is 0 where that
// cannot be told.
func openQuote(data []byte, told int, message string) (line, column int) {
	if len(data) < 512<<10 {
		// With an empty line before it no text begins in the first line.
		if _, err := nextDocument(yaml.NewDecoder(bytes.NewReader(append([]byte("\n"), data...)))); err != nil {
			if again, text := cutLine(strings.TrimPrefix(err.Error(), "yaml: ")); text == message {
				told = again - 1
			}
		}
	}
	text := lineOf(data, told)
	at := -1
	for _, q := range quotesIn(text) {
		at = q.open
		if q.wrong {
			break // the others are in order
		}
	}
	if at < 0 {
		return told, 0
	}
	return told, 1 + utf8.RuneCountInString(text[:at])
}

// quotedText is a text in quotes that begins in a line.
type quotedText struct {
	open  int
	wrong bool // it has an escape that there is not
}

// quotesIn finds those of a line. A quote opens one where a value can begin.
func quotesIn(line string) (all []quotedText) {
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return all
		case (c == '"' || c == '\'') && (i == 0 || strings.IndexByte(" \t[{,:", line[i-1]) >= 0):
			q := quotedText{open: i}
			for i++; i < len(line) && line[i] != c; i++ {
				if c == '"' && line[i] == '\\' && i+1 < len(line) {
					i++
					q.wrong = q.wrong || !escapes(line[i:])
				}
			}
			all = append(all, q)
		}
	}
	return all
}

// escapes reports whether what follows a backslash is one of the escapes that there are.
func escapes(text string) bool {
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[text[0]]
	if digits == 0 {
		return strings.IndexByte("0abt\tnvfre \"'/\\N_LP\n", text[0]) >= 0
	}
	if len(text) <= digits {
		return false
	}
	value := 0
	for _, c := range text[1 : 1+digits] {
		d := strings.IndexRune("0123456789abcdef", c|0x20)
		if d < 0 || c < '0' {
			return false
		}
		value = value<<4 | d
	}
	return value <= utf8.MaxRune && utf8.ValidRune(rune(value))
}
