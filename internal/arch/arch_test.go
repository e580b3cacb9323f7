package arch

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// pkg is what the sources of one folder say.
type pkg struct {
	imports map[string][]string // import path → the files that have it
	doc     bool
}

func TestArrows(t *testing.T) {
	t.Parallel()
	module := modulePath(t)
	packages := scan(t)
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		rule, ok := Rules[dir]
		if !ok {
			t.Errorf("%s: nobody declared this package; add it to Rules with what it may import, and to ARCHITECTURE.md", dir)
			continue
		}
		if !packages[dir].doc {
			t.Errorf("%s: no package comment: say what it is for, what it promises and what must not go in it", dir)
		}
		used := map[string]bool{}
		for path, files := range packages[dir].imports {
			if arrow := allowed(rule, module, path); arrow != "" {
				used[arrow] = true
				continue
			}
			t.Errorf("%s imports %s (%s), which is no arrow of the map", dir, path, files[0])
		}
		for _, arrow := range slices.Concat(rule.Internal, rule.Outside) {
			if !used[arrow] {
				t.Errorf("%s may import %s and does not; remove the arrow", dir, arrow)
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(Rules)) {
		if _, ok := packages[dir]; !ok {
			t.Errorf("Rules names %s, where there is no package", dir)
		}
	}
}

// allowed returns the arrow that permits importing path, "" if none does, and
// path itself for the standard library.
func allowed(rule Rule, module, path string) string {
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return path
	}
	if dir, ok := strings.CutPrefix(path, module+"/"); ok {
		if slices.Contains(rule.Internal, dir) {
			return dir
		}
		return ""
	}
	for _, prefix := range rule.Outside {
		if path == prefix || strings.HasPrefix(path, prefix+"/") {
			return prefix
		}
	}
	return ""
}

func TestForbiddenNames(t *testing.T) {
	t.Parallel()
	forbidden := strings.Fields("util utils common helpers lib types consts models misc base shared manager")
	for dir := range scan(t) {
		if slices.Contains(forbidden, filepath.Base(dir)) {
			t.Errorf("%s: the name says nothing about what is inside", dir)
		}
	}
}

// scan reads the non-test Go files of internal, cmd and deploy, for every platform.
func scan(t *testing.T) map[string]*pkg {
	t.Helper()
	packages := map[string]*pkg{}
	for _, top := range []string{"internal", "cmd", "deploy"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testdata" {
				return filepath.SkipDir
			}
			if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
			if err != nil {
				return err
			}
			note(packages, path, file)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return packages
}

func note(packages map[string]*pkg, path string, file *ast.File) {
	dir, _ := filepath.Rel(root, filepath.Dir(path))
	p := packages[filepath.ToSlash(dir)]
	if p == nil {
		p = &pkg{imports: map[string][]string{}}
		packages[filepath.ToSlash(dir)] = p
	}
	if file.Doc != nil && len(file.Doc.Text()) > 40 {
		p.doc = true
	}
	for _, spec := range file.Imports {
		if imported, err := strconv.Unquote(spec.Path.Value); err == nil {
			p.imports[imported] = append(p.imports[imported], filepath.Base(path))
		}
	}
}

func modulePath(t *testing.T) string {
	t.Helper()
	f, err := os.Open(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "module "); ok {
			return strings.TrimSpace(name)
		}
	}
	t.Fatal("go.mod names no module")
	return ""
}

func TestLightProgramsStayLight(t *testing.T) {
	t.Parallel()
	for dir, light := range Closures {
		out, err := exec.Command("go", "list", "-deps", root+"/"+dir).Output()
		if err != nil {
			t.Fatal(err)
		}
		packages := strings.Fields(string(out))
		if n := len(packages); n < 50 || n > light.Most {
			t.Errorf("%s links %d packages, want the whole closure, at most %d", dir, n, light.Most)
		}
		for _, p := range packages {
			for _, heavy := range light.Without {
				if strings.HasPrefix(p, heavy) {
					t.Errorf("%s links %s", dir, p)
				}
			}
		}
	}
}
