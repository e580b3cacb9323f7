package relay

import "bytes"

// splitTarget brings the target into origin form (RFC 9112, 3.2).
func (h *head) splitTarget() *refusal {
	t := h.target
	if bytes.IndexByte(t, '%') >= 0 && !validEscapes(t) {
		return errTarget
	}
	if t[0] == '/' {
		return nil
	}
	if len(t) == 1 && t[0] == '*' {
		if string(h.method) != "OPTIONS" {
			return errTarget
		}
		return nil
	}
	const scheme = "http://"
	if len(t) <= len(scheme) || !equalFold(t[:len(scheme)], scheme) {
		return errTarget
	}
	t = t[len(scheme):]
	end := 0
	for end < len(t) && t[end] != '/' && t[end] != '?' {
		end++
	}
	if !validAuthority(t[:end]) {
		return errTarget
	}
	h.host, h.hasHost = t[:end], true // it outranks the field
	h.target = t[end:]
	if len(h.target) == 0 {
		h.target = []byte("/")
	} else if h.target[0] == '?' { // rare: the one target that has to be built
		h.target = append([]byte("/"), h.target...)
	}
	return nil
}

// validEscapes reports whether every percent sign of the path begins an escape.
func validEscapes(t []byte) bool {
	for i := 0; i < len(t) && t[i] != '?'; i++ {
		if t[i] == '%' && (i+2 >= len(t) || unhex(t[i+1]) > 15 || unhex(t[i+2]) > 15) {
			return false
		}
	}
	return true
}

// unhex is the value of a hexadecimal digit, 255 for anything else.
func unhex(c byte) byte {
	switch {
	case isDigit(c):
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
