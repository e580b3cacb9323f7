package relay

import (
	"bytes"
	"math"
)

// field is one line of a head. The slices point into the buffer it was read to.
type field struct {
	name  []byte
	value []byte // without surrounding white space
	line  []byte // both, as received, without the line's end
	kind  kind
	hop   bool // ends here: must not be forwarded
}

// framing says where a body ends.
type framing uint8

const (
	noBody framing = iota
	sized
	chunked
	untilClose // answers only
	framed     // of a stream of HTTP/2, which says itself where it ends
)

// head is a parsed request or response head; its slices live as long as the buffer.
type head struct {
	method []byte // requests
	target []byte // requests: as received
	status int    // responses
	reason []byte // responses

	minor  int // of the version: HTTP/1.minor
	fields []field

	body      framing
	length    int64 // of a sized body; -1 otherwise
	host      []byte
	hasHost   bool
	close     bool   // Connection: close
	keepAlive bool   // Connection: keep-alive
	upgrading bool   // Connection: upgrade
	upgrade   []byte // value of Upgrade
	expects   bool   // Expect: 100-continue
	trailers  bool   // TE: trailers
	transfer  bool   // there was a Transfer-Encoding
	nominated bool   // Connection names a field
	xff       int    // index of the fields below, -1: absent
	xfp       int
	xfh       int
	requestID int
	trace     int
	idleFor   int64 // seconds of Keep-Alive: timeout; 0: not said (responses)
}

func (h *head) reset() {
	*h = head{fields: h.fields[:0], length: -1, xff: -1, xfp: -1, xfh: -1, requestID: -1, trace: -1}
}

// refusal is why a head is not accepted: a status and a stable code with a sentence.
type refusal struct {
	status  int
	code    string
	message string
}

func (r *refusal) Error() string { return r.message }

func (r *refusal) answer() *Answer {
	return &Answer{Status: r.status, Code: r.code, Message: r.message}
}

func bad(code, message string) *refusal { return &refusal{400, code, message} }

var (
	errRequestLine   = bad("malformed_request_line", "the request line is malformed")
	errTarget        = bad("malformed_target", "the request target is malformed")
	errVersion       = &refusal{505, "unsupported_version", "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here"}
	errFieldName     = bad("malformed_field", "a header name is malformed")
	errFieldValue    = bad("malformed_field", "a header value has a forbidden character")
	errFold          = bad("malformed_field", "a header is folded over two lines")
	errBareLine      = bad("malformed_line_end", "a line does not end in CR LF")
	errHost          = bad("malformed_host", "exactly one valid Host header is required")
	errLength        = bad("malformed_content_length", "the Content-Length is malformed or contradicts another")
	errTransfer      = bad("unsupported_transfer_encoding", "the only transfer encoding accepted is exactly chunked")
	errBothLengths   = bad("ambiguous_length", "Content-Length and Transfer-Encoding exclude each other")
	errManyFields    = &refusal{431, "too_many_headers", "there are too many headers"}
	errHeadTooLarge  = &refusal{431, "headers_too_large", "the headers are too large"}
	errTargetTooLong = &refusal{414, "uri_too_long", "the request target is too long"}
	errConnect       = &refusal{405, "connect_refused", "CONNECT is not offered here"}
	errExpect        = &refusal{417, "expectation_failed", "the only expectation accepted is 100-continue"}
	errStatusLine    = bad("malformed_status_line", "the status line is malformed")
)

// parseRequest parses a complete request head, b ending in its empty line. What
// net/http's server refuses is refused here, and more: line ends must be CR LF, a
// body has one length, and fields have no white space before the colon.
func (h *head) parseRequest(b []byte) *refusal {
	h.reset()
	i := 0
	for i < len(b) && class[b[i]]&isToken != 0 {
		i++
	}
	if i == 0 || i >= len(b) || b[i] != ' ' {
		return errRequestLine
	}
	h.method = b[:i]
	i++
	start := i
	for i < len(b) && class[b[i]]&isTarget != 0 {
		i++
	}
	if i == start || i+11 > len(b) || b[i] != ' ' {
		return errRequestLine
	}
	h.target = b[start:i]
	version := b[i+1 : i+11]
	switch {
	case string(version) == "HTTP/1.1\r\n":
		h.minor = 1
	case string(version) == "HTTP/1.0\r\n":
		h.minor = 0
	case bytes.HasPrefix(version, []byte("HTTP/")) && version[6] == '.' && version[8] == '\r' && version[9] == '\n' &&
		isDigit(version[5]) && isDigit(version[7]):
		return errVersion
	default:
		return errRequestLine
	}
	if r := h.parseFields(b, i+11, true); r != nil {
		return r
	}
	return h.checkRequest()
}

// checkRequest applies the rules that need the whole head.
func (h *head) checkRequest() *refusal {
	if h.minor == 1 && !h.hasHost {
		return errHost
	}
	switch {
	case h.transfer && h.minor == 0:
		return errTransfer
	case h.transfer && h.length >= 0:
		return errBothLengths
	case h.transfer:
		h.body = chunked
	case h.length > 0:
		h.body = sized
	default:
		h.body = noBody
	}
	if string(h.method) == "CONNECT" {
		return errConnect
	}
	return h.splitTarget()
}

