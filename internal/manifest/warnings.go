package manifest

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/suggest"
	"cortex.dev/cortex/internal/workload"
)

// Codes of warnings about a cortex.yaml.
const (
	codeOneWord      = "spec.command_in_one_word"
	codeNotExpanded  = "spec.not_expanded"
	codeUnknownInEnv = "spec.unknown_variable"
	codeNotMounted   = "spec.not_mounted"
)

// provided are the variables that every container has besides its own. The port and the
// folder are only there for some, and nobody mistypes them into another.
var provided = []string{"CORTEX_PORT", workload.EnvAPIEndpoint, "CORTEX_VERSION", "CORTEX_LOG_LEVEL", "CORTEX_CLI_CONFIG_DIR", "CORTEX_MNT"}

var (
	expanded   = regexp.MustCompile(`\$\$|\$\(([^)]*)\)`)
	ofShell    = regexp.MustCompile(`\$\$|\$([A-Za-z_][A-Za-z0-9_]*)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)
	envName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	shellNames = []string{"sh", "bash", "dash", "ash", "zsh", "fish"}
)

// warnings says what of the containers of e is legal, and means something else than its
// author will think. Each text is as it stands in the file.
func (e Entry) warnings() []fault.Problem {
	if e.Spec.Pod == nil {
		return nil
	}
	var all []fault.Problem
	for i := range e.Spec.Pod.Containers {
		c := &e.Spec.Pod.Containers[i]
		at := index("pod.containers", i)
		for j, word := range c.Command {
			all = append(all, e.wordWarnings(c, index(join(at, "command"), j), word)...)
		}
		for j, word := range c.Args {
			all = append(all, e.wordWarnings(c, index(join(at, "args"), j), word)...)
		}
		for _, name := range slices.Sorted(maps.Keys(c.Env)) {
			all = append(all, e.mountWarnings(c, join(join(at, "env"), name), c.Env[name].Value)...)
		}
		if len(c.Command) == 1 && len(c.Args) == 0 && strings.ContainsAny(strings.TrimSpace(c.Command[0]), " \t") {
			p := e.Problem(index(join(at, "command"), 0), codeOneWord, "the whole text is the name of the program: no shell takes it apart")
			p.Hint = "write each word by itself: command: " + asList(strings.Fields(c.Command[0]))
			all = append(all, p)
		}
	}
	return all
}

// mountWarnings looks for paths at which a container without an image will find nothing: a
// process sees the machine as it is, and has its volumes elsewhere.
func (e Entry) mountWarnings(c *workload.Container, at, text string) (all []fault.Problem) {
	if c.Image != "" {
		return nil
	}
	for _, m := range c.VolumeMounts {
		before, rest, found := strings.Cut(text, m.MountPath)
		begins := before == "" || strings.HasSuffix(before, "=") || strings.HasSuffix(before, " ")
		if found && begins && (rest == "" || rest[0] == '/') {
			p := e.Problem(at, codeNotMounted, "a container without an image has nothing at %s: it finds the volume %s elsewhere", m.MountPath, m.Name)
			p.Hint = "write " + before + "$(" + workload.EnvVolume(m.Name) + ")" + rest
			all = append(all, p)
		}
	}
	return all
}

// wordWarnings looks at the references in one word of a command.
func (e Entry) wordWarnings(c *workload.Container, at, word string) []fault.Problem {
	all := e.mountWarnings(c, at, word)
	known := slices.Clone(provided)
	for _, m := range c.VolumeMounts {
		known = append(known, workload.EnvVolume(m.Name))
	}
	for name := range c.Env {
		known = append(known, name)
	}
	for _, from := range c.EnvFrom {
		known = append(known, from.Name)
	}
	slices.Sort(known)
	inShell := len(c.Command) > 0 && slices.Contains(shellNames, path.Base(c.Command[0]))
	for _, m := range expanded.FindAllStringSubmatch(word, -1) {
		if name := m[1]; envName.MatchString(name) && !slices.Contains(known, name) && !strings.HasPrefix(name, "AWS_") {
			p := e.Problem(at, codeUnknownInEnv, "$(%s) stays as it stands: the container has no such variable", name)
			if p.Hint = suggest.Hint(name, known); p.Hint != "" || !inShell { // $(date) is a command there
				all = append(all, p)
			}
		}
	}
	if inShell {
		return all // it expands the others
	}
	for _, m := range ofShell.FindAllStringSubmatch(word, -1) {
		if name := m[1] + m[2]; slices.Contains(known, name) {
			p := e.Problem(at, codeNotExpanded, "%s stays as it stands: no shell reads it", m[0])
			p.Hint = fmt.Sprintf("write $(%s)", name)
			all = append(all, p)
		}
	}
	return all
}

// asList is words as a list of a YAML file.
func asList(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
