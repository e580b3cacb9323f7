package workload

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fields returns the key paths of the numbers, durations and quantities in a type.
func fields(t reflect.Type, path string) (found []string) {
	switch t {
	case reflect.TypeFor[Duration](), reflect.TypeFor[Quantity]():
		return []string{path}
	}
	switch t.Kind() {
	case reflect.Int32, reflect.Int64, reflect.Float64:
		return []string{path}
	case reflect.Pointer:
		return fields(t.Elem(), path)
	case reflect.Slice:
		return fields(t.Elem(), path+"[]")
	case reflect.Map:
		return fields(t.Elem(), path+"{}")
	case reflect.Struct:
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			found = append(found, fields(t.Field(i).Type, joinPath(path, name))...)
		}
	}
	return found
}

// A field without a range cannot be deployed with, and a range without a field
// judges nothing.
func TestFieldsAndRangesAreTheSame(t *testing.T) {
	t.Parallel()
	want := map[string]bool{}
	for _, path := range fields(reflect.TypeFor[Spec](), "") {
		for _, section := range sectionsWithHandlers {
			if key, ok := strings.CutPrefix(path, "pod.containers[]."+section+"."); ok {
				path = "probe." + key
			}
		}
		want[path] = true
	}
	got := slices.Concat(slices.Collect(maps.Keys(bounds)), slices.Collect(maps.Keys(periods)), slices.Collect(maps.Keys(least)))
	slices.Sort(got)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), got); diff != "" {
		t.Errorf("ranges that are declared (-fields +ranges):\n%s", diff)
	}
}

// A range is applied because it is declared: no rule names the field again.
func TestADeclaredRangeIsApplied(t *testing.T) {
	t.Parallel()
	type inner struct {
		Workers int64 `json:"workers"`
	}
	type outer struct {
		Replicas *int32  `json:"replicas"`
		Ratio    float64 `json:"ratio"`
		Inner    []inner `json:"inner"`
		Gone     string  `json:"gone"`
	}
	three := int32(3)
	vs := &violations{}
	w := walker{
		vs: vs, kind: Task,
		has: func(path string) bool { return path != "gone" },
		bounds: func(path string) *Bounds {
			return map[string]*Bounds{"replicas": {Max: 2}, "inner[].workers": {Min: 1, Max: 2}}[path]
		},
	}
	w.object("", "", reflect.ValueOf(&outer{Replicas: &three, Ratio: 9, Inner: []inner{{1}, {0}}, Gone: "x"}).Elem())
	var got []string
	for _, v := range vs.list {
		got = append(got, v.Path+" "+v.Code)
	}
	want := []string{"replicas " + CodeLessOrEqual, "inner[1].workers " + CodeGreaterOrEqual, "gone " + CodeFieldNotForKind}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is refused (-want +got):\n%s", diff)
	}
}
