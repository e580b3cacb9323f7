package manifest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/workload"
)

// tables of docs/file.md by their marks: the path whose keys they list.
var tables = map[string]string{
	"every kind": "", "auth": "networking.auth", "limits": "networking.limits[]", "pod": "pod", "containers": "pod.containers[]", "probes": "pod.containers[].liveness_probe",
	"autoscaling": "autoscaling", "update_strategy": "update_strategy", "async": "async", "schedules": "schedules[]", "apis": "apis[]",
}

// The tables of docs/file.md are made from those that decode a file and judge it.
func TestReference(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "..", "docs", "file.md")
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ref := newReference(t)
	used := 0
	want := regexp.MustCompile(`(?s)<!-- keys: ([a-z_ ]+) -->\n.*?\n\n`).ReplaceAllStringFunc(string(have), func(block string) string {
		mark, _, _ := strings.Cut(strings.TrimPrefix(block, "<!-- keys: "), " -->")
		path, ok := tables[mark]
		if !ok {
			t.Errorf("docs/file.md has a table of %q, which is none of %v", mark, tables)
		}
		used++
		return fmt.Sprintf("<!-- keys: %s -->\n| key | default | what it is | accepts |\n|---|---|---|---|\n%s%s\n", mark, strings.Join(ref.rows(path, ""), ""), whole(path))
	})
	if used != len(tables) {
		t.Errorf("docs/file.md has %d tables, want %d", used, len(tables))
	}
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(have), want); diff != "" {
		t.Errorf("docs/file.md is not what the tables say; run go test ./internal/manifest -run Reference -update (-file +tables):\n%s", diff)
	}
}

// reference is what the schema says of every key path, by kind.
type reference struct {
	order map[string][]string // keys below a path
	keys  map[string]map[workload.Kind]object
	must  map[string]bool
}

