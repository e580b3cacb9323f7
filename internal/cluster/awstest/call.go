package awstest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// object is a JSON object, or the elements below one of XML.
type object = map[string]any

// call is one operation that somebody asks for.
type call struct {
	*Account
	who     *principal
	service *service
	op      *operation
	in      *params
	// context are condition keys that a handler knows only while it works.
	context map[string]string
	implied bool
	// body is the payload, where an operation has one that is no tree.
	body []byte
	// header are those of the answer that are no part of its tree.
	header map[string]string
	raw    []byte // the answer, where it is no tree
	status int    // of the answer, where it is not 200
}

// operation is one operation of a service.
type operation struct {
	name string
	do   func(c *call) (object, error)
	// on are the resources that a policy is asked about; nil: everything.
	on func(c *call) []string
	// permission is what a policy calls it, where that is another name.
	permission string
	route      string // of services that are told by path: GET /clusters/{name}
}

// refusal is an error that AWS answers.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

// refuse is an error of the caller.
func refuse(code, format string, args ...any) error {
	return &refusal{400, code, fmt.Sprintf(format, args...)}
}

func refuseAs(status int, code, format string, args ...any) error {
	return &refusal{status, code, fmt.Sprintf(format, args...)}
}

// notSimulated is the refusal of what is not known here, and may well be known at AWS.
func notSimulated(format string, args ...any) error {
	return refuseAs(http.StatusNotImplemented, "NotSimulated", "awstest does not know "+format, args...)
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return asRefusal(err).code
}

// params are what a request says. They know which of it has been read: what nobody has
// read was not understood, and must not succeed.
type params struct {
	path  string
	tree  object
	read  map[string]bool
	below []*params
}

func newParams(path string, tree object) *params {
	return &params{path: path, tree: tree, read: map[string]bool{}}
}

func (p *params) get(name string) any {
	p.read[name] = true
	return p.tree[name]
}

func (p *params) has(name string) bool { return p.get(name) != nil }

// ignore reads what changes nothing here.
func (p *params) ignore(names ...string) {
	for _, n := range names {
		p.read[n] = true
	}
}

// ignoreAll reads everything: what was asked for has been done before.
func (p *params) ignoreAll() {
	for name := range p.tree {
		p.read[name] = true
	}
}

// text is a value as text, "" where there is none.
func (p *params) text(name string) string { return textOf(p.get(name)) }

func textOf(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case bool:
		return strconv.FormatBool(x)
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	case int:
		return strconv.Itoa(x)
	case int64:
		return strconv.FormatInt(x, 10)
	case json.Number:
		return x.String()
	}
	return ""
}

func (p *params) or(name, otherwise string) string {
	if t := p.text(name); t != "" {
		return t
	}
	return otherwise
}

func (p *params) number(name string, otherwise int) int {
	n, err := strconv.Atoi(p.text(name))
	if err != nil {
		return otherwise
	}
	return n
}

func (p *params) flag(name string) bool { return p.text(name) == "true" }

func (p *params) list(name string) []any {
	switch x := p.get(name).(type) {
	case []any:
		return x
	case nil:
		return nil
	case string:
		if x == "" {
			return nil
		}
		return []any{x}
	default:
		return []any{x} // one element of XML, which may be one of several
	}
}

func (p *params) texts(name string) []string {
	var all []string
	for _, v := range p.list(name) {
		all = append(all, textOf(v))
	}
	return all
}

// objects are the elements of a list.
func (p *params) objects(name string) []*params {
	var all []*params
	for i, v := range p.list(name) {
		if m, ok := v.(object); ok {
			kid := newParams(p.path+name+"["+strconv.Itoa(i)+"].", m)
			p.below = append(p.below, kid)
			all = append(all, kid)
		}
	}
	return all
}

// object is what is below a name; there is always one, which may be empty.
func (p *params) object(name string) *params {
	m, _ := p.get(name).(object)
	kid := newParams(p.path+name+".", m)
	p.below = append(p.below, kid)
	return kid
}

// whole is a value as it came.
func (p *params) whole(name string) any { return p.get(name) }

// tags are a list of Key and Value.
func (p *params) tags(name string) map[string]string {
	tags := map[string]string{}
	for _, t := range p.objects(name) {
		key := t.text("Key")
		if key == "" {
			key = t.text("key")
		}
		tags[key] = t.text("Value") + t.text("value")
		t.ignore("ResourceId", "ResourceType", "PropagateAtLaunch")
	}
	return tags
}

// tagMap are tags in the form of a map.
func (p *params) tagMap(name string) map[string]string {
	tags := map[string]string{}
	o := p.object(name)
	for key := range o.tree {
		tags[key] = o.text(key)
	}
	return tags
}

// unread names what nobody has understood.
func (p *params) unread() []string {
	var all []string
	for name := range p.tree {
		if !p.read[name] {
			all = append(all, p.path+name)
		}
	}
	for _, kid := range p.below {
		all = append(all, kid.unread()...)
	}
	sort.Strings(all)
	return all
}

// tagList are tags as most services answer them.
func tagList(tags map[string]string, key, value string) []any {
	var list []any
	for _, k := range sorted(tags) {
		list = append(list, object{key: k, value: tags[k]})
	}
	return list
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func anys[T any](list []T) []any {
	all := make([]any, len(list))
	for i, v := range list {
		all[i] = v
	}
	return all
}

// page cuts a list where a caller's token says, and returns the token of what is left.
func (c *call) page(list []any, token, limit string) (part []any, next string, err error) {
	size := c.o.PageSize
	if n := c.in.number(limit, 0); n > 0 && n < size {
		size = n
	}
	from := 0
	if t := c.in.text(token); t != "" {
		n, ok := strings.CutPrefix(t, "page-")
		if from, err = strconv.Atoi(n); !ok || err != nil || from > len(list) {
			return nil, "", refuse("ValidationError", "Invalid pagination token: %s", t)
		}
	}
	list = list[from:]
	if len(list) <= size {
		return list, "", nil
	}
	return list[:size], "page-" + strconv.Itoa(from+size), nil
}

// stamp is a time as answers have it: whole milliseconds.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// set puts a value into an object unless it is empty.
func set(o object, name string, v any) {
	switch x := v.(type) {
	case nil:
		return
	case string:
		if x == "" {
			return
		}
	case []any:
		if len(x) == 0 {
			return
		}
	case time.Time:
		if x.IsZero() {
			return
		}
	}
	o[name] = v
}
