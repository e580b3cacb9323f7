// Package docs_test does what the user guide says: it writes the files that a
// page shows, types its commands in a local environment of the page's own, and
// compares what they print.
//
// A fenced block with file=NAME is written to that file in the page's folder, and
// a python block marked run is run with the Python client at hand. A yaml block must be
// a valid cortex.yaml or cluster file, or the resource of a job when it is marked job,
// unless it is marked invalid. In a console block a line that begins with "$ " is a command; what
// follows is what it prints: "…" stands for any text within a line, and alone on a line
// for any number of lines; how many spaces there are does not matter. A command must
// succeed unless it ends with "# exit N".
package docs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

var cortexBin string

func TestMain(m *testing.M) {
	code, err := setUp(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "setting up the documentation:", err)
		code = 1
	}
	os.Exit(code)
}

func setUp(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "cortex-docs-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cortexBin = filepath.Join(dir, "cortex")
	if out, err := exec.Command("go", "build", "-o", cortexBin, "../cmd/cortex").CombinedOutput(); err != nil { //nolint:noctx // the test's own time limit holds
		return 1, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// TestSources looks at what the program is built of: go test remembers a result
// until a file changes that a test has looked at, and another process built it.
func TestSources(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"../cmd", "../internal", "../python"} {
		if err := filepath.WalkDir(folder, func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			t.Error(err)
		}
	}
}

// pages are the Markdown files whose blocks are executed.
func pages(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(files, "../README.md", "../examples/README.md")
}

// block is one fenced block of a page.
type block struct {
	page  string
	line  int    // of its first line of content
	lang  string // the first word after the fence
	words []string
	lines []string
}

func (b block) where(line int) string { return fmt.Sprintf("%s:%d", b.page, b.line+line) }

// file returns the NAME of file=NAME, or "".
func (b block) file() string {
	for _, w := range b.words {
		if name, ok := strings.CutPrefix(w, "file="); ok {
			return name
		}
	}
	return ""
}

func blocks(t *testing.T, page string) []block {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var found []block
	var open *block
	for i, line := range strings.Split(string(data), "\n") {
		info, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && open == nil:
			words := append(strings.Fields(info), "")
			open = &block{page: page, line: i + 2, lang: words[0], words: words[1:]}
		case isFence:
			found = append(found, *open)
			open = nil
		case open != nil:
			open.lines = append(open.lines, line)
		}
	}
	if open != nil {
		t.Fatalf("%s: the block is not closed", open.where(0))
	}
	return found
}

func TestPages(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		found := blocks(t, page)
		if !slices.ContainsFunc(found, func(b block) bool { return b.lang == "console" || b.lang == "yaml" }) {
			continue
		}
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			run(t, found)
		})
	}
}

func run(t *testing.T, found []block) {
	t.Helper()
	p := newPlace(t)
	for _, b := range found {
		text := strings.Join(b.lines, "\n") + "\n"
		if name := b.file(); name != "" {
			if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		switch b.lang {
		case "yaml":
			err := valid(text, slices.Contains(b.words, "job"))
			if invalid := slices.Contains(b.words, "invalid"); (err != nil) != invalid {
				t.Errorf("%s: Parse of the block = %v, marked invalid: %t", b.where(0), err, invalid)
			}
		case "python":
			if slices.Contains(b.words, "run") {
				need(t, "python3")
				script := filepath.Join(p.dir, "block.py")
				if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				p.check(t, step{where: b.where(0), command: "python3 block.py", want: []string{"…"}})
			}
		case "console":
			need(t, "curl", "python3")
			for _, s := range steps(b) {
				p.check(t, s)
			}
		}
	}
}

// valid returns what is wrong with a cortex.yaml, or with the resource of a job.
func valid(text string, job bool) error {
	if manifest.SortOf([]byte(text)) == manifest.Cluster {
		_, err := manifest.ParseCluster("cluster.yaml", []byte(text))
		return err
	}
	if !job {
		_, err := manifest.ParseWith("cortex.yaml", []byte(text), func(string) (string, error) { return "", nil })
		return err
	}
	var r struct {
		APIVersion string `json:"apiVersion"`
		Kind       workload.JobKind
		Spec       json.RawMessage
	}
	if err := yaml.Unmarshal([]byte(text), &r); err != nil {
		return err
	}
	if r.APIVersion != "cortex.dev/v1" || !slices.Contains(workload.JobKinds(), r.Kind) {
		return fmt.Errorf("%s of %s is no job", r.Kind, r.APIVersion)
	}
	if _, broken := workload.ParseSubmission(r.Kind, r.Spec); len(broken) > 0 {
		return fmt.Errorf("the submission breaks %+v", broken)
	}
	return nil
}

// need skips the rest of a page on a machine that lacks what it uses.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s on this machine, which this page needs", program)
		}
	}
}

