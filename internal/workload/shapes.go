package workload

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cortex.dev/cortex/internal/cron"
)

// Shape is what a string looks like. An empty one is absent.
type Shape struct {
	Pattern, Not string // Not: what it must not look like as well; empty: nothing
	Max          int    // characters; 0: as the pattern says
	Required     bool
	is           string // what it is not, where it does not fit
}

var (
	objectName = Shape{Pattern: ObjectPattern, Max: MaxObjectNameLength, is: "the name of an object of Kubernetes"}
	labelKey   = Shape{Pattern: LabelPattern, Not: LabelNotPattern, Max: MaxLabelLength, is: "a key of labels and annotations"}
	labelValue = Shape{Pattern: LabelValuePattern, is: "the value of a label"}
)

func (s Shape) required() Shape {
	s.Required = true
	return s
}

// shapes are those of strings at key paths. The keys of a map are at its path and {key},
// its values at its path and {}.
var shapes = map[string]Shape{
	"async.webhook.url":                     {Pattern: HookURLPattern, Max: maxHookURL, is: "the address of a receiver"},
	"async.webhook.events[]":                {Pattern: HookEventPattern, Required: true, is: "an end of an item"},
	"async.webhook.secret":                  {Pattern: NamePattern, Max: MaxSecretNameLength, Required: true, is: "the name of a secret"},
	"pod.on_client_gone":                    {Pattern: GonePattern, is: "what becomes of a request whose caller has left"},
	"async.retry.on[]":                      {Pattern: RetryOnPattern, Required: true, is: "what an execution comes to"},
	"async.keep.payloads":                   {Pattern: PayloadsPattern, is: "for which items payloads are kept"},
	"schedules[].name":                      {Pattern: NamePattern, Max: MaxNameLength, Required: true, is: "the name of a schedule"},
	"schedules[].cron":                      {Pattern: CronPattern, Max: cron.MaxLength, is: "a cron expression"},
	"schedules[].timezone":                  {Pattern: TimezonePattern, Max: cron.MaxZoneLength, is: "a time zone"},
	"schedules[].overlap":                   {Pattern: OverlapPattern, is: "a rule for overlaps"},
	"schedules[].catch_up.runs":             {Pattern: RunsPattern, is: "a rule for runs that are late"},
	"schedules[].payload.content_type":      {Pattern: ContentTypePattern, Max: 128, is: "a content type"},
	"autoscaling.floors[].cron":             {Pattern: CronPattern, Max: cron.MaxLength, Required: true, is: "a cron expression"},
	"autoscaling.floors[].timezone":         {Pattern: TimezonePattern, Max: cron.MaxZoneLength, is: "a time zone"},
	"networking.auth.accept[]":              {Pattern: AcceptPattern, Required: true, is: "a credential"},
	"networking.auth.jwt.issuer":            {Pattern: HookURLPattern, Max: MaxIssuer, Required: true, is: "an issuer"},
	"networking.auth.jwt.audience":          {Pattern: ClaimPattern, Max: MaxIssuer, Required: true, is: "an audience"},
	"networking.auth.jwt.keys":              {Pattern: HookURLPattern, Max: MaxIssuer, is: "the address of keys"},
	"networking.auth.jwt.algorithms[]":      {Pattern: SignedPattern, Required: true, is: "an algorithm by which tokens can be signed"},
	"networking.auth.jwt.require{key}":      {Pattern: ClaimPattern, Max: MaxLabelLength, is: "the name of a claim"},
	"networking.auth.jwt.require{}":         {Pattern: ClaimPattern, Max: MaxIssuer, Required: true, is: "the value of a claim"},
	"networking.auth.forward[]":             {Pattern: ForwardPattern, Required: true, is: "what a container can be told of its caller"},
	"networking.auth.allow[].paths[]":       {Pattern: AllowedPathPattern, Not: AllowedPathNot, Max: MaxAllowedPath, Required: true, is: "a path below the endpoint"},
	"networking.auth.allow[].methods[]":     {Pattern: MethodPattern, Required: true, is: "a method"},
	"networking.limits[].name":              {Pattern: NamePattern, Max: MaxNameLength, Required: true, is: "the name of a limit"},
	"networking.limits[].per":               {Pattern: PerPattern, is: "of whom a limit can be"},
	"networking.limits[].rate":              {Pattern: RatePattern, is: "a rate"},
	"networking.limits[].quota":             {Pattern: QuotaPattern, is: "a quota"},
	"pod.service_account":                   objectName,
	"pod.labels{key}":                       labelKey,
	"pod.labels{}":                          labelValue,
	"pod.annotations{key}":                  labelKey,
	"pod.node_selector{key}":                {Pattern: LabelPattern, Max: MaxLabelLength, is: "the key of a label"},
	"pod.node_selector{}":                   labelValue,
	"pod.tolerations[].key":                 {Pattern: LabelPattern, Max: MaxLabelLength, Required: true, is: "the key of a taint"},
	"pod.tolerations[].value":               labelValue,
	"pod.tolerations[].effect":              {Pattern: EffectPattern, is: "the effect of a taint"},
	"pod.volumes[].name":                    {Pattern: NamePattern, Not: VolumeNotPattern, Max: MaxContainerNameLength, Required: true, is: "the name of a volume"},
	"pod.volumes[].config_map":              objectName,
	"pod.volumes[].secret":                  objectName,
	"pod.volumes[].persistent_volume_claim": objectName,
	"pod.volumes[].host_path":               {Pattern: HostPathPattern, Not: HostPathNotPattern, Max: MaxMountPathLength, is: "the path of a folder"},

	"pod.containers[].env{}":                      {Pattern: NamePattern, Max: MaxSecretNameLength, is: "the name of a secret"},
	"pod.containers[].env_from[].name":            {Pattern: EnvPattern, Not: EnvNotPattern, Required: true, is: "the name of an environment variable"},
	"pod.containers[].env_from[].secret":          objectName,
	"pod.containers[].env_from[].config_map":      objectName,
	"pod.containers[].env_from[].key":             {Pattern: DataKeyPattern, Max: MaxObjectNameLength, Required: true, is: "a key of a secret or config map"},
	"pod.containers[].volume_mounts[].name":       {Pattern: NamePattern, Max: MaxContainerNameLength, Required: true, is: "the name of a volume"},
	"pod.containers[].volume_mounts[].mount_path": {Pattern: MountPathPattern, Not: MountNotPattern, Max: MaxMountPathLength, Required: true, is: "a path to mount at"},

	"pod.containers[].security_context.capabilities.add[]":  {Pattern: AddPattern, Required: true, is: "a capability that can be added"},
	"pod.containers[].security_context.capabilities.drop[]": {Pattern: DropPattern, Required: true, is: "a capability that can be dropped"},
	"pod.containers[].compute.devices{key}":                 {Pattern: DevicePattern, Not: DeviceNotPattern, Max: MaxLabelLength, is: "the name of a device"},
	"pod.containers[].compute.resource_claim_templates[]":   objectName.required(),
}

