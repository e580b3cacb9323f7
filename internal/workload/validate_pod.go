package workload

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

func (vs *violations) pod(k Kind, p *Pod) {
	if p.Port == nil && Has(k, "pod.port") {
		vs.missing("pod.port", "port", "1 to 65535")
	}
	switch {
	case p.Containers == nil:
		vs.missing("pod.containers", "containers", "a list of at least one container")
	case len(p.Containers) == 0:
		vs.empty("pod.containers", "a pod needs at least one container")
	}
	names := map[string]bool{}
	for i := range p.Containers {
		c := &p.Containers[i]
		path := fmt.Sprintf("pod.containers[%d]", i)
		vs.container(k, path, c)
		if c.Name != "" && names[c.Name] {
			vs.add(Violation{
				Path: path + ".name", Code: CodeDuplicateContainer,
				Message: fmt.Sprintf("the name %q is used by another container of this pod", c.Name), Found: c.Name,
			})
		}
		names[c.Name] = true
	}
	vs.devices(p)
}

// devices refuses GPUs and Inferentia chips in one pod: no node has both.
func (vs *violations) devices(p *Pod) {
	var gpu, inf bool
	last := 0
	for i, c := range p.Containers {
		if c.Compute == nil || c.Compute.GPU <= 0 && c.Compute.Inf <= 0 {
			continue
		}
		gpu, inf, last = gpu || c.Compute.GPU > 0, inf || c.Compute.Inf > 0, i
	}
	if gpu && inf {
		vs.add(Violation{
			Path: fmt.Sprintf("pod.containers[%d].compute", last), Code: CodeComputeConflict,
			Message: "gpu and inf must not both be requested in one pod",
			Hint:    "no node has both",
		})
	}
}

func (vs *violations) container(k Kind, path string, c *Container) {
	if vs.label(path+".name", c.Name, MaxContainerNameLength) && slices.Contains(ReservedContainerNames(), c.Name) {
		vs.add(Violation{
			Path: path + ".name", Code: CodeDisallowedValue,
			Message: fmt.Sprintf("the name %q is reserved by the platform", c.Name), Found: c.Name,
		})
	}
	vs.image(k, path, c)
	const fromImage = "remove it to use what the image says"
	vs.words(path+".command", c.Command, fromImage)
	vs.words(path+".args", c.Args, fromImage)
	vs.executable(path+".command", c.Command)
	vs.env(path+".env", c.Env)
	if c.Compute != nil {
		vs.compute(path+".compute", c.Compute)
	}
	if c.ReadinessProbe != nil {
		p := c.ReadinessProbe
		vs.handlers(k, path, "readiness_probe", p.HTTPGet, p.TCPSocket, p.Exec)
	}
	if c.LivenessProbe != nil {
		p := c.LivenessProbe
		vs.handlers(k, path, "liveness_probe", p.HTTPGet, p.TCPSocket, p.Exec)
	}
	if c.PreStop != nil {
		vs.handlers(k, path, "pre_stop", c.PreStop.HTTPGet, nil, c.PreStop.Exec)
	}
}

func (vs *violations) image(k Kind, path string, c *Container) {
	job := k == Batch || k == Task
	switch {
	case c.Command == nil && job:
		vs.add(Violation{
			Path: path + ".command", Code: CodeFieldNeededForKind,
			Message: fmt.Sprintf("%q must be specified for %s", "command", k),
			Allowed: "a list of strings",
		})
	case c.Command == nil && c.Image == "":
		vs.add(Violation{
			Path: path + ".image", Code: CodeMustBeDefined, Message: `"image" must be defined`,
			Hint: "or, on one machine, give a command to run as a process",
		})
	}
	if c.Image == "" {
		return
	}
	v := Violation{Path: path + ".image", Code: CodeInvalidImage, Message: "is not the name of an image", Found: abbreviate(c.Image), Allowed: "such as quay.io/team/iris:1.0"}
	switch {
	case len(c.Image) > MaxImageLength:
		v.Code, v.Message = CodeTooLong, fmt.Sprintf("must be no longer than %d characters", MaxImageLength)
	case imageShape().MatchString(c.Image):
		return
	case imageShape().MatchString(strings.ToLower(c.Image)):
		v.Hint = fmt.Sprintf("did you mean %q?", strings.ToLower(c.Image))
	}
	vs.add(v)
}

