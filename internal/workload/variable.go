package workload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// Variable is what a variable of a container has: a value that everybody reads who may
// read the specification, or the name of a secret whose value only the container gets.
// In JSON and YAML it is a string, or {secret: NAME}.
type Variable struct {
	Value  string
	Secret string // empty: Value
}

type secretReference struct {
	Secret string `json:"secret"`
}

// MarshalJSON implements json.Marshaler.
func (v Variable) MarshalJSON() ([]byte, error) {
	if v.Secret != "" {
		return json.Marshal(secretReference{v.Secret})
	}
	return json.Marshal(v.Value)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Variable) UnmarshalJSON(text []byte) error {
	*v = Variable{}
	if text = bytes.TrimSpace(text); len(text) > 0 && text[0] == '"' {
		return json.Unmarshal(text, &v.Value)
	}
	var ref secretReference
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&ref); err != nil || ref.Secret == "" {
		return fmt.Errorf("a variable is a string or {\"secret\": NAME}")
	}
	v.Secret = ref.Secret
	return nil
}

// SecretVariables are the names of c's variables that have the value of a secret, in order.
func (c *Container) SecretVariables() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		if c.Env[name].Secret != "" {
			names = append(names, name)
		}
	}
	return names
}

// SecretReference is one place of a spec that names a secret of ours.
type SecretReference struct{ Path, Secret string }

// SecretReferences returns them in the order of containers and names.
func (s *Spec) SecretReferences() (all []SecretReference) {
	eachContainer(s, func(path string, c *Container) {
		for _, name := range c.SecretVariables() {
			all = append(all, SecretReference{joinPath(path+".env", name), c.Env[name].Secret})
		}
	})
	if s.Async != nil && s.Async.Webhook != nil && s.Async.Webhook.Secret != "" {
		all = append(all, SecretReference{"async.webhook.secret", s.Async.Webhook.Secret})
	}
	return all
}

// SecretsUsed returns the name of every secret that s has used, each once, most of them by its replicas:
// ours, and on Kubernetes the ones that others keep there, which are of the same namespace.
func (s *Spec) SecretsUsed() []string {
	used := map[string]bool{}
	for _, r := range s.SecretReferences() {
		used[r.Secret] = true
	}
	eachContainer(s, func(_ string, c *Container) {
		for _, v := range c.EnvFrom {
			used[v.Secret] = true
		}
	})
	eachVolume(s, func(_ string, v *Volume) { used[v.Secret] = true })
	delete(used, "")
	return slices.Sorted(maps.Keys(used))
}

var reference = regexp.MustCompile(`\$\$|\$\(([^)]*)\)`)

// references are the names of the variables that stand in text as $(NAME).
func references(text string) (names []string) {
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		if m[1] != "" {
			names = append(names, m[1])
		}
	}
	return names
}

// secretInCommand refuses a secret on a command line, which everybody on the machine can
// read, and which is repeated where a program cannot be started. What a variable has that
// is made of one is as secret as it is.
func secretInCommand(vs *violations, s *Spec) {
	eachContainer(s, func(path string, c *Container) {
		secret := map[string]bool{}
		for _, name := range c.SecretVariables() {
			secret[name] = true
		}
		if len(secret) == 0 {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(c.Env)) { // in the order in which they are expanded
			for _, r := range references(c.Env[name].Value) {
				secret[name] = secret[name] || secret[r]
			}
		}
		for _, line := range []struct {
			key   string
			words []string
		}{{"command", c.Command}, {"args", c.Args}} {
			for i, word := range line.words {
				for _, name := range references(word) {
					if secret[name] {
						vs.add(Violation{
							Path: fmt.Sprintf("%s.%s[%d]", path, line.key, i), Code: CodeSecretInCommand,
							Message: fmt.Sprintf("$(%s) would put a secret on a command line, which everybody on the machine can read", name),
							Hint:    "let the program read the variable " + name + " itself",
							Related: []string{joinPath(path+".env", name)},
						})
					}
				}
			}
		}
	})
}
