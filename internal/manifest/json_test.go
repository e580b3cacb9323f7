package manifest

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/fault"
)

// envOf reads a file in JSON whose one API has one variable, as its text stands in quotes.
func jsonFile(value string) string {
	return `[{"name":"iris","kind":"RealtimeAPI","pod":{"containers":[{"name":"api","image":"i","env":{"A":` + value + `}}]}}]`
}

// What is JSON is read, and means what it means to every other reader of JSON.
func TestAllJSONIsRead(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"plain":                      `"a"`,
		"an escaped slash":           `"a\/b"`,
		"a pair of surrogates":       `"\ud83d\ude00"`,
		"half a pair":                `"\ud83d!"`,
		"escapes":                    `"\b\f\n\r\t\"\\\u00e4"`,
		"a line separator":           "\"a\u2028b\u2029c\u0085d\"",
		"leading and trailing":       `"  a  "`,
		"what YAML would take apart": `"a: b # c, {d} [e] &f *g !h | > % @"`,
		"a word of YAML":             `"yes"`,
		"a long text":                `"` + strings.Repeat("long ", 2000) + `"`,
		"not ASCII":                  `"日本"`,
	} {
		var want string
		if err := json.Unmarshal([]byte(value), &want); err != nil {
			t.Fatal(err)
		}
		file, err := Parse("cortex.json", []byte(jsonFile(value)))
		if err != nil {
			t.Errorf("%s: Parse() = %v", name, err)
			continue
		}
		if got := file.Entries[0].Spec.Pod.Containers[0].Env["A"].Value; got != want {
			t.Errorf("%s: A=%q, want %q", name, got, want)
		}
	}
	for name, text := range map[string]string{
		"tabs":                "[\n\t{\n\t\t\"name\": \"iris\",\n\t\t\"kind\": \"RealtimeAPI\",\n\t\t\"pod\": {\"containers\": [{\"name\": \"api\", \"image\": \"i\"}]}\n\t}\n]\n",
		"windows":             "[\r\n{\"name\":\"iris\",\r\n\"kind\":\"RealtimeAPI\",\"pod\":{\"containers\":[{\"name\":\"api\",\"image\":\"i\"}]}}]\r\n",
		"an exponent":         `[{"name":"iris","kind":"RealtimeAPI","pod":{"port":8.081e3,"containers":[{"name":"api","image":"i"}]}}]`,
		"colons without room": jsonFile(`"a"`),
		"colons with room":    strings.ReplaceAll(jsonFile(`"a"`), `":`, `" : `),
		"a byte order mark":   "\ufeff" + jsonFile(`"a"`),
		"a long key":          strings.Replace(jsonFile(`"a"`), `"A"`, `"`+strings.Repeat("A", 1500)+`"`, 1),
		"an escaped key":      strings.Replace(jsonFile(`"a"`), `"name"`, `"n\u0061me"`, 1),
	} {
		if file, err := Parse("cortex.json", []byte(text)); err != nil || len(file.Entries) != 1 || file.Entries[0].Spec.Name != "iris" {
			t.Errorf("%s: Parse() = %v, want iris", name, err)
		}
	}
}

// Problems of JSON have the place at which they stand, as those of YAML do.
func TestProblemsOfJSONHaveTheirPlace(t *testing.T) {
	t.Parallel()
	text := "[\n\t{\"name\": \"ä\", \"kind\": \"RealtimeAPI\", \"prot\": 1,\n\t\t\"pod\": {\"port\": \"x\", \"containers\": []}, \"pod\": {}\n\t}]"
	_, err := Parse("cortex.json", []byte(text))
	var got []string
	for _, p := range fault.From(err).Problems { // in the order of the file
		got = append(got, strings.Join([]string{strconv.Itoa(p.Line), strconv.Itoa(p.Column), p.Code}, " "))
	}
	want := []string{"2 11 urls.dns1035", "2 39 configreader.unsupported_key", "3 19 configreader.invalid_primitive_type", "3 24 configreader.too_few_elements", "3 43 configreader.duplicated_value"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Parse() = %v, differs (-want +got):\n%s", err, diff)
	}
}

// Where the YAML library reads a text of JSON, both are one: values, kinds and places.
func FuzzJSONIsReadAsYAML(f *testing.F) {
	for _, seed := range []string{jsonFile(`"a"`), "[1, -2.5,\n null, true, {\"a\": [\"ä\", {}]}]", `{"a":1e3,"b":"<<"}`, "[\n  [],\n  \"x\"]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := parseJSON([]byte(text))
		if got == nil || strings.ContainsAny(text, "\t\\\r\u007f\u0085\u2028\u2029\ufeff") || len(text) > 500 {
			return
		}
		var want yaml.Node
		if err := yaml.Unmarshal([]byte(text), &want); err != nil || len(want.Content) != 1 {
			return
		}
		if diff := cmp.Diff(plain(want.Content[0]), plain(got)); diff != "" {
			t.Errorf("%q differs (-YAML +JSON):\n%s", text, diff)
		}
	})
}

// plain is what counts of a node.
func plain(n *yaml.Node) any {
	if n.Tag == "!!int" || n.Tag == "!!float" { // of large numbers YAML has an opinion of its own
		n.Tag = "number"
	}
	all := []any{n.Kind, n.Tag, n.Value, n.Line, n.Column}
	for _, c := range n.Content {
		all = append(all, plain(c))
	}
	return all
}

// An error in quotes is told where the quote opens, wherever the library noticed it.
func TestErrorsInQuotesAreToldWhereTheQuoteOpens(t *testing.T) {
	t.Parallel()
	more := strings.Repeat("  # and more\n", 5)
	for _, tt := range []struct {
		name, text   string
		line, column int
	}{
		{"in the first line", "name: \"iris\n" + more, 1, 7},
		{"in the only line", `{"name": "iris}`, 1, 10},
		{"single", "- name: 'iris\n" + more, 1, 9},
		{"later", "- name: iris\n  kind: \"RealtimeAPI\n" + more, 2, 9},
		{"after others", "- {name: \"a\", kind: 'b', x: \"c}\n" + more, 1, 29},
		{"with an apostrophe before", "- a: it's\n  b: \"c\n" + more, 2, 6},
		{"with a comment before", "- a: 1 # don't\n  b: \"c\n" + more, 2, 6},
		{"an escape that there is not", "- a: \"ok\"\n  b: \"c:\\data\"\n  d: 1\n", 2, 6},
		{"an escape in the first line", "a: \"c:\\data\"\nb: 1\n", 1, 4},
		{"of two in a line", "a: {b: \"x\\n\", c: \"\\q\"}\n", 1, 18},
		{"a number that is none", "a: 1\nb: \"\\xzz\"\n", 2, 4},
		{"a character that is none", "a: 1\nb: \"\\ud800\"\n", 2, 4},
		{"an escape lines below", "a: 1\nb: \"one\n  two \\q\"\nc: 1\n", 2, 4},
		{"not ASCII before", "ä: \"ö\n" + more, 1, 4},
		{"a document in it", "a: 1\nb: \"x\n---\ny\"\n", 2, 4},
	} {
		_, err := Parse("cortex.yaml", []byte(tt.text))
		p := fault.From(err).Problems
		if len(p) != 1 || p[0].Code != codeInvalidYAML || p[0].Line != tt.line || p[0].Column != tt.column || p[0].Hint == "" {
			t.Errorf("%s: Parse(%q) = %v, want one problem at %d:%d with what to do", tt.name, tt.text, err, tt.line, tt.column)
		}
	}
}
