package top

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// sequences are what terminals send for keys that are no characters.
var sequences = map[string]string{
	"\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down",
	"\x1b[5~": "page-up", "\x1b[6~": "page-down",
	"\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home", "\x1b[F": "end", "\x1bOF": "end", "\x1b[4~": "end",
	"\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\x03": "ctrl-c",
}

// maxSequence bounds what is taken for the beginning of a key.
const maxSequence = 16

// Keys splits what a terminal sends into keys: words for those above, characters as
// themselves. What may be the beginning of a key is left over; when nothing comes after
// it, over says that it is all there was: an escape is the key.
func Keys(input []byte, over bool) (keys []string, rest []byte) {
	for len(input) > 0 {
		key, n := nextKey(input)
		if n == 0 && !over && len(input) < maxSequence {
			return keys, bytes.Clone(input)
		}
		if n == 0 {
			key, n = "", 1
			if input[0] == '\x1b' {
				key, n = "esc", len(input)
			}
		}
		if key != "" {
			keys = append(keys, key)
		}
		input = input[n:]
	}
	return keys, nil
}

// nextKey is the first key of input and its length: 0 when there is only a part of it, and
// no key for what has no meaning here.
func nextKey(input []byte) (key string, n int) {
	if input[0] != '\x1b' {
		if key := sequences[string(input[:1])]; key != "" {
			return key, 1
		}
		r, n := utf8.DecodeRune(input)
		switch {
		case r == utf8.RuneError && !utf8.FullRune(input):
			return "", 0
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return "", n
		}
		return string(r), n
	}
	if len(input) == 1 {
		return "", 0
	}
	if input[1] != '[' && input[1] != 'O' { // an escape, and then something else
		return "esc", 1
	}
	for n = 2; n < len(input); n++ {
		if c := input[n]; c >= '@' && c <= '~' {
			return sequences[string(input[:n+1])], n + 1
		}
	}
	return "", 0
}
