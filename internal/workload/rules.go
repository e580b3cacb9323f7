package workload

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
)

// Rule compares values of a spec, which its types, ranges and patterns cannot. Go and
// the API server of Kubernetes hold specs to the same rules, so each is written down
// once, for both: a literal that lacks one of the two does not compile.
type Rule struct {
	At    string // key path, as that of Has, of the value that self is in CEL; empty: the spec
	Kinds []Kind // that have it
	CEL   CEL
	check func(*violations, *Spec)
}

// CEL is how the API server asks for a rule.
type CEL struct {
	Expr    string // what must hold
	Field   string // the keys below self that Message is about, such as ".min_replicas"
	Message string
	// Elsewhere says what asks for it instead of an expression, or why nothing can.
	Elsewhere string
}

func across(at string, kinds []Kind, check func(*violations, *Spec), cel CEL) Rule {
	return Rule{At: at, Kinds: kinds, check: check, CEL: cel}
}

func inCEL(field, message, expr string) CEL {
	return CEL{Field: field, Message: message, Expr: expr}
}

func notInCEL(why string) CEL { return CEL{Elsewhere: why} }

// Rules returns every rule across the fields of a spec.
func Rules() []Rule { return rules() }

var rules = sync.OnceValue(func() []Rule {
	scaled, jobs := []Kind{Realtime, Async}, []Kind{Batch, Task}
	pods, split := slices.Concat(jobs, scaled), []Kind{Splitter}
	a := NewAutoscaling(0)
	least, most := orDefault("self", "min_replicas", a.MinReplicas), orDefault("self", "max_replicas", a.MaxReplicas)
	return append([]Rule{
		across("autoscaling", scaled, minAboveMax,
			inCEL(".min_replicas", "must not be greater than max_replicas", least+" <= "+most)),
		across("autoscaling", scaled, initAboveMax,
			inCEL(".init_replicas", "must not be greater than max_replicas", "!has(self.init_replicas) || self.init_replicas <= "+most)),
		across("autoscaling", scaled, initBelowMin,
			inCEL(".init_replicas", "must not be less than min_replicas", "!has(self.init_replicas) || self.init_replicas >= "+least)),
		across("", []Kind{Realtime}, targetInFlight,
			inCEL(".autoscaling.target_in_flight", "must be at most max_concurrency + max_queue_length: a replica never has more requests in flight than that",
				"!has(self.autoscaling) || !has(self.autoscaling.target_in_flight) || self.autoscaling.target_in_flight <= double("+
					orDefault("self.pod", "max_concurrency", DefaultMaxConcurrency)+" + "+orDefault("self.pod", "max_queue_length", DefaultMaxQueueLength)+")")),
		across("async", []Kind{Async}, hookNowhere,
			inCEL(".webhook", "must have a url, unless allow_callers_url is true",
				"!has(self.webhook) || has(self.webhook.url) && self.webhook.url != \"\" || has(self.webhook.allow_callers_url) && self.webhook.allow_callers_url")),
		across("update_strategy", scaled, sharesBothZero,
			inCEL(".max_unavailable", "max_surge and max_unavailable must not both be zero: an update could never make a step",
				"!("+celZero("max_surge")+" && "+celZero("max_unavailable")+")")),

		across("networking", Kinds(), accessCounts,
			notInCEL("made of minItems, and of maxItems")),
		across("networking.limits[]", Kinds(), limitNames,
			notInCEL("the list is a map by name")),
		across("networking.limits[]", Kinds(), limitKinds,
			notInCEL("made of the oneOf of the JSON Schema; how long a window is, the operator judges")),
		across("networking.limits[]", Kinds(), limitBursts,
			inCEL(".burst", "only a rate has a burst", "!has(self.burst) || self.burst == 0 || has(self.rate)")),
		across("networking", Kinds(), limitCallers,
			inCEL(".limits", "without networking.auth there are no callers to tell apart: count by address, or add it",
				"has(self.auth) || !has(self.limits) || !self.limits.exists(l, has(l.per) && l.per == 'caller')")),
		across("networking.auth", Kinds(), tokensAsked,
			inCEL(".jwt", "must be there exactly when accept has jwt", "self.accept.exists(a, a == 'jwt') == has(self.jwt)")),
		across("networking.auth.allow[]", Kinds(), allowedNobody,
			inCEL(".anyone", "must be true: an entry that allows nobody has no effect", "has(self.anyone) && self.anyone")),

		across("autoscaling", scaled, floorsInRange,
			notInCEL("a cron expression is more than CEL can read: the operator judges floors")),
		across("schedules", slices.Concat([]Kind{Async}, jobs), scheduleNames,
			notInCEL("the list is a map by name")),
		across("schedules[]", slices.Concat([]Kind{Async}, jobs), scheduleTimes,
			notInCEL("a cron expression is more than CEL can read: the operator judges when schedules are due")),
		across("schedules[]", []Kind{Async}, schedulePayloads,
			notInCEL("made of the oneOf of the JSON Schema")),
		across("schedules[]", jobs, scheduleJobs,
			notInCEL("a submission within a schedule has no structural type: the operator judges it")),

		across("pod", pods, devices,
			inCEL(".containers", "gpu and inf must not both be requested in one pod: no node has both", "!("+celRequests("gpu")+" && "+celRequests("inf")+")")),
		across("pod.containers[]", pods, containerNames,
			notInCEL("the list is a map by name")),
		across("pod.containers[]", jobs, commandOfJob,
			inCEL(".command", "must be specified for jobs", "has(self.command) && size(self.command) > 0")),
		across("pod.containers[]", scaled, imageOrCommand,
			notInCEL("Kubernetes runs images only: image is required")),
		across("pod.containers[].compute", pods, shmWithinMem,
			notInCEL("a quantity has no structural type, so that CEL cannot read it")),
		across("pod.containers[]", pods, oneHandler,
			notInCEL("made of the oneOf of the JSON Schema, for each probe and hook")),

		across("apis", split, targetNames,
			notInCEL("the list is a map by name")),
		across("apis", split, weights,
			inCEL("", "the weights of the targets that are not the shadow must add up to 100",
				"self.filter(target, !(has(target.shadow) && target.shadow)).map(target, target.weight).sum() == 100")),
		across("apis", split, oneShadow,
			inCEL("", "at most one target may be the shadow", "self.filter(target, has(target.shadow) && target.shadow).size() <= 1")),
	}, podRules(pods)...)
})

