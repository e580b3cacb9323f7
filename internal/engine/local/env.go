package local

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/workload"
)

// environment returns the variables of a container: the platform's, those of the
// engine's Config, and the user's, which win over the latter (they cannot clash
// with the former: names beginning with CORTEX_ are refused in a file). References
// in the user's values are expanded, those to variables with the value of a secret too;
// in values of secrets nothing is.
func environment(cfg Config, c *workload.Container, port int32, folder func(name string) string, volumes, secrets map[string]string) map[string]string {
	env := maps.Clone(cfg.Env)
	if env == nil {
		env = map[string]string{}
	}
	platform := map[string]string{
		"CORTEX_VERSION":        cfg.Version,
		"CORTEX_LOG_LEVEL":      "INFO",
		"CORTEX_CLI_CONFIG_DIR": "/cortex/client",
	}
	endpoint := cfg.APIEndpointInDocker
	if c.Image == "" {
		endpoint = cfg.APIEndpoint
		platform["CORTEX_CLI_CONFIG_DIR"] = folder("client")
		platform["CORTEX_MNT"] = folder("mnt")
	}
	if endpoint != "" {
		platform[workload.EnvAPIEndpoint] = endpoint
	}
	for name, path := range volumes {
		platform[workload.EnvVolume(name)] = path
	}
	if port != 0 {
		platform["CORTEX_PORT"] = strconv.Itoa(int(port))
	}
	maps.Copy(env, platform)
	known := maps.Clone(platform)
	for _, name := range c.SecretVariables() {
		env[name] = secrets[c.Env[name].Secret]
		known[name] = env[name]
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		if _, reserved := platform[name]; reserved || c.Env[name].Secret != "" {
			continue
		}
		env[name] = expand(c.Env[name].Value, known)
		known[name] = env[name]
	}
	return env
}

// expandAll expands every element of a command line.
func expandAll(words []string, env map[string]string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = expand(w, env)
	}
	return out
}

// expand replaces $(NAME) by the variable's value, as Kubernetes does: a name that
// is not defined stays as it stands, and $$ is one $ that begins nothing.
func expand(text string, env map[string]string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(text, '$')
		if i < 0 || i+1 == len(text) {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(text[:i])
		text = text[i:]
		switch {
		case text[1] == '$':
			b.WriteByte('$')
			text = text[2:]
		case text[1] == '(':
			end := strings.IndexByte(text, ')')
			if end < 0 {
				b.WriteString(text)
				return b.String()
			}
			if v, ok := env[text[2:end]]; ok {
				b.WriteString(v)
			} else {
				b.WriteString(text[:end+1])
			}
			text = text[end+1:]
		default:
			b.WriteByte('$')
			text = text[1:]
		}
	}
}
