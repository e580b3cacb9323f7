package workload

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// EnvAPIEndpoint is the variable that tells a replica where the front door is, through
// which it calls other APIs.
const EnvAPIEndpoint = "CORTEX_API_ENDPOINT"

// Patterns of the strings in a spec. They are written in the subset of regular
// expressions that Go and JSON Schema share.
const (
	NamePattern      = `^[a-z]([-a-z0-9]*[a-z0-9])?$` // DNS-1035
	EndpointPattern  = `^[a-zA-Z0-9_./-]*$`
	HostPattern      = `^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$` // RFC 1123; of two labels at least, and no address
	NodeGroupPattern = `^[a-zA-Z0-9_-]+$`
	EnvPattern       = `^[-._a-zA-Z][-._a-zA-Z0-9]*$`
	SharePattern     = `^([0-9]|[1-9][0-9]|100)%$|^[0-9]{1,9}$`
	QuantityPattern  = `^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]{1,3})?$`
	DurationPattern  = `^[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$|^[+-]?0$`
	ImagePattern     = `^((` + domainPart + `(\.` + domainPart + `)*|\[[0-9a-fA-F:]+\])(:[0-9]+)?/)?` +
		pathPart + `(/` + pathPart + `)*` +
		`(:[0-9A-Za-z_][0-9A-Za-z_.-]{0,127})?` +
		`(@[A-Za-z][A-Za-z0-9]*([-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$`
	// Strings that are Kubernetes'.
	ObjectPattern     = `^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$` // DNS-1123 subdomain
	DataKeyPattern    = `^[-._a-zA-Z0-9]+$`
	LabelPattern      = `^(` + prefixPart + `/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`
	LabelValuePattern = `^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`
	DevicePattern     = `^` + prefixPart + `/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`
	GonePattern       = `^(finish|cancel)$`
	RetryOnPattern    = `^([45][0-9][0-9]|timeout)$`
	PayloadsPattern   = `^(always|on_failure|never)$`
	EffectPattern     = `^(NoSchedule|PreferNoSchedule|NoExecute)$`
	AddPattern        = `^(` + capabilities + `)$`
	DropPattern       = `^(ALL|NET_RAW|` + capabilities + `)$`
	MountPathPattern  = `^/[^:\x00]+$`
	HostPathPattern   = `^[^\x00-\x1f\x7f]+$`
	// What the strings above must not look like as well.
	NameNotPattern   = `^b-`
	EnvNotPattern    = `^(CORTEX_|KUBEXIT_)` // as ReservedEnvPrefixes
	LabelNotPattern  = `^([a-z0-9.-]+\.)?cortex\.dev/|^(apiName|apiKind|apiID|specID|podID|deploymentID|initialDeploymentTime|pod-template-hash)$`
	DeviceNotPattern = `^([a-z0-9.-]+\.)?kubernetes\.io/|^nvidia\.com/gpu$|^aws\.amazon\.com/neuron$`
	VolumeNotPattern = `^(mnt|cortex|cortex-bin)$|^shm-`
	MountNotPattern  = `^/(mnt|cortex|dev|proc|sys)(/|$)|//|/\.\.?(/|$)|/$`
	// One folder has one name, by which policies know it. Sockets and devices are no data.
	HostPathNotPattern = `^/((dev|proc|sys|run|var/run)(/|$)|.*/\.\.?(/|$)|\.\.?(/|$)|$)|//|./$`
	EndpointNotPattern = `//|^/$|` + dotSegments
	PathNotPattern     = `//`

	dotSegments = `(^|/)\.\.?(/|$)`

	domainPart = `([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])`
	pathPart   = `[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*`
	prefixPart = `[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*`
	// capabilities are those that the baseline pod security standard lets a pod add:
	// none of them is a way to take over a node.
	capabilities = `AUDIT_WRITE|CHOWN|DAC_OVERRIDE|FOWNER|FSETID|KILL|MKNOD|NET_BIND_SERVICE|SETFCAP|SETGID|SETPCAP|SETUID|SYS_CHROOT`
)

