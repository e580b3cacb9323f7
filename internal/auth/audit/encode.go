package audit

import (
	"strconv"
	"time"
	"unicode/utf8"

	"cortex.dev/cortex/internal/auth"
)

// Bounds of one line, in bytes as they are written. A refusal before proof has
// shorter ones, because anybody can cause it. A line stays far below maxLine.
const (
	maxText         = 2 << 10
	maxUnprovenText = 256
	maxTexts        = 8 << 10 // of a list, all together
)

// cut ends a text that was too long.
const cut = "…"

// appendEntry appends e as one line. It writes what encoding/json would, but for
// the bounds and some characters that a terminal might obey, which it escapes.
func appendEntry(b []byte, e *auth.Entry) []byte {
	most := maxText
	if e.Principal == "" && e.Decision == auth.Deny {
		most = maxUnprovenText
	}
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","request_id":`...)
	b = appendText(b, e.RequestID, most)
	b = appendOptional(b, `,"principal":`, e.Principal, most)
	b = appendOptional(b, `,"session_name":`, e.Session, most)
	b = append(b, `,"action":`...)
	b = appendText(b, string(e.Action), most)
	b = append(b, `,"resource":`...)
	b = appendText(b, e.Resource, most)
	b = append(b, `,"decision":`...)
	b = appendText(b, e.Decision, most)
	b = appendTexts(b, `,"policies":[`, e.Policies, most)
	b = appendOptional(b, `,"reason":`, e.Reason, most)
	b = append(b, `,"source":`...)
	b = appendText(b, e.Source, most)
	b = appendOptional(b, `,"operation":`, e.Operation, most)
	b = appendOptional(b, `,"outcome":`, e.Outcome, most)
	b = appendOptional(b, `,"version":`, e.Version, most)
	b = appendOptional(b, `,"code":`, e.Code, most)
	b = appendTexts(b, `,"command":[`, e.Command, most)
	if e.Suppressed != 0 {
		b = append(b, `,"suppressed":`...)
		b = strconv.AppendInt(b, int64(e.Suppressed), 10)
	}
	return append(b, "}\n"...)
}

func appendOptional(b []byte, key, text string, most int) []byte {
	if text == "" {
		return b
	}
	return appendText(append(b, key...), text, most)
}

// appendTexts appends as many as fit; a last one says that there were more.
func appendTexts(b []byte, key string, texts []string, most int) []byte {
	if len(texts) == 0 {
		return b
	}
	b = append(b, key...)
	begin := len(b)
	for i, p := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		if len(b)-begin > maxTexts-most {
			b = appendText(b, cut, most)
			break
		}
		b = appendText(b, p, most)
	}
	return append(b, ']')
}

const hexDigits = "0123456789abcdef"

// appendText appends s as a JSON string of at most most bytes and its quotes.
// What is no UTF-8 becomes U+FFFD.
func appendText(b []byte, s string, most int) []byte {
	b = append(b, '"')
	begin, end := len(b), len(b) // end: up to where the mark of a cut still fits
	for i := 0; i < len(s); {
		c := s[i]
		size := 1
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ' && c < 0x7f:
			b = append(b, c)
		case c < utf8.RuneSelf:
			b = appendControl(b, c)
		default:
			var r rune
			r, size = utf8.DecodeRuneInString(s[i:])
			b = appendRune(b, r, size)
		}
		if len(b)-begin > most {
			return append(append(b[:end], cut...), '"')
		}
		if len(b)-begin <= most-len(cut) {
			end = len(b)
		}
		i += size
	}
	return append(b, '"')
}

func appendControl(b []byte, c byte) []byte {
	switch c {
	case '\b':
		return append(b, `\b`...)
	case '\f':
		return append(b, `\f`...)
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

func appendRune(b []byte, r rune, size int) []byte {
	switch {
	case r == utf8.RuneError && size == 1:
		return append(b, `\ufffd`...)
	case r < 0xa0: // the second set of control characters
		return append(b, '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&15])
	case r == '\u2028', r == '\u2029': // ends of lines to some
		return append(b, '\\', 'u', '2', '0', '2', hexDigits[r&15])
	}
	return utf8.AppendRune(b, r)
}
