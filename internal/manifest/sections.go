package manifest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/workload"
)

// has tells which kinds have the key at a path of the spec.
func has(path string) func(workload.Kind) bool {
	return func(k workload.Kind) bool { return workload.Has(k, path) }
}

// decodeSection reads the map v into t and reports whether it is one.
func decodeSection[T any](s *scope, sec *section[T], v value, t *T) bool {
	if v.node.Kind != yaml.MappingNode {
		s.wrongType(v, "a map", "")
		return false
	}
	decodeFields(s, sec.fields, v, s.pairs(v.path, v.node), t)
	return true
}

// set makes a setter of a reader.
func set[T, V any](read func(*scope, value) (V, bool), into func(*T) *V) func(*scope, *T, value) {
	return func(s *scope, t *T, v value) {
		if x, ok := read(s, v); ok {
			*into(t) = x
		}
	}
}

func (s *scope) int64(v value) (int64, bool) { return s.whole(v, 64) }

func (s *scope) wordsPresent(v value) ([]string, bool) {
	w := s.words(v)
	return w, w != nil
}

func (s *scope) quantityPresent(v value) (*workload.Quantity, bool) {
	q := s.quantity(v)
	return q, q != nil
}

func kindNames() (names []string) {
	for _, k := range workload.Kinds() {
		names = append(names, string(k))
	}
	return names
}

// specSection is an API: one element of the file's list.
var specSection = section[workload.Spec]{
	fields: []field[workload.Spec]{
		{
			key: "name", required: true, doc: "the name of the API, unique in its environment",
			schema: nameSchema,
			set:    set((*scope).filled, func(t *workload.Spec) *string { return &t.Name }),
		},
		{
			key: "kind", required: true, doc: "what the API is: " + strings.Join(kindNames(), ", "),
			schema: kindSchema,
			set:    func(*scope, *workload.Spec, value) {}, // read before everything else
		},
		{
			key: "pod", required: true, on: has("pod"), doc: "the containers that make one replica",
			schema: sectionSchema(&podSection),
			set: func(s *scope, t *workload.Spec, v value) {
				if p := workload.NewPod(s.spec.Kind); decodeSection(s, &podSection, v, p) {
					t.Pod = p
				}
			},
		},
		{
			key: "node_groups", nullable: true, on: has("node_groups"), doc: "the node groups that replicas may run on (default: all)",
			schema: nodeGroupsSchema,
			set:    set((*scope).wordsPresent, func(t *workload.Spec) *[]string { return &t.NodeGroups }),
		},
		{
			key: "apis", required: true, on: has("apis"), doc: "the RealtimeAPIs that share the traffic",
			schema: listSchema(&targetSection),
			set: func(s *scope, t *workload.Spec, v value) {
				decodeList(s, &targetSection, v, &t.APIs, func() workload.Target { return workload.Target{} })
			},
		},
		{
			key: "networking", doc: "where the API is reached",
			schema: sectionSchema(&networkingSection),
			set: func(s *scope, t *workload.Spec, v value) {
				t.Networking = &workload.Networking{}
				decodeSection(s, &networkingSection, v, t.Networking)
			},
		},
		{
			key: "autoscaling", on: has("autoscaling"), doc: "how the number of replicas follows the load",
			schema: sectionSchema(&autoscalingSection),
			set: func(s *scope, t *workload.Spec, v value) {
				a := scaled{Autoscaling: workload.NewAutoscaling(0)}
				if decodeSection(s, &autoscalingSection, v, &a) {
					t.Autoscaling = a.Autoscaling
					s.target, s.init = a.target, a.init
				}
			},
		},
		{
			key: "update_strategy", on: has("update_strategy"), doc: "how many replicas an update may add and take away at a time",
			schema: sectionSchema(&updateSection),
			set: func(s *scope, t *workload.Spec, v value) {
				t.UpdateStrategy = workload.NewUpdateStrategy()
				decodeSection(s, &updateSection, v, t.UpdateStrategy)
			},
		},
		{
			key: "async", on: has("async"), doc: "how requests are kept, and tried again",
			schema: sectionSchema(&asyncSection),
			set: func(s *scope, t *workload.Spec, v value) {
				if a := workload.NewAsynchronous(); decodeSection(s, &asyncSection, v, a) {
					t.Async = a
				}
			},
		},
		schedulesField(),
		{
			key: "stopped", on: has("stopped"), doc: "deploy it without starting anything, until `cortex start` (default: false)",
			schema: fixed(object{"type": "boolean", "default": false}),
			set:    set((*scope).truth, func(t *workload.Spec) *bool { return &t.Stopped }),
		},
	},
}