// orDefault is a number in CEL, or what is meant where it is absent.
func orDefault(of, key string, def any) string {
	return fmt.Sprintf("(has(%[1]s.%[2]s) ? %[1]s.%[2]s : %[3]v)", of, key, def)
}

func celZero(key string) string {
	return "has(self." + key + ") && string(self." + key + ").matches('^0+%?$')"
}

func celRequests(device string) string {
	return "self.containers.exists(c, has(c.compute) && has(c.compute." + device + ") && c.compute." + device + " > 0)"
}

// across holds s to the rules across its fields.
func (vs *violations) across(s *Spec) {
	for _, r := range Rules() {
		if slices.Contains(r.Kinds, s.Kind) {
			r.check(vs, s)
		}
	}
}

func eachContainer(s *Spec, fn func(path string, c *Container)) {
	if s.Pod == nil {
		return
	}
	for i := range s.Pod.Containers {
		fn(fmt.Sprintf("pod.containers[%d]", i), &s.Pod.Containers[i])
	}
}

const minReplicas, maxReplicas, initReplicas = "autoscaling.min_replicas", "autoscaling.max_replicas", "autoscaling.init_replicas"

// replicas compares two numbers of replicas that are each within their range.
func (vs *violations) replicas(path string, v int32, code, message, other string, limit int32) {
	if !vs.has(path) && !vs.has(other) {
		vs.add(Violation{
			Path: path, Code: code, Found: strconv.Itoa(int(v)),
			Message: fmt.Sprintf("%s (%d)", message, limit), Related: []string{other},
		})
	}
}