// ShapeOf returns the shape of the strings at a key path, as BoundsOf does for numbers.
func ShapeOf(path string) Shape { return declared(shapes, path) }

// HasShape reports whether one is declared.
func HasShape(path string) bool {
	_, ok := shapes[path]
	return ok
}

// compiledShapes has the patterns: they are compiled when the first string is looked at.
var compiledShapes = sync.OnceValue(func() map[string]*regexp.Regexp {
	all := map[string]*regexp.Regexp{}
	for _, s := range shapes {
		for _, p := range []string{s.Pattern, s.Not} {
			if p != "" && all[p] == nil {
				all[p] = regexp.MustCompile(p)
			}
		}
	}
	return all
})

// Fits reports whether text is so.
func (s Shape) Fits(text string) bool {
	if text == "" {
		return !s.Required
	}
	all := compiledShapes()
	return (s.Max == 0 || len(text) <= s.Max) && all[s.Pattern].MatchString(text) && (s.Not == "" || !all[s.Not].MatchString(text))
}

// text holds a string to its shape, where it has one here.
func (w *walker) text(path, key, text string, ofKey bool) {
	s, ok := shapes[key]
	if !ok || text == "" && !s.Required && !ofKey {
		return
	}
	v := Violation{Path: path, OfKey: ofKey, Code: CodeInvalidString, Found: abbreviate(text), Message: "is not " + s.is, Allowed: WordsOf(s.Pattern)}
	switch all := compiledShapes(); {
	case text == "" && !ofKey && !strings.HasSuffix(path, "]"):
		w.vs.missing(path, path[strings.LastIndexByte(path, '.')+1:], WordsOf(s.Pattern))
		return
	case s.Max > 0 && len(text) > s.Max:
		v.Code, v.Message, v.Allowed = CodeTooLong, fmt.Sprintf("must be no longer than %d characters, and has %d", s.Max, len(text)), ""
	case !all[s.Pattern].MatchString(text):
	case s.Not != "" && all[s.Not].MatchString(text):
		v.Code, v.Message, v.Allowed = CodeDisallowedValue, "cannot be used here", WordsOf(s.Not)
	default:
		return
	}
	w.vs.add(v)
}

// entries holds the keys and the values of a map to what is declared for them.
func (w *walker) entries(path, key string, v reflect.Value) {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, k := range keys {
		at := joinPath(path, k.String())
		w.text(at, key+"{key}", k.String(), true)
		switch e := v.MapIndex(k); e.Kind() {
		case reflect.String:
			w.text(at, key+"{}", e.String(), false)
			w.vs.text(at, e.String())
		case reflect.Int64:
			w.number(at, key+"{}", float64(e.Int()))
		case reflect.Struct:
			variable := e.Interface().(Variable)
			w.text(at, key+"{}", variable.Secret, false)
			w.vs.text(at, variable.Value)
		case reflect.Interface: // has rules of its own
		default:
			panic("workload: no rule is known for the values of " + path)
		}
	}
}
