package workload

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Diff returns the key paths at which two specs differ, in the order of the file:
// the deepest path that names the whole difference, such as
// "pod.containers[0].image" or, where one has no such element, "apis[2]".
func Diff(a, b *Spec) []string {
	var paths []string
	differ(&paths, "", reflect.ValueOf(*a), reflect.ValueOf(*b))
	return paths
}

func differ(paths *[]string, path string, a, b reflect.Value) {
	if !a.IsValid() || !b.IsValid() {
		*paths = append(*paths, path)
		return
	}
	switch a.Kind() {
	case reflect.Pointer:
		switch {
		case a.IsNil() && b.IsNil():
		case a.IsNil() || b.IsNil():
			*paths = append(*paths, path)
		default:
			differ(paths, path, a.Elem(), b.Elem())
		}
	case reflect.Struct:
		if _, leaf := a.Interface().(json.Marshaler); leaf {
			if a.Interface() != b.Interface() {
				*paths = append(*paths, path)
			}
			return
		}
		for i := range a.NumField() {
			key, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
			differ(paths, joinPath(path, key), a.Field(i), b.Field(i))
		}
	case reflect.Slice:
		differLists(paths, path, a, b)
	case reflect.Map:
		var keys []string
		for _, k := range slices.Concat(a.MapKeys(), b.MapKeys()) {
			keys = append(keys, k.String())
		}
		slices.Sort(keys)
		for _, k := range slices.Compact(keys) {
			v := reflect.ValueOf(k)
			differ(paths, joinPath(path, k), a.MapIndex(v), b.MapIndex(v))
		}
	default:
		if a.Interface() != b.Interface() {
			*paths = append(*paths, path)
		}
	}
}

func differLists(paths *[]string, path string, a, b reflect.Value) {
	if (a.Len() == 0) != (b.Len() == 0) {
		*paths = append(*paths, path)
		return
	}
	for i := range max(a.Len(), b.Len()) {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case i >= a.Len() || i >= b.Len():
			*paths = append(*paths, at)
		default:
			differ(paths, at, a.Index(i), b.Index(i))
		}
	}
}

func joinPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
