package access

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"
	"time"
)

func TestMint(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	counts := map[byte]int{}
	for range 2000 {
		text, id, hash := Mint()
		got, secret, ok := parse([]byte(text))
		if !ok || string(got[:]) != id || sha256.Sum256(secret) != hash {
			t.Fatalf("parse(%q) = %q, %q, %v; want the key that was made, %s", text, got, secret, ok, id)
		}
		if seen[text] || seen[id] {
			t.Fatalf("%q was made twice", text)
		}
		seen[text], seen[id] = true, true
		for _, c := range secret {
			counts[c]++
		}
	}
	for _, c := range []byte(base62) { // 64,000 digits: about 1,032 of each
		if n := counts[c]; n < 800 || n > 1300 {
			t.Errorf("the digit %c was drawn %d times of 64,000, want about 1,032", c, n)
		}
	}
}

// One wrong character anywhere is found without a look-up.
func TestParseFindsTypingErrors(t *testing.T) {
	t.Parallel()
	text, _, _ := Mint()
	for i := range text {
		for _, c := range []byte("0aZ_-é ") {
			wrong := []byte(text)
			if wrong[i] == c {
				continue
			}
			wrong[i] = c
			if _, _, ok := parse(wrong); ok {
				t.Errorf("parse(%q) accepts %q with character %d changed", wrong, text, i)
			}
		}
	}
	for _, wrong := range []string{"", "cxk_", text[1:], text + "x", strings.ToUpper(text), " " + text, text[:len(text)-1]} {
		if _, _, ok := parse([]byte(wrong)); ok {
			t.Errorf("parse(%q) accepts it", wrong)
		}
	}
}

func FuzzParse(f *testing.F) {
	text, _, _ := Mint()
	f.Add([]byte(text))
	f.Add([]byte("cxk_"))
	f.Fuzz(func(t *testing.T, text []byte) {
		id, secret, ok := parse(text)
		if !ok {
			return
		}
		again := append(append(append([]byte(prefix), id[:]...), '_'), secret...)
		check := checkOf(again)
		again = append(append(again, '_'), check[:]...)
		if !bytes.Equal(again, text) {
			t.Errorf("parse(%q) = %q, %q, which are %q", text, id, secret, again)
		}
	})
}

// ring is a keyring with one key, and its text.
func ring(name string, apis []string, expires time.Time) (*Keyring, string) {
	text, id, hash := Mint()
	var r Keyring
	of, _ := ParseID(id)
	r.Set([]Key{{ID: of, Name: name, Hash: hash, APIs: apis, Expires: expires}})
	return &r, text
}
