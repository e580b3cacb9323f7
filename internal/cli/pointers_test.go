package cli

import (
	"regexp"
	"testing"
)

// A pointer is for a word that is no command, and points at commands that are.
func TestPointersPointAtCommands(t *testing.T) {
	t.Parallel()
	root := testApp(t).root()
	command := regexp.MustCompile("`cortex ([a-z ]+[a-z])")
	for word, text := range pointers {
		if at, _, _ := root.Find([]string{word}); at != root {
			t.Errorf("pointers[%q]: it is a command", word)
		}
		for _, m := range command.FindAllStringSubmatch(text, -1) {
			if at, rest, err := root.Find(regexp.MustCompile(" ").Split(m[1], -1)); err != nil || at == root || at.HasSubCommands() && len(rest) > 0 {
				t.Errorf("pointers[%q] points at cortex %s, which is no command", word, m[1])
			}
		}
	}
}