// parseResponse parses a complete response head. It is as strict as
// parseRequest, except that lines may end in a bare LF: they are written anew.
func (h *head) parseResponse(b []byte) *refusal {
	h.reset()
	if len(b) < 13 || string(b[:7]) != "HTTP/1." || b[7] != '0' && b[7] != '1' || b[8] != ' ' {
		return errStatusLine
	}
	h.minor = int(b[7] - '0')
	if !isDigit(b[9]) || !isDigit(b[10]) || !isDigit(b[11]) || b[9] == '0' {
		return errStatusLine
	}
	h.status = int(b[9]-'0')*100 + int(b[10]-'0')*10 + int(b[11]-'0')
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return errStatusLine
	}
	h.reason = trimCR(b[12:end])
	if len(h.reason) > 0 && h.reason[0] != ' ' {
		return errStatusLine
	}
	for _, c := range h.reason {
		if class[c]&isValue == 0 {
			return errStatusLine
		}
	}
	if r := h.parseFields(b, end+1, false); r != nil {
		return r
	}
	if h.transfer && h.minor == 0 { // chunks to some, a body until the end to others (RFC 9112, 6.1)
		return errTransfer
	}
	return nil
}

// frame decides where the body of a response ends (RFC 9112, 6.3).
func (h *head) frame(toHead bool) {
	switch {
	case toHead || h.status < 200 || h.status == 204 || h.status == 304:
		h.body = noBody
	case h.transfer:
		h.body = chunked
	case h.length > 0:
		h.body = sized
	case h.length == 0:
		h.body = noBody
	default:
		h.body = untilClose
	}
}

// parseFields parses the lines from b[i] to the empty one. strict asks for CR LF.
func (h *head) parseFields(b []byte, i int, strict bool) *refusal {
	for {
		if i >= len(b) {
			return errBareLine
		}
		if b[i] == '\r' && i+1 < len(b) && b[i+1] == '\n' || !strict && b[i] == '\n' {
			break
		}
		start := i
		for i < len(b) && class[b[i]]&isToken != 0 {
			i++
		}
		if i == start || i >= len(b) || b[i] != ':' {
			if start < len(b) && (b[start] == ' ' || b[start] == '\t') {
				return errFold
			}
			return errFieldName
		}
		name := b[start:i]
		line := start
		i++
		for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
			i++
		}
		start = i
		for i < len(b) && class[b[i]]&isValue != 0 {
			i++
		}
		end := i
		if i < len(b) && b[i] == '\r' {
			i++
		} else if strict || i >= len(b) || b[i] != '\n' {
			if i < len(b) && b[i] == '\n' {
				return errBareLine
			}
			return errFieldValue
		}
		if i >= len(b) || b[i] != '\n' {
			return errBareLine
		}
		i++
		for end > start && (b[end-1] == ' ' || b[end-1] == '\t') {
			end--
		}
		if len(h.fields) == maxFields+roomFields { // the server refuses more than maxFields of a client
			return errManyFields
		}
		h.fields = append(h.fields, field{name: name, value: b[start:end], line: b[line:end], kind: kindOf(name)})
		if k := h.fields[len(h.fields)-1].kind; k != ordinary {
			if r := h.note(len(h.fields)-1, k); r != nil {
				return r
			}
		}
	}
	if h.nominated {
		h.markNominated()
	}
	return nil
}

// note takes what the head has to know from its i-th field.
func (h *head) note(i int, k kind) *refusal {
	f := &h.fields[i]
	f.hop = k.isHop()
	switch k {
	case kHost:
		if h.status != 0 { // a response may carry any name
			break
		}
		if h.hasHost || !validHost(f.value) {
			return errHost
		}
		h.host, h.hasHost = f.value, true
	case kContentLength:
		n, ok := parseLength(f.value)
		if !ok || h.length >= 0 && h.length != n {
			return errLength
		}
		h.length = n
	case kTransferEncoding:
		if h.transfer || !equalFold(f.value, "chunked") {
			return errTransfer
		}
		h.transfer = true
	case kConnection:
		h.noteConnection(f.value)
	case kUpgrade:
		h.upgrade = f.value
	case kTE:
		h.trailers = h.trailers || hasToken(f.value, "trailers")
	case kExpect:
		if h.status != 0 {
			break
		}
		if !equalFold(f.value, "100-continue") {
			return errExpect
		}
		h.expects = true
	case kKeepAlive:
		h.idleFor = keepAliveTimeout(f.value)
	case kForwardedFor:
		h.xff = i
	case kForwardedProto:
		h.xfp = i
	case kForwardedHost:
		h.xfh = i
	case kRequestID:
		h.requestID = once(h.requestID, i)
	case kTraceparent:
		h.trace = once(h.trace, i)
	}
	return nil
}

// once remembers the index of a field that may stand once; -2 when it did not.
func once(was, i int) int {
	if was != -1 {
		return -2
	}
	return i
}

func (h *head) noteConnection(v []byte) {
	for len(v) > 0 {
		var token []byte
		token, v = nextToken(v)
		switch {
		case len(token) == 0:
		case equalFold(token, "close"):
			h.close = true
		case equalFold(token, "keep-alive"):
			h.keepAlive = true
		case equalFold(token, "upgrade"):
			h.upgrading = true
		default:
			h.nominated = true
		}
	}
}

// markNominated ends the fields here that Connection names. Those that frame or
// route the message are never ended by it.
func (h *head) markNominated() {
	for i := range h.fields {
		if h.fields[i].kind != kConnection {
			continue
		}
		v := h.fields[i].value
		for len(v) > 0 {
			var token []byte
			token, v = nextToken(v)
			for j := range h.fields {
				if f := &h.fields[j]; len(f.name) == len(token) && bytes.EqualFold(f.name, token) {
					f.hop = true
				}
			}
		}
	}
}

// persistent reports whether the connection that carried the head stays open.
func (h *head) persistent() bool {
	if h.minor == 0 {
		return h.keepAlive && !h.close
	}
	return !h.close
}

func parseLength(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range v {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return int64(n), n <= math.MaxInt64
}