var patternWords = map[string]string{
	NamePattern:        "lower-case letters, digits and dashes, beginning with a letter and not ending with a dash",
	EndpointPattern:    "letters, digits, and the characters / - _ .",
	HostPattern:        "a host name in lower case with a dot, such as iris.example.com; no address, no port and no *",
	NodeGroupPattern:   "letters, digits, dashes and underscores",
	EnvPattern:         "letters, digits, and the characters _ - ., not beginning with a digit",
	SharePattern:       "0% to 100%, or a whole number such as 1",
	NameNotPattern:     `not beginning with "b-"`,
	ObjectPattern:      "lower-case letters, digits, dashes and dots, beginning and ending with a letter or digit",
	DataKeyPattern:     "letters, digits, and the characters - _ .",
	LabelPattern:       "a label such as team or example.com/team",
	LabelValuePattern:  "letters, digits, and the characters - _ ., beginning and ending with a letter or digit, at most 63",
	DevicePattern:      "the name of an extended resource such as nvidia.com/mig-1g.5gb",
	GonePattern:        "finish or cancel",
	RetryOnPattern:     "a status from 400 to 599, or timeout",
	PayloadsPattern:    "always, on_failure or never",
	HookURLPattern:     "https://, a host and a path, such as https://example.com/hook",
	HookEventPattern:   "succeeded, failed, cancelled or expired",
	EffectPattern:      "NoSchedule, PreferNoSchedule or NoExecute",
	AddPattern:         "those that a pod may add without a way to its node: " + strings.ReplaceAll(capabilities, "|", ", "),
	DropPattern:        "ALL, NET_RAW, or one that can be added",
	MountPathPattern:   "an absolute path without a colon",
	HostPathPattern:    "the path of a folder of the machine, or of one beside the file",
	HostPathNotPattern: "not /, not at or below /dev, /proc, /sys, /run and /var/run, and without //, / at its end and, in an absolute path, /./ and /../",
	EnvNotPattern:      "not beginning with CORTEX_ or KUBEXIT_",
	LabelNotPattern:    "not one of Cortex's own",
	DeviceNotPattern:   "not of kubernetes.io, and not what gpu and inf ask for",
	VolumeNotPattern:   "not mnt, cortex, cortex-bin or shm-…",
	MountNotPattern:    "not at or below /mnt, /cortex, /dev, /proc and /sys, and without //, /./, /../ and / at its end",
	EndpointNotPattern: "not only /, no two slashes in a row, and no segment . or ..",
	PathNotPattern:     "no two slashes in a row",
	OverlapPattern:     "skip, queue, replace or allow",
	RunsPattern:        "last or all",
	CronPattern:        "five fields such as 30 2 * * *, or @daily",
	TimezonePattern:    "a name of the IANA database, such as Europe/Berlin",
	ContentTypePattern: "such as application/json",
	ImagePattern:       "such as quay.io/team/iris:1.0",
	AcceptPattern:      "keys, jwt or iam",
	ClaimPattern:       "printable characters without spaces",
	SignedPattern:      "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA",
	ForwardPattern:     "subject or name",
	MethodPattern:      "such as GET",
	AllowedPathPattern: "such as /healthz",
	AllowedPathNot:     "no two slashes in a row, and no segment . or ..",
	PerPattern:         "caller or address; of all callers together where it is absent",
	RatePattern:        "a number of requests, /, and s, m or h, such as 10/s",
	QuotaPattern:       "a number of requests, /, and hours or days, up to 31d, such as 10000/1d",
}

// WordsOf says what a pattern accepts; nothing where no reader needs to know.
func WordsOf(pattern string) string { return patternWords[pattern] }

// Lengths of the strings in a spec, in bytes.
const (
	MaxNameLength          = 42
	MaxContainerNameLength = 63
	MaxEndpointLength      = 1000
	MaxHostLength          = 253
	MaxImageLength         = 512
	MaxQuantityLength      = 64
	MaxObjectNameLength    = 253
	MaxLabelLength         = 253
	MaxMountPathLength     = 512
)

var (
	nameShape      = regexp.MustCompile(NamePattern)
	endpointShape  = regexp.MustCompile(EndpointPattern)
	hostShape      = regexp.MustCompile(HostPattern)
	nodeGroupShape = regexp.MustCompile(NodeGroupPattern)
	envShape       = regexp.MustCompile(EnvPattern)
	shareShape     = regexp.MustCompile(SharePattern)
	dotSegment     = regexp.MustCompile(dotSegments)
)

// IsName reports whether an API could have a name.
func IsName(text string) bool {
	return len(text) <= MaxNameLength && nameShape.MatchString(text) && !strings.HasPrefix(text, "b-")
}

// imageShape takes milliseconds to compile, which only those pay who check a file.
var imageShape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(ImagePattern) })

// ReservedContainerNames are those of the containers the platform adds to a pod.
func ReservedContainerNames() []string { return []string{"proxy", "dequeuer"} }

// ReservedEnvPrefixes begin the variables that the platform sets itself.
func ReservedEnvPrefixes() []string { return []string{"CORTEX_", "KUBEXIT_"} }

// The least that a container may request, where it requests anything.
var (
	MinCPU = MustQuantity("20m")
	MinMem = MustQuantity("20Mi")
)

// Bounds is the range of a numeric field. An infinite bound is none.
type Bounds struct {
	Min, Max         float64
	MinOpen, MaxOpen bool    // the bound itself is outside
	Reserved         []int32 // values between that only the platform may use
}

var unbounded = math.Inf(1)

var containerPort = Bounds{Min: 1, Max: 65535, Reserved: []int32{SidecarPort, AdminPort}}

