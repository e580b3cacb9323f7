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
		vs.add(Violation{Path: "pod.containers", Code: CodeTooFewElements, Message: "must not be empty", Hint: "a pod needs at least one container"})
	}
	for i := range p.Containers {
		vs.container(k, fmt.Sprintf("pod.containers[%d]", i), &p.Containers[i])
	}
}

func (vs *violations) container(k Kind, path string, c *Container) {
	if vs.label(path+".name", c.Name, MaxContainerNameLength) && slices.Contains(ReservedContainerNames(), c.Name) {
		vs.add(Violation{
			Path: path + ".name", Code: CodeDisallowedValue,
			Message: fmt.Sprintf("the name %q is reserved by the platform", c.Name), Found: c.Name,
		})
	}
	vs.image(path+".image", c.Image)
	vs.words(path+".command", c.Command)
	vs.words(path+".args", c.Args)
	vs.executable(path+".command", c.Command)
	vs.env(path+".env", c.Env)
	if c.ReadinessProbe != nil {
		p := c.ReadinessProbe
		vs.handlers(k, path, "readiness_probe", p.HTTPGet, p.Exec)
	}
	if c.LivenessProbe != nil {
		p := c.LivenessProbe
		vs.handlers(k, path, "liveness_probe", p.HTTPGet, p.Exec)
	}
	if c.PreStop != nil {
		vs.handlers(k, path, "pre_stop", c.PreStop.HTTPGet, c.PreStop.Exec)
	}
}

func (vs *violations) image(path, name string) {
	v := Violation{Path: path, Code: CodeInvalidImage, Message: "is not the name of an image", Found: abbreviate(name), Allowed: WordsOf(ImagePattern)}
	switch {
	case len(name) > MaxImageLength:
		v.Code, v.Message = CodeTooLong, fmt.Sprintf("must be no longer than %d characters", MaxImageLength)
	case name == "" || imageShape().MatchString(name):
		return
	case imageShape().MatchString(strings.ToLower(name)):
		v.Hint = fmt.Sprintf("did you mean %q?", strings.ToLower(name))
	}
	vs.add(v)
}

func (vs *violations) words(path string, words []string) {
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

// EnvNameProblem says why nobody can set a variable of a name; empty where they can.
func EnvNameProblem(name string) string {
	for _, prefix := range ReservedEnvPrefixes() {
		if strings.HasPrefix(name, prefix) {
			return fmt.Sprintf("environment variables must not begin with %s: the platform sets those", prefix)
		}
	}
	if !envShape.MatchString(name) {
		return fmt.Sprintf("%q is not the name of an environment variable, which has %s", abbreviate(name), WordsOf(EnvPattern))
	}
	return ""
}

func (vs *violations) env(path string, env map[string]Variable) {
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
				Allowed: WordsOf(EnvPattern),
			})
		}
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

// handlers checks the values of the handlers that the kind has.
func (vs *violations) handlers(k Kind, container, section string, h *HTTPGet, e *Exec) {
	path, allowed := joinPath(container, section), Handlers(k, section)
	if h != nil && slices.Contains(allowed, "http_get") {
		vs.probePath(path+".http_get.path", h.Path)
	}
	if e != nil && slices.Contains(allowed, "exec") {
		const hint = "it names the executable and its arguments"
		switch {
		case e.Command == nil:
			vs.missing(path+".exec.command", "command", hint)
		case len(e.Command) == 0:
			vs.empty(path+".exec.command", hint)
		}
		vs.words(path+".exec.command", e.Command)
		vs.executable(path+".exec.command", e.Command)
	}
}

func (vs *violations) probePath(path, text string) {
	if !endpointShape.MatchString(text) {
		vs.add(Violation{
			Path: path, Code: CodeEndpoint, Message: "is not a path", Found: abbreviate(text),
			Allowed: WordsOf(EndpointPattern),
		})
	} else if strings.Contains(text, "//") {
		vs.add(Violation{Path: path, Code: CodeEndpointSlashes, Message: "must not contain two slashes in a row", Found: abbreviate(text)})
	}
}
