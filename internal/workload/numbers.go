package workload

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Has reports whether specs of kind k have the key at a path without indices, such
// as "pod.port" or "pod.containers[].readiness_probe.exec". It is the only home of
// that: files, schemas and Validate ask it.
func Has(k Kind, path string) bool {
	switch path {
	case "pod", "node_groups":
		return k != Splitter
	case "apis":
		return k == Splitter
	case "autoscaling", "update_strategy", "stopped", "pod.max_concurrency", "pod.termination_grace_period":
		return k.Scales()
	case "pod.port":
		return k != Splitter && k != Task
	case "pod.max_queue_length", "pod.on_client_gone":
		return k == Realtime
	case "async", "autoscaling.target_queue_time", "schedules[].payload":
		return k == Async
	case "schedules":
		return k == Async || k == Batch || k == Task
	case "schedules[].job":
		return k == Batch || k == Task
	}
	key, ok := strings.CutPrefix(path, "pod.containers[].")
	section, below, isBelow := strings.Cut(key, ".")
	if !ok || !slices.Contains(sectionsWithHandlers, section) {
		return true
	}
	handlers := Handlers(k, section)
	handler, _, _ := strings.Cut(below, ".")
	return len(handlers) > 0 && (!isBelow || !slices.Contains(handlerKeys, handler) || slices.Contains(handlers, handler))
}

var (
	sectionsWithHandlers = []string{"readiness_probe", "liveness_probe", "pre_stop"}
	handlerKeys          = []string{"http_get", "tcp_socket", "exec"}
)

// Period is the range of a duration: at least Min, and a multiple of Step unless
// that is 0.
type Period struct{ Min, Step time.Duration }

var periods = map[string]Period{
	"pod.termination_grace_period":               {Min: time.Second, Step: time.Second},
	"autoscaling.window":                         {Min: 10 * time.Second, Step: 10 * time.Second},
	"autoscaling.downscale_stabilization_period": {},
	"autoscaling.upscale_stabilization_period":   {},
	"autoscaling.target_queue_time":              {},
	"schedules[].every":                          {}, // absent beside cron
	"schedules[].catch_up.window":                {Min: 10 * time.Second},
	"schedules[].jitter":                         {},
	"autoscaling.floors[].for":                   {Min: time.Second},
	"async.timeout":                              {Min: time.Second},
	"async.expire_after":                         {Min: time.Second},
	"async.retry.min_delay":                      {Min: time.Millisecond},
	"async.retry.max_delay":                      {Min: time.Millisecond},
	"async.keep.results":                         {Min: time.Minute},
}

// PeriodOf returns the range of the duration at a key path, as BoundsOf does for
// numbers.
func PeriodOf(path string) Period { return declared(periods, path) }

var least = map[string]Quantity{
	"pod.containers[].compute.cpu": MinCPU,
	"pod.containers[].compute.mem": MinMem,
	"pod.containers[].compute.shm": {},

	"pod.containers[].compute.limits.cpu": MinCPU,
	"pod.containers[].compute.limits.mem": MinMem,
	"pod.volumes[].empty_dir.size":        MinMem,
	"async.max_payload":                   MustQuantity("1Ki"),
}

// LeastOf returns the least that the quantity at a key path may be; none is negative.
func LeastOf(path string) Quantity { return declared(least, path) }

// declared returns the row of a path. That there is none is found by any test that
// validates a spec: the types of the spec are the list of what needs a row.
func declared[T any](rows map[string]T, path string) T {
	row, ok := rows[path]
	if !ok {
		panic("workload: no bounds are declared for " + path)
	}
	return row
}

// walker holds every number, duration and quantity of a structure to its declared
// range, and refuses keys that its kind does not have. It goes by the types, so that
// a field cannot be added and its range forgotten.
type walker struct {
	vs     *violations
	kind   Kind                      // of the specs that lack a key
	has    func(path string) bool    // whether there is such a key
	bounds func(path string) *Bounds // of a number; nil leaves it to a rule of its own
}

// numbers holds s to the ranges of its keys.
func (vs *violations) numbers(s *Spec) {
	w := walker{
		vs: vs, kind: s.Kind,
		has: func(path string) bool { return Has(s.Kind, path) },
		bounds: func(path string) *Bounds {
			b := BoundsOf(s.Kind, path)
			return &b
		},
	}
	w.object("", "", reflect.ValueOf(s).Elem())
}

// object visits the keys of a struct at path, whose key path without indices is key.
func (w *walker) object(path, key string, v reflect.Value) {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		at, of := joinPath(path, name), joinPath(key, name)
		switch f := v.Field(i); {
		case w.has(of):
			w.value(at, of, f)
		case !f.IsZero():
			w.vs.notForKind(at, w.kind)
		}
	}
}

func (w *walker) value(path, key string, v reflect.Value) {
	switch x := v.Interface().(type) {
	case Duration:
		w.vs.period(path, PeriodOf(key), x)
		return
	case *Quantity:
		if floor := LeastOf(key); x != nil && x.Cmp(floor) < 0 {
			w.vs.add(Violation{
				Path: path, Code: CodeGreaterOrEqual, Found: x.String(),
				Message: "must be at least " + floor.String(), Allowed: floor.String() + " or more, or null for none",
			})
		}
		return
	}
	switch v.Kind() {
	case reflect.Int32, reflect.Int64:
		w.number(path, key, float64(v.Int()))
	case reflect.Float64:
		w.number(path, key, v.Float())
	case reflect.Pointer:
		if !v.IsNil() {
			w.value(path, key, v.Elem())
		}
	case reflect.Struct:
		w.object(path, key, v)
	case reflect.Slice:
		for i := range v.Len() {
			switch at, e := fmt.Sprintf("%s[%d]", path, i), v.Index(i); e.Kind() {
			case reflect.Struct:
				w.object(at, key+"[]", e)
			case reflect.String:
				w.text(at, key+"[]", e.String(), false)
			}
		}
	case reflect.Map:
		w.entries(path, key, v)
	case reflect.String:
		w.text(path, key, v.String(), false)
	case reflect.Bool, reflect.Interface: // have rules of their own
	default:
		panic("workload: no rule is known for a " + v.Kind().String() + " such as " + path)
	}
}

func (w *walker) number(path, key string, n float64) {
	b := w.bounds(key)
	if b == nil {
		return
	}
	if v := b.Check(n); v.Code != "" {
		v.Path = path
		w.vs.add(v)
	}
}

func (vs *violations) period(path string, p Period, d Duration) {
	v := Violation{Path: path, Found: d.String(), Allowed: p.String()}
	switch {
	case time.Duration(d) < p.Min:
		v.Code, v.Message = CodeGreaterOrEqual, "must be at least "+Duration(p.Min).String()
	case p.Step != 0 && time.Duration(d)%p.Step != 0:
		v.Code, v.Message = CodeNotMultiple, "must be a multiple of "+Duration(p.Step).String()
	default:
		return
	}
	vs.add(v)
}

// String is p in words.
func (p Period) String() string {
	if p.Step != 0 {
		return fmt.Sprintf("multiples of %s, such as 60s", Duration(p.Step))
	}
	return Duration(p.Min).String() + " or more, such as 5m"
}