// words checks a command line: nil is none, empty is a mistake.
func (vs *violations) words(path string, words []string, hint string) {
	if words != nil && len(words) == 0 {
		vs.empty(path, hint)
	}
	for i, w := range words {
		vs.text(fmt.Sprintf("%s[%d]", path, i), w)
	}
}

func (vs *violations) executable(path string, words []string) {
	if len(words) > 0 && words[0] == "" {
		vs.empty(path+"[0]", "it names the executable")
	}
}

// text refuses what no operating system can pass to a process.
func (vs *violations) text(path, text string) {
	if strings.ContainsRune(text, 0) {
		vs.add(Violation{Path: path, Code: CodeInvalidString, Message: "must not contain a NUL character"})
	}
}

func (vs *violations) env(path string, env map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(env)) {
		at := joinPath(path, key)
		for _, prefix := range ReservedEnvPrefixes() {
			if strings.HasPrefix(key, prefix) {
				vs.add(Violation{
					Path: at, OfKey: true, Code: CodeReservedEnv, Found: key,
					Message: fmt.Sprintf("environment variables must not begin with %s: the platform sets those", prefix),
				})
			}
		}
		if !envShape.MatchString(key) {
			vs.add(Violation{
				Path: at, OfKey: true, Code: CodeInvalidString, Message: "is not the name of an environment variable", Found: strconv.Quote(key),
				Allowed: "letters, digits, and the characters _ - ., not beginning with a digit",
			})
		}
		vs.text(at, env[key])
	}
}

func (vs *violations) compute(path string, c *Compute) {
	if c.Shm != nil && c.Mem != nil && c.Shm.Cmp(*c.Mem) > 0 {
		vs.add(Violation{
			Path: path + ".shm", Code: CodeShmExceedsMem, Found: c.Shm.String(),
			Message: fmt.Sprintf("must not exceed mem (%s)", c.Mem), Related: []string{path + ".mem"},
			Hint: "shared memory counts as memory of the container",
		})
	}
}

// Handlers returns the keys that say how the given probe or hook of a container
// asks ("readiness_probe", "liveness_probe", "pre_stop"), for kind k. It returns
// none where the kind does not have that section.
func Handlers(k Kind, section string) []string {
	switch section {
	case "readiness_probe":
		switch k {
		case Realtime:
			return []string{"http_get", "tcp_socket", "exec"}
		case Async, Batch:
			return []string{"http_get", "tcp_socket"}
		}
	case "liveness_probe":
		if k != Splitter {
			return []string{"http_get", "tcp_socket", "exec"}
		}
	case "pre_stop":
		if k.Scales() {
			return []string{"http_get", "exec"}
		}
	}
	return nil
}

// handlers checks that exactly one of the allowed handlers is set, and its values.
func (vs *violations) handlers(k Kind, container, section string, h *HTTPGet, t *TCPSocket, e *Exec) {
	path := joinPath(container, section)
	allowed := Handlers(k, section)
	if len(allowed) == 0 {
		return // the kind does not have the section
	}
	var set []string
	has := func(key string, present bool) bool {
		if !present || !slices.Contains(allowed, key) {
			return false
		}
		set = append(set, key)
		return true
	}
	if has("http_get", h != nil) {
		vs.probePath(path+".http_get.path", h.Path)
	}
	has("tcp_socket", t != nil)
	if has("exec", e != nil) {
		const hint = "it names the executable and its arguments"
		if e.Command == nil {
			vs.missing(path+".exec.command", "command", hint)
		}
		vs.words(path+".exec.command", e.Command, hint)
		vs.executable(path+".exec.command", e.Command)
	}
	if len(set) == 1 {
		return
	}
	v := Violation{
		Path: path, Code: CodeExactlyOneField, Allowed: orList(allowed),
		Message: "exactly one of " + orList(allowed) + " must be specified",
		Found:   strings.Join(set, " and "),
	}
	for _, key := range allowed {
		v.Related = append(v.Related, joinPath(path, key))
	}
	vs.add(v)
}

func (vs *violations) probePath(path, text string) {
	if !endpointShape.MatchString(text) {
		vs.add(Violation{
			Path: path, Code: CodeEndpoint, Message: "is not a path", Found: abbreviate(text),
			Allowed: "letters, digits, and the characters / - _ .",
		})
	} else if strings.Contains(text, "//") {
		vs.add(Violation{Path: path, Code: CodeEndpointSlashes, Message: "must not contain two slashes in a row", Found: abbreviate(text)})
	}
}
