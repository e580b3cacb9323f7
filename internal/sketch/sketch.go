// Package sketch makes a first cortex.yaml: of what is in a folder, of an image, or of a
// command line.
//
// It promises that what it writes is one RealtimeAPI that passes every rule of the
// manifest, with a comment at each line that somebody may want to change; and that it
// reads few files of a folder, each within a bound.
//
// It must not ask anybody, write files or deploy.
package sketch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/workload"
)

// Sketch is one API as far as somebody has said what it is to be. Zero members are left
// to the defaults, which the file shows where they matter.
type Sketch struct {
	Name    string
	Image   string   // empty: a process
	Command []string // of the image: empty is its own
	Env     map[string]string
	Port    int32 // that the image listens on
	CPU     string
	Mem     string
	GPU     int64
	Min     *int32
	Max     *int32
	// Concurrency is how many requests one replica works on at once.
	Concurrency int64

	Found string // what it was made of, for people: "app.py (FastAPI)"
	First string // a command that has to run before the deploy; empty: none
}

// YAML is the file. Header is its first comment, without the mark; it may be empty.
func (s Sketch) YAML(header string) string {
	var b strings.Builder
	line := func(comment, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		if comment != "" {
			text = fmt.Sprintf("%-44s # %s", text, comment)
		}
		b.WriteString(text + "\n")
	}
	for _, text := range strings.Split(header, "\n") {
		if text != "" {
			line("", "# %s", text)
		}
	}
	line("its requests go to /"+s.Name, "- name: %s", scalar(s.Name))
	line("", "  kind: RealtimeAPI")
	line("", "  pod:")
	if s.Image != "" {
		line("that the image listens on", "    port: %d", orDefault(s.Port, workload.DefaultPort))
	}
	line("requests that one replica works on at once", "    max_concurrency: %d", orDefault(s.Concurrency, defaultConcurrency))
	line("", "    containers:")
	line("", "      - name: api")
	if s.Image != "" {
		line("", "        image: %s", scalar(s.Image))
	}
	if len(s.Command) > 0 {
		comment := ""
		if s.Image == "" {
			comment = "a process, in the folder of this file"
		}
		line(comment, "        command: %s", list(s.Command))
	}
	if len(s.Env) > 0 {
		line("", "        env:")
		for _, key := range slices.Sorted(maps.Keys(s.Env)) {
			line("", "          %s: %s", key, scalar(s.Env[key]))
		}
	}
	s.compute(line)
	line("", "  autoscaling:")
	line("0: it sleeps until a request arrives", "    min_replicas: %d", s.least())
	line("", "    max_replicas: %d", s.most())
	return b.String()
}

// defaultConcurrency is that of a server of which nothing is known: most take several
// requests at once, and the default of the file, 1, would have them wait.
const defaultConcurrency int64 = 8

func (s Sketch) compute(line func(comment, format string, args ...any)) {
	if s.CPU == "" && s.Mem == "" && s.GPU == 0 {
		return
	}
	line("", "        compute:")
	if s.CPU != "" {
		line("", "          cpu: %s", scalar(s.CPU))
	}
	if s.Mem != "" {
		line("", "          mem: %s", scalar(s.Mem))
	}
	if s.GPU != 0 {
		line("", "          gpu: %d", s.GPU)
	}
}

func (s Sketch) least() int32 {
	if s.Min != nil {
		return *s.Min
	}
	return 1
}

func (s Sketch) most() int32 {
	if s.Max != nil {
		return *s.Max
	}
	return max(s.least(), 4)
}

func orDefault[T int32 | int64](n, other T) T {
	if n == 0 {
		return other
	}
	return n
}

// plain are the words that YAML reads as they are; the others are quoted, as JSON is.
var plain = regexp.MustCompile(`^[A-Za-z$./][A-Za-z0-9_$()./=@+-]*(:[A-Za-z0-9_./-]+)*$|^--?[A-Za-z][A-Za-z0-9_./=-]*$`)

// scalar writes text so that YAML reads just that string.
func scalar(text string) string {
	lower := strings.ToLower(text)
	if plain.MatchString(text) && !slices.Contains([]string{"true", "false", "yes", "no", "on", "off", "null", "y", "n", ".nan", ".inf"}, lower) {
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return text
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // strings always have a form
	return unprintable.ReplaceAllStringFunc(strings.TrimSuffix(b.String(), "\n"), func(r string) string {
		return fmt.Sprintf(`\U%08x`, []rune(r)[0])
	})
}

// unprintable are the characters that JSON holds as they are and YAML only escaped
// (c-printable of YAML 1.2, section 5.1): DEL, the controls of Latin 1, marks of byte order.
var unprintable = regexp.MustCompile(`[\x{7f}-\x{9f}\x{feff}\x{fffe}\x{ffff}]`)

func list(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = scalar(w)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// NameFor is a name for an API made of text: a folder, an image, a program. It is "api"
// where nothing is left that a name may have.
func NameFor(text string) string {
	name := notInNames.ReplaceAllString(strings.ToLower(text), "-")
	if len(name) > workload.MaxNameLength {
		name = name[:workload.MaxNameLength]
	}
	name = strings.TrimPrefix(strings.Trim(name, "-"), "b-")
	if !workload.IsName(name) {
		return "api"
	}
	return name
}

// NameOfImage is a name made of an image's, without where it is from and its version.
func NameOfImage(image string) string {
	name, _, _ := strings.Cut(image, "@")
	name, _, _ = strings.Cut(path.Base(name), ":")
	return NameFor(name)
}

// NameOfCommand is a name made of the last word of a command that says what runs, such as
// a script, or of its program.
func NameOfCommand(command []string) string {
	name := path.Base(command[0])
	for _, word := range command[1:] {
		if base := path.Base(word); strings.Contains(base, ".") && !strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "$") {
			name = strings.TrimSuffix(base, path.Ext(base))
			break
		}
	}
	return NameFor(name)
}