var bounds = map[string]Bounds{
	"pod.port":                                       containerPort,
	"pod.max_concurrency":                            {Min: 1, Max: 30000},
	"pod.max_queue_length":                           {Min: 1, Max: 30000},
	"pod.containers[].compute.gpu":                   {Max: math.MaxInt32},
	"pod.containers[].compute.inf":                   {Max: math.MaxInt32},
	"probe.http_get.port":                            containerPort,
	"probe.tcp_socket.port":                          containerPort,
	"probe.initial_delay_seconds":                    {Max: math.MaxInt32},
	"probe.timeout_seconds":                          {Max: math.MaxInt32},
	"probe.period_seconds":                           {Max: math.MaxInt32},
	"probe.success_threshold":                        {Max: math.MaxInt32},
	"probe.failure_threshold":                        {Max: math.MaxInt32},
	"apis[].weight":                                  {Max: 100},
	"pod.security_context.fs_group":                  {Max: math.MaxInt32},
	"pod.containers[].security_context.run_as_user":  {Max: math.MaxInt32},
	"pod.containers[].security_context.run_as_group": {Max: math.MaxInt32},
	"pod.containers[].compute.devices{}":             {Min: 1, Max: math.MaxInt32},
	"async.max_queue_length":                         {Min: 1, Max: 1_000_000},
	"async.retry.attempts":                           {Min: 1, Max: 100},
	"async.redeliver":                                {Max: 100},
	"async.concurrency.per_caller":                   {Min: 1, Max: 1_000_000},
	"networking.limits[].burst":                      {Max: 1_000_000},
	"networking.limits[].concurrent":                 {Max: 1_000_000},
	"schedules[].pause_after_failures":               {Max: 1000},
	"autoscaling.floors[].min_replicas":              {Min: 1, Max: math.MaxInt32},
	"autoscaling.min_replicas":                       {Max: math.MaxInt32},
	"autoscaling.max_replicas":                       {Max: math.MaxInt32, MinOpen: true},
	"autoscaling.init_replicas":                      {Max: math.MaxInt32},
	"autoscaling.target_in_flight":                   {Max: unbounded, MinOpen: true},
	"autoscaling.max_downscale_factor":               {Max: 1, MaxOpen: true},
	"autoscaling.max_upscale_factor":                 {Min: 1, Max: unbounded, MinOpen: true},
	"autoscaling.downscale_tolerance":                {Max: 1, MaxOpen: true},
	"autoscaling.upscale_tolerance":                  {Max: unbounded},
}

var asyncConcurrency = Bounds{Min: 1, Max: 100}

// BoundsOf returns the range of the numeric field at a key path with its indices
// left out, such as "pod.containers[].compute.gpu", in a spec of kind k. All probes
// and hooks share the rows that begin with "probe.". It panics on a path that has
// none: that is a defect of the caller.
func BoundsOf(k Kind, path string) Bounds {
	if k == Async && path == "pod.max_concurrency" {
		return asyncConcurrency
	}
	if rest, ok := strings.CutPrefix(path, "pod.containers[]."); ok {
		if section, key, _ := strings.Cut(rest, "."); slices.Contains(sectionsWithHandlers, section) {
			path = "probe." + key
		}
	}
	return declared(bounds, path)
}

// JobBounds is the range of every number of a job's submission: workers, batch
// sizes, seconds and counts.
func JobBounds() Bounds { return Bounds{Min: 1, Max: math.MaxInt32} }

// Check returns what is wrong with v, without its path; its code is empty where v is
// within b.
func (b Bounds) Check(v float64) Violation {
	bad := Violation{Found: number(v), Allowed: b.String()}
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		bad.Code, bad.Message = CodePrimitiveType, "must be a finite number"
	case b.MinOpen && v <= b.Min:
		bad.Code, bad.Message = CodeGreaterThan, "must be greater than "+number(b.Min)
	case v < b.Min:
		bad.Code, bad.Message = CodeGreaterOrEqual, "must be at least "+number(b.Min)
	case b.MaxOpen && v >= b.Max:
		bad.Code, bad.Message = CodeLessThan, "must be less than "+number(b.Max)
	case v > b.Max:
		bad.Code, bad.Message = CodeLessOrEqual, "must be at most "+number(b.Max)
	case slices.ContainsFunc(b.Reserved, func(r int32) bool { return float64(r) == v }):
		bad.Code, bad.Message = CodeDisallowedValue, fmt.Sprintf("port %s is reserved by the platform", number(v))
		bad.Allowed += fmt.Sprintf(", except %d and %d", SidecarPort, AdminPort)
	default:
		return Violation{}
	}
	return bad
}

// String is b in words, such as "1 to 65535" or "more than 0".
func (b Bounds) String() string {
	from := number(b.Min) + " or more"
	if b.MinOpen {
		from = "more than " + number(b.Min)
	}
	switch {
	case b.Max >= math.MaxInt32:
		return from // nobody needs to know where the type ends
	case b.MaxOpen:
		return from + ", less than " + number(b.Max)
	case b.MinOpen:
		return from + ", at most " + number(b.Max)
	}
	return number(b.Min) + " to " + number(b.Max)
}

func number(v float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', -1, 64), ".0")
}
