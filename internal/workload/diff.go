package workload

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Difference is one key path at which two specs differ, with both values as JSON; empty
// where there is none. Values of variables are Masked: they are often passwords, and
// differences end up in the logs of whoever deploys.
type Difference struct {
	Path string `json:"path"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Masked stands for the value of a variable.
const Masked = "***"

// Masked returns c without the values of its variables. The names of secrets stay: who
// reads which is no secret.
func (c Container) Masked() Container {
	c.Env = maps.Clone(c.Env)
	for name, v := range c.Env {
		c.Env[name] = v.Masked()
	}
	return c
}

// Masked returns v without its value.
func (v Variable) Masked() Variable {
	if v.Secret == "" {
		v.Value = Masked
	}
	return v
}

// Diff returns the key paths at which two specs differ, in the order of the file:
// the deepest path that names the whole difference, such as
// "pod.containers[0].image" or, where one has no such element, "apis[2]".
func Diff(a, b *Spec) []string { return Paths(Differences(a, b)) }

// Differences is Diff with the values.
func Differences(a, b *Spec) []Difference {
	var all differences
	all.differ("", reflect.ValueOf(*a), reflect.ValueOf(*b))
	return all
}

// Paths are the key paths of differences.
func Paths(all []Difference) []string {
	var paths []string
	for _, d := range all {
		paths = append(paths, d.Path)
	}
	return paths
}

type differences []Difference

func (all *differences) add(path string, a, b reflect.Value) {
	*all = append(*all, Difference{path, shownValue(path, a), shownValue(path, b)})
}

// shownValue is a value of a spec as JSON, without what variables hold.
func shownValue(path string, v reflect.Value) string {
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() || v.Kind() == reflect.Slice && v.Len() == 0 {
		return ""
	}
	value := v.Interface()
	switch x := value.(type) {
	case Container:
		value = x.Masked()
	case Variable:
		if x = x.Masked(); x.Secret == "" {
			return Masked
		}
		value = x
	}
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(text)
}

func (all *differences) differ(path string, a, b reflect.Value) {
	if !a.IsValid() || !b.IsValid() {
		all.add(path, a, b)
		return
	}
	switch a.Kind() {
	case reflect.Pointer:
		switch {
		case a.IsNil() && b.IsNil():
		case a.IsNil() || b.IsNil():
			all.add(path, a, b)
		default:
			all.differ(path, a.Elem(), b.Elem())
		}
	case reflect.Struct:
		if _, leaf := a.Interface().(json.Marshaler); leaf {
			if a.Interface() != b.Interface() {
				all.add(path, a, b)
			}
			return
		}
		for i := range a.NumField() {
			key, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
			all.differ(joinPath(path, key), a.Field(i), b.Field(i))
		}
	case reflect.Slice:
		all.differLists(path, a, b)
	case reflect.Map:
		var keys []string
		for _, k := range slices.Concat(a.MapKeys(), b.MapKeys()) {
			keys = append(keys, k.String())
		}
		slices.Sort(keys)
		for _, k := range slices.Compact(keys) {
			v := reflect.ValueOf(k)
			all.differ(joinPath(path, k), a.MapIndex(v), b.MapIndex(v))
		}
	default:
		if a.Interface() != b.Interface() {
			all.add(path, a, b)
		}
	}
}

func (all *differences) differLists(path string, a, b reflect.Value) {
	if (a.Len() == 0) != (b.Len() == 0) {
		all.add(path, a, b)
		return
	}
	for i := range max(a.Len(), b.Len()) {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case i >= a.Len():
			all.add(at, reflect.Value{}, b.Index(i))
		case i >= b.Len():
			all.add(at, a.Index(i), reflect.Value{})
		default:
			all.differ(at, a.Index(i), b.Index(i))
		}
	}
}

func joinPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
