package workload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// ParseSubmission reads the submission of a job, in JSON and strictly: a key that
// there is not, one that is given twice or a value of another type is a violation.
// It returns all of them, and all broken rules, at once; the submission is whole
// only when there are none. Items keep their text.
//
// It is no YAML, which package manifest reads: not all JSON is (escapes of surrogates
// are not), and items are data whose numbers must not change.
func ParseSubmission(k JobKind, data []byte) (Submission, []Violation) {
	s := NewSubmission(k)
	r := &jobReader{wrong: map[string]bool{}}
	if err := wellFormed(data); err != nil {
		r.add(Violation{Code: CodeMalformed, Message: "the job is not valid JSON: " + err.Error()})
		return s, r.list
	}
	r.object("", data, reflect.ValueOf(s).Elem())
	for _, v := range s.Validate() {
		if !r.isWrong(v) {
			r.add(v)
		}
	}
	return s, r.list
}

// wellFormed returns why data is not one JSON value.
func wellFormed(data []byte) error {
	var v json.RawMessage
	return json.Unmarshal(data, &v)
}

// jobReader reads JSON into the types of a submission and collects what is wrong.
type jobReader struct {
	violations
	wrong map[string]bool // key paths whose values could not be read
}

func (r *jobReader) refuse(v Violation) {
	r.wrong[v.Path] = true
	r.add(v)
}

// isWrong reports whether a broken rule follows from a value that could not be read:
// one mistake is told once.
func (r *jobReader) isWrong(v Violation) bool {
	for _, related := range v.Related {
		if r.wrong[related] {
			return true
		}
	}
	for path := v.Path; path != ""; path = path[:max(0, strings.LastIndexAny(path, ".["))] {
		if r.wrong[path] {
			return true
		}
	}
	return r.wrong[""]
}

// object reads a map into a struct.
func (r *jobReader) object(path string, text json.RawMessage, into reflect.Value) {
	d := json.NewDecoder(bytes.NewReader(text))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		r.wrongType(path, "a map", text)
		return
	}
	fields, keys := jobFields(into.Type())
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		key, _ := token.(string)
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			r.wrongType(path, "a map", text) // it was well formed a moment ago
			return
		}
		at := joinPath(path, key)
		i, known := fields[key]
		switch {
		case !known:
			r.refuse(Violation{
				Path: at, Code: CodeUnsupportedKey, Message: fmt.Sprintf("the key %s is not supported", strconv.Quote(abbreviate(key))),
				OfKey: true, Allowed: strings.Join(keys, ", "),
			})
		case seen[key]:
			r.refuse(Violation{Path: at, Code: CodeDuplicatedValue, Message: fmt.Sprintf("the key %q is given twice", key), OfKey: true})
		case string(value) != "null":
			seen[key] = true
			r.value(at, value, into.Field(i))
		}
	}
	for _, key := range keys {
		if f := into.Type().Field(fields[key]); !seen[key] && !isOptional(f) {
			r.refuse(Violation{Path: joinPath(path, key), Code: CodeMustBeDefined, Message: fmt.Sprintf("%q must be defined", key)})
		}
	}
}

// jobFields returns the fields of a struct by their keys, and the keys in order.
func jobFields(t reflect.Type) (fields map[string]int, keys []string) {
	fields = make(map[string]int, t.NumField())
	for i := range t.NumField() {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		fields[key] = i
		keys = append(keys, key)
	}
	return fields, keys
}

func isOptional(f reflect.StructField) bool {
	return strings.HasSuffix(f.Tag.Get("json"), ",omitempty")
}

// value reads one value. It knows the types that submissions are made of.
func (r *jobReader) value(path string, text json.RawMessage, into reflect.Value) {
	if into.Kind() == reflect.Pointer {
		into.Set(reflect.New(into.Type().Elem()))
		into = into.Elem()
	}
	switch to := into.Addr().Interface().(type) {
	case *int32:
		r.whole(path, text, to)
	case *string:
		r.text(path, text, to)
	case *[]string:
		for i, element := range r.elements(path, text) {
			var s string
			r.text(fmt.Sprintf("%s[%d]", path, i), element, &s)
			*to = append(*to, s)
		}
	case *[]int32:
		for i, element := range r.elements(path, text) {
			var n int32
			r.whole(fmt.Sprintf("%s[%d]", path, i), element, &n)
			*to = append(*to, n)
		}
	case *[]json.RawMessage:
		*to = r.elements(path, text)
	case *map[string]any:
		if text[0] != '{' || json.Unmarshal(text, to) != nil {
			r.wrongType(path, "a map", text)
		}
	default:
		r.object(path, text, into)
	}
}

func (r *jobReader) elements(path string, text json.RawMessage) (list []json.RawMessage) {
	if text[0] != '[' || json.Unmarshal(text, &list) != nil {
		r.wrongType(path, "a list", text)
	}
	return list
}

func (r *jobReader) text(path string, text json.RawMessage, to *string) {
	if text[0] != '"' || json.Unmarshal(text, to) != nil {
		r.wrongType(path, "a string", text)
	}
}

// whole reads a whole number, of which 2.0 and 2e0 are forms.
func (r *jobReader) whole(path string, text json.RawMessage, to *int32) {
	f, err := strconv.ParseFloat(string(text), 64)
	if isNumber := text[0] == '-' || text[0] >= '0' && text[0] <= '9'; !isNumber || err == nil && f != math.Trunc(f) {
		r.wrongType(path, "a whole number", text)
		return
	}
	b := JobBounds()
	if err != nil || f > math.MaxInt32 || f < math.MinInt32 {
		v := b.Check(math.Copysign(math.MaxFloat64, f))
		v.Path, v.Found = path, abbreviate(string(text))
		r.refuse(v)
		return
	}
	*to = int32(f)
}

func (r *jobReader) wrongType(path, want string, text json.RawMessage) {
	r.refuse(Violation{Path: path, Code: CodePrimitiveType, Message: "must be " + want, Found: abbreviate(string(text))})
}
