package h2

import (
	"strconv"

	"golang.org/x/net/http2/hpack"
)

// kind is what a head is of.
type kind uint8

const (
	request kind = iota
	response
	trailer
)

const tableSize = 4 << 10 // of HPACK, in both directions

// decoding is a head on its way to the text that HTTP/1.1 has for it. What RFC 9113 alone
// says is looked at here; the rest is for whoever reads the text.
type decoding struct {
	kind                            kind
	text                            []byte
	cookies                         []byte
	size                            int
	large                           bool // it is cut off
	bad                             bool
	begun                           bool // the first line is written
	method, scheme, path, authority string
	host                            bool
	status                          int
	length                          int64 // Content-Length; -1: none
}

// decode leaves a head in c.d. The error is for the whole connection.
func (c *Conn) decode(k kind, block []byte) error {
	if cap(c.d.text) > 2*smallBuffer {
		c.d.text, c.d.cookies = nil, nil
	}
	c.d = decoding{kind: k, text: c.d.text[:0], cookies: c.d.cookies[:0], length: -1}
	c.dec.SetEmitEnabled(true)
	_, err := c.dec.Write(block)
	if err == nil {
		err = c.dec.Close()
	}
	if err != nil {
		return wrong(Compression, "a head cannot be decoded")
	}
	c.d.end()
	return nil
}

// field takes one field.
func (c *Conn) field(f hpack.HeaderField) {
	d := &c.d
	// As the text counts it, so that a field that is named by one byte counts whole.
	if d.size += len(f.Name) + len(f.Value) + 4; d.size > c.cfg.Header {
		d.large = true
		c.dec.SetEmitEnabled(false)
	}
	if d.bad || d.large {
		return
	}
	if len(f.Name) > 0 && f.Name[0] == ':' {
		d.pseudo(f.Name, f.Value)
		return
	}
	d.begin()
	d.regular(f.Name, f.Value)
}

func (d *decoding) pseudo(name, value string) {
	to := (*string)(nil)
	if d.kind == request {
		switch name {
		case ":method":
			to = &d.method
		case ":scheme":
			to = &d.scheme
		case ":path":
			to = &d.path
		case ":authority":
			to, d.host = &d.authority, true
		}
	} else if d.kind == response && name == ":status" && d.status == 0 && len(value) == 3 {
		if n, err := strconv.Atoi(value); err == nil && n >= 100 {
			d.status = n
			return
		}
	}
	if to == nil || *to != "" || value == "" || d.begun { // not known, twice, nothing, or after the others
		d.bad = true
		return
	}
	*to = value
}

// begin writes the first line before the first field. A method or a target that HTTP/1.1
// could not say is left out, so that whoever reads the line refuses it.
func (d *decoding) begin() {
	if d.begun || d.kind == trailer {
		return
	}
	d.begun = true
	if d.kind == response {
		d.bad = d.bad || d.status == 0
		d.text = append(append(strconv.AppendInt(append(d.text, "HTTP/1.1 "...), int64(d.status), 10), ' '), "\r\n"...)
		return
	}
	target := d.path
	switch {
	case d.method == "CONNECT":
		target = d.authority
	case d.method == "" || d.scheme == "" || d.path == "" || !isGraphic(d.authority):
		d.bad = true
	case !isGraphic(d.path) || d.path[0] != '/' && d.path != "*":
		target = ""
	}
	if isGraphic(d.method) && isGraphic(target) {
		d.text = append(append(append(d.text, d.method...), ' '), target...)
	}
	d.text = append(d.text, " HTTP/1.1\r\n"...)
	if d.host && isGraphic(d.authority) {
		d.text = append(append(append(d.text, "host: "...), d.authority...), "\r\n"...)
	}
}

func (d *decoding) regular(name, value string) {
	if !isName(name) || !isValue(value) {
		d.bad = true
		return
	}
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		d.bad = true
		return
	case "te":
		d.bad = d.bad || value != "trailers"
	case "host":
		if d.kind == request && d.host {
			d.bad = d.bad || value != d.authority
			return // it stands there already
		}
		d.host, d.authority = true, value
	case "content-length":
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || d.length >= 0 && d.length != int64(n) { //nolint:gosec // of 63 bits
			d.bad = true
			return
		}
		d.length = int64(n) //nolint:gosec // likewise
	case "cookie": // HTTP/1.1 has one field of them (RFC 9113, section 8.2.3)
		if d.kind == request {
			if len(d.cookies) > 0 {
				d.cookies = append(d.cookies, "; "...)
			}
			d.cookies = append(d.cookies, value...)
			return
		}
	}
	d.text = append(append(append(append(d.text, name...), ": "...), value...), "\r\n"...)
}

func (d *decoding) end() {
	d.begin()
	if len(d.cookies) > 0 {
		d.text = append(append(append(d.text, "cookie: "...), d.cookies...), "\r\n"...)
	}
	if d.kind != trailer {
		d.text = append(d.text, "\r\n"...)
	}
}

// isGraphic reports whether s has no white space and no control character.
func isGraphic(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// isName reports whether s is a field name in lower case.
func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 'a' || c > 'z' {
			if names[c] == 0 {
				return false
			}
		}
	}
	return s != ""
}

var names = func() (t [256]uint8) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789") {
		t[c] = 1
	}
	return t
}()

// isValue reports whether s ends no line. Other bytes are for whoever reads the text.
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c == '\r' || c == '\n' || c == 0 {
			return false
		}
	}
	return true
}
