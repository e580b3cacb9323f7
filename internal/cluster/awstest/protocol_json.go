package awstest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// jsonTarget is JSON whose operation is named in a header.
type jsonTarget struct{ version string }

func (j jsonTarget) request(s *service, r *http.Request, body []byte) (*operation, object, error) {
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), s.target+".")
	if !ok {
		return nil, nil, refuse("UnknownOperationException", "X-Amz-Target is %q", r.Header.Get("X-Amz-Target"))
	}
	op, err := s.operation(name)
	if err != nil {
		return nil, nil, err
	}
	tree, err := readJSON(body)
	return op, tree, err
}

func readJSON(body []byte) (object, error) {
	tree := object{}
	if len(bytes.TrimSpace(body)) == 0 {
		return tree, nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		return nil, refuse("SerializationException", "%s", err)
	}
	return tree, nil
}

func (j jsonTarget) answer(w http.ResponseWriter, _ *call, out object, _ string) {
	send(w, http.StatusOK, "application/x-amz-json-"+j.version, writeJSON(out))
}

func (j jsonTarget) fail(w http.ResponseWriter, s *service, e *refusal, _ string) {
	body := object{"__type": e.code, "message": e.message}
	if s.name == "sqs" {
		w.Header().Set("x-amzn-query-error", e.code+";Sender")
	}
	send(w, e.status, "application/x-amz-json-"+j.version, writeJSON(body))
}

// writeJSON writes an answer: times are seconds.
func writeJSON(out object) string {
	if out == nil {
		out = object{}
	}
	text, err := json.Marshal(seconds(out))
	if err != nil {
		panic(err) // it is made of texts, numbers, lists and maps
	}
	return string(text)
}

func seconds(v any) any {
	switch x := v.(type) {
	case object:
		o := object{}
		for k, each := range x {
			if each != nil {
				o[k] = seconds(each)
			}
		}
		return o
	case []any:
		list := make([]any, len(x))
		for i, each := range x {
			list[i] = seconds(each)
		}
		return list
	case time.Time:
		return float64(x.UnixMilli()) / 1000
	}
	return v
}

// restJSON is JSON whose operation is a method and a path.
type restJSON struct{}

func (restJSON) request(s *service, r *http.Request, body []byte) (*operation, object, error) {
	for i := range s.operations {
		op := &s.operations[i]
		found, ok := matchRoute(op.route, r.Method, r.URL.EscapedPath())
		if !ok {
			continue
		}
		tree, err := readJSON(body)
		if err != nil {
			return nil, nil, err
		}
		for name, values := range r.URL.Query() {
			if tree[name] = any(values[0]); len(values) > 1 {
				tree[name] = anys(values)
			}
		}
		for name, value := range found {
			tree[name] = value
		}
		return op, tree, nil
	}
	return nil, nil, refuseAs(http.StatusNotFound, "UnknownOperationException", "awstest does not know %s %s of %s", r.Method, r.URL.Path, s.name)
}

// matchRoute holds a request against a route such as GET /clusters/{name}.
func matchRoute(route, method, path string) (map[string]string, bool) {
	m, pattern, _ := strings.Cut(route, " ")
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if m != method || len(want) != len(got) {
		return nil, false
	}
	found := map[string]string{}
	for i, part := range want {
		name, isName := strings.CutPrefix(part, "{")
		value, err := url.PathUnescape(got[i])
		switch {
		case err != nil || isName && value == "":
			return nil, false
		case isName:
			found[strings.TrimSuffix(name, "}")] = value
		case part != value:
			return nil, false
		}
	}
	return found, true
}

func (restJSON) answer(w http.ResponseWriter, _ *call, out object, _ string) {
	send(w, http.StatusOK, "application/json", writeJSON(out))
}

func (restJSON) fail(w http.ResponseWriter, _ *service, e *refusal, _ string) {
	w.Header().Set("x-amzn-ErrorType", e.code)
	send(w, e.status, "application/json", writeJSON(object{"message": e.message, "__type": e.code}))
}
