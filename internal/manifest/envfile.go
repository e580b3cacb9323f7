package manifest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Bounds and codes of env files.
const (
	codeEnvFileMissing = "configreader.env_file_not_found"
	codeEnvFileLine    = "configreader.env_file_malformed"
)

// EnvFiles returns the text of a file that env_file names, by the path that stands there;
// an error where there is none. It is asked once for each path.
type EnvFiles func(path string) (string, error)

// Beside reads the env files of a cortex.yaml in a folder.
func Beside(folder string) EnvFiles {
	return func(path string) (string, error) {
		if !filepath.IsAbs(path) {
			path = filepath.Join(folder, path)
		}
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer func() { _ = f.Close() }() // nothing was written
		data, err := io.ReadAll(io.LimitReader(f, workload.MaxEnvFileBytes+1))
		return string(data), err
	}
}

// Sent has the env files that came with a file.
func Sent(files map[string]string) EnvFiles {
	return func(path string) (string, error) {
		text, ok := files[path]
		if !ok {
			return "", errors.New("it did not come with the file")
		}
		return text, nil
	}
}

// envFile is one that was read.
type envFile struct {
	values map[string]workload.Variable
	wrong  bool // told once, however many containers name it
}

// envFiles reads the files that a container names; of a variable in several, the last
// one's value counts.
func (s *scope) envFiles(v value) (map[string]workload.Variable, bool) {
	paths := []value{v}
	if v.node.Kind == yaml.SequenceNode {
		var ok bool
		if paths, ok = s.list(v); !ok {
			return nil, false
		}
	}
	all, ok := map[string]workload.Variable{}, true
	for _, p := range paths {
		path, isText := s.filled(p)
		if !isText {
			ok = false
			continue
		}
		f := s.envFile(p, path)
		if ok = ok && !f.wrong; !ok {
			continue
		}
		for name, x := range f.values {
			if s.d.budget--; s.d.budget < 0 {
				s.d.exhausted = true
				return nil, false
			}
			all[name] = x
		}
	}
	return all, ok
}

// envFile reads one file, the first time that it is named.
func (s *scope) envFile(at value, path string) *envFile {
	if f := s.d.envFiles[path]; f != nil {
		if f.wrong {
			s.cannotRead(at.path)
		}
		return f
	}
	f := &envFile{wrong: true}
	if s.d.envFiles == nil {
		s.d.envFiles = map[string]*envFile{}
	}
	if len(s.d.envFiles) >= workload.MaxEnvFiles {
		s.wrongAt(at, codeEnvFileMissing, fmt.Sprintf("the file names more than %d env files", workload.MaxEnvFiles), quote(path), "", "join some of them")
		return f
	}
	s.d.envFiles[path] = f
	if s.d.sources == nil {
		s.wrongAt(at, codeEnvFileMissing, "there are no files beside this", quote(path), "", "write the variables into env")
		return f
	}
	text, err := s.d.sources(path)
	switch {
	case err != nil:
		s.wrongAt(at, codeEnvFileMissing, fmt.Sprintf("cannot be read: %v", reason(err)), path, "", "env_file is a path from the folder of this file")
		return f
	case len(text) > workload.MaxEnvFileBytes:
		s.wrongAt(at, codeEnvFileMissing, fmt.Sprintf("has more than %d bytes", workload.MaxEnvFileBytes), path, "", "variables are for settings; put data into a file of its own")
		return f
	}
	values, problems := parseEnvFile(text)
	for _, p := range problems {
		p.File, p.Path, p.Code = path, at.path, codeEnvFileLine
		s.cannotRead(at.path)
		s.report(p)
	}
	f.values, f.wrong = values, len(problems) > 0
	return f
}

var envLine = regexp.MustCompile(`^(?:export[ \t]+)?([^=\s]+)[ \t]*=[ \t]*(.*)$`)

// parseEnvFile reads what Docker Compose and dotenv agree on: NAME=value in a line, after
// export too; lines that are empty or begin with #; values in '…', as they are, or in "…",
// in which \n, \r, \t, \" and \\ are what they are in C; of others, a comment after
// whitespace and #. Nothing is expanded. Messages repeat no value.
func parseEnvFile(text string) (map[string]workload.Variable, []fault.Problem) {
	values := map[string]workload.Variable{}
	var problems []fault.Problem
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, wrong := parseEnvLine(line)
		if wrong == "" {
			values[name] = workload.Variable{Value: value}
		} else if len(problems) < 20 { // nobody reads more
			problems = append(problems, fault.Problem{Line: i + 1, Column: 1, Message: wrong, Allowed: `NAME=value, NAME="value" or a line that begins with #`})
		}
	}
	return values, problems
}

func parseEnvLine(line string) (name, value, wrong string) {
	m := envLine.FindStringSubmatch(line)
	switch {
	case !utf8.ValidString(line) || strings.ContainsRune(line, 0):
		return "", "", "the line is not text"
	case m == nil:
		return "", "", "the line has no NAME= at its beginning"
	}
	if wrong := workload.EnvNameProblem(m[1]); wrong != "" {
		return "", "", wrong
	}
	value, rest := m[2], ""
	switch {
	case strings.HasPrefix(value, "'"):
		var closed bool
		if value, rest, closed = strings.Cut(value[1:], "'"); !closed {
			return "", "", "the quote ' of the value is not closed in its line"
		}
	case strings.HasPrefix(value, `"`):
		if value, rest, wrong = doubleQuoted(value[1:]); wrong != "" {
			return "", "", wrong
		}
	default:
		if i := comment.FindStringIndex(value); i != nil {
			value = value[:i[0]]
		}
	}
	if rest = strings.TrimSpace(rest); rest != "" && rest[0] != '#' {
		return "", "", "there is something after the quote that closes the value"
	}
	return m[1], unexpanded(value), ""
}

var comment = regexp.MustCompile(`(^|[ \t]+)#.*$`)

// doubleQuoted returns the value up to the quote that closes it, and what follows.
func doubleQuoted(text string) (value, rest, wrong string) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), text[i+1:], ""
		case c == '\\' && i+1 < len(text) && strings.IndexByte(`nrt"\`, text[i+1]) >= 0:
			i++
			b.WriteByte(map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', '"': '"', '\\': '\\'}[text[i]])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", `the quote " of the value is not closed in its line`
}

// unexpanded writes a value so that it stays as it is where $(NAME) and $$ are expanded,
// as they are in env.
func unexpanded(value string) string {
	var b strings.Builder
	for i := range len(value) {
		b.WriteByte(value[i])
		if value[i] == '$' && i+1 < len(value) && (value[i+1] == '$' || value[i+1] == '(') {
			b.WriteByte('$')
		}
	}
	return b.String()
}