func minAboveMax(vs *violations, s *Spec) {
	if a := s.Autoscaling; a != nil && a.MinReplicas > a.MaxReplicas {
		vs.replicas(minReplicas, a.MinReplicas, CodeMinAboveMax, "must not be greater than max_replicas", maxReplicas, a.MaxReplicas)
	}
}

// Whatever init_replicas is beside a minimum above the maximum, it cannot be right.
func initAboveMax(vs *violations, s *Spec) {
	if a := s.Autoscaling; a != nil && a.InitReplicas > a.MaxReplicas && a.MinReplicas <= a.MaxReplicas {
		vs.replicas(initReplicas, a.InitReplicas, CodeInitAboveMax, "must not be greater than max_replicas", maxReplicas, a.MaxReplicas)
	}
}

func initBelowMin(vs *violations, s *Spec) {
	if a := s.Autoscaling; a != nil && a.InitReplicas < a.MinReplicas && a.MinReplicas <= a.MaxReplicas {
		vs.replicas(initReplicas, a.InitReplicas, CodeInitBelowMin, "must not be less than min_replicas", minReplicas, a.MinReplicas)
	}
}

func targetInFlight(vs *violations, s *Spec) {
	const path = "autoscaling.target_in_flight"
	if s.Pod == nil || s.Autoscaling == nil || vs.has(path) {
		return
	}
	limit := s.Pod.MaxConcurrency + s.Pod.MaxQueueLength
	if s.Autoscaling.TargetInFlight <= float64(limit) {
		return
	}
	vs.add(Violation{
		Path: path, Code: CodeTargetInFlight, Found: number(s.Autoscaling.TargetInFlight),
		Message: fmt.Sprintf("must be at most max_concurrency + max_queue_length (%d + %d = %d)",
			s.Pod.MaxConcurrency, s.Pod.MaxQueueLength, limit),
		Hint:    "a replica never has more requests in flight than that",
		Related: []string{"pod.max_concurrency", "pod.max_queue_length"},
	})
}

func sharesBothZero(vs *violations, s *Spec) {
	u := s.UpdateStrategy
	if u == nil {
		return
	}
	surge, _, okS := parseShare(u.MaxSurge)
	unavailable, _, okU := parseShare(u.MaxUnavailable)
	if okS && okU && surge == 0 && unavailable == 0 {
		vs.add(Violation{
			Path: maxUnavailable, Code: CodeSharesBothZero, Message: "max_surge and max_unavailable must not both be zero",
			Found: u.MaxUnavailable, Hint: "an update could never make a step", Related: []string{maxSurge},
		})
	}
}

func devices(vs *violations, s *Spec) {
	var gpu, inf bool
	last := ""
	eachContainer(s, func(path string, c *Container) {
		if c.Compute != nil && (c.Compute.GPU > 0 || c.Compute.Inf > 0) {
			gpu, inf, last = gpu || c.Compute.GPU > 0, inf || c.Compute.Inf > 0, path
		}
	})
	if gpu && inf {
		vs.add(Violation{
			Path: last + ".compute", Code: CodeComputeConflict,
			Message: "gpu and inf must not both be requested in one pod",
			Hint:    "no node has both",
		})
	}
}

func containerNames(vs *violations, s *Spec) {
	names := map[string]bool{}
	eachContainer(s, func(path string, c *Container) {
		if c.Name != "" && names[c.Name] {
			vs.add(Violation{
				Path: path + ".name", Code: CodeDuplicateContainer,
				Message: fmt.Sprintf("the name %q is used by another container of this pod", c.Name), Found: c.Name,
			})
		}
		names[c.Name] = true
	})
}