// decodeList reads a list of maps.
func decodeList[T any](s *scope, sec *section[T], v value, into *[]T, empty func() T) {
	elements, ok := s.list(v)
	if !ok {
		return
	}
	list := make([]T, len(elements))
	for i, e := range elements {
		list[i] = empty()
		if isNull(e.node) {
			s.wrongAt(e, workload.CodeCannotBeNullOrEmpty, "must not be null", "", "", "remove the dash")
			continue
		}
		decodeSection(s, sec, e, &list[i])
	}
	*into = list
}

var targetSection = section[workload.Target]{
	inList: oneShadow,
	fields: []field[workload.Target]{
		{
			key: "name", required: true, doc: "the name of a RealtimeAPI",
			schema: targetNameSchema,
			set:    set((*scope).filled, func(t *workload.Target) *string { return &t.Name }),
		},
		{
			key: "weight", required: true, doc: "percent of the traffic; of the shadow: percent that is copied to it",
			schema: wholeSchema("apis[].weight", nil),
			set:    set((*scope).int32, func(t *workload.Target) *int32 { return &t.Weight }),
		},
		{
			key: "shadow", doc: "send copies of requests and discard the answers",
			schema: fixed(object{"type": "boolean", "default": false}),
			set:    set((*scope).truth, func(t *workload.Target) *bool { return &t.Shadow }),
		},
	},
}

var networkingSection = section[workload.Networking]{
	fields: []field[workload.Networking]{
		{
			key: "endpoint", doc: "the path at which the API is reached (default: / and its name)",
			schema: endpointSchema,
			set: func(s *scope, t *workload.Networking, v value) {
				if e, ok := s.filledOr(v, "", "such as /iris, or remove the key"); ok {
					// The root stays what it is, to be refused by its rule.
					t.Endpoint = max(workload.CanonicalEndpoint(e), "/")
				}
			},
		},
		{
			key: "host", doc: "a host name that is the API's own: requests to it reach the API at every path (default: none)",
			schema: hostSchema,
			set: func(s *scope, t *workload.Networking, v value) {
				t.Host, _ = s.filledOr(v, "", "such as iris.example.com, or remove the key")
			},
		},
		{
			key: "auth", doc: "who may call the API (default: whoever reaches it)",
			schema: sectionSchema(&authSection),
			set: func(s *scope, t *workload.Networking, v value) {
				if a := (&workload.Auth{}); decodeSection(s, &authSection, v, a) {
					t.Auth = a
				}
			},
		},
		{
			key: "limits", doc: "how much may be called (default: as much as replicas can take)",
			schema: orEmpty(listSchema(&limitSection)),
			set: func(s *scope, t *workload.Networking, v value) {
				decodeList(s, &limitSection, v, &t.Limits, func() workload.Limit { return workload.Limit{} })
			},
		},
	},
}

// scaled is the autoscaling section while it is read: two defaults follow from
// other fields, so it matters whether these two were given.
type scaled struct {
	*workload.Autoscaling
	target, init bool
}

var autoscalingSection = section[scaled]{
	fields: []field[scaled]{
		replicas("min_replicas", "the least number of replicas; 0 lets the API sleep until a request arrives",
			func(t *scaled) *int32 { return &t.MinReplicas }),
		replicas("max_replicas", "the greatest number of replicas",
			func(t *scaled) *int32 { return &t.MaxReplicas }),
		follows(replicas("init_replicas", "replicas to begin with (default: min_replicas)",
			func(t *scaled) *int32 { t.init = true; return &t.InitReplicas })),
		follows(factor("target_in_flight", "requests in flight that one replica should have (default: max_concurrency)",
			func(t *scaled) *float64 { t.target = true; return &t.TargetInFlight })),
		period("window", "the time over which load is averaged",
			func(t *scaled) *workload.Duration { return &t.Window }),
		period("downscale_stabilization_period", "how long the load must stay low before replicas are taken away",
			func(t *scaled) *workload.Duration { return &t.DownscaleStabilizationPeriod }),
		period("upscale_stabilization_period", "how long the load must stay high before replicas are added",
			func(t *scaled) *workload.Duration { return &t.UpscaleStabilizationPeriod }),
		factor("max_downscale_factor", "the smallest part of the replicas that one step may leave",
			func(t *scaled) *float64 { return &t.MaxDownscaleFactor }),
		factor("max_upscale_factor", "the largest multiple of the replicas that one step may reach",
			func(t *scaled) *float64 { return &t.MaxUpscaleFactor }),
		factor("downscale_tolerance", "how far below the present number a recommendation is ignored",
			func(t *scaled) *float64 { return &t.DownscaleTolerance }),
		factor("upscale_tolerance", "how far above the present number a recommendation is ignored",
			func(t *scaled) *float64 { return &t.UpscaleTolerance }),
		{
			key: "target_queue_time", on: has("autoscaling.target_queue_time"),
			doc:    "how long an item should wait at most: replicas are asked for by what is queued and by how long items took, once ten are known (default: none)",
			schema: follows(field[scaled]{schema: durationSchema("")}).schema,
			set:    set((*scope).duration, func(t *scaled) *workload.Duration { return &t.TargetQueueTime }),
		},
		list("floors", "times at which there are more replicas at least", &floorSection,
			func(t *scaled) *[]workload.Floor { return &t.Floors }),
	},
}

