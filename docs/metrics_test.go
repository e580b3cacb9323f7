package docs_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated tables of the pages anew")

// programs has who measures what, by the folder of the source. On one machine all of it
// is in cortex.
var programs = map[string]string{
	"internal/telemetry":              "every program",
	"internal/telemetry/proxymetrics": "gateway, sidecar",
	"internal/gateway":                "gateway",
	"internal/hostcert":               "gateway, on one machine",
	"internal/async":                  "gateway, operator",
	"internal/jobs":                   "operator, on one machine",
	"internal/schedule":               "operator",
	"internal/tracing":                "gateway, sidecar",
	"internal/controlapi/client.go":   "gateway, on Kubernetes",
	"internal/controlapi/server.go":   "operator, on Kubernetes",
	"internal/operator":               "operator",
	"internal/autoscaler":             "operator",
	"internal/auth/iam":               "operator, not the local environment",
	"internal/operatorserver":         "operator, not the local environment",
	"internal/kube/operatord":         "operator, on Kubernetes",
	"internal/kube/ledgerd":           "ledger, on Kubernetes",
}

// measured is one telemetry.Metric of the source.
type measured struct {
	name, kind, help, of string
	labels               []string
}

// The table of metrics is what the source says, so that it cannot lie.
func TestMetricsReference(t *testing.T) {
	t.Parallel()
	table := "| metric | type | labels | of | what |\n|---|---|---|---|---|\n"
	all := metricsOfSource(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		m := all[name]
		labels := "–"
		if len(m.labels) > 0 {
			labels = "`" + strings.Join(m.labels, "`, `") + "`"
		}
		table += fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", m.name, m.kind, labels, m.of, strings.TrimSuffix(m.help, "."))
	}
	page, err := os.ReadFile("watching.md")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- metrics: made by go test ./docs -run MetricsReference -update -->\n", "<!-- end of metrics -->"
	before, rest, ok := strings.Cut(string(page), begin)
	was, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("watching.md has no place for the table, between %q and %q", begin, end)
	}
	if was == table {
		return
	}
	if !*update {
		t.Errorf("the table of metrics in watching.md is not what the source says; go test ./docs -run MetricsReference -update writes it:\n%s", table)
		return
	}
	if err := os.WriteFile("watching.md", []byte(before+begin+table+end+after), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Each alert has its section, and each section its alert.
func TestAlertsAreExplained(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile("../deploy/chart/rules/cortex.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("watching.md")
	if err != nil {
		t.Fatal(err)
	}
	var alerts []string
	for _, rule := range strings.Split(string(rules), "- alert: ")[1:] {
		name, body, _ := strings.Cut(rule, "\n")
		alerts = append(alerts, name)
		if want := `runbook: "docs/watching.md#` + strings.ToLower(name) + `"`; !strings.Contains(body, want) {
			t.Errorf("the alert %s lacks %s", name, want)
		}
	}
	var sections []string
	for _, heading := range regexp.MustCompile(`(?m)^### (Cortex\w+)$`).FindAllStringSubmatch(string(page), -1) {
		sections = append(sections, heading[1])
	}
	if !slices.Equal(alerts, sections) || len(alerts) == 0 {
		t.Errorf("the rules have the alerts %q, and watching.md the sections %q", alerts, sections)
	}
}

// metricsOfSource reads every telemetry.Metric that is written in the source.
func metricsOfSource(t *testing.T) map[string]measured {
	t.Helper()
	all := map[string]measured{}
	files, err := filepath.Glob("../internal/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	deeper, err := filepath.Glob("../internal/*/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(files, deeper...) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range metricsOfFile(t, path, file) {
			if _, twice := all[m.name]; twice {
				t.Errorf("%s measures %s, as another place does", path, m.name)
			}
			place := strings.TrimPrefix(path, "../")
			if m.of = programs[place]; m.of == "" {
				m.of = programs[filepath.Dir(place)]
			}
			if m.of == "" {
				t.Errorf("%s measures %s: say in this test which programs have it", path, m.name)
			}
			all[m.name] = m
		}
	}
	if len(all) < 25 {
		t.Fatalf("found %d metrics; this test no longer fits the source", len(all))
	}
	return all
}

// metricsOfFile finds literals of a Metric, those without a type in a map of them too.
func metricsOfFile(t *testing.T, path string, file *ast.File) []measured {
	t.Helper()
	isMetric := func(e ast.Expr) bool {
		if s, ok := e.(*ast.SelectorExpr); ok {
			return s.Sel.Name == "Metric" && fmt.Sprint(s.X) == "telemetry"
		}
		return file.Name.Name == "telemetry" && fmt.Sprint(e) == "Metric"
	}
	histograms := map[ast.Node]bool{}
	lists := map[string]ast.Expr{} // variables that labels are in
	var found []measured
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if len(n.Lhs) == 1 && len(n.Rhs) == 1 {
				lists[fmt.Sprint(n.Lhs[0])] = n.Rhs[0]
			}
		case *ast.CallExpr:
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "CollectDurations" {
				histograms[n.Args[0]] = true
			}
		case *ast.CompositeLit:
			if m, ok := n.Type.(*ast.MapType); ok && isMetric(m.Value) {
				for _, e := range n.Elts {
					found = append(found, read(t, path, e.(*ast.KeyValueExpr).Value.(*ast.CompositeLit), "", lists))
				}
			}
			if n.Type != nil && isMetric(n.Type) {
				kind := ""
				if histograms[n] {
					kind = "histogram"
				}
				found = append(found, read(t, path, n, kind, lists))
			}
		}
		return true
	})
	return found
}

func read(t *testing.T, path string, lit *ast.CompositeLit, kind string, lists map[string]ast.Expr) measured {
	t.Helper()
	m := measured{kind: "counter"}
	for _, e := range lit.Elts {
		field := e.(*ast.KeyValueExpr)
		switch value := field.Value; fmt.Sprint(field.Key) {
		case "Name":
			m.name = text(t, path, value)
		case "Help":
			m.help = text(t, path, value)
		case "Type":
			if s, ok := value.(*ast.SelectorExpr); ok && s.Sel.Name == "Gauge" || fmt.Sprint(value) == "Gauge" {
				m.kind = "gauge"
			}
		case "Labels":
			if list, ok := lists[fmt.Sprint(value)]; ok {
				value = list
			}
			for _, l := range value.(*ast.CompositeLit).Elts {
				m.labels = append(m.labels, text(t, path, l))
			}
		}
	}
	if kind != "" {
		m.kind = kind
	}
	return m
}

func text(t *testing.T, path string, e ast.Expr) string {
	t.Helper()
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		t.Fatalf("%s: a metric is not written as literals, so that its row cannot be made", path)
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