// step is one command and what it prints.
type step struct {
	where   string
	command string
	exit    int
	want    []string
}

var exitMark = regexp.MustCompile(`\s+# exit (\d+)$`)

func steps(b block) []step {
	var all []step
	for i, line := range b.lines {
		command, isCommand := strings.CutPrefix(line, "$ ")
		if !isCommand {
			if n := len(all); n > 0 {
				all[n-1].want = append(all[n-1].want, line)
			}
			continue
		}
		s := step{where: b.where(i), command: command}
		if m := exitMark.FindStringSubmatch(command); m != nil {
			s.command = strings.TrimSuffix(command, m[0])
			s.exit, _ = strconv.Atoi(m[1]) // the pattern has digits only
		}
		all = append(all, s)
	}
	return all
}

// place is the folder and the environment of one page.
type place struct {
	dir string
	env []string
}

// newPlace makes a folder whose local environment serves on a free port, and
// stops that when the test ends.
func newPlace(t *testing.T) *place {
	t.Helper()
	root, err := os.MkdirTemp("", "cortex-page-") // short: a socket's path must be
	if err != nil {
		t.Fatal(err)
	}
	p := &place{dir: filepath.Join(root, "page")}
	config := filepath.Join(root, "config")
	client, err := filepath.Abs("../python")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{p.dir, config} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	settings := "environments:\n- name: local\n  api_port: 0\n"
	if err := os.WriteFile(filepath.Join(config, "cli.yaml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	p.env = append(os.Environ(), "CORTEX_CLI_CONFIG_DIR="+config, "NO_COLOR=1", "PYTHONDONTWRITEBYTECODE=1",
		"PYTHONPATH="+client, "PATH="+filepath.Dir(cortexBin)+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Cleanup(func() {
		if out, _, err := p.sh(context.Background(), "cortex local stop"); err != nil {
			t.Errorf("cortex local stop: %v\n%s", err, out)
		}
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	return p
}

// sh runs a command line and returns what it prints on both streams.
func (p *place) sh(ctx context.Context, line string) (out string, exit int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir, cmd.Env = p.dir, p.env
	// A file, not a pipe: a daemon that the command starts would keep a pipe open.
	file, err := os.CreateTemp(filepath.Dir(p.dir), "out")
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	cmd.Stdout, cmd.Stderr = file, file
	err = cmd.Run()
	data, readErr := os.ReadFile(file.Name())
	if failed := (&exec.ExitError{}); errors.As(err, &failed) && ctx.Err() == nil {
		return string(data), failed.ExitCode(), readErr
	}
	return string(data), 0, errors.Join(err, readErr)
}

// address is where the APIs of the page's environment are, host:port; the pages
// say localhost:8888.
func (p *place) address(ctx context.Context) string {
	out, _, err := p.sh(ctx, "cortex local status -o json")
	var status struct {
		Endpoint string `json:"api_endpoint"`
	}
	if err != nil || json.Unmarshal([]byte(out), &status) != nil {
		return ""
	}
	return strings.TrimPrefix(status.Endpoint, "http://")
}

const documented = "localhost:8888"

func (p *place) check(t *testing.T, s step) {
	t.Helper()
	command := s.command
	if strings.Contains(command, documented) {
		command = strings.ReplaceAll(command, documented, p.address(t.Context()))
	}
	out, exit, err := p.sh(t.Context(), command)
	if err != nil {
		t.Fatalf("%s: $ %s: %v\n%s", s.where, s.command, err, out)
	}
	if address := p.address(t.Context()); address != "" {
		out = strings.ReplaceAll(out, address, documented)
	}
	if exit != s.exit {
		t.Fatalf("%s: $ %s exits with %d, want %d\n%s", s.where, s.command, exit, s.exit, out)
	}
	if want := pattern(s.want); !want.MatchString(squeeze(out)) {
		t.Errorf("%s: $ %s prints\n%s\nwant\n%s", s.where, s.command, out, strings.Join(s.want, "\n"))
	}
}

// squeeze makes every run of spaces one and drops empty lines.
func squeeze(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 {
			lines = append(lines, strings.Join(words, " "))
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// pattern is what matches the squeezed output of a command.
func pattern(want []string) *regexp.Regexp {
	var b bytes.Buffer
	b.WriteString(`\A`)
	for line := range strings.Lines(squeeze(strings.Join(want, "\n"))) {
		line = strings.TrimSuffix(line, "\n")
		if line == "…" {
			b.WriteString(`(?:.*\n)*?`)
			continue
		}
		quoted := regexp.QuoteMeta(line)
		b.WriteString(strings.ReplaceAll(quoted, "…", ".*") + `\n`)
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}