func newReference(t *testing.T) *reference {
	t.Helper()
	var doc struct {
		Defs map[workload.Kind]object `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &doc); err != nil {
		t.Fatal(err)
	}
	r := &reference{order: map[string][]string{}, keys: map[string]map[workload.Kind]object{}, must: map[string]bool{}}
	collectOrder(r.order, "", &specSection)
	collectOrder(r.order, "pod", &podSection)
	collectOrder(r.order, "pod.containers[]", &containerSection)
	collectOrder(r.order, "pod.containers[].compute", &computeSection)
	collectOrder(r.order, "pod.containers[].compute.limits", &limitsSection)
	collectOrder(r.order, "pod.containers[].env_from[]", &envFromSection)
	collectOrder(r.order, "pod.containers[].security_context", &securitySection)
	collectOrder(r.order, "pod.containers[].security_context.capabilities", &capabilitiesSection)
	collectOrder(r.order, "pod.containers[].volume_mounts[]", &mountSection)
	collectOrder(r.order, "pod.security_context", &podSecuritySection)
	collectOrder(r.order, "pod.tolerations[]", &tolerationSection)
	collectOrder(r.order, "pod.volumes[]", &volumeSection)
	collectOrder(r.order, "pod.volumes[].empty_dir", &emptyDirSection)
	collectOrder(r.order, "pod.containers[].liveness_probe", probeSection("liveness_probe"))
	collectOrder(r.order, "pod.containers[].liveness_probe.http_get", &httpSection)
	collectOrder(r.order, "pod.containers[].liveness_probe.tcp_socket", &tcpSection)
	collectOrder(r.order, "pod.containers[].liveness_probe.exec", &execSection)
	collectOrder(r.order, "networking", &networkingSection)
	collectOrder(r.order, "networking.auth", &authSection)
	collectOrder(r.order, "networking.auth.jwt", &jwtSection)
	collectOrder(r.order, "networking.auth.allow[]", &allowedSection)
	collectOrder(r.order, "networking.limits[]", &limitSection)
	collectOrder(r.order, "autoscaling", &autoscalingSection)
	collectOrder(r.order, "update_strategy", &updateSection)
	collectOrder(r.order, "async", &asyncSection)
	collectOrder(r.order, "async.retry", &retrySection)
	collectOrder(r.order, "async.keep", &keepSection)
	collectOrder(r.order, "async.concurrency", &asyncConcurrencySection)
	collectOrder(r.order, "autoscaling.floors[]", &floorSection)
	collectOrder(r.order, "schedules[]", &scheduleSection)
	collectOrder(r.order, "schedules[].catch_up", &catchUpSection)
	collectOrder(r.order, "schedules[].payload", &payloadSection)
	collectOrder(r.order, "async.webhook", &webhookSection)
	collectOrder(r.order, "apis[]", &targetSection)
	for _, k := range workload.Kinds() {
		r.visit(k, "", doc.Defs[k])
	}
	return r
}

func collectOrder[T any](into map[string][]string, path string, sec *section[T]) {
	for _, f := range sec.fields {
		into[path] = append(into[path], f.key)
	}
}

func (r *reference) visit(k workload.Kind, path string, s object) {
	if r.keys[path] == nil {
		r.keys[path] = map[workload.Kind]object{}
	}
	r.keys[path][k] = s
	if items, ok := s["items"].(object); ok {
		r.visit(k, path+"[]", items)
	}
	if either, ok := s["anyOf"].([]any); ok && s["type"] == nil {
		inner := either[0].(object)
		for key, v := range inner {
			s[key] = v
		}
		s["nullable"] = true
	}
	required, _ := s["required"].([]any)
	properties, _ := s["properties"].(object)
	for key, p := range properties {
		below := strings.TrimPrefix(path+"."+key, ".")
		r.must[below] = r.must[below] || slices.Contains(required, any(key))
		r.visit(k, below, p.(object))
	}
}

// rows are the rows of a table: the keys below a path, and those of maps in it that have
// no table of their own.
func (r *reference) rows(path, prefix string) (rows []string) {
	for _, key := range r.order[path] {
		at := strings.TrimPrefix(path+"."+key, ".")
		own := slices.ContainsFunc(slices.Collect(values(tables)), func(table string) bool { return table == at || table == at+"[]" })
		if own && path == "" {
			continue // a section further down
		}
		if list := at + "[]"; r.order[list] != nil && !own {
			rows = append(rows, r.row(at, prefix+key))
			rows = append(rows, r.rows(list, prefix+key+"[].")...)
			continue
		}
		if r.order[at] != nil && !own {
			rows = append(rows, r.rows(at, prefix+key+".")...)
			continue
		}
		rows = append(rows, r.row(at, prefix+key))
	}
	return rows
}

func values(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

var defaultInDoc = regexp.MustCompile(` \(default: (.*)\)$`)

func (r *reference) row(path, key string) string {
	var kinds []workload.Kind
	ranges := map[string][]string{}
	var order []string
	var first object
	for _, k := range workload.Kinds() {
		s, ok := r.keys[path][k]
		if !ok {
			continue
		}
		if kinds = append(kinds, k); first == nil {
			first = s
		}
		text := rangeOf(k, path, s)
		if len(ranges[text]) == 0 {
			order = append(order, text)
		}
		ranges[text] = append(ranges[text], string(k))
	}
	doc, def := first["description"].(string), "none"
	if m := defaultInDoc.FindStringSubmatch(doc); m != nil {
		doc, def = strings.TrimSuffix(doc, m[0]), m[1]
	}
	if v, ok := first["default"]; ok {
		text, _ := json.Marshal(v)
		def = "`" + strings.Trim(string(text), `"`) + "`"
	}
	if r.must[path] {
		def = "required"
	}
	var accepts []string
	for _, text := range order {
		switch {
		case text == "":
		case len(order) > 1:
			accepts = append(accepts, strings.Join(ranges[text], ", ")+": "+text)
		default:
			accepts = append(accepts, text)
		}
	}
	for _, rule := range workload.Rules() {
		if rule.CEL.Field != "" && strings.TrimPrefix(rule.At+rule.CEL.Field, ".") == path {
			accepts = append(accepts, rule.CEL.Message)
		}
	}
	if first["nullable"] == true {
		accepts = append(accepts, "*null ok*")
	}
	parent := path[:max(strings.LastIndexByte(path, '.'), 0)]
	if len(kinds) < len(r.keys[parent]) && len(order) == 1 {
		var words []string
		for _, k := range kinds {
			words = append(words, string(k))
		}
		accepts = append(accepts, "only "+strings.Join(words, ", "))
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |\n", key, def, doc, strings.Join(accepts, "; "))
}

// whole is the row of the rules that are about a list as a whole.
func whole(path string) string {
	var rules []string
	for _, rule := range workload.Rules() {
		if rule.CEL.Message != "" && rule.CEL.Field == "" && rule.At+"[]" == path {
			rules = append(rules, rule.CEL.Message)
		}
	}
	if len(rules) == 0 {
		return ""
	}
	return "| together | | | " + strings.Join(rules, "; ") + " |\n"
}

// rangeOf says which values a key accepts, as far as its type, pattern and range do.
func rangeOf(k workload.Kind, path string, s object) string {
	pattern, _ := s["pattern"].(string)
	switch {
	case s["type"] == "integer" || s["type"] == "number":
		b := workload.BoundsOf(k, path)
		text := b.String()
		if len(b.Reserved) > 0 {
			text += fmt.Sprintf(", except %d and %d", b.Reserved[0], b.Reserved[1])
		}
		return text
	case pattern == workload.DurationPattern:
		return workload.PeriodOf(path).String()
	case pattern == workload.QuantityPattern:
		if least := workload.LeastOf(path); least.Milli() > 0 {
			return "at least " + (&least).String()
		}
		return ""
	}
	var parts []string
	if one, ok := s["oneOf"].([]any); ok {
		var words []string
		for _, h := range one {
			words = append(words, fmt.Sprint(h.(object)["required"].([]any)[0]))
		}
		parts = append(parts, "one of "+strings.Join(words, ", "))
	}
	if words := workload.WordsOf(pattern); words != "" {
		parts = append(parts, words)
	}
	if n, ok := s["maxLength"].(float64); ok {
		parts = append(parts, fmt.Sprintf("at most %.0f characters", n))
	}
	if not, ok := s["not"].(object); ok && not["enum"] != nil {
		parts = append(parts, "not "+strings.Trim(strings.ReplaceAll(fmt.Sprint(not["enum"]), " ", " or "), "[]"))
	} else if not, ok := s["not"].(object); ok {
		parts = append(parts, workload.WordsOf(fmt.Sprint(not["pattern"])))
	}
	return strings.Join(parts, ", ")
}

// A field of a spec that no key sets could be given to Kubernetes and to no file.
func TestEveryFieldHasAKey(t *testing.T) {
	t.Parallel()
	ref := newReference(t)
	var visit func(path string, of reflect.Type)
	visit = func(path string, of reflect.Type) {
		for of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		if ref.keys[path] == nil {
			t.Errorf("no key of a cortex.yaml is %s", path)
			return
		}
		switch {
		case of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.Struct:
			visit(path+"[]", of.Elem())
		case of.Kind() == reflect.Struct && of != reflect.TypeFor[workload.Quantity]():
			for i := range of.NumField() {
				key, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
				visit(strings.TrimPrefix(path+"."+key, "."), of.Field(i).Type)
			}
		}
	}
	visit("", reflect.TypeFor[workload.Spec]())
}
