package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cortex.dev/cortex/internal/workload"
)

var update = flag.Bool("update", false, "rewrite docs/cli.md")

func testApp(t *testing.T) *app {
	t.Helper()
	home := t.TempDir()
	a, err := newApp(Streams{strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}}, func(name string) string {
		return map[string]string{"HOME": home}[name]
	}, Hooks{Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Each command explains itself: in one line, by an example that begins with its
// own words, and with a text for each of its flags.
func TestEveryCommandExplainsItself(t *testing.T) {
	t.Parallel()
	root := testApp(t).root()
	for _, c := range allCommands(root) {
		path := c.CommandPath()
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || c.Short[:1] != strings.ToLower(c.Short[:1]) {
			t.Errorf("%s: Short = %q, want words in lower case without a full stop", path, c.Short)
		}
		if !strings.Contains(c.Example, path) {
			t.Errorf("%s: no example shows it: %q", path, c.Example)
		}
		for _, line := range strings.Split(c.Example, "\n") {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: the example line %q is not indented", path, line)
			}
		}
		if c.RunE == nil {
			t.Errorf("%s: does nothing", path)
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || f.Name != "help" && f.Usage[:1] != strings.ToLower(f.Usage[:1]) {
				t.Errorf("%s --%s: usage = %q, want words in lower case", path, f.Name, f.Usage)
			}
		})
		if c.Flags().Lookup("env") == nil && c.GroupID == groupAPIs && !c.HasSubCommands() {
			t.Errorf("%s: has no --env", path)
		}
	}
}

// Examples are command lines that parse.
func TestExamplesParse(t *testing.T) {
	t.Parallel()
	root := testApp(t).root()
	for _, c := range allCommands(root) {
		for _, line := range strings.Split(c.Example, "\n") {
			line, _, _ = strings.Cut(line, " #")
			if i := strings.Index(line, "| "); i >= 0 {
				line = line[i+2:]
			}
			line, _, _ = strings.Cut(line, " >")
			words := strings.Fields(strings.TrimSuffix(strings.ReplaceAll(line, "<(", ""), ")"))
			if len(words) > 0 && words[0] == "source" {
				words = words[1:]
			}
			if len(words) == 0 || words[0] != "cortex" {
				t.Errorf("%s: example %q does not begin with cortex", c.CommandPath(), line)
				continue
			}
			at, rest, err := testApp(t).root().Find(words[1:]) // flags remember what was parsed
			if err == nil {
				err = parse(at, rest)
			}
			if err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			}
		}
	}
}

func parse(c *cobra.Command, words []string) error {
	if err := c.ParseFlags(words); err != nil {
		return err
	}
	return c.Args(c, c.Flags().Args())
}

func TestReference(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := writeReference(&b, testApp(t).root()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("..", "..", "docs", "cli.md")
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), b.String()); diff != "" {
		t.Errorf("docs/cli.md is not what the help texts say; run go test ./internal/cli -run Reference -update (-file +help):\n%s", diff)
	}
}

func TestSince(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	for ago, want := range map[time.Duration]string{
		0: "0s", -time.Hour: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m1s", time.Hour: "1h0m",
		25*time.Hour + time.Minute: "1d1h",
	} {
		if got := since(now.Add(-ago), now); got != want {
			t.Errorf("since(%s ago) = %s, want %s", ago, got, want)
		}
	}
	if got := since(time.Time{}, now); got != "-" {
		t.Errorf("since(never) = %s, want -", got)
	}
}

func TestBoardCutsToTheTerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	b := board{out: &out, on: true}
	lines := make([]string, 100)
	for i := range lines {
		lines[i] = strings.Repeat("é", 200)
	}
	b.draw(lines)
	if n := len(b.drawn); n != defaultHeight-2 {
		t.Errorf("%d lines were drawn on %d, want %d", n, defaultHeight, defaultHeight-2)
	}
	if last := b.drawn[len(b.drawn)-1]; last != "… and 79 more" {
		t.Errorf("the last line is %q", last)
	}
	if w := textWidth(b.drawn[0]); w != defaultWidth {
		t.Errorf("a line is %d wide, want %d", w, defaultWidth)
	}
	out.Reset()
	b.draw(lines)
	if out.Len() > 0 {
		t.Errorf("what has not changed is drawn again: %q", out.String())
	}
	b.draw([]string{"done"})
	if got := out.String(); !strings.HasPrefix(got, "\x1b[22A") || !strings.HasSuffix(got, "done\n\x1b[J") {
		t.Errorf("drawing over = %q", got)
	}
}

func TestMaskedKey(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{"": "", "abc": "***", "AKIAEXAMPLE": "*******MPLE"} {
		if got := maskedKey(key); got != want {
			t.Errorf("maskedKey(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestDescriptionNamesEveryState(t *testing.T) {
	t.Parallel()
	c := workload.Counts{
		Requested: 1, Pending: 1, Creating: 1, NotReady: 1, Ready: 1, ReadyOutOfDate: 1, ErrImagePull: 1,
		Terminating: 1, Failed: 1, Killed: 1, KilledOOM: 1, Stalled: 1, Unknown: 1,
	}
	if rows := countRows(&c); len(rows) != 13 {
		t.Errorf("countRows(all) has %d rows, want 13: %v", len(rows), rows)
	}
	if rows := countRows(&workload.Counts{}); len(rows) != 2 {
		t.Errorf("countRows(none) has %d rows, want ready and requested: %v", len(rows), rows)
	}
}
