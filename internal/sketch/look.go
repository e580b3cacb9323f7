package sketch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// maxRead bounds what is read of one file.
const maxRead = 256 << 10

// sign is something in a folder that says how its server is started.
type sign struct {
	files []string       // the first that is there and matches counts
	has   *regexp.Regexp // in its text; nil: that it is there is enough
	words string         // what it is, for people
	make  func(file, dir string, match []string) Sketch
}

var (
	pythonFiles = []string{"app.py", "main.py", "server.py", "serve.py", "api.py"}
	port        = "$(CORTEX_PORT)" // on one machine each replica has another
)

// signs are looked for in this order: what was made to be deployed first, what any folder
// may have last.
var signs = []sign{
	{[]string{"Dockerfile"}, regexp.MustCompile(`(?mi)^\s*EXPOSE\s+(\d{1,5})`), "EXPOSE", func(_, dir string, match []string) Sketch {
		s := ofDockerfile(dir)
		if n, err := strconv.ParseInt(match[1], 10, 32); err == nil && n > 0 && n <= 65535 {
			s.Port = int32(n)
		}
		return s
	}},
	{[]string{"Dockerfile"}, nil, "", func(_, dir string, _ []string) Sketch { return ofDockerfile(dir) }},
	{pythonFiles, regexp.MustCompile(`(?m)^(\w+)\s*(?::[^=\n]+)?=\s*(?:\w+\.)?(?:FastAPI|Starlette)\(`), "FastAPI", func(file, _ string, match []string) Sketch {
		return Sketch{Command: []string{"python3", "-m", "uvicorn", module(file) + ":" + match[1], "--port", port}}
	}},
	{pythonFiles, regexp.MustCompile(`(?m)^(\w+)\s*(?::[^=\n]+)?=\s*(?:\w+\.)?Flask\(`), "Flask", func(file, _ string, match []string) Sketch {
		return Sketch{Command: []string{"python3", "-m", "flask", "--app", module(file) + ":" + match[1], "run", "--port", port}}
	}},
	{pythonFiles, regexp.MustCompile(`CORTEX_PORT`), "listens on CORTEX_PORT", func(file, _ string, _ []string) Sketch {
		return Sketch{Command: []string{"python3", file}}
	}},
	{pythonFiles, regexp.MustCompile(`environ\S*\W+PORT\b`), "listens on PORT", func(file, _ string, _ []string) Sketch {
		return Sketch{Command: []string{"python3", file}, Env: map[string]string{"PORT": port}}
	}},
	{[]string{"package.json"}, regexp.MustCompile(`"start"\s*:`), "npm start", func(string, string, []string) Sketch {
		return Sketch{Command: []string{"npm", "start"}, Env: map[string]string{"PORT": port}}
	}},
	{[]string{"index.html"}, nil, "", func(string, string, []string) Sketch {
		return Sketch{Command: []string{"python3", "-m", "http.server", port}}
	}},
}

func ofDockerfile(dir string) Sketch {
	name := NameFor(dir)
	image := name + ":dev"
	return Sketch{Image: image, First: fmt.Sprintf("docker build -t %s .", image)}
}

func module(file string) string { return strings.TrimSuffix(path.Base(file), ".py") }

// Look says what a folder called dir holds a server of; ok is false when nothing tells.
func Look(folder fs.FS, dir string) (s Sketch, ok bool, err error) {
	for _, sign := range signs {
		for _, file := range sign.files {
			text, err := read(folder, file)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return s, false, fmt.Errorf("reading %s: %w", file, err)
			}
			var match []string
			if sign.has != nil {
				if match = sign.has.FindStringSubmatch(text); match == nil {
					continue
				}
			}
			s = sign.make(file, dir, match)
			s.Name, s.Found = NameFor(dir), file
			if sign.words != "" {
				s.Found += " (" + sign.words + ")"
			}
			return s, true, nil
		}
	}
	return s, false, nil
}

// read returns the beginning of a file. What is no plain file is as good as absent.
func read(folder fs.FS, file string) (string, error) {
	info, err := fs.Stat(folder, file)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fs.ErrNotExist
	}
	f, err := folder.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRead))
	return string(text), err
}

// Signs are what Look looks for, for people.
func Signs() (list []string) {
	seen := map[string]bool{}
	for _, s := range signs {
		for _, file := range s.files {
			if !seen[file] {
				list = append(list, file)
			}
			seen[file] = true
		}
	}
	return list
}
