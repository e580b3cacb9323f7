package awstest

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// restXML is the protocol of S3: a method, a bucket, perhaps a key, perhaps a part of
// either, and XML where there is something to say.
type restXML struct{}

// subresources are parts of a bucket or an object that a query names.
var subresources = []string{"tagging", "encryption", "publicAccessBlock", "lifecycle", "versioning", "location", "versions", "uploads", "delete", "uploadId", "list-type"}

func (restXML) request(s *service, r *http.Request, body []byte) (*operation, object, error) {
	bucket, key, err := bucketAndKey(r)
	if err != nil {
		return nil, nil, err
	}
	form := r.URL.Query()
	route := r.Method + " bucket"
	if key != "" {
		route = r.Method + " object"
	}
	for _, sub := range subresources {
		if form.Has(sub) {
			route += " " + sub
			break
		}
	}
	for i := range s.operations {
		op := &s.operations[i]
		if op.route != route {
			continue
		}
		tree := object{}
		if body, err := unchunked(r, body); err == nil && !strings.HasPrefix(route, "PUT object") && len(bytes.TrimSpace(body)) > 0 {
			if tree, err = readXML(body); err != nil {
				return nil, nil, refuse("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
			}
		}
		for name, values := range form {
			tree[name] = values[0]
		}
		delete(tree, "x-id")
		for _, sub := range subresources {
			if sub != "uploadId" {
				delete(tree, sub)
			}
		}
		tree["Bucket"] = bucket
		set(tree, "Key", key)
		for header, values := range r.Header {
			if name := headerParameter(header); name != "" {
				tree[name] = values[0]
			}
		}
		return op, tree, nil
	}
	return nil, nil, refuseAs(http.StatusNotImplemented, "NotImplemented", "awstest does not know %s of S3", route)
}

// plainHeaders are those of every request: they change nothing of what it is about.
var plainHeaders = []string{
	"X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Security-Token", "X-Amz-User-Agent", "X-Amz-Decoded-Content-Length", "X-Amz-Trailer", "X-Amz-Sdk-Checksum-Algorithm", "X-Amz-Checksum-Mode",
}

// headerParameter is the parameter that a header is: those that nobody reads are refused.
func headerParameter(header string) string {
	switch header {
	case "If-Match", "If-None-Match", "Content-Type", "Range":
		return strings.ReplaceAll(header, "-", "")
	}
	if !strings.HasPrefix(header, "X-Amz-") || slices.Contains(plainHeaders, header) || strings.HasPrefix(header, "X-Amz-Checksum-") {
		return ""
	}
	return header
}

// bucketAndKey are in the host name and the path, or both in the path.
func bucketAndKey(r *http.Request) (bucket, key string, err error) {
	path, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/"))
	if err != nil {
		return "", "", refuse("InvalidURI", "Couldn't parse the specified URI.")
	}
	if name, rest, ok := strings.Cut(hostOf(r), ".s3."); ok && strings.Contains(rest, ".amazonaws.") {
		return name, path, nil
	}
	bucket, key, _ = strings.Cut(path, "/")
	return bucket, key, nil
}

// readXML reads what is below the root; elements of one name that come twice are a list.
func readXML(body []byte) (object, error) {
	dec := xml.NewDecoder(bytes.NewReader(body))
	for {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		if start, ok := token.(xml.StartElement); ok {
			v, err := readElement(dec, start, 0)
			tree, isObject := v.(object)
			if err == nil && !isObject {
				tree = object{}
			}
			return tree, err
		}
	}
}

const maxDepth = 16

func readElement(dec *xml.Decoder, start xml.StartElement, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("too deep")
	}
	below, text := object{}, ""
	for {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		switch x := token.(type) {
		case xml.CharData:
			text += string(x)
		case xml.StartElement:
			v, err := readElement(dec, x, depth+1)
			if err != nil {
				return nil, err
			}
			name := x.Name.Local
			switch was := below[name].(type) {
			case nil:
				below[name] = v
			case []any:
				below[name] = append(was, v)
			default:
				below[name] = []any{was, v}
			}
		case xml.EndElement:
			if len(below) == 0 {
				return text, nil
			}
			return below, nil
		}
	}
}

// unchunked takes the payload out of the chunks that clients send with a checksum after
// them.
func unchunked(r *http.Request, body []byte) ([]byte, error) {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return body, nil
	}
	in := bufio.NewReader(bytes.NewReader(body))
	var out []byte
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, refuse("IncompleteBody", "The request body terminated unexpectedly")
		}
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseInt(size, 16, 32)
		if err != nil || n < 0 || n > int64(len(body)) {
			return nil, refuse("IncompleteBody", "a chunk has the size %q", size)
		}
		if n == 0 {
			return out, nil // what follows are checksums
		}
		chunk := make([]byte, n+2)
		if _, err := io.ReadFull(in, chunk); err != nil {
			return nil, refuse("IncompleteBody", "The request body terminated unexpectedly")
		}
		out = append(out, chunk[:n]...)
	}
}

func (restXML) answer(w http.ResponseWriter, c *call, out object, _ string) {
	status := http.StatusOK
	if c.status != 0 {
		status = c.status
	}
	if len(out) == 0 {
		w.WriteHeader(status)
		return
	}
	var b strings.Builder
	b.WriteString(xml.Header)
	for name, v := range out { // one, the root
		b.WriteString("<" + name + ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`)
		if below, ok := v.(object); ok {
			writeFields(&b, below, "member")
		} else {
			_ = xml.EscapeText(&b, []byte(textOf(v))) // a Builder never fails
		}
		b.WriteString("</" + name + ">")
	}
	send(w, status, "application/xml", b.String())
}

func (restXML) fail(w http.ResponseWriter, _ *service, e *refusal, id string) {
	var b strings.Builder
	b.WriteString(xml.Header)
	writeXML(&b, "Error", object{"Code": e.code, "Message": e.message, "RequestId": id, "HostId": "awstest"}, "member")
	send(w, e.status, "application/xml", b.String())
}
