package manifest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var defaultOfKey = regexp.MustCompile(` \(default: (.*)\)$`)

// The tables of docs/aws.md are made from what reads a cluster file.
func TestClusterReference(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "..", "docs", "aws.md")
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]*strings.Builder{}
	for _, mark := range []string{"cluster", "subnets[]", "node_groups[]", "node_groups[].spot_config", "gone"} {
		tables[mark] = &strings.Builder{}
	}
	var goneDocs []string // each once, for all keys of which it is true
	gone := map[string][]string{}
	for _, k := range ClusterKeys() {
		section, key := "cluster", k.Path
		if i := strings.LastIndexByte(key, '.'); i > 0 {
			section, key = key[:i], key[i+1:]
		}
		if k.NoEffect {
			if gone[k.Doc] == nil {
				goneDocs = append(goneDocs, k.Doc)
			}
			gone[k.Doc] = append(gone[k.Doc], "`"+k.Path+"`")
			continue
		}
		doc, def := k.Doc, ""
		if m := defaultOfKey.FindStringSubmatch(doc); m != nil {
			doc, def = strings.TrimSuffix(doc, m[0]), m[1]
		}
		if k.Required {
			def = "required"
		}
		fmt.Fprintf(tables[section], "| `%s` | %s | %s |\n", key, def, doc)
	}
	for _, doc := range goneDocs {
		fmt.Fprintf(tables["gone"], "| %s | %s |\n", strings.Join(gone[doc], ", "), doc)
	}
	used := 0
	want := regexp.MustCompile(`(?s)<!-- keys of ([a-z_.\[\]]+) -->\n.*?\n\n`).ReplaceAllStringFunc(string(have), func(block string) string {
		mark, _, _ := strings.Cut(strings.TrimPrefix(block, "<!-- keys of "), " -->")
		used++
		head := "| key | default | what it is |\n|---|---|---|\n"
		if mark == "gone" {
			head = "| key | |\n|---|---|\n"
		}
		if tables[mark] == nil {
			t.Errorf("docs/aws.md has a table of %q", mark)
			return block
		}
		return "<!-- keys of " + mark + " -->\n" + head + tables[mark].String() + "\n"
	})
	if used != len(tables) {
		t.Errorf("docs/aws.md has %d tables, want %d", used, len(tables))
	}
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(have), want); diff != "" {
		t.Errorf("docs/aws.md is not what the keys say; run go test ./internal/manifest -run Reference -update (-file +tables):\n%s", diff)
	}
}