func commandOfJob(vs *violations, s *Spec) {
	eachContainer(s, func(path string, c *Container) {
		if len(c.Command) == 0 {
			vs.add(Violation{
				Path: path + ".command", Code: CodeFieldNeededForKind,
				Message: fmt.Sprintf("%q must be specified for %s", "command", s.Kind),
				Allowed: "a list of strings",
			})
		}
	})
}

func imageOrCommand(vs *violations, s *Spec) {
	eachContainer(s, func(path string, c *Container) {
		if len(c.Command) == 0 && c.Image == "" {
			vs.add(Violation{
				Path: path + ".image", Code: CodeMustBeDefined, Message: `"image" must be defined`,
				Hint:    "or, on one machine, give a command to run as a process",
				Related: []string{path + ".command"}, // misspelt, it is told once
			})
		}
	})
}

func shmWithinMem(vs *violations, s *Spec) {
	eachContainer(s, func(path string, c *Container) {
		path += ".compute"
		if r := c.Compute; r != nil && r.Shm != nil && r.Mem != nil && r.Shm.Cmp(*r.Mem) > 0 {
			vs.add(Violation{
				Path: path + ".shm", Code: CodeShmExceedsMem, Found: r.Shm.String(),
				Message: fmt.Sprintf("must not exceed mem (%s)", r.Mem), Related: []string{path + ".mem"},
				Hint: "shared memory counts as memory of the container",
			})
		}
	})
}

// oneHandler asks for exactly one handler in each probe and hook.
func oneHandler(vs *violations, s *Spec) {
	exactlyOne := func(container, section string, h *HTTPGet, t *TCPSocket, e *Exec) {
		present := map[string]bool{"http_get": h != nil, "tcp_socket": t != nil, "exec": e != nil}
		var handlers []given
		for _, key := range Handlers(s.Kind, section) {
			handlers = append(handlers, given{key, present[key]})
		}
		if len(handlers) > 0 { // none: the kind does not have the section
			vs.exactlyOne(joinPath(container, section), handlers...)
		}
	}
	eachContainer(s, func(path string, c *Container) {
		if p := c.ReadinessProbe; p != nil {
			exactlyOne(path, "readiness_probe", p.HTTPGet, p.TCPSocket, p.Exec)
		}
		if p := c.LivenessProbe; p != nil {
			exactlyOne(path, "liveness_probe", p.HTTPGet, p.TCPSocket, p.Exec)
		}
		if p := c.PreStop; p != nil {
			exactlyOne(path, "pre_stop", p.HTTPGet, nil, p.Exec)
		}
	})
}

func targetNames(vs *violations, s *Spec) {
	seen := map[string]bool{}
	for i, t := range s.APIs {
		if t.Name != "" && seen[t.Name] {
			vs.add(Violation{Path: fmt.Sprintf("apis[%d].name", i), Code: CodeSplitterNotUnique, Message: "is a target twice", Found: abbreviate(t.Name)})
		}
		seen[t.Name] = true
	}
}

func weights(vs *violations, s *Spec) {
	sum := 0
	var related []string
	for i, t := range s.APIs {
		path := fmt.Sprintf("apis[%d]", i)
		related = append(related, path+".weight", path+".shadow")
		if !t.Shadow {
			sum += int(t.Weight)
		}
	}
	if sum != 100 && len(s.APIs) > 0 {
		vs.add(Violation{
			Path: "apis", Code: CodeSplitterWeight, Message: "the weights of the targets that are not the shadow must add up to 100",
			Found: strconv.Itoa(sum), Related: related,
		})
	}
}

func oneShadow(vs *violations, s *Spec) {
	shadows := 0
	for i, t := range s.APIs {
		if t.Shadow {
			shadows++
		}
		if t.Shadow && shadows == 2 {
			vs.add(Violation{Path: fmt.Sprintf("apis[%d].shadow", i), Code: CodeSplitterShadows, Message: "at most one target may be the shadow", Found: "true"})
		}
	}
}
