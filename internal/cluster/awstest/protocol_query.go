package awstest

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// query is the protocol of forms and XML, and with ec2 set the dialect of EC2.
type query struct{ ec2 bool }

func (q query) request(s *service, r *http.Request, body []byte) (*operation, object, error) {
	text := string(body)
	if r.Method == http.MethodGet {
		text = r.URL.RawQuery
	}
	form, err := url.ParseQuery(text)
	if err != nil {
		return nil, nil, refuse("MalformedQueryString", "%s", err)
	}
	if v := form.Get("Version"); v != s.version {
		return nil, nil, refuse("InvalidAction", "Could not find operation %s for version %s", form.Get("Action"), v)
	}
	op, err := s.operation(form.Get("Action"))
	if err != nil {
		return nil, nil, err
	}
	form.Del("Action")
	form.Del("Version")
	tree := object{}
	for _, name := range sorted(form) {
		put(tree, strings.Split(name, "."), form.Get(name))
	}
	return op, listed(tree).(object), nil
}

// put puts a value where a name with dots says.
func put(tree object, path []string, value string) {
	for _, p := range path[:len(path)-1] {
		next, ok := tree[p].(object)
		if !ok {
			next = object{}
			tree[p] = next
		}
		tree = next
	}
	tree[path[len(path)-1]] = value
}

// listed makes lists of what is numbered: A.member.1, A.1, and A.entry.1.
func listed(v any) any {
	m, ok := v.(object)
	if !ok {
		return v
	}
	if len(m) == 1 {
		for _, wrapper := range []string{"member", "entry"} {
			if below, ok := m[wrapper].(object); ok {
				return listed(below)
			}
		}
	}
	var numbers []int
	for key := range m {
		if n, err := strconv.Atoi(key); err == nil {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) > 0 && len(numbers) == len(m) {
		slices.Sort(numbers)
		var list []any
		for _, n := range numbers {
			list = append(list, listed(m[strconv.Itoa(n)]))
		}
		return list
	}
	out := object{}
	for key, below := range m {
		out[key] = listed(below)
	}
	return out
}

func (q query) answer(w http.ResponseWriter, c *call, out object, id string) {
	var b strings.Builder
	name := c.op.name + "Response"
	b.WriteString("<" + name + ` xmlns="` + c.service.namespace + `">`)
	if q.ec2 {
		writeXML(&b, "requestId", id, "item")
		writeFields(&b, out, "item")
	} else {
		b.WriteString("<" + c.op.name + "Result>")
		writeFields(&b, out, "member")
		b.WriteString("</" + c.op.name + "Result>")
		writeXML(&b, "ResponseMetadata", object{"RequestId": id}, "member")
	}
	b.WriteString("</" + name + ">")
	send(w, http.StatusOK, "text/xml;charset=UTF-8", b.String())
}

func (q query) fail(w http.ResponseWriter, s *service, e *refusal, id string) {
	var b strings.Builder
	if q.ec2 {
		b.WriteString(xml.Header)
		writeXML(&b, "Response", object{"Errors": object{"Error": object{"Code": e.code, "Message": e.message}}, "RequestID": id}, "item")
	} else {
		b.WriteString(`<ErrorResponse xmlns="` + s.namespace + `">`)
		kind := "Sender"
		if e.status >= 500 {
			kind = "Receiver"
		}
		writeFields(&b, object{"Error": object{"Type": kind, "Code": e.code, "Message": e.message}, "RequestId": id}, "member")
		b.WriteString("</ErrorResponse>")
	}
	send(w, e.status, "text/xml;charset=UTF-8", b.String())
}

func send(w http.ResponseWriter, status int, kind, body string) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

// writeFields writes what is below an element, in the order of names.
func writeFields(b *strings.Builder, o object, item string) {
	for _, name := range sorted(o) {
		writeXML(b, name, o[name], item)
	}
}

// flat is a list whose elements have the name of the list, as those of S3 have.
type flat []any

// writeXML writes an element. What is nil is not written.
func writeXML(b *strings.Builder, name string, v any, item string) {
	switch x := v.(type) {
	case nil:
		return
	case flat:
		for _, each := range x {
			writeXML(b, name, each, item)
		}
		return
	}
	b.WriteString("<" + name + ">")
	switch x := v.(type) {
	case object:
		writeFields(b, x, item)
	case []any:
		for _, each := range x {
			writeXML(b, item, each, item)
		}
	case []string:
		for _, each := range x {
			writeXML(b, item, each, item)
		}
	case time.Time:
		b.WriteString(x.UTC().Format("2006-01-02T15:04:05.000Z"))
	default:
		_ = xml.EscapeText(b, []byte(textOf(x))) // a Builder never fails
	}
	b.WriteString("</" + name + ">")
}