// unsaid is what an absent key of the autoscaling section means.
func unsaid[V any](into func(*scaled) *V) V {
	return *into(&scaled{Autoscaling: workload.NewAutoscaling(0)})
}

func replicas(key, doc string, into func(*scaled) *int32) field[scaled] {
	return field[scaled]{key: key, doc: doc, schema: wholeSchema("autoscaling."+key, unsaid(into)), set: set((*scope).int32, into)}
}

func factor(key, doc string, into func(*scaled) *float64) field[scaled] {
	return field[scaled]{key: key, doc: doc, schema: realSchema("autoscaling."+key, unsaid(into)), set: set((*scope).real, into)}
}

func period(key, doc string, into func(*scaled) *workload.Duration) field[scaled] {
	def := unsaid(into).String()
	if workload.PeriodOf("autoscaling."+key).Step != 0 {
		def = fmt.Sprintf("%.0fs", time.Duration(unsaid(into)).Seconds()) // in the unit of its steps
	}
	return field[scaled]{key: key, doc: doc, schema: durationSchema(def), set: set((*scope).duration, into)}
}

// follows is a field whose default is the value of another one.
func follows(f field[scaled]) field[scaled] {
	schema := f.schema
	f.schema = func(k workload.Kind) object {
		o := schema(k)
		delete(o, "default")
		return o
	}
	return f
}

var updateSection = section[workload.UpdateStrategy]{
	fields: []field[workload.UpdateStrategy]{
		{
			key: "max_surge", doc: "replicas that an update may add: a percentage, rounded up, or a number",
			schema: shareSchema,
			set:    set((*scope).share, func(t *workload.UpdateStrategy) *string { return &t.MaxSurge }),
		},
		{
			key: "max_unavailable", doc: "replicas that an update may take away: a percentage, rounded down, or a number",
			schema: shareSchema,
			set:    set((*scope).share, func(t *workload.UpdateStrategy) *string { return &t.MaxUnavailable }),
		},
	},
}

// fillGaps sets the sections that the file leaves out, and the defaults that
// follow from other fields.
func (s *scope) fillGaps() {
	t := &s.spec
	s.fillVariables()
	if t.Networking == nil {
		t.Networking = &workload.Networking{}
	}
	if t.Networking.Endpoint == "" {
		t.Networking.Endpoint = "/" + t.Name
		if slices.Contains(s.wrong, "name") || t.Name == "" {
			s.cannotRead("networking.endpoint")
		}
	}
	if !t.Kind.Scales() {
		return
	}
	concurrency := workload.DefaultMaxConcurrency
	if t.Pod != nil {
		concurrency = t.Pod.MaxConcurrency
	}
	if t.Autoscaling == nil {
		t.Autoscaling = workload.NewAutoscaling(concurrency)
	}
	if !s.target {
		t.Autoscaling.TargetInFlight = float64(concurrency)
		s.cannotRead("autoscaling.target_in_flight")
	}
	if !s.init {
		t.Autoscaling.InitReplicas = t.Autoscaling.MinReplicas
		s.cannotRead("autoscaling.init_replicas")
	}
	if t.UpdateStrategy == nil {
		t.UpdateStrategy = workload.NewUpdateStrategy()
	}
	if t.Async == nil && workload.Has(t.Kind, "async") {
		t.Async = workload.NewAsynchronous()
	}
}
