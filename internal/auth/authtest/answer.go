package authtest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"net/http"
	"strings"
)

const namespace = "https://sts.amazonaws.com/doc/2011-06-15/"

// answer is what is sent back. A refusal has a code; it is out of a fixed list.
type answer struct {
	status      int
	code        string
	contentType string
	id          string // of the request
	body        []byte
	header      map[string]string
}

func (a answer) write(w http.ResponseWriter) {
	w.Header().Set("x-amzn-RequestId", a.id)
	w.Header().Set("Content-Type", a.contentType)
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// element writes <name>text</name>, or with children in place of the text.
func element(b *strings.Builder, depth int, name, text string) {
	b.WriteString(strings.Repeat("  ", depth) + "<" + name + ">")
	_ = xml.EscapeText(b, []byte(text)) // a Builder never fails
	b.WriteString("</" + name + ">\n")
}

// field is an element of a result: with a text, or with fields of its own.
type field struct {
	name, text string
	fields     []field
}

func writeFields(b *strings.Builder, depth int, fields []field) {
	for _, f := range fields {
		if f.fields == nil {
			element(b, depth, f.name, f.text)
			continue
		}
		indent := strings.Repeat("  ", depth)
		b.WriteString(indent + "<" + f.name + ">\n")
		writeFields(b, depth+1, f.fields)
		b.WriteString(indent + "</" + f.name + ">\n")
	}
}

// result answers an action: its result, and the metadata of the response.
func result(action string, fields []field) answer {
	id := requestID()
	var b strings.Builder
	b.WriteString("<" + action + "Response xmlns=\"" + namespace + "\">\n")
	writeFields(&b, 1, []field{
		{name: action + "Result", fields: fields},
		{name: "ResponseMetadata", fields: []field{{name: "RequestId", text: id}}},
	})
	b.WriteString("</" + action + "Response>\n")
	return answer{status: http.StatusOK, contentType: "text/xml", id: id, body: []byte(b.String())}
}

// refusal answers with an error of the caller.
func refusal(status int, code, message string) answer {
	id := requestID()
	var b strings.Builder
	b.WriteString("<ErrorResponse xmlns=\"" + namespace + "\">\n")
	writeFields(&b, 1, []field{
		{name: "Error", fields: []field{{name: "Type", text: "Sender"}, {name: "Code", text: code}, {name: "Message", text: message}}},
		{name: "RequestId", text: id},
	})
	b.WriteString("</ErrorResponse>\n")
	return answer{status: status, code: code, contentType: "text/xml", id: id, body: []byte(b.String())}
}

// requestID returns a random UUID.
func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
